"""What is wrong with a table, in words that name the column and the rule."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One broken rule: `rows` of the table break `rule` in `column`; `example` is one offending value."""

    column: str
    rule: str
    rows: int = 0
    example: str = ""

    def __str__(self) -> str:
        where = (
            f" ({self.rows} row{'s' if self.rows > 1 else ''}, for example {self.example})"
            if self.rows
            else ""
        )
        return f"{self.column}: {self.rule}{where}"


class DataError(ValueError):
    """The table cannot be used. `violations` lists every broken rule, not the first alone."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(str(violation) for violation in self.violations))
