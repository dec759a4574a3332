"""The reference of a served model version: its features, and what it answers to them."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ml_platform.services.monitoring.interfaces import (
    PredictionLog,
    ReferenceScores,
    ServedDeployment,
    ServedVersion,
)
from ml_platform.services.monitoring.statistics import (
    ReferenceProfile,
    Selection,
    Verdict,
    WindowReport,
    check_window,
    profile_reference,
)
from ml_platform.services.monitoring.statistics.drift import DriftThresholds

PREDICTION = "prediction"
_SERVED = 200


@dataclass(frozen=True, slots=True)
class Baseline:
    """What windows are compared with; no `profile` when the version has no reference.

    `prediction_name` is the prediction's name in the profile, `prediction_column` its column in the
    prediction log; both None when predictions are not compared.
    """

    profile: ReferenceProfile | None
    prediction_name: str | None
    prediction_column: str | None
    notes: tuple[str, ...]


def build_baseline(deployment: ServedDeployment, version: ServedVersion, scores: ReferenceScores) -> Baseline:
    """Profiles the reference's model inputs and, where the served model can be asked, its predictions."""
    if version.reference is None:
        note = (
            f"{version.model_name}/{version.version} has no reference rows: let its job write"
            " holdout.parquet to MLOPS_OUTPUTS"
        )
        return Baseline(None, None, None, (note,))
    profile = profile_reference([version.reference])
    inputs = version.columns
    kept = tuple(
        column
        for column in profile.columns
        if (column.name in inputs if inputs is not None else column.name != version.label)
    )
    notes = [
        f"input {name!r} is not compared: the reference does not have it, or it is no number, boolean or text"
        for name in sorted(set(inputs or ()) - {column.name for column in kept})
    ]
    features = replace(profile, columns=kept)
    with tempfile.TemporaryDirectory(prefix="baseline-") as folder:
        target = Path(folder) / "scores.parquet"
        problem = scores.score(deployment, version.reference, target)
        if problem is not None:
            return Baseline(features, None, None, (*notes, f"predictions are not compared: {problem}"))
        [scored] = profile_reference([target]).columns
    name = PREDICTION if all(column.name != PREDICTION for column in kept) else "(prediction)"
    combined = replace(features, columns=(*kept, replace(scored, name=name)))
    return Baseline(combined, name, scored.name, tuple(notes))


def measure(
    baseline: Baseline,
    deployment: ServedDeployment,
    log: PredictionLog,
    *,
    since: datetime,
    until: datetime,
    thresholds: DriftThresholds,
) -> WindowReport | None:
    """Compares a deployment's window with its baseline; None without a reference.

    Counted are the predictions of the version that serves: what another one answered says nothing of it.
    """
    if baseline.profile is None:
        return None
    columns = {
        column.name: log.feature_column(column.name)
        for column in baseline.profile.columns
        if column.name != baseline.prediction_name
    }
    if baseline.prediction_name is not None and baseline.prediction_column is not None:
        columns[baseline.prediction_name] = baseline.prediction_column
    selection = Selection(
        columns,
        equal={
            "deployment_id": deployment.deployment_id,
            "model_name": str(deployment.model_name),
            "model_version": str(deployment.model_version),
            "status": _SERVED,
        },
        between={"time": (since, until)},
    )
    files = log.files(deployment, since, until)
    return check_window(baseline.profile, files, thresholds, selection=selection)


def drifted(report: WindowReport) -> Sequence[str]:
    """The features that drifted, the worst first."""
    found = [feature for feature in report.drift.features if feature.verdict is Verdict.DRIFT]
    return [feature.name for feature in sorted(found, key=lambda feature: -(feature.psi or 0.0))]
