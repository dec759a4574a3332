"""Sends Parquet files to a bucket: `python -m ml_platform.inference.predictionlog.ship`.

A process of its own, started when something waits: the library for it and its memory are then neither the workers'
nor permanent. A file's name in the bucket follows from its own and from this server's, and it goes from here once it
stands there: sent again after a crash at any point it replaces itself, and no row is there twice.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import secrets
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from ml_platform.inference.predictionlog.outgoing import Shipped, waiting
from ml_platform.inference.predictionlog.spool import sync_directory
from ml_platform.kit.errors import UnavailableError
from ml_platform.kit.s3 import S3Address, S3Connection
from ml_platform.kit.s3.client import S3Client

NAME_FILE = "server"
_LEVELS = ("team=", "environment=", "endpoint=", "date=")

_log = logging.getLogger(__name__)


def ship(outgoing: Path, client: S3Client, *, keep_days: float, now: datetime) -> Shipped:
    """Sends what waits, then deletes what is too old in the bucket; 0 days keep all."""
    shipped = Shipped()
    try:
        for path in waiting(outgoing):
            with suppress(FileNotFoundError):  # one that outlived its parent has sent it meanwhile
                size = path.stat().st_size
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                client.put(_key(path, outgoing), path, sha256=digest)
                path.unlink()
                shipped.files += 1
                shipped.bytes += size
        _remove_empty(outgoing, now)
        if keep_days:
            oldest = (now.astimezone(UTC) - timedelta(days=keep_days)).date()
            shipped.days_deleted = _prune(client, oldest)
    except UnavailableError as error:
        shipped.error = error.detail
    return shipped


def _key(path: Path, outgoing: Path) -> str:
    """Two servers can give segments the same name: the file's own names the server too."""
    folder = path.parent.relative_to(outgoing).as_posix()
    return f"{folder}/{path.stem}-{_server_name(outgoing)}.parquet"


def _server_name(outgoing: Path) -> str:
    """Of this state directory, for as long as there is one."""
    file = outgoing / NAME_FILE
    with suppress(FileNotFoundError):
        if name := file.read_text():
            return name
    draft = outgoing / f".{NAME_FILE}"
    draft.write_text(secrets.token_hex(6))
    draft.replace(file)
    sync_directory(outgoing)
    return file.read_text()


def _remove_empty(outgoing: Path, now: datetime) -> None:
    """Directories of days that are over; one in which something is being written is not empty."""
    today = now.astimezone(UTC).date().isoformat()
    for directory in outgoing.glob("/".join(f"{level}*" for level in _LEVELS)):
        if directory.name != f"date={today}":
            with suppress(OSError):
                directory.rmdir()


def _prune(client: S3Client, oldest: date) -> int:
    """Deletes the days before `oldest`, in the way in which the folders are nested: few questions to the store."""
    days = set()
    for folder in _nested(client, "", _LEVELS):
        day = _day(folder)
        if day is not None and day < oldest:
            client.delete([info.key for info in client.objects(folder)])
            days.add(day)
    return len(days)


def _nested(client: S3Client, folder: str, levels: tuple[str, ...]) -> Iterable[str]:
    if not levels:
        yield folder
        return
    for name in client.folders(folder):
        if name.startswith(levels[0]):
            yield from _nested(client, f"{folder}/{name}" if folder else name, levels[1:])


def _day(folder: str) -> date | None:
    try:
        return date.fromisoformat(folder.rpartition("=")[2])
    except ValueError:
        return None


def main(arguments: list[str]) -> int:
    """Answers on standard output, as one line of JSON, what became of it; 1 when something still waits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--outgoing", type=Path, required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--keep-days", type=float, default=0.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    client = S3Client(S3Address.parse(options.root), S3Connection(options.endpoint, options.region))
    try:
        shipped = ship(options.outgoing, client, keep_days=options.keep_days, now=datetime.now(UTC))
    except OSError as error:
        shipped = Shipped(error=f"what waits cannot be read: {error.strerror}")
    sys.stdout.write(msgspec.json.encode(shipped).decode() + "\n")
    return 0 if shipped.error is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
