"""Judging a registered version on rows that it was not registered with."""

from typing import Annotated

from ml_platform.contracts.identity import Permission
from ml_platform.contracts.models import Evaluation, EvaluationCreate, ModelVersion
from ml_platform.kit.errors import BadInputError
from ml_platform.kit.wiring import Components
from ml_platform.services.access import Actor, ApiRouter, ComponentsOf, Work, WorkFactory, requires
from ml_platform.services.registry import (
    EvaluatedModel,
    ModelFiles,
    ModelInspector,
    ModelRef,
    RegistryService,
)
from ml_platform.services.training.interfaces import InputSource, ResolvedInput

router = ApiRouter(tags=["models"])


@router.post("/models/{model_id:path}/evaluations")
def evaluate(
    model_id: ModelRef,
    body: EvaluationCreate,
    work: Annotated[Work, requires(Permission.TRAIN_MODEL)],
    components: ComponentsOf,
) -> Evaluation:
    """Runs the model on the rows in a process of its own and answers the metrics; it takes seconds."""
    version, rows, found = judge_on(components, work.actor, model_id, body.dataset, label=body.label)
    work.record(
        "model.evaluate",
        "model_version",
        version.model_id,
        after={"dataset": rows.reference, "rows": found.rows, "metrics": dict(found.metrics)},
    )
    return Evaluation(
        model_id=version.model_id, dataset=rows.reference, rows=found.rows, metrics=dict(found.metrics)
    )


def judge_on(
    components: Components, actor: Actor, model_id: str, dataset: str, *, label: str | None = None
) -> tuple[ModelVersion, ResolvedInput, EvaluatedModel]:
    """How a version does on rows, in a process of its own; without a label, by the version's own.

    Raises:
        BadInputError: neither says which column is predicted, or it cannot be evaluated on these rows.
    """
    reference = dataset if ":" in dataset else f"dataset:{dataset}"
    with components.get(WorkFactory).begin(actor, write=False) as reading:  # no lock while it runs
        version = RegistryService(reading).resolve(model_id)
        rows = components.get(InputSource).resolve(reading, reference)
    predicted = label or version.label
    if predicted is None:
        raise BadInputError.of("label", f"{version.model_id} does not say which column it predicts: state it")
    directory = components.get(ModelFiles).verify_digest(version)
    return version, rows, components.get(ModelInspector).evaluate(directory, rows.path, predicted)
