"""Secrets of this installation: made at the first start, kept in files that only their owner reads."""

import contextlib
import os
import secrets
from pathlib import Path


class SecretStore:
    """A directory (0700) of secret files (0600)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get_or_create(self, name: str, *, size: int = 32) -> bytes:
        """The secret `name`; the first caller makes it, also when several start at once."""
        path = self._root / name
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            write_private(path, secrets.token_hex(size), replace=False)
        return bytes.fromhex(path.read_text().strip())


def write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """Writes a file that only its owner may read, whole or not at all.

    With `replace=False` an existing file is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
