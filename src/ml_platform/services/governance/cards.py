"""Model cards: what the authors wrote and what the platform knows, rendered.

The sections are those of Mitchell et al., 'Model Cards for Model Reporting' (FAT* 2019). Everything that a
person wrote is text: no markup of theirs reaches a page.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ml_platform.contracts.governance import RiskLevel

SECTIONS = {
    "intended_use": "Intended use",
    "out_of_scope": "Out of scope",
    "training_data": "Training data",
    "evaluation_data": "Evaluation data",
    "ethical_considerations": "Ethical considerations",
    "limitations": "Limitations",
    "fairness": "Fairness",
}
"""What a card may say under a name of its own; anything else stands under 'Further details'."""

NEEDED: Mapping[RiskLevel, tuple[str, ...]] = {
    RiskLevel.LOW: (),
    RiskLevel.MEDIUM: ("intended_use", "limitations"),
    RiskLevel.HIGH: (
        "intended_use",
        "out_of_scope",
        "training_data",
        "ethical_considerations",
        "limitations",
    ),
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&:@/])")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the platform knows of a version, and the card that its authors wrote."""

    model_id: str
    name: str
    version: int
    revision: int
    written_by: str
    written_at: datetime
    card: Mapping[str, Any]
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    gate: str | None = None


def missing_sections(card: Mapping[str, Any], level: RiskLevel | None) -> list[str]:
    """The sections that a model of this risk needs and that are empty; none while the risk is not answered."""
    needed = NEEDED[level] if level is not None else ()
    return [name for name in needed if not _said(card.get(name))]


def markdown(found: CardFacts, risk: Mapping[str, Any] | None, owner: str, missing: Iterable[str]) -> str:
    """The card as Markdown in which every word of a person is escaped."""
    lines = [f"# {_text(found.name)}, version {found.version}", ""]
    details = {"Owner": owner, "Model": found.model_id} | dict(found.facts)
    details["Card"] = (
        f"revision {found.revision} by {found.written_by}, {found.written_at:%Y-%m-%d %H:%M} UTC"
    )
    lines += [f"- {_text(name)}: {_text(value)}" for name, value in details.items()]
    empty = set(missing)
    for key, title in SECTIONS.items():
        if _said(found.card.get(key)):
            lines += ["", f"## {title}", "", *_value(found.card[key])]
        elif key in empty:
            lines += ["", f"## {title}", "", "*Not written yet; a model of this risk needs it.*"]
    if found.metrics or found.gate:
        lines += ["", "## Quality on held-out rows", ""]
        if found.metrics:
            lines += ["| metric | value |", "| --- | --- |"]
            lines += [f"| {_text(name)} | {value:.4g} |" for name, value in sorted(found.metrics.items())]
        lines += ["", _text(found.gate)] if found.gate else []
    if risk is not None:
        lines += ["", "## Risk", "", f"{_text(str(risk['level']))}, {risk['score']} of 50", ""]
        lines += ["| assessment | score | reason |", "| --- | --- | --- |"]
        lines += [
            f"| {_text(name.replace('_', ' '))} | {answer['score']} | {_text(answer['reason'])} |"
            for name, answer in risk["assessments"].items()
        ]
    others = {name: value for name, value in found.card.items() if name not in SECTIONS and _said(value)}
    if others:
        lines += ["", "## Further details", ""]
        for name, value in others.items():
            lines += [f"**{_text(name)}**", "", *_value(value), ""]
    return "\n".join(lines).rstrip() + "\n"


def page(text: str, title: str) -> str:
    """A card as an HTML page that runs nothing: headings, lists, tables and text of our own Markdown."""
    body: list[str] = []
    kind = ""
    for line in [*text.splitlines(), ""]:
        now = "ul" if line.startswith("- ") else "table" if line.startswith("| ") else ""
        if now != kind:
            body += [f"</{kind}>"] if kind else []
            body += [f"<{now}>"] if now else []
            kind = now
        body += _block(line, now)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>body{{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;"
        "padding:0 1rem}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2rem .6rem;"
        "text-align:left}pre{overflow:auto;background:#f4f4f4;padding:.6rem}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _block(line: str, kind: str) -> list[str]:
    if kind == "ul":
        return [f"<li>{_plain(line[2:])}</li>"]
    if kind == "table":
        if set(line) <= set("|- "):
            return []
        cells = re.split(r"(?<!\\) \| ", line.strip()[2:-2])
        return ["<tr>" + "".join(f"<td>{_plain(cell)}</td>" for cell in cells) + "</tr>"]
    for level in (1, 2):
        if line.startswith("#" * level + " "):
            return [f"<h{level}>{_plain(line[level + 1 :])}</h{level}>"]
    if line.startswith("    "):
        return [f"<pre>{html.escape(line[4:])}</pre>"]
    for mark, tag in (("**", "strong"), ("*", "em")):
        if line.startswith(mark) and line.endswith(mark) and len(line) > 2 * len(mark):
            return [f"<p><{tag}>{_plain(line[len(mark) : -len(mark)])}</{tag}></p>"]
    return [f"<p>{_plain(line)}</p>"] if line else []


def _plain(text: str) -> str:
    return html.escape(re.sub(r"\\([\\`*_{}\[\]()#+\-.!|<>~&:@/])", r"\1", text))


def _said(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [], {})


def _value(value: Any) -> list[str]:
    """Text as paragraphs, a list of texts as a list, anything else as JSON."""
    if isinstance(value, str):
        parts = [_text(part) for part in value.splitlines() if part.strip()]
        return [line for part in parts for line in (part, "")][:-1]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [f"- {_text(item)}" for item in value]
    return [f"    {line}" for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines()]


def _text(value: str) -> str:
    """One line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))
