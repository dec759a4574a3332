import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ml_platform.services.monitoring.statistics.distances import (
    chi_square,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    kullback_leibler_divergence,
    occupied,
    population_stability_index,
    smoothed,
)

ALL = (population_stability_index, jensen_shannon_distance, kullback_leibler_divergence)


@st.composite
def two_samples(draw, least=0):
    size = draw(st.integers(1, 12))
    counts = st.lists(st.integers(least, 10_000), min_size=size, max_size=size)
    return np.array(draw(counts)), np.array(draw(counts))


class TestAgainstScipy:
    @given(two_samples(least=1))
    def test_jensen_shannon(self, samples):
        reference, current = samples
        expected = jensenshannon(reference, current, base=2)
        assert jensen_shannon_distance(reference, current) == pytest.approx(expected, abs=1e-7)

    @given(two_samples())
    def test_kullback_leibler_is_scipys_entropy_of_the_smoothed(self, samples):
        reference, current = samples
        p, q = (smoothed(sample) for sample in occupied(reference, current))
        expected = stats.entropy(q, p) if p.size else 0
        assert kullback_leibler_divergence(reference, current) == pytest.approx(expected, abs=1e-12)

    @given(two_samples())
    def test_psi_is_the_sum_of_both_divergences(self, samples):
        p, q = (smoothed(sample) for sample in occupied(*samples))
        assert population_stability_index(*samples) == pytest.approx(
            (stats.entropy(p, q) + stats.entropy(q, p)) if p.size else 0, abs=1e-9
        )

    @given(two_samples(least=1))
    def test_chi_square_and_cramers_v(self, samples):
        result = chi_square(*samples)
        if len(samples[0]) == 1:
            assert (result.p_value, result.effect_size) == (1, 0)
            return
        expected = stats.chi2_contingency(np.stack(samples), correction=False)
        assert result.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
        assert result.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
        cramers_v = stats.contingency.association(np.stack(samples), method="cramer")
        assert result.effect_size == pytest.approx(cramers_v, abs=1e-9)

    @pytest.mark.parametrize("shift", [0, 1, 3])
    def test_kolmogorov_smirnov_of_values_with_a_bin_each(self, shift):
        random = np.random.default_rng(shift)
        first, second = random.integers(0, 40, 3000), random.integers(0, 40, 2000) + shift
        result = kolmogorov_smirnov(np.bincount(first, minlength=50), np.bincount(second, minlength=50))
        expected = stats.ks_2samp(first, second, method="asymp")
        assert result.statistic == pytest.approx(expected.statistic, abs=1e-12)
        assert result.effect_size == result.statistic
        asymptotic = stats.kstwobign.sf(expected.statistic * math.sqrt(3000 * 2000 / 5000))
        assert result.p_value == pytest.approx(asymptotic, rel=1e-6)
        # scipy's own is corrected for small samples; at these sizes the two hardly differ.
        assert result.p_value == pytest.approx(expected.pvalue, rel=0.1, abs=1e-9)


class TestProperties:
    @given(two_samples())
    def test_equal_counts_are_no_distance_and_no_evidence(self, samples):
        counts = samples[0]
        for distance in ALL:
            assert distance(counts, counts) == pytest.approx(0, abs=1e-7)
        assert kolmogorov_smirnov(counts, counts).p_value == 1
        assert chi_square(counts, counts).p_value == pytest.approx(1)

    @given(two_samples())
    def test_psi_and_jensen_shannon_are_symmetric(self, samples):
        a, b = samples
        for distance in (population_stability_index, jensen_shannon_distance):
            assert distance(a, b) == pytest.approx(distance(b, a), abs=1e-9)

    @given(two_samples())
    def test_everything_is_finite_and_within_its_bounds(self, samples):
        for distance in ALL:
            assert 0 <= distance(*samples) < math.inf
        assert jensen_shannon_distance(*samples) <= 1
        for test in (kolmogorov_smirnov(*samples), chi_square(*samples)):
            assert 0 <= test.p_value <= 1
            assert 0 <= test.effect_size <= 1 + 1e-12
            assert math.isfinite(test.statistic)

    @given(two_samples(), st.randoms())
    def test_the_order_of_the_bins_does_not_matter_to_the_divergences(self, samples, random):
        order = list(range(len(samples[0])))
        random.shuffle(order)
        for distance in ALL:
            assert distance(samples[0][order], samples[1][order]) == pytest.approx(
                distance(*samples), abs=1e-9
            )

    @given(two_samples(), st.integers(1, 5))
    def test_bins_that_nobody_uses_change_nothing(self, samples, more):
        unused = [np.append(sample, [0] * more) for sample in samples]
        for distance in ALL:
            assert distance(*unused) == pytest.approx(distance(*samples), abs=1e-9)

    def test_disjoint_samples_are_as_far_as_can_be(self):
        a, b = np.array([5000, 0]), np.array([0, 5000])
        assert jensen_shannon_distance(a, b) == 1
        assert kolmogorov_smirnov(a, b).statistic == 1
        assert chi_square(a, b).effect_size == pytest.approx(1)
        assert population_stability_index(a, b) > 10

    def test_the_divergence_has_the_documented_direction(self):
        reference, current = np.array([9000, 900, 100]), np.array([5000, 4000, 1000])
        p, q = current / current.sum(), reference / reference.sum()
        assert kullback_leibler_divergence(reference, current) == pytest.approx(stats.entropy(p, q), rel=0.01)
        assert stats.entropy(q, p) != pytest.approx(stats.entropy(p, q), rel=0.1)
