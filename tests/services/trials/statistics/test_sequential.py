"""The sequential test by simulation: what it promises at every look together, and what it finds."""

import numpy as np
import pytest

from ml_platform.services.trials.statistics import ArmSums, compare_arms

_LOOKS = 60


def stops(
    generator: np.random.Generator, first: float, second: float, *, tau: float, alpha: float = 0.05
) -> int | None:
    """The first of 60 looks at two growing binary arms at which the interval leaves 0 out; None: never."""
    each = 200
    control = np.cumsum(generator.binomial(each, first, _LOOKS))
    other = np.cumsum(generator.binomial(each, second, _LOOKS))
    for look in range(_LOOKS):
        n = each * (look + 1)
        found = compare_arms(
            ArmSums.of_binary(n, int(control[look])),
            ArmSums.of_binary(n, int(other[look])),
            alpha=alpha,
            tau=tau,
            rate=True,
        )
        assert found is not None
        if found.low > 0 or found.high < 0:
            return look
    return None


def fixed_test_stops(generator: np.random.Generator, share: float) -> bool:
    """What a test for one look does when it is looked at 60 times."""
    each = 200
    a, b = (np.cumsum(generator.binomial(each, share, _LOOKS)) for _ in range(2))
    n = each * np.arange(1, _LOOKS + 1)
    pooled = (a + b) / (2 * n)
    z = np.abs(a - b) / n / np.sqrt(2 * pooled * (1 - pooled) / n)
    return bool((z > 1.96).any())


class TestLookingAllTheTime:
    @pytest.mark.parametrize(("share", "tau"), [(0.5, 0.03), (0.1, 0.02), (0.02, 0.01), (0.3, 0.2)])
    def test_finds_a_difference_between_equals_no_more_often_than_alpha(
        self, share: float, tau: float
    ) -> None:
        generator = np.random.default_rng(7)
        runs = 1000
        wrong = sum(stops(generator, share, share, tau=tau) is not None for _ in range(runs))
        # Three standard errors above 5 %; the seed is fixed, so that it is the same every time.
        assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5

    def test_would_be_wrong_much_more_often_with_a_test_for_one_look(self) -> None:
        generator = np.random.default_rng(7)
        wrong = sum(fixed_test_stops(generator, 0.3) for _ in range(500))
        assert wrong / 500 > 0.2

    def test_finds_the_difference_that_it_was_made_for(self) -> None:
        generator = np.random.default_rng(11)
        found = [stops(generator, 0.30, 0.34, tau=0.04) for _ in range(300)]
        assert sum(look is not None for look in found) / 300 >= 0.9
        early = [look for look in found if look is not None]
        assert float(np.median(early)) < _LOOKS / 2  # before the end, which is what it is for

    def test_holds_for_numbers_whose_spread_has_to_be_estimated(self) -> None:
        generator = np.random.default_rng(3)
        wrong = 0
        for _ in range(600):
            sides = []
            for _side in range(2):
                values = generator.exponential(5.0, (_LOOKS, 100))
                sides.append((np.cumsum(values.sum(axis=1)), np.cumsum((values**2).sum(axis=1))))
            for look in range(1, _LOOKS):
                n = 100 * (look + 1)
                arms = [ArmSums(n, n, float(y[look]), n, float(yy[look]), float(y[look])) for y, yy in sides]
                found = compare_arms(arms[0], arms[1], alpha=0.05, tau=0.3, rate=False)
                assert found is not None
                if not found.low <= 0 <= found.high:
                    wrong += 1
                    break
        assert wrong / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5

    def test_holds_for_callers_who_ask_many_times(self) -> None:
        """Units of 1 to 20 requests with a taste of their own: as single requests they would deceive."""
        generator = np.random.default_rng(5)
        wrong = 0
        for _ in range(400):
            sides = []
            for _side in range(2):
                x = generator.integers(1, 21, (_LOOKS, 40))
                y = generator.binomial(x, generator.beta(2, 4, x.shape))
                parts = [x, y, x * x, y * y, x * y]
                sides.append([np.cumsum(part.sum(axis=1)) for part in parts])
            for look in range(2, _LOOKS):
                arms = [
                    ArmSums(40 * (look + 1), *(float(part[look]) for part in (x, y, xx, yy, xy)))
                    for x, y, xx, yy, xy in sides
                ]
                found = compare_arms(arms[0], arms[1], alpha=0.05, tau=0.05, rate=True)
                assert found is not None
                if not found.low <= 0 <= found.high:
                    wrong += 1
                    break
        assert wrong / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


class TestOneLook:
    def test_the_estimate_is_the_difference_of_the_means(self) -> None:
        found = compare_arms(
            ArmSums.of_binary(1000, 200), ArmSums.of_binary(500, 150), alpha=0.05, tau=0.05, rate=True
        )
        assert found is not None
        assert found.estimate == pytest.approx(0.1)
        assert found.low < 0.1 < found.high

    def test_the_p_value_says_at_which_alpha_the_interval_would_leave_zero_out(self) -> None:
        arms = ArmSums.of_binary(2000, 500), ArmSums.of_binary(2000, 600)
        found = compare_arms(*arms, alpha=0.05, tau=0.05, rate=True)
        assert found is not None
        at = compare_arms(*arms, alpha=found.p_value, tau=0.05, rate=True)
        assert at is not None
        assert at.low == pytest.approx(0, abs=1e-9)

    def test_the_variance_of_single_requests_is_the_usual_one(self) -> None:
        arm = ArmSums(4, 4, 10, 4, 30, 10)  # 1, 2, 3, 4
        assert arm.variance() == pytest.approx(np.var([1, 2, 3, 4], ddof=1) / 4)

    def test_nothing_counted_is_no_comparison(self) -> None:
        nothing, some = ArmSums(), ArmSums.of_binary(10, 5)
        assert compare_arms(nothing, some, alpha=0.05, tau=0.1, rate=True) is None
        assert compare_arms(some, nothing, alpha=0.05, tau=0.1, rate=True) is None

    def test_numbers_that_never_vary_are_no_comparison(self) -> None:
        same = ArmSums(10, 10, 20, 10, 40, 20)
        assert compare_arms(same, same, alpha=0.05, tau=0.1, rate=False) is None

    def test_a_rate_of_which_nothing_happened_yet_is_not_certain(self) -> None:
        none = ArmSums.of_binary(500, 0)
        found = compare_arms(none, none, alpha=0.05, tau=0.01, rate=True)
        assert found is not None
        assert found.low < 0 < found.high
