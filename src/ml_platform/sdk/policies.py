"""The organisation's own policies."""

import builtins
from collections.abc import Mapping
from pathlib import Path

from ml_platform.contracts.policies import (
    MOST_FILES,
    PolicyCheck,
    PolicyOverview,
    PolicySchema,
    PolicyVersion,
    PolicyVersionDetail,
)
from ml_platform.sdk.errors import InvalidInputError, PlatformError
from ml_platform.sdk.transport import Transport, at

_MOST_BYTES = 1_000_000


class Policies:
    """`platform.policies`. A set is a folder: `*.cedar` beside the tests, `*.yaml`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def overview(self) -> PolicyOverview:
        """Every policy in force, the platform's and the organisation's."""
        return self._transport.get("/policies", PolicyOverview)

    def schema(self) -> str:
        """What policies can be about, as Cedar schema text."""
        return self._transport.get("/policies/schema", PolicySchema).cedar_schema

    def history(self, *, limit: int | None = 50) -> builtins.list[PolicyVersion]:
        """Every version that was applied, newest first."""
        return builtins.list(self._transport.pages("/policies/versions", PolicyVersion, limit=limit))

    def get(self, version: int | None = None) -> PolicyVersionDetail:
        """A version with its files and tests; by default the newest."""
        number = self.overview().version if version is None else version
        return self._transport.get(at("policies", "versions", str(number)), PolicyVersionDetail)

    def validate(self, folder: str | Path) -> PolicyCheck:
        """What the platform makes of a set; nothing is changed."""
        files, tests = read_folder(folder)
        return self._transport.post("/policies/validate", PolicyCheck, {"files": files, "tests": tests})

    def apply(
        self, folder: str | Path, *, note: str | None = None, expected_version: int | None = None
    ) -> PolicyVersion:
        """Replaces the organisation's policies by those of a folder.

        Args:
            folder: an empty one takes every policy away.
            note: why, for the history and the audit log.
            expected_version: refuse when another version is the newest.

        Raises:
            InvalidInputError: they are broken, or a test fails; nothing was changed.
            ConflictError: another version than the expected one is the newest.
        """
        files, tests = read_folder(folder)
        body = {"files": files, "tests": tests, "note": note, "expected_version": expected_version}
        return self._transport.put("/policies", PolicyVersion, body)

    def test(self, folder: str | Path) -> PolicyCheck:
        """See `check_folder`."""
        return check_folder(folder)


def check_folder(folder: str | Path) -> PolicyCheck:
    """Reads, validates and tests a set here, without asking the platform.

    Raises:
        PlatformError: what evaluates policies is not installed.
    """
    from ml_platform.contracts import cedar

    files, tests = read_folder(folder)
    try:
        return cedar.check(files, tests)
    except ImportError:
        raise PlatformError(
            "policies are evaluated by the package cedarpy, which is not here",
            hint="pip install 'ml-platform[policies]', or let the platform do it: mlops policies validate",
        ) from None


def read_folder(folder: str | Path) -> tuple[dict[str, str], dict[str, str]]:
    """The policies and the tests of a folder, by file name; what is in folders below is not read."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise InvalidInputError(f"{place} is no folder", hint="name the folder of the *.cedar files")
    return _texts(place, "*.cedar"), _texts(place, "*.yaml")


def write_folder(folder: str | Path, files: Mapping[str, str]) -> builtins.list[Path]:
    """Writes files as a version holds them; one that stands there already is not touched.

    Raises:
        InvalidInputError: one of them is there already.
    """
    place = Path(folder).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    written = [place / Path(name).name for name in files]
    there = next((path for path in written if path.exists()), None)
    if there is not None:
        raise InvalidInputError(f"{there} is there already", hint="name a folder of its own")
    for path, text in zip(written, files.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return written


def _texts(place: Path, pattern: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(place.glob(pattern)):
        if len(found) >= MOST_FILES or path.stat().st_size > _MOST_BYTES:
            raise InvalidInputError(f"{path} is too large, or one of more than {MOST_FILES}")
        try:
            found[path.name] = path.read_text(encoding="utf-8")
        except ValueError as error:
            raise InvalidInputError(f"{path} is not UTF-8: {error}") from None
    return found
