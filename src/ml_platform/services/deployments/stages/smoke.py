"""smoke_test: the model's own rows through the real endpoint, answered by the new revision.

The answers must be those that the built bundle gave to the same rows in the test stage, p95 within the
deployment's budget, and an explanation must come for a model that can be explained.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ml_platform.kit.errors import UnavailableError
from ml_platform.services.deployments.interfaces import Answer
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.stages.context import StageContext
from ml_platform.services.deployments.stages.trial import budget_of, judge_budget

_TRIES = 3
_SHOWN = 500
_FEWEST_CALLS = 3
_CALL_SECONDS = 5.0
_NOT_EXPLAINABLE = 501
_NOT_IN_TIME = frozenset({503, 504})
_RELATIVE = 1e-6
"""What single precision may differ by where other rows stand in the same batch."""


def smoke_test(context: StageContext) -> Outcome:
    """Every row must be answered, with finite numbers; the first call may warm the model up."""
    parts = context.parts
    version = context.resolve()
    rows = parts.tools.sample(version.source, version.reference, version.label, parts.settings.smoke_rows)
    if not rows:
        return failed("there are no rows to try it with: log the model with an input_example")
    answers: list[Answer] = []
    for _ in range(_TRIES):
        answers.append(_ask(context, rows))
        problem = _problem(answers[-1], len(rows), context.revision_id)
        if problem is not None:
            return failed(problem, code="smoke_test_failed", rows=len(rows), status=answers[-1].status)
    predictions = answers[-1].body["predictions"]
    compared, different = _against_bundle(context, predictions)
    evidence: dict[str, Any] = {
        "rows": len(rows),
        "requests": len(answers),
        "milliseconds": [round(answer.milliseconds, 3) for answer in answers],
        "predictions": predictions,
        "same_as_bundle": compared,
    }
    if different is not None:
        return failed(different, code="smoke_test_failed", **evidence)
    return _timed(context, rows, evidence)


def _timed(context: StageContext, rows: list[Any], evidence: dict[str, Any]) -> Outcome:
    milliseconds, problem = _times(context, rows)
    if problem is not None:
        return failed(problem, code="smoke_test_failed", **evidence)
    evidence["latency"], over = judge_budget(milliseconds, budget_of(context))
    if over is not None:
        return failed(over, code="over_budget", **evidence)
    evidence["explanation"], problem = _explained(context, rows[0])
    if problem is not None:
        return failed(problem, code="smoke_test_failed", **evidence)
    return Outcome(passed=True, evidence=evidence)


def _times(context: StageContext, rows: list[Any]) -> tuple[list[float], str | None]:
    """Of calls with one row, until there are enough or the time is over."""
    found: list[float] = []
    until = time.monotonic() + _CALL_SECONDS
    while len(found) < context.parts.settings.smoke_calls:
        if len(found) >= _FEWEST_CALLS and time.monotonic() > until:
            break
        answer = _ask(context, [rows[len(found) % len(rows)]])
        problem = _problem(answer, 1, context.revision_id)
        if problem is not None:
            return found, problem
        found.append(answer.milliseconds)
    return found, None


def _against_bundle(
    context: StageContext, predictions: list[Any]
) -> tuple[dict[str, Any] | bool, str | None]:
    """Whether the endpoint answers as the bundle did when it was tried, and what differs."""
    known = context.evidence.get("test", {}).get("answers")
    if not isinstance(known, dict):
        return {"compared": False, "why": "the bundle was not tried in the test stage"}, None
    if known["bundle_digest"] != context.evidence["build"]["bundle_digest"]:
        return {"compared": False, "why": "the bundle was built anew since it was tried"}, None
    if not known["same"]:
        return {"compared": False, "why": "the model answers the same rows differently each time"}, None
    for number, (expected, found) in enumerate(zip(known["predictions"], predictions, strict=True)):
        if not alike(expected, found):
            return False, (
                f"row {number} is answered with {str(found)[:_SHOWN]}; the bundle itself answers"
                f" {str(expected)[:_SHOWN]}"
            )
    return True, None


def alike(expected: Any, found: Any) -> bool:
    """Equal, numbers but for the precision of a graph."""
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(alike, expected, found))
    if _is_number(expected) and _is_number(found):
        return math.isclose(expected, found, rel_tol=_RELATIVE, abs_tol=1e-9)
    return bool(expected == found) and type(expected) is type(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _explained(context: StageContext, row: Any) -> tuple[dict[str, Any], str | None]:
    """What became of a question why, and what is wrong with the answer.

    A model that cannot be explained says why; one that takes too long is said, and stops nothing.
    """
    explain = context.parts.plane.explain
    answer = _ask(context, [row], explain, timeout=context.parts.settings.explain_timeout_seconds)
    if answer.status == _NOT_EXPLAINABLE:
        return {"explainable": False, "why": _said(answer)}, None
    if answer.status in _NOT_IN_TIME:
        return {"explainable": None, "why": f"no explanation in time: {_said(answer)}"}, None
    evidence: dict[str, Any] = {"explainable": True, "milliseconds": round(answer.milliseconds, 3)}
    if answer.status != 200:
        return evidence, f"the explain route answered {answer.status}: {_said(answer)}"
    if answer.revision_id != context.revision_id:
        return evidence, f"another revision explained: {answer.revision_id}"
    found = answer.body.get("explanations") if isinstance(answer.body, dict) else None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        return evidence, f"expected one explanation, got {str(answer.body)[:_SHOWN]}"
    evidence["explanation"] = found[0]
    return evidence, None


def _said(answer: Answer) -> str:
    body = answer.body
    return str(body.get("error", body) if isinstance(body, dict) else body)[:_SHOWN]


def _ask(
    context: StageContext,
    rows: Sequence[Any],
    question: Callable[..., Answer] | None = None,
    *,
    timeout: float | None = None,
) -> Answer:
    parts = context.parts
    try:
        return (question or parts.plane.predict)(
            context.team_name,
            context.environment,
            context.deployment_name,
            rows,
            token=parts.smoke_keys.token(context.revision_id),
            revision_id=context.revision_id,
            timeout=timeout or parts.settings.smoke_timeout_seconds,
        )
    except UnavailableError as error:
        return Answer(status=503, body={"error": error.detail}, milliseconds=0.0)


def _problem(answer: Answer, rows: int, revision_id: str) -> str | None:
    if answer.status != 200:
        return f"the endpoint answered {answer.status}: {str(answer.body)[:_SHOWN]}"
    if answer.revision_id != revision_id:
        return f"another revision answered: {answer.revision_id}"
    predictions = answer.body.get("predictions") if isinstance(answer.body, dict) else None
    if not isinstance(predictions, list) or len(predictions) != rows:
        return f"expected {rows} predictions, got {str(answer.body)[:_SHOWN]}"
    for prediction in predictions:
        for value in prediction if isinstance(prediction, list) else [prediction]:
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                return f"a prediction is {value!r}"
    return None
