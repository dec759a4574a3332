"""What is remembered of entities stays within its bounds, and is forgotten in time."""

import pytest

from ml_platform.inference.featurestores.lastknown import LastKnown


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def customer(name: str) -> dict[str, str]:
    return {"customer_id": name}


class TestRecall:
    def test_gives_the_columns_of_the_entities_in_their_order(self):
        space = LastKnown(10**6, 100).space("churn")
        space.keep([customer("a"), customer("b")], [[1, 2], ["x", None]])
        assert space.recall([customer("b"), customer("a"), customer("b")], 60) == [
            (2, 1, 2),
            (None, "x", None),
        ]

    def test_gives_what_was_kept_last(self):
        space = LastKnown(10**6, 100).space("churn")
        space.keep([customer("a")], [[1]])
        space.keep([customer("a")], [[2]])
        assert space.recall([customer("a")], 60) == [(2,)]

    def test_refuses_an_entity_that_it_never_saw(self):
        space = LastKnown(10**6, 100).space("churn")
        space.keep([customer("a")], [[1]])
        with pytest.raises(KeyError) as caught:
            space.recall([customer("a"), customer("b")], 60)
        assert caught.value.args == (customer("b"),)

    def test_refuses_what_is_too_old(self):
        clock = Clock()
        space = LastKnown(10**6, 100, clock).space("churn")
        space.keep([customer("a")], [[1]])
        clock.now = 60
        assert space.recall([customer("a")], 60) == [(1,)]
        clock.now = 61
        with pytest.raises(KeyError):
            space.recall([customer("a")], 60)

    def test_keeps_sets_of_features_apart_and_shares_equal_ones(self):
        memory = LastKnown(10**6, 100)
        space = memory.space(("store", "tenure"))
        space.keep([customer("a")], [[1]])
        assert memory.space(("store", "tenure")).recall([customer("a")], 60) == [(1,)]
        with pytest.raises(KeyError):
            memory.space(("store", "charges")).recall([customer("a")], 60)

    def test_forgets_an_entity_that_is_gone(self):
        memory = LastKnown(10**6, 100)
        space = memory.space("churn")
        space.keep([customer("a")], [[1]])
        space.forget(customer("a"))
        with pytest.raises(KeyError):
            space.recall([customer("a")], 60)
        assert (len(memory), memory.bytes) == (0, 0)


class TestBounds:
    def test_hold_for_the_number_of_entities_and_the_oldest_goes_first(self):
        memory = LastKnown(10**9, 3)
        space = memory.space("churn")
        for name in "abc":
            space.keep([customer(name)], [[name]])
        space.recall([customer("a")], 60)
        space.keep([customer("d")], [["d"]])
        assert space.recall([customer("a"), customer("c"), customer("d")], 60) == [("a", "c", "d")]
        with pytest.raises(KeyError):
            space.recall([customer("b")], 60)

    def test_hold_for_bytes_whatever_the_values_are(self):
        memory = LastKnown(100_000, 10**9)
        space = memory.space("churn")
        for number in range(500):
            space.keep([customer(str(number))], [["x" * 1000], [[1.0] * 100], [{"a": "y" * 500}]])
            assert memory.bytes <= 100_000
        assert 0 < len(memory) < 100

    def test_refuse_what_is_larger_than_everything(self):
        memory = LastKnown(10_000, 10)
        space = memory.space("churn")
        space.keep([customer("a")], [["small"]])
        space.keep([customer("b")], [["x" * 20_000]])
        assert space.recall([customer("a")], 60) == [("small",)]
        with pytest.raises(KeyError):
            space.recall([customer("b")], 60)
