"""Where a team's online values go: the file beside its registry, or Redis, by the settings alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import polars as pl

from ml_platform.integrations.feast.online import Convert, Progress, prepare_store, write_online
from ml_platform.integrations.feast.online_redis import delete_online_redis, write_online_redis
from ml_platform.integrations.feast.specs import FeatureViewSpec
from ml_platform.kit.redis import RedisAddress

PASSWORD_VARIABLE: Final = "MLOPS_ONLINE_STORE_PASSWORD"  # noqa: S105 - its name
"""From which a stock client that opens the repository takes Redis's password; it is never written down."""

_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 30


class OnlineTarget(Protocol):
    """An online store in Feast's layout."""

    @property
    def kind(self) -> Literal["sqlite", "redis"]: ...

    @property
    def path(self) -> str:
        """The file, or empty."""
        ...

    def config(self) -> dict[str, Any]:
        """`online_store` of feature_store.yaml, which everybody may read."""
        ...

    def own_config(self) -> dict[str, Any]:
        """The same for this process, with what is secret."""
        ...

    def prepare(self) -> None:
        """After views were registered."""
        ...

    def write(
        self, view: FeatureViewSpec, latest: pl.DataFrame, convert: Convert, progress: Progress | None
    ) -> int: ...

    def delete(self, view: FeatureViewSpec) -> None:
        """Removes the view's values, where removing its definition does not."""
        ...


class SqliteTarget:
    """Feast's SQLite file, in write-ahead mode."""

    kind: Literal["sqlite", "redis"] = "sqlite"

    def __init__(self, file: Path, project: str) -> None:
        self._file = file
        self._project = project

    @property
    def path(self) -> str:
        return str(self._file.absolute())

    def config(self) -> dict[str, Any]:
        return {"type": "sqlite", "path": self._file.name}

    def own_config(self) -> dict[str, Any]:
        return self.config()

    def prepare(self) -> None:
        prepare_store(self._file)

    def write(
        self, view: FeatureViewSpec, latest: pl.DataFrame, convert: Convert, progress: Progress | None
    ) -> int:
        return write_online(self._file, self._project, view, latest, convert=convert, progress=progress)

    def delete(self, view: FeatureViewSpec) -> None:
        """Feast drops the table with the definition."""


class RedisTarget:
    """Feast's layout in Redis; several teams share a database, each with its project in every key."""

    kind: Literal["sqlite", "redis"] = "redis"
    path = ""

    def __init__(self, address: RedisAddress, project: str) -> None:
        self._address = address
        self._project = project

    def config(self) -> dict[str, Any]:
        word = f"${{{PASSWORD_VARIABLE}}}" if self._address.password is not None else None
        return self._config(connection_string(self._address, word))

    def own_config(self) -> dict[str, Any]:
        word = _quoted(self._address.password) if self._address.password is not None else None
        limits = f",socket_connect_timeout={_CONNECT_SECONDS},socket_timeout={_ANSWER_SECONDS}"
        return self._config(connection_string(self._address, word) + limits)

    def prepare(self) -> None:
        """Nothing has to be made beforehand."""

    def write(
        self, view: FeatureViewSpec, latest: pl.DataFrame, convert: Convert, progress: Progress | None
    ) -> int:
        return write_online_redis(
            self._address, self._project, view, latest, convert=convert, progress=progress
        )

    def delete(self, view: FeatureViewSpec) -> None:
        delete_online_redis(self._address, self._project, view)

    def _config(self, connection: str) -> dict[str, Any]:
        # Feast's own deletion takes projects whose names end alike for one, and ten keys a round trip.
        return {"type": "redis", "connection_string": connection, "full_scan_for_deletion": False}


def connection_string(address: RedisAddress, password: str | None) -> str:
    """As Feast wants it: `host:port,name=value,...`, where a value is JSON if it can be read as such."""
    options: dict[str, str | None] = {
        "db": str(address.database),
        "unix_socket_path": address.path or None,
        "username": _quoted(address.username) if address.username else None,
        "password": password,
        "ssl": "true" if address.tls else None,
        "ssl_cert_reqs": None if address.verify else "none",
        "ssl_check_hostname": None if address.verify else "false",
        "ssl_ca_certs": address.ca_file,
        "ssl_certfile": address.cert_file,
        "ssl_keyfile": address.key_file,
    }
    server = f"{address.host or 'localhost'}:{address.port}"
    return ",".join([server, *(f"{name}={value}" for name, value in options.items() if value is not None)])


def _quoted(text: str | None) -> str:
    """Text that stays text, whatever it looks like, and has no comma, which would end it."""
    return json.dumps(text).replace(",", "\\u002c")
