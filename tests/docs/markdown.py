"""Reads Markdown as the tests need it: code blocks, what is said about them, links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = frozenset({"python", "sh"})

_FENCE = re.compile(r"^(?P<mark>`{3,}|~{3,})(?P<language>[\w-]*)\s*$")
_NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.+) -->$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<text>.+?)\s*#*$")


@dataclass(frozen=True)
class Block:
    """A fenced block. `skip` is the reason not to run it, `expected` what its output looks like."""

    language: str
    text: str
    line: int
    skip: str | None = None
    expected: str | None = None


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted(path for path in ROOT.rglob("*.md") if not _is_made(path.relative_to(ROOT)))


def _is_made(path: Path) -> bool:
    """Environments, caches and the like, of which ours or another tool's may hold Markdown."""
    return any(part.startswith(".") or part in {"node_modules", "build"} for part in path.parts)


def blocks(text: str) -> list[Block]:
    """The fenced blocks in order.

    The comment `<!-- not run: reason -->` on the line before a block excuses it. A `text` block that follows
    a block with nothing in between is what that block prints, where `...` stands for anything.
    """
    found: list[Block] = []
    opened: tuple[str, str, int] | None = None
    lines: list[str] = []
    comment: str | None = None
    follows = False
    for number, line in enumerate(text.splitlines(), 1):
        if opened is not None:
            if line.strip() == opened[0]:
                _close(found, Block(opened[1], "\n".join(lines) + "\n", opened[2], comment), follows=follows)
                opened, lines, comment, follows = None, [], None, True
            else:
                lines.append(line)
        elif fence := _FENCE.match(line):
            opened = (fence["mark"], fence["language"], number)
        elif line.strip():
            excuse = _NOT_RUN.match(line.strip())
            comment, follows = (excuse["reason"] if excuse else None), False
    return found


def _close(found: list[Block], block: Block, *, follows: bool) -> None:
    if block.language == "text" and follows and found and found[-1].language in RUN:
        found[-1] = replace(found[-1], expected=block.text)
    else:
        found.append(block)


def links(text: str) -> Iterator[str]:
    """Targets of links outside of code."""
    for line in prose(text):
        for link in _LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            yield link["target"]


def anchors(text: str) -> set[str]:
    """What can stand behind `#` in a link to this text, by GitHub's rule."""
    found = set()
    for line in prose(text):
        if heading := _HEADING.match(line):
            plain = re.sub(r"[^\w\- ]", "", heading["text"].lower())
            found.add(plain.replace(" ", "-"))
    return found


def code(text: str) -> Iterator[str]:
    """Pieces of code: each line of a block (continued lines joined), each span within a line."""
    for block in blocks(text):
        yield from re.sub(r"\\\n\s*", "", block.text).splitlines()
    for line in prose(text):
        yield from re.findall(r"`([^`]+)`", line)


def prose(text: str) -> Iterator[str]:
    """The lines outside of fenced blocks."""
    mark: str | None = None
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if mark is None and fence:
            mark = fence["mark"]
        elif mark is not None:
            mark = None if line.strip() == mark else mark
        else:
            yield line
