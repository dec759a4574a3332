"""The page that an approver reads: the risk, the model card, and what each stage found, a line each."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_platform.cli.output import plain
from ml_platform.contracts.governance import ApprovalDetail

PARTS = {
    "risk": ["assessment", "score", "reason"],
    "model_card": ["section", "text"],
    "evidence": ["stage", "what", "found"],
}
"""The tables of the page and their columns."""

_LONG = 6
"""More items than this are counted: the page is to be read, and `--output json` has them all."""
_ELSEWHERE = frozenset({"model_card", "risk"})
_CROWDED = frozenset({"slices", "answers", "bill_of_materials", "components"})
"""What is long by nature, and what a decision does not rest on by itself."""


def page(approval: ApprovalDetail) -> dict[str, Any]:
    """The request and its evidence as tables; what is told in one table is not told again in another."""
    evidence = approval.evidence
    stages: Mapping[str, Any] = evidence.get("stages") or {}
    risk: Mapping[str, Any] = evidence.get("risk") or {}
    card: Mapping[str, Any] = (stages.get("validate") or {}).get("model_card") or {}
    needs = approval.requirement
    return {
        **plain(approval),
        "needs": f"{needs.quorum} of {', '.join(needs.seats)}; always {', '.join(needs.mandatory)};"
        f" within {needs.within_hours:g} h",
        "serving_now": evidence.get("serving_now") or None,
        "risk": [
            {"assessment": name.replace("_", " "), **answer, "reason": _reason(answer)}
            for name, answer in (risk.get("assessments") or {}).items()
        ],
        "model_card": [
            {"section": name.replace("_", " "), "text": _short(text)} for name, text in card.items()
        ],
        "evidence": [
            {"stage": stage, "what": what, "found": found}
            for stage, facts in {**stages, "configuration": evidence.get("config") or {}}.items()
            for what, found in _facts(facts)
        ],
    }


def _reason(answer: Mapping[str, Any]) -> str:
    """What a person said, and the evidence that raised their answer."""
    if answer.get("answered") is None:
        return str(answer["reason"])
    return f"{answer['reason']} (raised from {answer['answered']}: {'; '.join(answer['because'])})"


def _facts(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every fact with the words that lead to it; nothing is left out without being counted."""
    for name, value in facts.items():
        words = f"{above}{name.replace('_', ' ')}"
        if not above and name in _ELSEWHERE:
            continue
        if value is None or value in ([], {}):
            yield words, "none"
        elif name in _CROWDED:
            yield words, _counted(value)
        elif isinstance(value, Mapping) and any(map(_holds_more, value.values())):
            yield from _facts(value, f"{words}: ")
        else:
            yield words, _short(value)


def _holds_more(value: Any) -> bool:
    """Whether it takes lines of its own."""
    if isinstance(value, list):
        return any(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping) and bool(value)


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return _counted(value) if len(value) > _LONG else "; ".join(map(_words, value))
    if isinstance(value, Mapping):
        return {name: _short(item) for name, item in value.items()}
    return value


def _words(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{name} {said}" for name, said in item.items())
    return str(item)


def _counted(value: Any) -> str:
    if not isinstance(value, list | Mapping):
        return str(value)
    return f"{len(value)} {'item' if len(value) == 1 else 'items'}; --output json lists them"
