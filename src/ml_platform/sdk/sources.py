"""Packs a source folder for upload: what git would call the project, and nothing private."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ml_platform.sdk.errors import InvalidInputError

MAX_BYTES = 100 * 2**20
MAX_FILES = 10_000
_SKIPPED_FOLDERS = frozenset(
    {
        ".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache",
        ".pytest_cache", ".ipynb_checkpoints", "mlruns", ".tools", ".idea", ".vscode", ".mlops",
    }
)  # fmt: skip
_SKIPPED_FILES = (".pyc", ".env", ".DS_Store")


def pack(folder: Path) -> bytes:
    """The folder as tar.gz; the same files give the same bytes.

    Raises:
        InvalidInputError: there is no such folder, or it is too large to be source code.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is not a folder")
    buffer = io.BytesIO()
    total = 0
    # Neither the archive nor its members carry the time: unchanged code stays one source on the server.
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for number, path in enumerate(_files(folder)):
            size = path.stat().st_size
            total += size
            if total > MAX_BYTES or number >= MAX_FILES:
                raise InvalidInputError(
                    f"{folder} holds more than {MAX_BYTES // 2**20} MB or {MAX_FILES} files",
                    hint="keep data out of the source folder: give it to the job as an input",
                )
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size, entry.mode = size, 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir():
            if path.name not in _SKIPPED_FOLDERS and not path.name.endswith(".egg-info"):
                yield from _files(path)
        elif path.is_file() and not path.name.endswith(_SKIPPED_FILES):
            yield path
