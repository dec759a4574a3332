"""The desired state of the inference plane, and what it reports back: the wire between the two planes.

The control plane publishes one `Snapshot` (`GET /api/v1/inference/snapshot?after=<version>&wait=<s>`: the
snapshot as JSON when its version differs from `after`, else 204 once `wait` seconds have passed). The
snapshot is complete: what is not in it does not exist. Its version only ever grows, with every change.

The inference plane answers `InferenceStatus` on `/internal/status` and `InferenceMetrics` on
`/internal/metrics?window=<seconds>`; the canary decides from the latter.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Literal

import msgspec

from ml_platform.contracts.featurepolicy import FeaturePolicy
from ml_platform.contracts.features import OnlineView

MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024

PREDICT = "predict"
INFERENCE_INTERNAL = "inference_internal"
READ_METRICS = "read_metrics"
READ_FEATURES = "read_features"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_TEXT = re.compile(r"[\x20-\x7e]{1,256}\Z")


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the wire types: immutable, by name only, and strict about unknown fields."""


class ServingKey(_Wire, frozen=True, kw_only=True):
    """An API key as the inference plane knows it: never the token, only its SHA-256 in hexadecimal.

    A key without a team belongs to the platform itself and may name any team in the path. The rates bound
    what the key, and all keys of its team together, may send.
    """

    key_id: str
    token_sha256: str
    team: str | None
    permissions: tuple[str, ...]
    expires_at: datetime | None = None
    requests_per_second: float | None = None
    team_requests_per_second: float | None = None


class ServingRevision(_Wire, frozen=True, kw_only=True, omit_defaults=True):
    """A model version as deployed. Weights are relative to each other; at 0 the revision stays warm.

    A shadow answers a copy of `shadow_share` of the requests that others answer, and nobody sees what it says.
    Defaults are left out, so that a server of the version before reads what does not use them.

    `bundle_uri` is the bundle's directory: a `file://` URI or an absolute path below one of the storage
    roots that the inference server was given. `bundle_digest` is the SHA-256 of its `bundle.json`.
    `features` says what happens while the feature store is slow or down; without it requests then fail.
    """

    revision_id: str
    model_name: str
    model_version: str
    weight: float
    bundle_uri: str
    bundle_digest: str
    shadow: bool = False
    features: FeaturePolicy | None = None
    shadow_share: float = 1.0


class Sticky(_Wire, frozen=True, kw_only=True, omit_defaults=True):
    """Keeps a caller on one revision: equal values of a header, or of an entity key, go the same way.

    With another `salt` the callers are dealt out anew.
    """

    by: Literal["header", "entity"]
    name: str
    salt: str = ""


class ServingEndpoint(_Wire, frozen=True, kw_only=True):
    """A deployment: a stable address of a team in an environment, and the revisions behind it."""

    team: str
    environment: str
    name: str
    deployment_id: str
    revisions: tuple[ServingRevision, ...]
    sticky: Sticky | None = None


class FeatureStore(_Wire, frozen=True, kw_only=True):
    """Where a team's online features stand, in Feast's own layout, and which there are.

    `path` is the SQLite file. Where Redis is, and how to get in, never travels: a server of its own setting
    (`online_store_url`) knows it. A store of which `views` is empty lists nothing; it may hold views anyway.
    """

    team: str
    environment: str | None = None
    project: str
    kind: Literal["sqlite", "redis"] = "sqlite"
    path: str = ""
    entity_key_serialization_version: int = 3
    views: tuple[OnlineView, ...] = ()


class Snapshot(_Wire, frozen=True, kw_only=True):
    """Everything that the inference plane needs to know in order to serve."""

    format: Literal[1] = 1
    version: int
    keys: tuple[ServingKey, ...] = ()
    endpoints: tuple[ServingEndpoint, ...] = ()
    feature_stores: tuple[FeatureStore, ...] = ()


RevisionState = Literal["idle", "loading", "ready", "failed"]
"""Idle: not in memory, and loaded by its next request; its bundle is there."""


