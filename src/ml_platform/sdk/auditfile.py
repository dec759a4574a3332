"""Checking an export of the audit log without the platform."""

import gzip
from pathlib import Path

from ml_platform.contracts.audit import AuditVerification
from ml_platform.contracts.auditchain import verify_export
from ml_platform.sdk.errors import InvalidInputError, PlatformError


def verify_file(path: str | Path, public_key: str | None = None) -> AuditVerification:
    """Checks every event, every checkpoint and the signature; `.gz` files are read as they are.

    Args:
        path: of what `platform.audit.export` wrote.
        public_key: the installation's, as `platform.audit.key` gave it when it was trusted. Without it the
            export's own is taken: that shows that it is whole, but not whose it is.

    Raises:
        InvalidInputError: there is no such file, or it is no text.
        PlatformError: the package `cryptography` is not installed.
    """
    file = Path(path)
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as lines:
            return verify_export(lines, public_key)
    except ImportError:
        raise PlatformError(
            "checking signatures needs the package 'cryptography'", hint="pip install 'ml-platform[audit]'"
        ) from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read as an export: {error}") from None
