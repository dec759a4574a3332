"""What can go wrong with a registered model beyond the common errors."""

from ml_platform.contracts.problems import ErrorCode
from ml_platform.kit.errors import ConflictError


class ArtifactChangedError(ConflictError):
    """A stored artifact is not what it was when it was registered."""

    code = ErrorCode.ARTIFACT_CHANGED
