"""Audit events as they are read, and what a verification found."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from ml_platform.contracts.base import ResponseModel


class AuditEvent(ResponseModel):
    sequence: int
    event_id: str
    at: datetime
    actor_id: str
    actor_name: str
    actor_kind: str
    source: str | None
    request_id: str
    team_id: str
    action: str
    resource_kind: str
    resource_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    context: dict[str, Any]
    hash: str


class AuditFinding(ResponseModel):
    sequence: int
    kind: str = Field(
        description="edited, missing, inserted, truncated, checkpoint_mismatch, unprotected; of exports and archives also malformed, forged"
    )
    detail: str


class AuditKey(ResponseModel):
    public_key: str = Field(description="Ed25519, hexadecimal; checks exports and checkpoints")


class AuditVerification(ResponseModel):
    verified: bool
    events: int
    head: str = Field(description="Hash of the last event")
    checkpoints: int = Field(description="How many checkpoints outside the database were compared")
    pruned: int = Field(
        default=0,
        description="Events up to this number were removed after their retention, against a signed anchor",
    )
    until: datetime | None = Field(
        default=None, description="Of an archive: it speaks for the log up to this moment"
    )
    findings: list[AuditFinding]


class AuditArchiveState(StrEnum):
    OFF = "off"
    OK = "ok"
    LATE = "late"
    FAILING = "failing"
    CONFLICT = "conflict"


class AuditArchive(ResponseModel):
    """How far the copy of the log in write-once storage has come, as this process of the control plane knows it."""

    state: AuditArchiveState = Field(
        description="`late`: events wait for longer than they should; `failing`: the storage does not take them;"
        " `conflict`: what stands there, or the log, is another than it was"
    )
    location: str | None
    mode: str | None = Field(description="Object Lock's mode, of a bucket")
    retention_days: int
    prune: bool = Field(description="Whether older events are removed from the database")
    archived: int = Field(description="Number of the last event that stands there")
    archived_at: datetime | None
    pruned: int = Field(description="Events up to this number are in the archive alone")
    backlog_events: int
    backlog_seconds: float = Field(description="How long the oldest event that is not there has waited")
    failures: int = Field(description="Attempts that failed since the process started")
    detail: str | None = Field(description="What is wrong")
