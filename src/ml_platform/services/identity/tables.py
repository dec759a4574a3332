"""Users, teams, memberships, keys (hashed), and browser sessions (hashed)."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class TeamRow(Base):
    __tablename__ = "teams"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str | None]
    requests_per_second: Mapped[float | None]
    max_deployments: Mapped[int | None]
    max_replicas: Mapped[int | None]
    max_cpu: Mapped[float | None]
    max_memory_mb: Mapped[int | None] = mapped_column(BigInteger)
    session_idle_minutes: Mapped[int | None]
    created_at: Mapped[datetime]


class UserRow(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str | None]
    kind: Mapped[str] = mapped_column(default="user")
    admin: Mapped[bool] = mapped_column(default=False)
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]


class MembershipRow(Base):
    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("team_id", "user_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    roles: Mapped[list[str]]


class KeyRow(Base):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    roles: Mapped[list[str] | None]
    purpose: Mapped[str] = mapped_column(default="api")  # api, job, inference
    requests_per_second: Mapped[float | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SignInCodeRow(Base):
    """A one-time code: it opens one browser session and is then spent."""

    __tablename__ = "sign_in_codes"

    code_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class BrowserSessionRow(Base):
    __tablename__ = "browser_sessions"
    __table_args__ = (Index("ix_browser_sessions_expiry", "expires_at"),)

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
