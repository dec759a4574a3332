"""What the batcher needs of a runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ml_platform.inference.decoding import InputColumn, Row
from ml_platform.inference.errors import Unavailable


class Manner(NamedTuple):
    """How a model is asked, beside its rows; a batch is made of calls that ask in the same manner.

    `params` are the model's parameters as JSON, if it declares any. `scores` asks for the scores of all classes
    instead of what the model's `predict` gives; a model that has none raises Unexplainable.
    """

    params: str | None = None
    scores: bool = False


PLAIN = Manner()


class Runtime(Protocol):
    """A loaded model.

    Attributes:
        columns: the inputs as the decoder must enforce them.
        inline_rows: batches of up to so many rows are answered by `predict` on the event loop's own
            thread; larger ones, and all of them when it is 0, by `predict_apart`.
    """

    columns: tuple[InputColumn, ...]
    inline_rows: int

    def predict(self, rows: Sequence[Row]) -> list[Any]:
        """One prediction for each row; raises ServingError."""
        ...

    async def predict_apart(self, rows: Sequence[Row], manner: Manner = PLAIN) -> list[Any]:
        """The same without holding the event loop up; only an isolated model knows other manners than the plain."""
        ...

    def refusal(self, busy: bool) -> Unavailable | None:
        """Why a request for `predict_apart` must not even wait; `busy` when there are others before it."""
        ...

    def memory(self) -> int:
        """The bytes of memory that the model takes, those of its own processes included."""
        ...

    def renew(self) -> None:
        """Gives back what the model has taken since it was loaded, if there is a way, without a gap."""
        ...

    async def close(self) -> None:
        """Releases everything; called once nothing is running any more."""
        ...
