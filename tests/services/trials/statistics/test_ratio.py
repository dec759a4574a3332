"""Sample ratio mismatch: seldom alarmed by chance, however often one looks; soon alarmed by a leak."""

import numpy as np
import pytest

from ml_platform.services.trials.statistics import check_ratio


class TestCheckRatio:
    def test_a_split_as_asked_for_is_no_mismatch(self) -> None:
        found = check_ratio([5_020, 4_980], [50, 50])
        assert not found.mismatch
        assert not found.alarming

    def test_a_leak_of_some_percent_is_one(self) -> None:
        found = check_ratio([5_300, 4_700], [50, 50])
        assert found.mismatch
        assert found.alarming

    @pytest.mark.parametrize(("statistic", "p_value"), [(3.841459, 0.05), (10.827566, 0.001)])
    def test_the_p_value_is_that_of_the_tables(self, statistic: float, p_value: float) -> None:
        off = (statistic * 1_000_000) ** 0.5 / 2
        found = check_ratio([round(500_000 + off), round(500_000 - off)], [1, 1])
        assert found.p_value == pytest.approx(p_value, rel=0.02)

    def test_weights_count(self) -> None:
        assert not check_ratio([9_000, 1_000], [90, 10]).mismatch
        assert check_ratio([9_000, 1_000], [50, 50]).alarming

    def test_nothing_is_no_mismatch(self) -> None:
        assert check_ratio([0, 0], [50, 50]).p_value == 1.0

    def test_a_hundred_looks_alarm_as_seldom_as_one(self) -> None:
        generator = np.random.default_rng(13)
        alarmed = deceived = 0
        for _ in range(1000):
            first = np.cumsum(generator.binomial(100, 0.5, 100))
            looks = [check_ratio([int(n), 100 * (k + 1) - int(n)], [1, 1]) for k, n in enumerate(first)]
            alarmed += any(look.alarming for look in looks)
            deceived += any(look.mismatch for look in looks)
        assert alarmed <= 4
        assert deceived > alarmed  # the test for one look, looked at a hundred times

    def test_one_arm_that_loses_a_tenth_is_found_within_some_thousand(self) -> None:
        generator = np.random.default_rng(17)
        for _ in range(100):
            kept = int(generator.binomial(5_000, 0.9))
            assert check_ratio([5_000, kept], [1, 1]).alarming
