"""The SDK's entry point."""

from types import TracebackType
from typing import Self

import httpx

from ml_platform.sdk.config import resolve
from ml_platform.sdk.identity import Audit, Identity
from ml_platform.sdk.transport import Transport


class Platform:
    """A connection to the platform.

    Args:
        url: its address; default `MLOPS_API_URL`, else the profile that `mlops up` or `mlops login` wrote.
        key: an API key; default `MLOPS_API_KEY`, else the profile's.
        team: the team to work in; default `MLOPS_TEAM`, else the key's own.

    Raises:
        NotConfiguredError: no address or no key is known.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        team: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(resolve(url, key, team), transport=transport)
        self.identity = Identity(self._transport)
        self.audit = Audit(self._transport)

    def __repr__(self) -> str:
        connection = self._transport.connection
        return f"Platform(url={connection.url!r}, team={connection.team!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._transport.close()
