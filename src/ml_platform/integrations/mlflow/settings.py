"""What the tracking server is told: where it keeps things and how much it accepts."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """Settings of the tracking server, the model registry and their artifact store.

    Attributes:
        backend_store_uri: SQLAlchemy URI of the database, SQLite or PostgreSQL.
        artifacts_root: directory or object storage URI under which every workspace has its own prefix.
        threads: requests that may be worked on at once. SQLite writes have one thread of their own.
        max_request_bytes: largest body of an API call.
        max_artifact_bytes: largest artifact that may be uploaded through the server.
    """

    backend_store_uri: str
    artifacts_root: str
    threads: int = 8
    max_request_bytes: int = 32 * MIB
    max_artifact_bytes: int = 10 * 1024 * MIB

    @property
    def is_sqlite(self) -> bool:
        return self.backend_store_uri.startswith("sqlite:")
