"""The target `mlops` of `mlflow.deployments`: MLflow's own client deploys to this platform and asks it.

Loaded by MLflow alone, through the entry point of that group; it does its work by the SDK.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    REQUEST_LIMIT_EXCEEDED,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_CONFLICT,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)
from mlflow.utils.proto_json_utils import dump_input_data

from ml_platform.sdk import Platform
from ml_platform.sdk.deployments import Deployment
from ml_platform.sdk.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    InvalidInputError,
    LimitExceededError,
    NotConfiguredError,
    NotFoundError,
    PlatformError,
    UnavailableError,
    WaitTimeoutError,
)

_HELP = """\
Deploys registered models to the platform and asks them for predictions.

Target URI: `mlops` is the environment `staging` of the key's team, `mlops:/<environment>` another one, and
`mlops:/<team>/<environment>` that of a team. The platform's address and the key come from MLOPS_API_URL and
MLOPS_API_KEY, else from the profile that `mlops up` and `mlops login` keep.

Model URI: `models:/<name>/<version>`, `models:/<name>@<alias>` or `models:/<name>` (its newest version), of the
platform's registry.

Configuration (`-C key=value`, or a dict) of create and update:
    replicas, auto_scale, max_replicas, justification, canary   as in the platform's REST API
    wait=false        returns when the rollout has started
    for_approval=true waits while people decide; otherwise a rollout that needs them is an error
    timeout=<s>       the longest wait
