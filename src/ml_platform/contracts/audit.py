"""Audit events as they are read, and what a verification found."""

from datetime import datetime
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
        description="edited, missing, inserted, truncated, checkpoint_mismatch, unprotected; of exports also malformed, forged"
    )
    detail: str


class AuditKey(ResponseModel):
    public_key: str = Field(description="Ed25519, hexadecimal; checks exports and checkpoints")


class AuditVerification(ResponseModel):
    verified: bool
    events: int
    head: str = Field(description="Hash of the last event")
    checkpoints: int = Field(description="How many checkpoints outside the database were compared")
    findings: list[AuditFinding]