BreakerState = Literal["closed", "open", "half_open"]
"""Of an isolated model: open while its process is away, half open until the next one's first answer."""


class RevisionStatus(_Wire, frozen=True, kw_only=True):
    """One revision in one worker; `reason` says why it failed, `serving` whether traffic can reach it now.

    `memory_bytes` is what its model takes now. Loads, failures and evictions (for models that needed the
    room) count since the worker started; `load_seconds` is how long the last load took. `restarts` counts
    how often the process of an isolated model was replaced, by the reason.
    """

    revision_id: str
    state: RevisionState
    reason: str | None = None
    load_seconds: float | None = None
    serving: bool = False
    memory_bytes: int = 0
    loads: int = 0
    load_failures: int = 0
    evictions: int = 0
    restarts: dict[str, int] = {}
    breaker: BreakerState = "closed"


class WorkerStatus(_Wire, frozen=True, kw_only=True):
    """One worker process: the snapshot that it has applied, and its revisions.

    `memory_limit_bytes` is what its models may take together, 0 for no limit.
    """

    worker: int
    pid: int
    snapshot_version: int
    revisions: tuple[RevisionStatus, ...] = ()
    predictions_dropped: int = 0
    memory_limit_bytes: int = 0


class InferenceStatus(_Wire, frozen=True, kw_only=True):
    """The whole server. `snapshot_version` is what every worker has applied, so the smallest of them.

    `problems` say what a server without a control plane does not serve of its directory, and why.
    """

    snapshot_version: int
    received_version: int
    control_plane_connected: bool
    control_plane_error: str | None = None
    started_at: datetime
    workers_expected: int
    workers: tuple[WorkerStatus, ...]
    problems: tuple[str, ...] = ()

    def revision_state(self, revision_id: str) -> tuple[RevisionState | None, str | None]:
        """The state over all workers: failed if any failed, ready if all are, None when unknown.

        One that is idle counts as ready: what must be loaded before traffic reaches it is loading until then.
        """
        found = [r for w in self.workers for r in w.revisions if r.revision_id == revision_id]
        if not found:
            return None, None
        for status in found:
            if status.state == "failed":
                return "failed", status.reason
        complete = len(found) == self.workers_expected
        able = all(r.state in {"ready", "idle"} for r in found)
        return ("ready", None) if complete and able else ("loading", None)


class RevisionMetrics(_Wire, frozen=True, kw_only=True):
    """One revision's traffic within a trailing window, over all workers.

    `errors` are answers of 5xx: failures of the model or of the server. `client_errors` are 4xx and count
    as neither. Latencies are milliseconds inside the server, over all requests that reached the revision,
    to within 7 %; None when there were none.

    A shadow's predictions are compared with those that were given for the same rows: `different` of
    `compared`, their mean distance, and the requests that it `skipped`, since it did not keep up or takes
    columns that they lack.
    """

    team: str
    environment: str
    endpoint: str
    revision_id: str
    model_name: str
    model_version: str
    requests: int
    predictions: int
    errors: int
    client_errors: int
    error_rate: float
    requests_per_second: float
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    latency_ms_p99: float | None = None
    compared: int = 0
    different: int = 0
    mean_distance: float | None = None
    skipped: int = 0


class InferenceMetrics(_Wire, frozen=True, kw_only=True):
    """Traffic by revision within the last `window_seconds`; `covered_seconds` is how much is remembered."""

    window_seconds: float
    covered_seconds: float
    revisions: tuple[RevisionMetrics, ...]


