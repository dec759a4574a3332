"""What can be wrong with a dataset or with what was uploaded as one."""

from collections.abc import Sequence

from ml_platform.contracts.problems import ErrorCode, FieldProblem
from ml_platform.kit.errors import BadInputError, ConflictError


class DatasetNameError(BadInputError):
    """A team or dataset id that cannot be a folder's name."""


class SchemaDocumentError(BadInputError):
    """A stored or edited schema that says nothing sensible."""


class UnreadableUploadError(BadInputError):
    """An upload that no table could be read from; `fields` say why."""

    code = ErrorCode.INVALID_DATA


class UnknownColumnsError(BadInputError):
    """Columns were asked for that this version does not have."""

    def __init__(self, unknown: Sequence[str], known: Sequence[str]) -> None:
        self.unknown = list(unknown)
        named = ", ".join(repr(name[:100]) for name in self.unknown[:20])
        super().__init__(
            f"unknown columns: {named}",
            hint=f"the version has: {', '.join(known[:100])}",
            fields=[FieldProblem(field=name[:100], message="no such column") for name in self.unknown[:20]],
        )


class VersionConflictError(ConflictError):
    """Somebody else wrote a version meanwhile."""

    def __init__(self, expected: int, current: int) -> None:
        self.expected, self.current = expected, current
        super().__init__(
            f"version {expected} was expected to be the newest, {current} is",
            hint="look at the newest version, then write again",
        )
