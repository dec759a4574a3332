"""Settings of the inference server: `MLOPS_INFERENCE_*` in the environment, overridden by arguments."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from ml_platform.contracts.featurepolicy import FeaturePolicy
from ml_platform.inference.traces.standard import AUTO, standard_settings
from ml_platform.kit.redis.address import RedisAddress
from ml_platform.kit.s3 import S3Connection

WORKER_VARIABLE = "MLOPS_INFERENCE_WORKER_SETTINGS"
"""In which the parent hands its settings, as JSON, to its workers."""

GRPC_OFF = -1
LOAD_MODES = ("auto", "eager", "lazy")

_PREFIX = "MLOPS_INFERENCE_"
_MIB = 1024 * 1024
_S3 = "s3://"


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is an argument `--like-this` and a variable `MLOPS_INFERENCE_LIKE_THIS`."""

    host: str = _option("127.0.0.1", "address to listen on")
    port: int = _option(8081, "port to listen on; 0 takes a free one and writes it to address.json")
    grpc_port: int = _option(
        GRPC_OFF, "port of gRPC; 0 takes a free one and writes it to address.json; -1 is off"
    )
    workers: int = _option(0, "worker processes; 0 is one for each core")
    state_dir: str = _option("~/.mlops/inference", "snapshot, bundle cache and prediction spool")

    control_url: str = _option("", "the control plane's address, without /api/v1")
    token_file: str = _option("", "file that holds the bearer token for the control plane")
    poll_wait: float = _option(20.0, "seconds that the control plane may hold a poll open")
    storage_roots: str = _option(
        "",
        "directories and s3://bucket/prefix that bundles may be loaded from, joined by the path separator",
    )
    s3_endpoint: str = _option("", "address of the S3 store; default: AWS_ENDPOINT_URL, else Amazon's")
    s3_region: str = _option("", "region of the S3 store; default: AWS_REGION")

    online_store_url: str = _option(
        "", "where Redis is, for teams whose online features are there: redis://, rediss:// or unix://"
    )
    online_store_url_file: str = _option("", "file that holds that address, which has a password in it")

    model_dir: str = _option("", "standalone: a bundle, or a directory of bundles, named as its directories")
    model_name: str = _option("", "standalone: the model's name, when model_dir is one bundle")
    bundle_digest: str = _option("", "standalone: serve nothing but the one bundle with this digest")
    model_dir_poll: float = _option(
        1.0, "standalone: seconds between looks at model_dir and keys_file; 0 reads them at the start alone"
    )
    keys_file: str = _option("", "standalone: JSON list of keys, as in a snapshot")
    stores_file: str = _option(
        "", "standalone: JSON list of online feature stores, as in a snapshot, read at the start"
    )
    anonymous: bool = _option(False, "standalone: answer predictions without a key")
    open_metrics: bool = _option(False, "answer /metrics without a key to callers on the loopback address")

    max_body_bytes: int = _option(4 * _MIB, "largest request body")
    max_rows: int = _option(10_000, "most instances in one request")
    max_queued_rows: int = _option(20_000, "most instances that may wait for one revision")
    max_batch_rows: int = _option(4096, "most instances that are given to a model at once")
    request_timeout: float = _option(10.0, "seconds until a prediction is given up with 504")
    body_timeout: float = _option(15.0, "seconds in which a request body must arrive")
    max_connections: int = _option(4096, "most open connections a worker")
    worker_silence: float = _option(15.0, "seconds after which a worker that reports nothing is replaced")
    drain_seconds: float = _option(10.0, "seconds that running requests are given at a stop")
    load_wait: float = _option(10.0, "seconds that a starting worker waits for its models before it accepts")

    load: str = _option(
        "auto",
        "when models are loaded: eager, at the start; lazy, at their first request; auto, by their number",
    )
    eager_models: int = _option(100, "most revisions that 'auto' loads at the start")
    cold_wait: float = _option(10.0, "seconds that a request waits for a model that is being loaded")
    memory_bytes: int = _option(
        0,
        "memory for the models of a worker; 0 takes 60 % of the machine's or container's, shared by the"
        " workers, -1 sets no limit",
    )

    environments_dir: str = _option("", "cache of isolated environments; default: below the state directory")
    pyfunc_python: str = _option("", "interpreter for isolated models instead of an environment of their own")
    pyfunc_start_timeout: float = _option(120.0, "seconds in which an isolated model must have started")
    pyfunc_memory_bytes: int = _option(
        8 * 1024 * _MIB,
        "memory of an isolated model, over which it is started again; 0 is what all models of a worker may take",
    )
    pyfunc_processes: int = _option(
        64, "most processes of an isolated model, over which it is started again; 0 is no limit"
    )
    pyfunc_answer_bytes: int = _option(4 * _MIB, "largest answer of an isolated model to one batch")
    pyfunc_nice: int = _option(15, "how far isolated models stand back behind the workers, 0 to 19")

    feature_policy: str = _option(
        "",
        "JSON of what is answered while a feature store is slow or down, where the deployment declares nothing",
    )
    features_deadline_ms: float = _option(
        1000.0, "milliseconds until a request for features alone (Feast's protocol) is given up with 503"
    )
    features_memory_bytes: int = _option(
        64 * _MIB, "memory of a worker for the last known features of entities, where deployments keep them"
    )
    features_memory_entities: int = _option(100_000, "most entities whose features a worker keeps so")

    explain_max_rows: int = _option(16, "most instances that are explained at once")
    explain_timeout: float = _option(60.0, "seconds until an explanation is given up with 504")
    explain_memory_bytes: int = _option(2 * 1024 * _MIB, "data limit of the explaining process; 0 is none")
    explain_idle_seconds: float = _option(300.0, "seconds without a question until that process ends")

    log_root: str = _option(
        "",
        "root of the prediction log in Parquet, a directory or s3://bucket/prefix; default: below the state"
        " directory",
    )
    log_roll_seconds: float = _option(30.0, "age at which a spool becomes Parquet")
    log_roll_bytes: int = _option(16 * _MIB, "size at which a spool becomes Parquet")
    log_spool_bytes: int = _option(
        1024 * _MIB, "most that may wait on disk; beyond it predictions are not logged"
    )
    log_buffer_bytes: int = _option(32 * _MIB, "most that may wait in a worker's memory")
    log_free_bytes: int = _option(
        256 * _MIB, "free space that the log leaves on its disk; below it predictions are not logged"
    )
    log_retention_days: float = _option(
        90.0, "days after which a day of the Parquet log is deleted; 0 keeps all"
    )
    log_max_bytes: int = _option(
        32 * 1024 * _MIB, "size of the Parquet log beyond which its oldest days are deleted; 0 is no limit"
    )

    events_url: str = _option("", "address that logged requests are sent to as CloudEvents; empty sends none")
    events_mode: str = _option(
        "batch", "form of the events: batch (JSON, many at once), structured or binary"
    )
    events_token_file: str = _option("", "file that holds the bearer token for that address")
    events_bytes: int = _option(
        256 * _MIB, "most that may wait on disk to be sent; beyond it requests are not sent"
    )

    traces_endpoint: str = _option(
        "", "OTLP collector that traces are sent to over HTTP; without a path, /v1/traces; empty sends none"
    )
    traces_headers: str = _option("", "headers for the collector, as name=value,name=value")
    traces_ratio: float = _option(
        AUTO,
        "share of the requests to trace for which no caller has decided, 0 to 1; -1 traces all, up to"
        " traces_per_second",
    )
    traces_per_second: float = _option(20.0, "most requests a second and worker that a ratio of -1 traces")
    traces_follow: bool = _option(True, "callers decide for their requests, by the flag of their traceparent")
    traces_service: str = _option("mlops-inference", "service.name of the traces")
    traces_attributes: str = _option("", "attributes of that service, as name=value,name=value")
    traces_compression: str = _option("none", "compression of what is sent to the collector: none or gzip")
    traces_ca_file: str = _option(
        "", "certificates that the collector's is checked against; default: the system's"
    )

    @property
    def state(self) -> Path:
        return Path(self.state_dir).expanduser()

    @property
    def snapshot_file(self) -> Path:
        return self.state / "snapshot.json"

    @property
    def bundle_cache(self) -> Path:
        return self.state / "bundles"

    @property
    def spool(self) -> Path:
        return self.state / "predictions" / "spool"

    @property
    def events(self) -> Path:
        return self.state / "predictions" / "events"

    @property
    def prediction_log(self) -> Path:
        """Where Parquet is written; with a bucket as the root, what waits to be sent there."""
        if self.log_bucket:
            return self.state / "predictions" / "outgoing"
        return Path(self.log_root).expanduser() if self.log_root else self.state / "predictions" / "log"

    @property
    def log_bucket(self) -> str:
        """`s3://bucket/prefix`, when the root of the prediction log is one."""
        return self.log_root if self.log_root.startswith(_S3) else ""

    @property
    def environments(self) -> Path:
        return Path(self.environments_dir).expanduser() if self.environments_dir else self.state / "envs"

    @property
    def roots(self) -> tuple[Path, ...]:
        given = [*self._given_roots, self.model_dir]
        return tuple(Path(root).expanduser() for root in given if root and not root.startswith(_S3))

    @property
    def buckets(self) -> tuple[str, ...]:
        """Roots that are `s3://bucket/prefix`."""
        return tuple(root for root in self._given_roots if root.startswith(_S3))

    @property
    def s3(self) -> S3Connection:
        return S3Connection(endpoint=self.s3_endpoint, region=self.s3_region)

    @property
    def worker_count(self) -> int:
        return self.workers or os.cpu_count() or 1

    @property
    def _given_roots(self) -> list[str]:
        return re.split(rf"{re.escape(os.pathsep)}(?!//)", self.storage_roots)

    def online_store(self) -> RedisAddress | None:
        """Where Redis is; raises ValueError, whose text shows nothing of the address, or OSError."""
        if self.online_store_url and self.online_store_url_file:
            raise ValueError("online_store_url and online_store_url_file: give one of them")
        url = self.online_store_url
        if self.online_store_url_file:
            url = Path(self.online_store_url_file).expanduser().read_text()
        try:
            return RedisAddress.parse(url) if url.strip() else None
        except ValueError as error:
            raise ValueError(f"online_store_url: {error}") from None

    def default_feature_policy(self) -> FeaturePolicy | None:
        """What holds for revisions that declare nothing; raises MsgspecError when it is none."""
        return msgspec.json.decode(self.feature_policy, type=FeaturePolicy) if self.feature_policy else None

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Settings:
        return msgspec.json.decode(text, type=cls)


def load_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Reads the settings; exits with a message that names the argument when one is not valid."""
    types = get_type_hints(Settings)
    standard = standard_settings(environ)
    parser = argparse.ArgumentParser(prog="mlops-inference", description="Serves models.")
    for option in fields(Settings):
        kind = types[option.name]
        raw = environ.get(_PREFIX + option.name.upper(), standard.get(option.name))
        parser.add_argument(
            "--" + option.name.replace("_", "-"),
            type=_boolean if kind is bool else kind,
            default=option.default if raw is None else raw,  # argparse converts a string default as well
            help=f"{option.metadata['help']} (default: {option.default!r})".replace("%", "%%"),
            nargs="?" if kind is bool else None,
            const=True if kind is bool else None,
        )
    settings = Settings(**vars(parser.parse_args(list(arguments))))
    try:
        settings.default_feature_policy()
    except msgspec.MsgspecError as error:
        parser.error(f"--feature-policy: {error}")
    if settings.load not in LOAD_MODES:
        parser.error(f"--load: expected one of {', '.join(LOAD_MODES)}, got {settings.load!r}")
    try:
        settings.online_store()
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--online-store-url-file: {error.strerror}")
    return settings


def _boolean(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off", ""}:
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
