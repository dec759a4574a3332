"""Request bodies that are files: streamed to disk, bounded, and gone when the request is over."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from ml_platform.kit.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Upload:
    """A body on disk."""

    path: Path
    size: int
    sha256: str


async def _receive(request: Request) -> AsyncIterator[Upload]:
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(prefix="mlops-upload-") as folder:
        path = Path(folder) / "body"
        with path.open("wb") as file:
            async for chunk in request.stream():
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        if size == 0:
            raise BadInputError.of("body", "is empty: send the file as the request's body")
        yield Upload(path=path, size=size, sha256=digest.hexdigest())


UploadedFile = Annotated[Upload, Depends(_receive)]
"""Declare it after the endpoint's `Work`, so that nobody unauthorised is listened to."""
