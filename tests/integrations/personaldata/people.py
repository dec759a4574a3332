"""Columns of made-up people: every number is drawn, and carries the check digits of its kind."""

import random
from collections.abc import Callable

from stdnum import luhn

GIVEN = ["Anna", "Peter", "Maria", "John", "Laura", "Thomas", "Julia", "Robert", "Susan", "Miguel"]
FAMILY = ["Keller", "Novak", "Rossi", "Smith", "Garcia", "Dubois", "Jansen", "Kowalski", "Berg", "Silva"]


class People:
    """The same for the same seed."""

    def __init__(self, rows: int = 200, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._rows = rows

    def drawn(self, make: Callable[[random.Random], str]) -> list[str]:
        return [make(self._random) for _ in range(self._rows)]

    def digits(self, count: int) -> list[str]:
        return self.drawn(lambda r: str(r.randrange(1, 10)) + "".join(r.choices("0123456789", k=count - 1)))

    def checked(self, count: int, check: Callable[[str], bool]) -> list[str]:
        """Numbers of that many digits that pass their check."""

        def make(r: random.Random) -> str:
            while True:
                number = "".join(r.choices("0123456789", k=count))
                if check(number):
                    return number

        return self.drawn(make)

    def names(self) -> list[str]:
        return self.drawn(lambda r: f"{r.choice(GIVEN)} {r.choice(FAMILY)}")

    def emails(self) -> list[str]:
        return self.drawn(
            lambda r: f"{r.choice(GIVEN).lower()}.{r.randrange(10**6)}@mail{r.randrange(9)}.example.org"
        )

    def cards(self) -> list[str]:
        def make(r: random.Random) -> str:
            body = "4" + "".join(r.choices("0123456789", k=14))
            return body + luhn.calc_check_digit(body)

        return self.drawn(make)

    def ibans(self) -> list[str]:
        def make(r: random.Random) -> str:
            body = "".join(r.choices("0123456789", k=18))
            check = 98 - int(body + "131400") % 97  # D is 13, E is 14
            return f"DE{check:02d}{body}"

        return self.drawn(make)

    def phones(self) -> list[str]:
        return self.drawn(lambda r: f"+44 20 7{r.randrange(100, 999)} {r.randrange(1000, 9999)}")

    def german_phones(self) -> list[str]:
        return self.drawn(lambda r: f"030 / {r.randrange(2000000, 8999999)}")

    def american_phones(self) -> list[str]:
        return self.drawn(lambda r: f"(212) {r.randrange(220, 999)}-{r.randrange(1000, 9999)}")

    def addresses(self) -> list[str]:
        return self.drawn(lambda r: f"{r.randrange(1, 900)} {r.choice(FAMILY)} Street")

    def german_addresses(self) -> list[str]:
        return self.drawn(lambda r: f"{r.choice(FAMILY)}straße {r.randrange(1, 200)}b")

    def ips(self) -> list[str]:
        return self.drawn(lambda r: ".".join(str(r.randrange(1, 255)) for _ in range(4)))

    def ips6(self) -> list[str]:
        return self.drawn(lambda r: f"2001:db8::{r.randrange(65536):x}:{r.randrange(65536):x}")

    def macs(self) -> list[str]:
        return self.drawn(lambda r: ":".join(f"{r.randrange(256):02x}" for _ in range(6)))
