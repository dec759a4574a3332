"""What the documents point at is there: files, headings, commands, targets, settings, dependencies."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from pydantic import BaseModel

from ml_platform.cli.main import app
from ml_platform.server.settings import Settings
from tests.docs.markdown import ROOT, anchors, blocks, code, documents, links

DOCUMENTS = documents()
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

_SETTING = re.compile(r"\bMLOPS_[A-Z][A-Z0-9_]*[A-Z0-9]\b")
_TARGET = re.compile(r"\bmake ([a-z][a-z-]*)(?![\w<.])")
_TREE = re.compile(r"^(?:src|tests|docs|scripts|examples|benchmarks)/[\w./-]+$")


@pytest.fixture(params=DOCUMENTS, ids=NAMES)
def document(request: pytest.FixtureRequest) -> Path:
    return request.param


class TestLinks:
    def test_relative_links_lead_to_files_and_headings(self, document: Path) -> None:
        for target in links(document.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, heading = target.partition("#")
            found = (document.parent / unquote(path)).resolve() if path else document
            assert found.exists(), f"{target} is not there"
            assert found.is_relative_to(ROOT), f"{target} leads out of the repository"
            if heading:
                assert heading in anchors(found.read_text()), f"{target}: there is no such heading"

    def test_paths_in_code_are_there(self, document: Path) -> None:
        """Of the repository; a project below `examples/` speaks of its own folders."""
        if document.is_relative_to(ROOT / "examples"):
            return
        for piece in code(document.read_text()):
            if _TREE.match(piece) and "..." not in piece:
                assert (ROOT / piece).exists(), f"{piece} is not there"


class TestCommands:
    def test_every_command_and_option_exists(self, document: Path) -> None:
        for words in _mlops_calls(document.read_text()):
            problem = _problem(words)
            assert problem is None, f"mlops {' '.join(words)}: {problem}"

    def test_finds_what_is_wrong(self) -> None:
        calls = list(
            _mlops_calls("`mlops nonsense`\n\n```sh\nmlops jobs list --nonsense | mlops jobs nonsense\n```\n")
        )
        assert len(calls) == 3
        assert all(_problem(words) is not None for words in calls)


class TestTargets:
    def test_every_target_of_make_exists(self, document: Path) -> None:
        known = set(re.findall(r"^([a-z][a-z-]*):", _makefile(document).read_text(), re.MULTILINE))
        for piece in code(document.read_text()):
            for target in _TARGET.findall(piece.partition("#")[0]):
                assert target in known, f"make {target}"


class TestSettings:
    def test_every_variable_exists(self, document: Path) -> None:
        for name in set(_SETTING.findall(document.read_text())):
            assert name in _settings() or _is_read_somewhere(name), name


class TestDependencies:
    def test_each_direct_dependency_has_its_line(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        asked = [
            *project["project"]["dependencies"],
            *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
            *project["dependency-groups"]["dev"],
        ]
        rows = (ROOT / "docs/adr/0011-dependencies.md").read_text().splitlines()
        listed = {
            name.strip().split(" ")[0]
            for row in rows
            if row.startswith("| ")
            for name in row.split("|")[1].split(",")
        }
        missing = {re.split(r"[\[<>=;~! ]", name)[0] for name in asked} - listed
        assert not missing


class TestBlocks:
    def test_a_block_says_why_it_is_not_run_and_what_it_prints(self) -> None:
        first, second, third = blocks(
            "<!-- not run: it ends the world -->\n```sh\nend\n```\n\n"
            "```sh\necho one\n```\n\n```text\none\n```\n\nwords\n\n```text\nalone\n```\n"
        )
        assert (first.skip, first.expected) == ("it ends the world", None)
        assert (second.skip, second.expected, second.line) == (None, "one\n", 6)
        assert (third.language, third.text) == ("text", "alone\n")


def _mlops_calls(text: str) -> Iterator[list[str]]:
    """The words behind each `mlops` at the place of a command."""
    for piece in code(text):
        for part in re.split(r"[|;]|&&|\bdo\b|\$\(", piece):
            words = _words(part)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words[:1] == ["mlops"] and len(words) > 1:
                yield words[1:]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote that ends on another line, or prose
        return []


def _problem(words: list[str]) -> str | None:
    """Why there is no such call, or None. Placeholders (`<x>`, `...`, `NAME`) and arguments are passed over."""
    command: Any = typer.main.get_command(app)
    depth = 0
    for word in words:
        if not hasattr(command, "get_command") or not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        command = command.get_command(None, word)
        if command is None:
            return f"there is no command {word!r}"
        depth += 1
    options = {option for each in command.params for option in [*each.opts, *each.secondary_opts]}
    options |= {"--help", "-h", "--install-completion"}
    for word in words[depth:]:
        if word.startswith("--") and word.partition("=")[0] not in options:
            return f"there is no option {word}"
    return None


def _makefile(document: Path) -> Path:
    """The nearest one, from the document's folder upwards."""
    return next(folder / "Makefile" for folder in document.parents if (folder / "Makefile").is_file())


@cache
def _settings() -> frozenset[str]:
    def names(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from names(kind, f"{prefix}{name.upper()}__")
            else:
                yield f"{prefix}{name.upper()}"

    return frozenset(names(Settings, "MLOPS_"))


@cache
def _sources() -> str:
    folders = (ROOT / "src", ROOT / "examples", ROOT / "tests")
    return "\n".join(
        path.read_text() for folder in folders for path in folder.rglob("*.py") if path != Path(__file__)
    )


def _is_read_somewhere(name: str) -> bool:
    return f'"{name}"' in _sources()
