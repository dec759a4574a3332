"""Settings, as a tree; every one can be given as an environment variable `MLOPS_<GROUP>__<NAME>`."""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ml_platform.kit.redis.address import RedisAddress
from ml_platform.kit.s3 import S3Address


class ApiSettings(BaseModel):
    """The control plane's own listener."""

    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the API and MLflow's screens")
    threads: int = Field(default=40, ge=4, le=1000, description="Requests handled at once")
    max_body_bytes: int = Field(
        default=512 * 1024 * 1024, ge=1024, description="Largest request body (uploads included)"
    )
    max_json_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest JSON request body")
    hang_seconds: float = Field(
        default=60,
        ge=0,
        le=86_400,
        description="Without an answer for so long it is killed and started again; 0: never",
    )


class DatabaseSettings(BaseModel):
    """Where state is kept; empty means SQLite files in the home directory."""

    url: SecretStr | None = Field(default=None, description="SQLAlchemy URL of the control plane's database")
    workflow_url: SecretStr | None = Field(default=None, description="URL of the workflow engine's database")
    mlflow_url: SecretStr | None = Field(default=None, description="URL of MLflow's backend store")
    pool_size: int = Field(default=20, ge=1, le=200, description="Connections kept open")


class TraceSettings(BaseModel):
    """Traces of predictions; what is not set here is as OpenTelemetry's own variables say."""

    endpoint: str | None = Field(
        default=None,
        description="OTLP collector that traces are sent to over HTTP; default: OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    headers: SecretStr | None = Field(
        default=None, description="Headers for it, name=value,name=value; default: OTEL_EXPORTER_OTLP_HEADERS"
    )
    ratio: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the requests to trace for which no caller has decided; default:"
        " OTEL_TRACES_SAMPLER, else all, up to 20 a second and worker",
    )
    follow: bool | None = Field(
        default=None, description="Callers decide for their requests, by the flag of their traceparent"
    )


class InferenceSettings(BaseModel):
    """The inference server that the supervisor starts."""

    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8081, ge=0, le=65535, description="Port of predictions")
    grpc_port: int = Field(
        default=-1, ge=-1, le=65535, description="Port of gRPC; 0 takes a free one, -1 is off"
    )
    workers: int = Field(default=1, ge=1, le=256, description="Processes that serve")
    public_url: str | None = Field(default=None, description="The address callers use, if it is another")
    events_url: SecretStr | None = Field(
        default=None, description="Address that logged requests are sent to as CloudEvents; none by default"
    )
    events_mode: str = Field(
        default="batch", pattern="^(batch|structured|binary)$", description="Form of those events"
    )
    events_token_file: Path | None = Field(
        default=None, description="File with the bearer token for that address"
    )
    traces: TraceSettings = Field(default_factory=TraceSettings)
    log_retention_days: float = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Days that logged predictions are kept; 0 keeps them for ever",
    )
    hang_seconds: float = Field(
        default=20,
        ge=0,
        le=86_400,
        description="Without an answer for so long it is killed and started again; 0: never",
    )


class JobSettings(BaseModel):
    """Limits of training jobs that do not state their own."""

    max_running: int = Field(default=2, ge=1, le=1000, description="Jobs that run at once; the rest queue")
    max_queued_per_team: int = Field(
        default=50, ge=1, le=100_000, description="A full queue refuses with 429"
    )
    timeout_seconds: int = Field(default=3600, ge=1, le=7 * 86400, description="Longest run of a job")
    memory_bytes: int = Field(default=4 * 2**30, ge=2**26, description="Largest memory of a job's processes")
    max_processes: int = Field(default=256, ge=1, description="Most processes of a job at once")
    log_bytes: int = Field(default=64 * 2**20, ge=4096, description="Most log kept of a job")
    source_bytes: int = Field(default=128 * 2**20, ge=1024, description="Largest archive of a source folder")
    environments_dir: Path | None = Field(
        default=None, description="Cache of environments; default: `envs` in the home directory"
    )


class QuotaSettings(BaseModel):
    """The most that the deployments of a team may take together, unless the team has limits of its own."""

    deployments: int = Field(default=500, ge=1, le=1_000_000, description="Endpoints of a team")
    replicas: int = Field(default=1000, ge=1, le=1_000_000, description="Copies of all of its endpoints")
    cpu: float = Field(default=1000, ge=1, le=10_000_000, description="Cores of those copies")
    memory_mb: int = Field(default=4_000_000, ge=1, le=10**12, description="MiB of those copies")


