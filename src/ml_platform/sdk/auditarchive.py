"""Checking the audit log's copy in write-once storage without the platform."""

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ml_platform.contracts import archivecheck, auditarchive
from ml_platform.contracts.audit import AuditVerification
from ml_platform.sdk.errors import ConnectionFailedError, InvalidInputError, PlatformError

_S3 = "s3://"
_T = TypeVar("_T")


def verify_archive(
    where: str | Path,
    public_key: str | None = None,
    *,
    until: datetime | None = None,
    at_least: int = 0,
    log: Iterable[str] | None = None,
) -> AuditVerification:
    """Checks every segment, every checkpoint and all signatures; see `contracts.archivecheck`.

    Args:
        where: a directory, or `s3://bucket/prefix`, reached as the standard variables of AWS say.
        public_key: the installation's, as `platform.audit.key` gave it when it was trusted. Without it the
            archive's own is taken: that shows that it is whole, but not whose it is.
        until: the archive must speak for the log up to then, with its time zone.
        at_least: it must reach this event.
        log: an export of the platform's log, which it is compared with.

    Raises:
        InvalidInputError: there is no archive there.
        ConnectionFailedError: the bucket does not answer.
        PlatformError: a package is not installed.
    """
    text = str(where)
    files = _Bucket(text) if text.startswith(_S3) else _Directory(Path(where).expanduser())
    if until is not None and until.tzinfo is None:
        raise InvalidInputError("until: needs a time zone")
    try:
        return archivecheck.verify_archive(files, public_key, until=until, at_least=at_least, log=log)
    except ImportError:
        raise PlatformError(
            "checking signatures needs the package 'cryptography'", hint="pip install 'ml-platform[audit]'"
        ) from None


def same_place(one: str, other: str | Path) -> bool:
    """Whether two addresses of an archive are one."""
    if one.startswith(_S3) or str(other).startswith(_S3):
        return one.rstrip("/") == str(other).rstrip("/")
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


class _Directory:
    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InvalidInputError(f"{root} is no directory")
        self._root = root

    def names(self, folder: str) -> list[str]:
        """What begins with a dot is a draft of the platform's, or the file system's own."""
        where = self._root / folder
        if not where.is_dir():
            return []
        return [f"{folder}/{entry.name}" for entry in where.iterdir() if not entry.name.startswith(".")]

    def read(self, name: str) -> bytes:
        try:
            with (self._root / name).open("rb") as file:
                return file.read(auditarchive.MAX_FILE_BYTES + 1)
        except OSError as error:
            raise InvalidInputError(f"{self._root / name} cannot be read: {error.strerror}") from None


class _Bucket:
    """Objects in S3, by the library that the platform uses."""

    def __init__(self, uri: str) -> None:
        try:
            from obstore import store
        except ImportError:
            raise PlatformError(
                "reading a bucket needs the package 'obstore'", hint="pip install 'ml-platform[audit]'"
            ) from None
        bucket, _, prefix = uri.removeprefix(_S3).strip("/").partition("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        self._uri = uri
        self._store: Any = self._ask(
            lambda: store.S3Store(
                bucket, prefix=prefix or None, client_options={"allow_http": endpoint.startswith("http://")}
            )
        )

    def names(self, folder: str) -> list[str]:
        import obstore

        def find() -> list[str]:
            found = obstore.list(self._store, f"{folder}/", chunk_size=1000)
            return [str(meta["path"]) for page in found for meta in page]

        return self._ask(find)

    def read(self, name: str) -> bytes:
        import obstore

        def fetch() -> bytes:
            found = obstore.get(self._store, name)
            if found.meta["size"] > auditarchive.MAX_FILE_BYTES:
                return b""
            return bytes(found.bytes())

        return self._ask(fetch)

    def _ask(self, what: Callable[[], _T]) -> _T:
        """Errors without the store's own words, which can hold the id of a key."""
        from obstore.exceptions import BaseError

        try:
            return what()
        except (BaseError, OSError, ValueError) as error:
            raise ConnectionFailedError(
                f"{self._uri} does not answer as it should ({type(error).__name__})",
                hint="check the address, AWS_REGION and the credentials in the environment",
            ) from None
