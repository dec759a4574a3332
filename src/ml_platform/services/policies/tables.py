"""Every version of the organisation's policies that was ever applied."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from ml_platform.kit.db import Base


class PolicySetRow(Base):
    """One version, never changed; the highest number is the one to be in force."""

    __tablename__ = "policy_sets"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str]
    files: Mapped[dict[str, Any]]
    tests: Mapped[dict[str, Any]]
    policy_ids: Mapped[list[str]]
    note: Mapped[str | None]
    applied_by: Mapped[str]
    applied_by_name: Mapped[str]
    applied_at: Mapped[datetime]
