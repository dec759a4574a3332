import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ml_platform.services.monitoring.statistics.calibration import benjamini_hochberg, bootstrap_p_value


class TestBootstrapPValue:
    def test_it_is_about_uniform_when_nothing_drifted(self):
        random = np.random.default_rng(1)
        shares = np.array([0.4, 0.3, 0.2, 0.05, 0.05])
        p_values = [
            bootstrap_p_value(random.multinomial(5000, shares), random.multinomial(1500, shares), seed=i)
            for i in range(300)
        ]
        for level in (0.05, 0.2, 0.5):
            share = np.mean(np.array(p_values) <= level)
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / 300)

    def test_it_is_as_small_as_it_can_be_when_everything_did(self):
        assert bootstrap_p_value(np.array([900, 100]), np.array([100, 900])) == 1 / 5000

    def test_a_small_real_change_is_found_in_a_large_window(self):
        assert bootstrap_p_value(np.array([50_000, 50_000]), np.array([51_500, 48_500])) < 0.001

    def test_the_same_seed_gives_the_same_value(self):
        counts = np.array([500, 300, 200]), np.array([260, 140, 100])
        assert bootstrap_p_value(*counts, seed=3) == bootstrap_p_value(*counts, seed=3)

    def test_equal_and_empty_samples_are_no_evidence(self):
        same = np.array([700, 300])
        assert bootstrap_p_value(same, same) == 1
        assert bootstrap_p_value(same, np.array([0, 0])) == 1
        assert bootstrap_p_value(np.array([0, 0]), same) == 1


class TestBenjaminiHochberg:
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
    def test_it_is_scipys(self, p_values):
        assert benjamini_hochberg(p_values) == pytest.approx(list(stats.false_discovery_control(p_values)))

    def test_of_nothing_is_nothing(self):
        assert benjamini_hochberg([]) == []
