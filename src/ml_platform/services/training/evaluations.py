"""Judging a registered version on rows that it was not registered with."""

from typing import Annotated

from ml_platform.contracts.identity import Permission
from ml_platform.contracts.models import Evaluation, EvaluationCreate
from ml_platform.kit.errors import BadInputError
from ml_platform.services.access import ApiRouter, ComponentsOf, Work, WorkFactory, requires
from ml_platform.services.registry import ModelFiles, ModelInspector, ModelRef, RegistryService
from ml_platform.services.training.interfaces import InputSource

router = ApiRouter(tags=["models"])


@router.post("/models/{model_id:path}/evaluations")
def evaluate(
    model_id: ModelRef,
    body: EvaluationCreate,
    work: Annotated[Work, requires(Permission.TRAIN_MODEL)],
    components: ComponentsOf,
) -> Evaluation:
    """Runs the model on the rows in a process of its own and answers the metrics; it takes seconds."""
    reference = body.dataset if ":" in body.dataset else f"dataset:{body.dataset}"
    with components.get(WorkFactory).begin(work.actor, write=False) as reading:  # no lock while it runs
        version = RegistryService(reading).resolve(model_id)
        rows = components.get(InputSource).resolve(reading, reference)
    label = body.label or version.label
    if label is None:
        raise BadInputError.of("label", f"{version.model_id} does not say which column it predicts: state it")
    directory = components.get(ModelFiles).verify_digest(version)
    found = components.get(ModelInspector).evaluate(directory, rows.path, label)
    work.record(
        "model.evaluate",
        "model_version",
        version.model_id,
        after={"dataset": rows.reference, "rows": found.rows, "metrics": dict(found.metrics)},
    )
    return Evaluation(
        model_id=version.model_id, dataset=rows.reference, rows=found.rows, metrics=dict(found.metrics)
    )
