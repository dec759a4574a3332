"""A prediction for somebody who asks the control plane: the console's form, which has a session and no key.

It goes to the real endpoint as any request does: routed by the traffic split, counted, logged, within the
team's rate. Who may ask has been decided before; the key that carries it never leaves this process.
"""

import threading
from typing import Any

from ml_platform.contracts.deployments import PredictionAnswer, PredictionRequest
from ml_platform.contracts.problems import ErrorCode, FieldProblem
from ml_platform.kit.errors import (
    AppError,
    BadInputError,
    ConflictError,
    TooLargeError,
    TooManyError,
    UnavailableError,
)
from ml_platform.services.access import Work
from ml_platform.services.deployments.interfaces import Answer
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.stages import RolloutParts

_AT_ONCE = 8
"""A model that hangs holds no more threads of the control plane than these."""
_turns = threading.BoundedSemaphore(_AT_ONCE)
_SHOWN = 1000
_REFUSED = frozenset({400, 415, 422})
_NOT_KNOWN_YET = frozenset({401, 403, 404})


def ask(work: Work, parts: RolloutParts, deployment_id: str, body: PredictionRequest) -> PredictionAnswer:
    """The endpoint's answer.

    Raises:
        ConflictError: nothing serves there.
        BadInputError, TooLargeError: the model does not take what was sent; the message names the place.
        TooManyError: the team has had its share, or too many ask this way at once.
        UnavailableError: the inference server is away, or the model failed.
    """
    repository = DeploymentRepository(work.session, work.team_id)
    row = repository.deployment(deployment_id)
    loaded = {revision.id: revision for revision in repository.loaded(row.id)}
    work.close()  # the inference server is asked without a transaction open
    if not any(revision.weight > 0 for revision in loaded.values()):
        raise ConflictError(
            f"nothing answers at {row.name} in {row.environment}",
            hint=f"its rollouts say why: mlops deployments rollouts {row.id}",
        )
    if not _turns.acquire(blocking=False):
        raise TooManyError(
            "others are trying predictions this way",
            code=ErrorCode.RATE_LIMITED,
            hint="applications ask the endpoint itself, with a key of their own",
            retry_after=2,
        )
    try:
        address = (row.team_name, row.environment, row.name)
        answer = _predicted(parts, address, body)
        explanations, why_not = _explained(parts, address, body, answer) if body.explain else (None, None)
    finally:
        _turns.release()
    revision = loaded.get(answer.revision_id or "")
    if revision is None:
        raise UnavailableError("the traffic was moved meanwhile", hint="ask again", retry_after=1)
    return PredictionAnswer(
        predictions=answer.body["predictions"],
        explanations=explanations,
        not_explained=why_not,
        revision_id=revision.id,
        model_name=revision.model_name,
        model_version=revision.model_version,
        request_id=answer.request_id,
        milliseconds=round(answer.milliseconds, 3),
    )


def _predicted(parts: RolloutParts, address: tuple[str, str, str], body: PredictionRequest) -> Answer:
    answer = parts.plane.predict(
        *address,
        body.instances,
        token=parts.smoke_keys.team_token(address[0]),
        revision_id=None,
        timeout=parts.settings.smoke_timeout_seconds,
        parameters=body.parameters,
    )
    if answer.status != 200:
        raise _refusal(answer)
    if not isinstance(answer.body, dict) or not isinstance(answer.body.get("predictions"), list):
        raise UnavailableError("the inference server answered something else than was agreed")
    return answer


def _explained(
    parts: RolloutParts, address: tuple[str, str, str], body: PredictionRequest, predicted: Answer
) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Why, or why that cannot be said: the prediction stands without it."""
    try:
        answer = parts.plane.explain(
            *address,
            body.instances,
            token=parts.smoke_keys.team_token(address[0]),
            revision_id=predicted.revision_id,
            timeout=parts.settings.explain_timeout_seconds,
            parameters=body.parameters,
        )
    except UnavailableError as error:
        return None, error.detail
    found = answer.body.get("explanations") if isinstance(answer.body, dict) else None
    if answer.status != 200 or not isinstance(found, list):
        return None, _said(answer)
    return found, None


def _refusal(answer: Answer) -> AppError:
    """The endpoint's refusal as one of ours, with its own words."""
    said = _said(answer)
    if answer.status in _REFUSED:
        place, colon, what = said.partition(": ")
        fields = [FieldProblem(field=place, message=what)] if colon and " " not in place else []
        return BadInputError(said, fields=fields, hint="the model's signature says what it takes")
    if answer.status == TooLargeError.status:
        return TooLargeError(said)
    if answer.status == TooManyError.status:
        return TooManyError(said, code=ErrorCode.RATE_LIMITED, retry_after=1)
    if answer.status in _NOT_KNOWN_YET:
        return UnavailableError(
            "the inference server does not know the endpoint yet",
            hint="it takes changes up within seconds; `mlops status` says whether it follows",
            retry_after=2,
        )
    if answer.status == 500:
        return UnavailableError(
            f"the model failed: {said}", hint="`mlops logs inference` has the details under the request's id"
        )
    return UnavailableError(said, retry_after=2)


def _said(answer: Answer) -> str:
    said = answer.body.get("error") if isinstance(answer.body, dict) else None
    if isinstance(said, str):
        return said[:_SHOWN]
    return f"the inference server answered {answer.status}"
