"""What can go wrong on the way from a model directory to a bundle."""


class ModelBuildError(Exception):
    """The base; `detail` may be shown, `log` is the end of what the child wrote."""

    code = "model_build_failed"

    def __init__(self, detail: str, log: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.log = log


class ModelRefusedError(ModelBuildError):
    """The directory is no MLflow model that can be taken: unreadable, too large, or reaching outside."""

    code = "model_refused"


class BuildFailedError(ModelBuildError):
    """The model cannot be served: it does not load or answer in its own environment."""

    code = "model_build_failed"


class EvaluationFailedError(ModelBuildError):
    """The model cannot be evaluated on this data."""

    code = "evaluation_failed"
