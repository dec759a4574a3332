"""Sources: folders of code that jobs run, checked when they arrive and stored by their content."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ml_platform.contracts.jobs import Source
from ml_platform.kit.errors import BadInputError, TooLargeError
from ml_platform.kit.ids import new_id
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.access import Work
from ml_platform.services.training.interfaces import SourceArchives
from ml_platform.services.training.repository import TrainingRepository
from ml_platform.services.training.tables import SourceRow

MAX_INLINE_FILES = 200
MAX_INLINE_BYTES = 2 * 1024 * 1024


class SourceStore:
    """Takes sources in. Slow work comes before the unit of work's transaction begins."""

    def __init__(
        self, archives: SourceArchives, storage: ObjectStorage, incoming: Path, *, max_bytes: int
    ) -> None:
        self._archives = archives
        self._storage = storage
        self._incoming = incoming
        self.max_bytes = max_bytes

    def new_folder(self) -> tempfile.TemporaryDirectory[str]:
        """A place for an upload under way."""
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.TemporaryDirectory(dir=self._incoming, prefix="source-")

    def add_inline(self, work: Work, files: Mapping[str, str]) -> SourceRow:
        """Takes text files by path."""
        if not 1 <= len(files) <= MAX_INLINE_FILES:
            raise BadInputError.of("source", f"must hold 1 to {MAX_INLINE_FILES} files")
        if sum(len(text.encode()) for text in files.values()) > MAX_INLINE_BYTES:
            raise TooLargeError(
                f"source: the files are larger than {MAX_INLINE_BYTES} bytes",
                hint="upload them: POST /sources",
            )
        with self.new_folder() as folder:
            archive = Path(folder) / "source.tar.gz"
            self._archives.pack(files, archive)
            return self.add_archive(work, archive)

    def add_archive(self, work: Work, archive: Path) -> SourceRow:
        """Takes a tar.gz; the same content again gives the same source.

        Raises:
            BadInputError: it cannot be read, or holds what it must not.
        """
        listing = self._archives.check(archive)
        with archive.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        uri = self._storage.put_file(f"{work.team_id}/sources/{sha256}.tar.gz", archive)
        known = TrainingRepository(work.session, work.team_id).source_by_digest(sha256)
        if known is not None:
            return known
        row = SourceRow(
            id=new_id("src"),
            team_id=work.team_id,
            sha256=sha256,
            size_bytes=archive.stat().st_size,
            uri=uri,
            files=list(listing.files),
            files_complete=listing.complete,
            created_by=work.actor.name,
            created_at=work.clock(),
        )
        work.session.add(row)
        work.session.flush()
        work.record("source.create", "source", row.id, after={"sha256": sha256, "bytes": row.size_bytes})
        return row


def source_of(row: SourceRow) -> Source:
    return Source(source_id=row.id, sha256=row.sha256, size_bytes=row.size_bytes, created_at=row.created_at)


def check_file(row: SourceRow, field: str, name: str) -> None:
    """BadInputError unless the source holds the file, as far as its listing tells."""
    if name in row.files or not row.files_complete:
        return
    near = ", ".join(sorted(file for file in row.files if file.endswith((".py", ".txt")))[:10]) or "nothing"
    raise BadInputError.of(field, f"{name!r} is not in the source (it holds: {near})")
