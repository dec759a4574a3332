"""smoke_test: the model's own rows through the real endpoint, answered by the new revision."""

import math
from typing import Any

from ml_platform.kit.errors import UnavailableError
from ml_platform.services.deployments.interfaces import Answer
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.stages.context import StageContext

_TRIES = 3
_SHOWN = 500


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
    return Outcome(
        passed=True,
        evidence={
            "rows": len(rows),
            "requests": len(answers),
            "milliseconds": [round(answer.milliseconds, 3) for answer in answers],
            "predictions": answers[-1].body["predictions"],
        },
    )


def _ask(context: StageContext, rows: list[Any]) -> Answer:
    parts = context.parts
    try:
        return parts.plane.predict(
            context.team_name,
            context.environment,
            context.deployment_name,
            rows,
            token=parts.smoke_keys.token(context.revision_id),
            revision_id=context.revision_id,
            timeout=parts.settings.smoke_timeout_seconds,
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
