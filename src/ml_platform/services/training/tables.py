"""Uploaded sources and training jobs."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class SourceRow(Base):
    """A folder of code, as it was sent; the same content is stored once in a team."""

    __tablename__ = "sources"
    __table_args__ = (UniqueConstraint("team_id", "sha256"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    uri: Mapped[str]
    files: Mapped[list[str]]
    files_complete: Mapped[bool]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class JobRow(Base):
    """A job: what was asked, where it stands, how it ended. `slot_at` until `finished_at` it runs."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_team", "team_id", "id"),
        Index("ix_jobs_experiment", "team_id", "experiment_id", "id"),
        Index("ix_jobs_queue", "finished_at", "slot_at", "id"),
        Index("ix_jobs_source", "team_id", "source_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    experiment_id: Mapped[str]
    experiment_name: Mapped[str]
    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"))
    request: Mapped[dict[str, Any]]
    requirements_file: Mapped[str | None]
    requirements_digest: Mapped[str | None]  # of what its environment is made of, in canonical form
    inputs: Mapped[dict[str, Any]]
    timeout_seconds: Mapped[int]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    reason: Mapped[str | None]
    hint: Mapped[str | None]
    code: Mapped[str | None]
    run_id: Mapped[str | None]
    model_id: Mapped[str | None]
    metrics: Mapped[dict[str, Any]]
    gate: Mapped[dict[str, Any] | None]
    exit_code: Mapped[int | None]
    cpu_seconds: Mapped[float | None]
    max_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    retry_of: Mapped[str | None]
    created_by: Mapped[str]
    created_by_id: Mapped[str]
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    slot_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None]
