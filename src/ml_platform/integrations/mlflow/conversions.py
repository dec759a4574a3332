"""MLflow's entities as the gateway's records."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ml_platform.integrations.mlflow.records import (
    ArtifactRecord,
    ExperimentRecord,
    LoggedModelRecord,
    ModelVersionRecord,
    RegisteredModelRecord,
    RunRecord,
)

_LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)/?")


def moment(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)


def milliseconds(value: datetime | None) -> int | None:
    return None if value is None else round(value.timestamp() * 1000)


def experiment_record(entity: Any) -> ExperimentRecord:
    return ExperimentRecord(
        experiment_id=str(entity.experiment_id),
        name=entity.name,
        is_deleted=entity.lifecycle_stage != "active",
        created_at=moment(entity.creation_time),
        tags=dict(entity.tags),
    )


def run_record(entity: Any) -> RunRecord:
    return RunRecord(
        run_id=entity.info.run_id,
        experiment_id=str(entity.info.experiment_id),
        name=entity.info.run_name or "",
        status=entity.info.status,
        user=entity.info.user_id or None,
        started_at=moment(entity.info.start_time),
        ended_at=moment(entity.info.end_time),
        metrics=dict(entity.data.metrics),
        params=dict(entity.data.params),
        tags=dict(entity.data.tags),
    )


def logged_model_record(entity: Any) -> LoggedModelRecord:
    return LoggedModelRecord(
        model_id=entity.model_id,
        name=entity.name,
        run_id=entity.source_run_id or None,
        experiment_id=str(entity.experiment_id),
        status=str(entity.status.value),
        created_at=moment(entity.creation_timestamp),
        tags=dict(entity.tags),
    )


def registered_model_record(entity: Any) -> RegisteredModelRecord:
    return RegisteredModelRecord(
        name=entity.name,
        description=entity.description or "",
        created_at=moment(entity.creation_timestamp),
        aliases={alias: int(version) for alias, version in entity.aliases.items()},
        tags=dict(entity.tags),
    )


def model_version_record(entity: Any) -> ModelVersionRecord:
    return ModelVersionRecord(
        name=entity.name,
        version=int(entity.version),
        run_id=entity.run_id or None,
        model_id=entity.model_id or _logged_model_of(entity.source),
        source=entity.source,
        status=str(entity.status),
        description=entity.description or "",
        created_at=moment(entity.creation_timestamp),
        aliases=tuple(entity.aliases),
        tags=dict(entity.tags),
    )


def _logged_model_of(source: str | None) -> str | None:
    # The SQL registry keeps the logged model in the source alone.
    found = _LOGGED_MODEL.fullmatch(source or "")
    return found.group(1) if found else None


def artifact_record(entity: Any) -> ArtifactRecord:
    return ArtifactRecord(entity.path, bool(entity.is_dir), entity.file_size)