class SnapshotError(ValueError):
    """A snapshot that is malformed or contradicts itself; the message names the part."""


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON, after the same checks that the reader makes."""
    check_snapshot(snapshot)
    return msgspec.json.encode(snapshot)


def decode_snapshot(data: bytes) -> Snapshot:
    """Reads and checks a snapshot.

    Raises:
        SnapshotError: naming what is wrong.
    """
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise SnapshotError(f"the snapshot is {len(data)} bytes, more than {MAX_SNAPSHOT_BYTES}")
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise SnapshotError(f"the snapshot is not valid: {error}") from error
    check_snapshot(snapshot)
    return snapshot


def check_snapshot(snapshot: Snapshot) -> None:
    """What the types alone cannot say.

    Raises:
        SnapshotError: naming the key, endpoint or revision that is wrong.
    """
    if snapshot.version < 0:
        raise SnapshotError("version: must not be negative")
    _check_keys(snapshot.keys)
    seen: set[tuple[str, str, str]] = set()
    ids = [revision.revision_id for endpoint in snapshot.endpoints for revision in endpoint.revisions]
    if len(set(ids)) != len(ids):
        raise SnapshotError("endpoints: a revision is listed twice")
    for endpoint in snapshot.endpoints:
        address = (endpoint.team, endpoint.environment, endpoint.name)
        if address in seen:
            raise SnapshotError(f"endpoints: {'/'.join(address)} is listed twice")
        seen.add(address)
        _check_endpoint(endpoint)
    stores = [(store.team, store.environment) for store in snapshot.feature_stores]
    if len(set(stores)) != len(stores):
        raise SnapshotError("feature_stores: a team has two stores for one environment")
    for store in snapshot.feature_stores:
        _check_store(store)


def _check_store(store: FeatureStore) -> None:
    if (store.kind == "sqlite") != bool(store.path):
        raise SnapshotError(f"feature_stores: a path goes with SQLite alone, and {store.team!r} has it wrong")
    names = [view.name for view in store.views]
    if len(set(names)) != len(names):
        raise SnapshotError(f"feature_stores: a feature view of {store.team!r} is listed twice")
    for view in store.views:
        for columns in (view.join_keys, view.features):
            listed = {column.name for column in columns}
            if not columns or len(listed) != len(columns):
                raise SnapshotError(
                    f"feature_stores: the join keys or features of {view.name!r} of {store.team!r} are"
                    " missing or listed twice"
                )


def _check_keys(keys: tuple[ServingKey, ...]) -> None:
    digests: set[str] = set()
    for key in keys:
        if not _SHA256.match(key.token_sha256):
            raise SnapshotError(f"keys: token_sha256 of {key.key_id!r} is not a SHA-256 in hexadecimal")
        if key.token_sha256 in digests:
            raise SnapshotError(f"keys: the token of {key.key_id!r} is listed twice")
        digests.add(key.token_sha256)
        if key.expires_at is not None and key.expires_at.tzinfo is None:
            raise SnapshotError(f"keys: expires_at of {key.key_id!r} has no time zone")


def _check_endpoint(endpoint: ServingEndpoint) -> None:
    address = f"{endpoint.team}/{endpoint.environment}/{endpoint.name}"
    for part in (endpoint.team, endpoint.environment, endpoint.name):
        if not _SEGMENT.match(part):
            raise SnapshotError(f"endpoints: {part!r} of {address} cannot be part of an address")
    for revision in endpoint.revisions:
        if not _SEGMENT.match(revision.revision_id):
            raise SnapshotError(f"endpoints: {revision.revision_id!r} of {address} is not an id")
        if not math.isfinite(revision.weight) or revision.weight < 0:
            raise SnapshotError(f"endpoints: the weight of {revision.revision_id} must be 0 or more")
        if not 0 < revision.shadow_share <= 1:
            raise SnapshotError(
                f"endpoints: shadow_share of {revision.revision_id} must be above 0, at most 1"
            )
        if not (_TEXT.match(revision.model_name) and _TEXT.match(revision.model_version)):
            raise SnapshotError(
                f"endpoints: the model's name or version of {revision.revision_id} is not ASCII"
            )
        if not _SHA256.match(revision.bundle_digest):
            raise SnapshotError(f"endpoints: bundle_digest of {revision.revision_id} is not a SHA-256")
