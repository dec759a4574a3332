"""A team of people on an installation, each with a key and a folder of their own, who use `mlops` and nothing else."""

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ml_platform import Platform
from tests.docs.markdown import ROOT, RUN, Block, blocks
from tests.docs.reader import Reader
from tests.e2e.conftest import BIN, Installation

T = TypeVar("T")
Done = subprocess.CompletedProcess[str]
Executed = set[tuple[str, int]]

TEAM = "riverside"
ROLES = {
    "lena": ["team_lead"],
    "dana": ["data_scientist"],
    "erin": ["ml_engineer", "senior_data_scientist"],
    "mia": ["manager"],
    "sue": ["senior_data_scientist"],
    "cora": ["board_chair"],
    "arno": ["ml_architect"],
    "pia": ["product_owner"],
    "leo": ["legal"],
    "audra": ["auditor"],
    "vic": ["viewer"],
}
ELSEWHERE = {"olga": ["team_lead", "auditor"]}
HOW_TOS = ("data-scientist", "approver", "auditor")

_AT_ONCE = 4
"""Commands wait for the platform as often as they compute, so there are more of them than a laptop has cores."""


def how_to(name: str) -> list[Block]:
    """The blocks of a how-to, in order."""
    return blocks((ROOT / _path(name)).read_text(encoding="utf-8"))


def _path(name: str) -> Path:
    return Path("docs/how-to") / f"{name}.md"


@dataclass(frozen=True)
class Person:
    """Somebody at a terminal. `executed` is everybody's: which block of which how-to somebody has run."""

    name: str
    folder: Path
    environment: Mapping[str, str]
    executed: Executed = field(default_factory=set)

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """`mlops ...`; both streams are captured, nothing is asked."""
        return subprocess.run(
            [str(BIN / "mlops"), *arguments],
            env={**self.environment, **environment},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def must(self, *arguments: str) -> Done:
        done = self(*arguments)
        assert done.returncode == 0, f"{self.name}: mlops {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """The data of a command that must succeed."""
        return json.loads(self.must(*arguments, "--output", "json").stdout)

    def each(self, calls: Iterable[Sequence[str]]) -> list[Done]:
        """Several commands at once; the answers are in their order."""
        return together([lambda call=call: self(*call) for call in calls])

    def ask(self, endpoint: str, *options: str, model: str = "churn/1") -> str:
        """Asks for production, where people must agree; the id of the request, as the message names it."""
        done = self(
            "deploy", "--model", model, "--environment", "production", "--name", endpoint,
            "--justification", f"{self.name} asks", "--wait", *options,
        )  # fmt: skip
        assert done.returncode == 6, f"{endpoint}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        found = re.search(r"hint: mlops approvals show (apr_\w+)", done.stderr)
        assert found is not None, done.stderr
        return found[1]

    # -- how-tos

    def follow(
        self,
        name: str,
        *,
        others: "Mapping[str, Person] | None" = None,
        filled: Mapping[str, Mapping[str, str]] | None = None,
        **variables: str,
    ) -> None:
        """Does what a how-to says, block by block, in one terminal and signed in by its first commands.

        A block that is 'not run' for a reason is done by whom `others` names for that reason, or after filling
        in what `filled` says for it; without either it is left for `do`. What is no command is left out.
        """
        kept = {k: v for k, v in self.environment.items() if not k.startswith("MLOPS_API_")}
        with Reader(_path(name), self.folder, {**kept, **variables}) as reader:
            for block in how_to(name):
                if block.language not in RUN:
                    continue
                if block.skip is None:
                    self._execute(reader, name, block)
                elif block.skip in (others or {}):
                    (others or {})[block.skip].do(name, block.skip)
                elif block.skip in (filled or {}):
                    self._execute(reader, name, block, (filled or {})[block.skip])

    def do(self, name: str, reason: str, **variables: str) -> None:
        """Does the one block of a how-to that is 'not run' for this reason, in a terminal of one's own."""
        [block] = [block for block in how_to(name) if block.skip == reason]
        with Reader(_path(name), self.folder, {**self.environment, **variables}) as reader:
            self._execute(reader, name, block)

    def _execute(
        self, reader: Reader, name: str, block: Block, filled: Mapping[str, str] | None = None
    ) -> None:
        text = block.text
        for blank, value in (filled or {}).items():
            assert blank in text, f"{_path(name)}:{block.line} has no {blank}"
            text = text.replace(blank, value)
        reader.follow(replace(block, text=text))
        self.executed.add((name, block.line))


@dataclass(frozen=True)
class Company:
    """The people of the team, and one of another team."""

    installation: Installation
    people: Mapping[str, Person]
    executed: Executed

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def assess(self, total: int, model: str = "churn") -> Done:
        """Dana answers the risk of a model with five scores of this sum."""
        names = [
            "data_sensitivity",
            "business_impact",
            "customer_exposure",
            "regulatory_scope",
            "explainability",
        ]
        scores = [total // 5 + (place < total % 5) for place in range(5)]
        answers = [
            f"--answer={name}={score}:as seen today" for name, score in zip(names, scores, strict=True)
        ]
        return self["dana"].must("models", "risk", "assess", model, *answers, "--output", "json")


def found_company(installation: Installation, folder: Path) -> Company:
    """The administrator makes both teams and everybody in them, and sends each a key."""
    url, key = installation.url, str(installation.profile["key"])
    executed: Executed = set()
    people: dict[str, Person] = {}
    with ExitStack() as opened:
        admin = opened.enter_context(Platform(url=url, key=key))
        for team, roles in ((TEAM, ROLES), ("hillside", ELSEWHERE)):
            admin.identity.create_team(team)
            there = opened.enter_context(Platform(url=url, key=key, team=team))
            for name, held in roles.items():
                admin.identity.create_user(name)
                there.identity.set_member(team, name, held)
                token = there.identity.create_key("laptop", user=name, expires_in_days=1).token
                people[name] = _at_a_terminal(installation, folder / name, token, executed)
    return Company(installation, people, executed)


def _at_a_terminal(installation: Installation, folder: Path, token: str, executed: Executed) -> Person:
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "my.key").write_text(f"{token}\n")
    environment = {
        **{k: v for k, v in installation.environment.items() if not k.startswith("MLOPS_")},
        "HOME": str(folder),
        "MLOPS_HOME": str(folder / ".mlops"),
        "MLOPS_API_URL": installation.url,
        "MLOPS_API_KEY": token,
        "PLATFORM": installation.url,
    }
    return Person(folder.name, folder, environment, executed)


def together(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Does several things at once, and answers in their order."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def refusal(done: Done, code: int) -> str:
    """What a refused person reads: why, and what to do next."""
    assert done.returncode == code, f"{done.returncode} instead of {code}:\n{done.stdout}\n{done.stderr}"
    assert "error: " in done.stderr, done.stderr
    hint = done.stderr.partition("hint: ")[2]
    assert len(hint.strip()) > 10, f"nothing says what to do next:\n{done.stderr}"
    assert "/api/v1" not in done.stderr, "a person at a terminal is told a command, not a route"
    return done.stderr