"""
_DEFAULT_ENVIRONMENT = "staging"
_OPTIONS = frozenset({"replicas", "auto_scale", "max_replicas", "justification", "canary"})
_WAITING = frozenset({"wait", "for_approval", "timeout"})
_FLAVOURS = frozenset({None, "python_function"})
_FORMS = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
_CODES: tuple[tuple[type[PlatformError], int], ...] = (
    (NotFoundError, RESOURCE_DOES_NOT_EXIST),
    (InvalidInputError, INVALID_PARAMETER_VALUE),
    (NotConfiguredError, INVALID_PARAMETER_VALUE),
    (AccessDeniedError, PERMISSION_DENIED),
    (AuthenticationError, UNAUTHENTICATED),
    (ConflictError, RESOURCE_CONFLICT),
    (LimitExceededError, REQUEST_LIMIT_EXCEEDED),
    (UnavailableError, TEMPORARILY_UNAVAILABLE),
    (ConnectionFailedError, TEMPORARILY_UNAVAILABLE),
    (WaitTimeoutError, DEADLINE_EXCEEDED),
)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def target_help() -> str:
    """What `mlflow deployments help -t mlops` prints."""
    return _HELP


def run_local(target: str, name: str, model_uri: str, flavor: str | None = None, config: Any = None) -> None:
    """There is no second way to serve beside the platform itself."""
    del target, name, model_uri, flavor, config
    raise MlflowException(
        "the platform runs locally as a whole: `mlops up` starts it, then create the deployment there",
        error_code=INVALID_PARAMETER_VALUE,
    )


def _translated(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """The platform's errors as MLflow's, with the code that fits."""

    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _translating():
            return method(*args, **kwargs)

    call.__doc__, call.__name__ = method.__doc__, method.__name__
    return call


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except PlatformError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL_ERROR)
        raise MlflowException(str(error), error_code=code) from error


class MlopsDeploymentClient(BaseDeploymentClient):
    """`mlflow.deployments.get_deploy_client("mlops:/acme/production")`."""

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)  # type: ignore[no-untyped-call]
        team, self._environment = _target(target_uri)
        with _translating():
            self._platform = Platform(team=team)

    @_translated
    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploys a registered model under a name that is free; waits for the rollout."""
        if self._find(name, endpoint) is not None:
            raise MlflowException(
                f"{name!r} is deployed to {self._environment} already", error_code=RESOURCE_ALREADY_EXISTS
            )
        return _told(self._roll_out(name, model_uri, flavor, config)) | {"flavor": "python_function"}

    @_translated
    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Rolls another version out under a name that is there; in production as a canary."""
        self._existing(name, endpoint)
        if model_uri is None:
            raise MlflowException(
                "model_uri: a deployment changes by a rollout of a model version; name one",
                error_code=INVALID_PARAMETER_VALUE,
            )
        return _told(self._roll_out(name, model_uri, flavor, config)) | {"flavor": "python_function"}

    @_translated
    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Stops serving; one that is not there is deleted already."""
        _split(config, frozenset())
        found = self._find(name, endpoint)
        if found is not None:
            found.retire()

    @_translated
    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """The deployments of the environment that have not been retired."""
        _no_endpoint(endpoint)
        found = self._platform.deployments.list(environment=self._environment)
        return [_told(item) for item in found if item.data.status != "retired"]

    @_translated
    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """One of them; its `status` says how its newest rollout is going."""
        return _told(self._existing(name, endpoint))

    @_translated
    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Predictions for a DataFrame, an array, a list, a dict of columns, or a whole scoring payload."""
        found = self._existing(deployment_name, endpoint)
        return PredictionsResponse({"predictions": found.invoke(_payload(inputs))})

    @_translated
    def explain(
        self, deployment_name: str | None = None, df: Any = None, endpoint: str | None = None
    ) -> dict[str, Any]:
        """SHAP values for each row of a DataFrame, as the server gives them: base value and share by column."""
        found = self._existing(deployment_name, endpoint)
        split = _payload(df).get("dataframe_split")
        if split is None:
            raise MlflowException("df: give a DataFrame", error_code=INVALID_PARAMETER_VALUE)
        rows = [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
        return {"explanations": found.explain(rows)}

    def _find(self, name: str | None, endpoint: str | None) -> Deployment | None:
        _no_endpoint(endpoint)
        if not name:
            raise MlflowException("name: which deployment?", error_code=INVALID_PARAMETER_VALUE)
        found = self._platform.deployments.find(name, self._environment)
        return found if found is not None and found.data.status != "retired" else None

    def _existing(self, name: str | None, endpoint: str | None) -> Deployment:
        found = self._find(name, endpoint)
        if found is None:
            raise MlflowException(
                f"nothing called {name!r} is deployed to {self._environment}",
                error_code=RESOURCE_DOES_NOT_EXIST,
            )
        return found

    def _roll_out(
        self, name: str, model_uri: str, flavor: str | None, config: Mapping[str, Any] | None
    ) -> Deployment:
        if flavor not in _FLAVOURS:
            raise MlflowException(
                f"flavor: models are served as python_function, not as {flavor!r}",
                error_code=INVALID_PARAMETER_VALUE,
            )
        given = _split(config, _OPTIONS | _WAITING)
        waiting = {key: given.pop(key) for key in _WAITING & set(given)}
        started = self._platform.deployments.deploy(
            _model_id(model_uri), environment=self._environment, name=name, **given
        )
        if waiting.get("wait", True):
            timeout = waiting.get("timeout")
            started.wait(
                None if timeout is None else float(timeout),
                for_approval=bool(waiting.get("for_approval", False)),
                progress=_silent,
            )
        return started


def _target(uri: str) -> tuple[str | None, str]:
    """Team and environment of a target URI."""
    parts = [part for part in urlsplit(uri).path.split("/") if part] if ":" in uri else []
    if len(parts) > 2:
        raise MlflowException(
            f"{uri!r} is no target: write mlops, mlops:/<environment> or mlops:/<team>/<environment>",
            error_code=INVALID_PARAMETER_VALUE,
        )
    team = parts[0] if len(parts) == 2 else None
    return team, parts[-1] if parts else _DEFAULT_ENVIRONMENT


def _model_id(uri: str) -> str:
    """The platform's model id of a URI of MLflow's registry."""
    prefix = "models:/"
    found = uri.removeprefix(prefix).strip("/")
    if not uri.startswith(prefix) or not found or found.count("/") > 1:
        raise MlflowException(
            f"model_uri: {uri!r} is not of the registry: write models:/<name>/<version> or models:/<name>@<alias>;"
            " a run's model is registered first (`mlops models register`)",
            error_code=INVALID_PARAMETER_VALUE,
        )
    return found


def _split(config: Mapping[str, Any] | None, known: frozenset[str]) -> dict[str, Any]:
    """The configuration with its values typed: the command line gives them as text."""
    given = dict(config or {})
    unknown = sorted(set(given) - known)
    if unknown:
        raise MlflowException(
            f"config: {unknown[0]!r} is not known; there are {', '.join(sorted(known)) or 'no keys'}",
            error_code=INVALID_PARAMETER_VALUE,
        )
    return {key: _value(value) if key != "justification" else value for key, value in given.items()}


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return {"True": True, "False": False}.get(value, value)


def _payload(inputs: Any) -> dict[str, Any]:
    """The scoring payload that MLflow's own clients send for this; a NaN is a missing value."""
    if isinstance(inputs, Mapping):
        if _FORMS & set(inputs):
            return dict(inputs)
        columns = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in inputs.items()}
        return {"inputs": columns}
    found: dict[str, Any] = json.loads(dump_input_data(inputs), parse_constant=lambda _: None)
    return found


def _no_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise MlflowException(
            "endpoint: a deployment is its own endpoint here; leave it out",
            error_code=INVALID_PARAMETER_VALUE,
        )


def _told(deployment: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = deployment.data.model_dump(mode="json")
    return found


def _silent(_: str) -> None:
    """A library prints nothing."""