class PriceSettings(BaseModel):
    """The price list by which a plan says what a deployment costs. None is set by default, and the plan says so."""

    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$", description="Of all of these prices")
    cpu_hour: float | None = Field(default=None, ge=0, le=1e6, description="Of a core of a copy")
    memory_gb_hour: float | None = Field(default=None, ge=0, le=1e6, description="Of a GiB of its memory")
    gpu_hour: float | None = Field(default=None, ge=0, le=1e6, description="Of a GPU of it")
    million_predictions: float | None = Field(
        default=None, ge=0, le=1e9, description="Of 1,000,000 predictions"
    )


class RolloutSettings(BaseModel):
    """Time limits and intervals of rollouts."""

    ready_timeout_seconds: float = Field(
        default=300, gt=0, le=86_400, description="Longest wait until the inference server loaded a revision"
    )
    ready_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="Interval of that wait")
    canary_poll_seconds: float = Field(default=2.0, gt=0, le=300, description="Interval of canary decisions")
    smoke_timeout_seconds: float = Field(
        default=15, gt=0, le=300, description="Longest answer of a smoke test"
    )
    smoke_rows: int = Field(default=5, ge=1, le=1000, description="Rows sent in a smoke test")
    smoke_calls: int = Field(
        default=10,
        ge=3,
        le=10_000,
        description="Calls by which a smoke test measures latency, for at most 5 s",
    )
    explain_timeout_seconds: float = Field(
        default=30, gt=0, le=300, description="Longest explanation in a smoke test"
    )
    trial_calls: int = Field(
        default=50,
        ge=3,
        le=10_000,
        description="Calls by which the test stage measures latency, for at most 5 s",
    )
    stability_rows: int = Field(
        default=500,
        ge=30,
        le=10_000,
        description="Most held-out rows whose answers are asked for again, moved",
    )
    gate_tolerance: float = Field(
        default=0.0, ge=0, le=1, description="How much worse than the champion a new version may be"
    )
    slice_tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Accuracy that it may lose, beyond chance, where a column has one value",
    )
    kserve_runtime: str = Field(
        default="mlops",
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        description="Name of the ServingRuntime that KServe manifests ask for",
    )


_RULE = "^(allow|warn|stop)$"


class PersonalDataSettings(BaseModel):
    """What personal data mean, by group of kinds: among a model's inputs in production, and for its risk."""

    direct_inputs: str = Field(
        default="stop",
        pattern=_RULE,
        description="What says who somebody is (e-mail, phone, card, account, national id, name, address) among a"
        " model's inputs: allow, warn, or stop unless the model card says why",
    )
    special_inputs: str = Field(
        default="warn", pattern=_RULE, description="The same of health, belief, origin and the like"
    )
    pseudonym_inputs: str = Field(
        default="warn", pattern=_RULE, description="The same of ids of persons, IP addresses and devices"
    )
    quasi_inputs: str = Field(
        default="warn",
        pattern=_RULE,
        description="The same of dates of birth, postcodes, places, gender and age",
    )
    direct_floor: int = Field(
        default=7, ge=0, le=10, description="Least data sensitivity of a model that was trained on the first"
    )
    special_floor: int = Field(default=9, ge=0, le=10, description="On the second")
    pseudonym_floor: int = Field(default=3, ge=0, le=10, description="On the third")
    quasi_floor: int = Field(default=4, ge=0, le=10, description="On the fourth")


