"""What a body may say: checked, and rewritten as plain JSON, before MLflow parses it.

MLflow reads exactly the JSON that was checked here, not the caller's bytes, so a second reading of
doubled keys or odd encodings cannot differ from the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ml_platform.integrations.mlflow.artifact_paths import check_model_source, decoded_path
from ml_platform.integrations.mlflow.errors import RequestRefusedError, denied, invalid
from ml_platform.integrations.mlflow.graphql_guard import check_graphql
from ml_platform.integrations.mlflow.identity import MlflowIdentity
from ml_platform.integrations.mlflow.registry_policy import (
    Outcome,
    RegistryAction,
    RegistryPolicy,
    RegistryWrite,
    RegistryWriteRefusedError,
    is_platform_tag,
    protect_platform_names,
)

Body = dict[str, Any]

_MAX_DEPTH = 40
_INT64 = 2**63
_DEFAULT_EXPERIMENT_ID = "0"
_MAX_ID_DIGITS = 18
# From these tags MLflow's server takes the place that it reads a trace from.
_TRACE_LOCATION_TAGS = frozenset({"mlflow.artifactlocation", "mlflow.trace.archivelocation"})

_decode = msgspec.json.Decoder().decode
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def read_body(raw: bytes, default_experiment_id: str) -> Body:
    """Parse a JSON body; experiment 0, which stock clients default to, is the team's `Default`.

    Raises:
        RequestRefusedError: not a JSON object, or deeper or larger in its numbers than MLflow can store.
    """
    try:
        body = _decode(raw) if raw.strip() else {}
        if isinstance(body, str):  # old clients encode twice
            body = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("The body must be one JSON object in UTF-8") from error
    if not isinstance(body, dict):
        raise invalid("The body must be one JSON object")
    _check(body, default_experiment_id, 0)
    return body


def field(body: Body, name: str) -> Any:
    """A protobuf field by either of its two JSON names (MLflow refuses a body with both)."""
    if name in body:
        return body[name]
    head, *rest = name.split("_")
    return body.get(head + "".join(part.capitalize() for part in rest))


def own_experiment_id(value: Any, default_experiment_id: str) -> Any:
    """Return the id to use for one that a client sent; stock clients default to experiment 0."""
    if isinstance(value, str) and value.isdigit() and len(value) > _MAX_ID_DIGITS:
        raise invalid("No experiment has so long an id")
    return default_experiment_id if value == _DEFAULT_EXPERIMENT_ID else value


class RequestGuard:
    """Checks one write after the caller and its workspace are known."""

    def __init__(self, policy: RegistryPolicy | None, prompt_sources: frozenset[str]) -> None:
        self._policy = policy
        self._prompt_sources = prompt_sources

    def check(  # noqa: C901 - one line for each family of calls
        self, operation: str, method: str, path: str, body: Body, *, workspace: str, identity: MlflowIdentity
    ) -> list[Outcome]:
        """Refuse a body that reaches outside the workspace, or that writes what is not the caller's.

        The answer wants to be told, each of it once, whether MLflow then did it.
        """
        family, internal = operation.partition("/")[0], identity.internal
        if family in ("registered-models", "model-versions"):
            if operation == "model-versions/create":
                self._check_version(body, workspace)
            return self._ask(list(_registry_writes(operation, method, body, identity, workspace)))
        if operation == "logged-models/*" and method == "DELETE":
            model_id = path.rpartition("/")[2]
            return self._ask([_write(identity, workspace, "delete_logged_model", model_id)])
        if operation == "graphql":
            check_graphql(body)
        elif operation == "experiments/create" and field(body, "artifact_location"):
            raise invalid("The place of artifacts is the platform's; leave artifact_location out")
        elif not internal and family in ("runs", "experiments", "logged-models", "traces", "datasets"):
            for key in _tag_keys(operation, path, body):
                if is_platform_tag(key):
                    raise denied(f"Tag '{key}' is set by the platform only")
        if family == "traces":
            for key in _tag_keys(operation, path, body):
                if str(key).lower() in _TRACE_LOCATION_TAGS:
                    raise denied(f"Tag '{key}' is set by the server only")
        return []

    def check_upload(self, path: str, *, workspace: str, identity: MlflowIdentity) -> list[Outcome]:
        """Refuse to change a file that a registered version was made from; as `check`."""
        return self._ask([_write(identity, workspace, "write_artifact", decoded_path(path))])

    def _ask(self, writes: list[RegistryWrite]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            for write in writes:
                protect_platform_names(write)
            for write in writes:
                outcome = self._policy(write) if self._policy is not None else None
                outcomes += [outcome] if outcome is not None else []
        except RegistryWriteRefusedError as error:
            for outcome in outcomes:  # what was permitted beside it is not done either
                outcome(False)
            raise denied(str(error)) from error
        return outcomes

    def _check_version(self, body: Body, workspace: str) -> None:
        source, link = field(body, "source"), field(body, "run_link")
        if link and not str(link).startswith(("https://", "http://")):
            raise invalid("run_link must be an http or https address")
        if source not in self._prompt_sources:
            check_model_source(str(source or ""), workspace)


_REGISTRY_ACTIONS: dict[tuple[str, str], tuple[RegistryAction, str | None, str | None]] = {
    # call: action, field of the key, field of the value
    ("registered-models/create", "POST"): ("create_registered_model", None, None),
    ("registered-models/update", "PATCH"): ("update_registered_model", None, "description"),
    ("registered-models/rename", "POST"): ("rename_registered_model", None, "new_name"),
    ("registered-models/delete", "DELETE"): ("delete_registered_model", None, None),
    ("registered-models/set-tag", "POST"): ("set_registered_model_tag", "key", "value"),
    ("registered-models/delete-tag", "DELETE"): ("delete_registered_model_tag", "key", None),
    ("registered-models/alias", "POST"): ("set_alias", "alias", None),
    ("registered-models/alias", "DELETE"): ("delete_alias", "alias", None),
    ("model-versions/create", "POST"): ("create_model_version", None, "source"),
    ("model-versions/update", "PATCH"): ("update_model_version", None, "description"),
    ("model-versions/delete", "DELETE"): ("delete_model_version", None, None),
    ("model-versions/transition-stage", "POST"): ("transition_stage", None, "stage"),
    ("model-versions/set-tag", "POST"): ("set_model_version_tag", "key", "value"),
    ("model-versions/delete-tag", "DELETE"): ("delete_model_version_tag", "key", None),
}


REGISTRY_OPERATIONS = frozenset(_REGISTRY_ACTIONS)
"""The writes to the registry that policies are asked about; any other is refused."""


def _registry_writes(
    operation: str, method: str, body: Body, identity: MlflowIdentity, workspace: str
) -> Iterator[RegistryWrite]:
    if (operation, method) not in _REGISTRY_ACTIONS:
        raise denied(f"No policy knows {method} {operation}, so it is not done")
    action, key, value = _REGISTRY_ACTIONS[operation, method]
    name, version = _text(field(body, "name")) or "", _version(field(body, "version"))
    keyed = _text(field(body, key)) if key else None
    valued = _text(field(body, value)) if value else None
    yield _write(identity, workspace, action, name, version, keyed, valued)
    if action in ("create_registered_model", "create_model_version"):
        setting: RegistryAction = (
            "set_registered_model_tag" if action == "create_registered_model" else "set_model_version_tag"
        )
        for tag in _items(field(body, "tags")):
            key, value = _text(tag.get("key")), _text(tag.get("value"))
            yield _write(identity, workspace, setting, name, version, key, value)


def _write(
    identity: MlflowIdentity,
    workspace: str,
    action: RegistryAction,
    model: str,
    version: str | None = None,
    key: str | None = None,
    value: str | None = None,
) -> RegistryWrite:
    return RegistryWrite(
        identity.user,
        workspace,
        action,
        model,
        version,
        key,
        value,
        internal=identity.internal,
        caller=identity.caller,
    )


def _version(value: Any) -> str | None:
    """The number of a version as policies know it: MLflow and its database also take `01`, `+1` and `1_0`."""
    if value is None:
        return None
    try:
        return str(int(str(value)))
    except ValueError:
        raise invalid("A version is a whole number") from None


def _tag_keys(operation: str, path: str, body: Body) -> Iterator[Any]:
    """Every tag key that a body (or the end of a path) writes or deletes."""
    yield from (tag.get("key") for tag in _items(field(body, "tags")))
    tags = body.get("tags")
    if isinstance(tags, dict):
        yield from tags
    if operation.endswith(("tag", "/tags")):
        yield body.get("key")
    if operation.endswith("/tags/*"):
        yield path.rpartition("/")[2]
    info = field(field(body, "trace") or {}, "trace_info") if isinstance(field(body, "trace"), dict) else None
    if isinstance(info, dict) and isinstance(info.get("tags"), dict):
        yield from info["tags"]


def _items(value: Any) -> Iterator[Body]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _check(value: Any, default_experiment_id: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise invalid(f"The body is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("experiment_id", "experimentId"):
                value[key] = own_experiment_id(item, default_experiment_id)
            elif key in ("experiment_ids", "experimentIds") and isinstance(item, list):
                value[key] = [own_experiment_id(one, default_experiment_id) for one in item]
            _check_scalar_or_walk(item, default_experiment_id, depth)
    else:
        for item in value:
            _check_scalar_or_walk(item, default_experiment_id, depth)


def _check_scalar_or_walk(item: Any, default_experiment_id: str, depth: int) -> None:
    if isinstance(item, (dict, list)):
        _check(item, default_experiment_id, depth + 1)
    elif isinstance(item, str):
        if "\x00" in item:
            raise invalid("Text must not contain the NUL character")
    elif isinstance(item, int) and not -_INT64 <= item < _INT64:
        raise invalid("Whole numbers must fit in 64 bits")


__all__ = ["Body", "RequestGuard", "RequestRefusedError", "encode", "field", "read_body"]