class Settings(BaseSettings):
    """Everything that can be set. Embedded and cluster differ in these values alone."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_", env_nested_delimiter="__", extra="ignore")

    home: Path = Field(default=Path("~/.mlops"), description="Directory of all state")
    default_team: str = Field(default="default", description="Team that the first start creates")
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severity that is logged"
    )
    shutdown_seconds: float = Field(default=15, gt=0, le=600, description="How long requests may finish")
    alert_urls: list[SecretStr] = Field(
        default_factory=list, description="Apprise URLs that receive alerts and notifications"
    )
    advisories: Path | None = Field(
        default=None,
        description="Local copy of published advisories in OSV's format: JSON, a directory, or osv.dev's zip of PyPI",
    )
    online_store: SecretStr | None = Field(
        default=None,
        description="Redis for online features: redis://[user:password@]host[:port][/database], rediss://..."
        " or unix://...; default: SQLite files in the home directory",
    )
    online_store_file: Path | None = Field(default=None, description="File that holds that address instead")
    openlineage_url: SecretStr | None = Field(
        default=None, description="Address that takes OpenLineage's events over HTTP; none by default"
    )
    openlineage_token_file: Path | None = Field(
        default=None, description="File with the bearer token for that address"
    )
    openlineage_file: Path | None = Field(
        default=None, description="File that OpenLineage's events are added to, as JSON Lines"
    )
    openlineage_namespace: str = Field(
        default="mlops",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="What namespaces in OpenLineage's events begin with; the team's name follows",
    )
    storage: str | None = Field(
        default=None,
        pattern="^s3://",
        description="s3://bucket/prefix where files are kept; default: `storage` in the home directory",
    )
    storage_endpoint: str | None = Field(
        default=None, description="Address of that S3 store; default: AWS_ENDPOINT_URL, else Amazon's"
    )
    storage_region: str | None = Field(default=None, description="Its region; default: AWS_REGION")
    storage_cache_bytes: int = Field(
        default=20 * 2**30, ge=2**20, description="Most that is kept on this machine of what was read there"
    )
    audit_archive: str | None = Field(
        default=None,
        min_length=1,
        description="Write-once storage that the audit log is copied to: a directory, or s3://bucket/prefix of a"
        " bucket with Object Lock (reached as `storage_endpoint` and `storage_region` say); none by default",
    )
    audit_archive_mode: str = Field(
        default="COMPLIANCE",
        pattern="^(COMPLIANCE|GOVERNANCE)$",
        description="Object Lock's mode there; GOVERNANCE can be lifted by whoever holds a right of its own",
    )
    audit_archive_seconds: float = Field(
        default=300, gt=0, le=86_400, description="How often what is new is copied there"
    )
    audit_retention_days: int = Field(
        default=2557, ge=1, le=36_500, description="Days that audit events are kept: seven years"
    )
    audit_prune: bool = Field(
        default=False,
        description="Remove older events from the database when they stand in the archive; default: they stay",
    )
    api: ApiSettings = Field(default_factory=ApiSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    rollouts: RolloutSettings = Field(default_factory=RolloutSettings)
    quotas: QuotaSettings = Field(default_factory=QuotaSettings)
    prices: PriceSettings = Field(default_factory=PriceSettings)
    personal_data: PersonalDataSettings = Field(default_factory=PersonalDataSettings)

    @model_validator(mode="after")
    def _absolute_home(self) -> Self:
        self.home = self.home.expanduser().absolute()
        if self.storage:
            S3Address.parse(self.storage)
        if (self.audit_archive or "").startswith("s3:"):
            S3Address.parse(self.audit_archive or "")
        if self.audit_prune and self.audit_archive is None:
            raise ValueError(
                "MLOPS_AUDIT_PRUNE needs MLOPS_AUDIT_ARCHIVE: events are removed only when they stand there"
            )
        return self

    # -- what follows from them

    def online_store_address(self) -> RedisAddress | None:
        """Where online features go unless they go to SQLite; raises ValueError, which shows nothing of it."""
        if self.online_store is not None and self.online_store_file is not None:
            raise ValueError("MLOPS_ONLINE_STORE and MLOPS_ONLINE_STORE_FILE: give one of them")
        url = self.online_store.get_secret_value() if self.online_store is not None else ""
        if self.online_store_file is not None:
            url = self.online_store_file.expanduser().read_text()
        try:
            return RedisAddress.parse(url) if url.strip() else None
        except ValueError as error:
            raise ValueError(f"MLOPS_ONLINE_STORE: {error}") from None

    @property
    def environments_dir(self) -> Path:
        return self.jobs.environments_dir or self.home / "envs"

    @property
    def prediction_log(self) -> str:
        """The root of the prediction log's Parquet files: in object storage, a directory or a bucket's prefix."""
        return (
            f"{self.storage.rstrip('/')}/predictions"
            if self.storage
            else str(self.home / "storage" / "predictions")
        )

    @property
    def prediction_outgoing(self) -> Path:
        """What the inference server on this machine has yet to send to a bucket."""
        return self.home / "inference" / "predictions" / "outgoing"

    @property
    def prediction_spool(self) -> Path:
        """What the inference server on this machine has yet to make Parquet of."""
        return self.home / "inference" / "predictions" / "spool"

    @property
    def database_url(self) -> str:
        return _url(self.database.url, self.home / "platform.db")

    @property
    def workflow_url(self) -> str:
        return _url(self.database.workflow_url, self.home / "workflows.db")

    @property
    def mlflow_url(self) -> str:
        return _url(self.database.mlflow_url, self.home / "mlflow.db")

    @property
    def api_url(self) -> str:
        return f"http://{_reachable(self.api.host)}:{self.api.port}"

    @property
    def inference_url(self) -> str:
        return self.inference.public_url or self.inference_listener

    @property
    def inference_listener(self) -> str:
        """Where this machine reaches the inference server; one on port 0 writes down where it listens."""
        if self.inference.port:
            return f"http://{_reachable(self.inference.host)}:{self.inference.port}"
        try:
            found = json.loads((self.home / "inference" / "address.json").read_text())
            return f"http://{_reachable(found['host'])}:{found['port']}"
        except (OSError, ValueError, KeyError):
            return "http://127.0.0.1:9"  # the discard port: nobody answers there, which is the truth


def _url(given: SecretStr | None, file: Path) -> str:
    return given.get_secret_value() if given is not None else f"sqlite:///{file}"


def _reachable(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
