"""Ground truth in object storage: one Parquet file an upload, in the prediction log's partitions."""

import json
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.contracts.quality import GroundTruthRecord
from ml_platform.kit.errors import ConflictError
from ml_platform.kit.storage import ObjectStorage
from ml_platform.services.monitoring import ServedDeployment
from ml_platform.services.monitoring.statistics import KEY_SEPARATOR

_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string()),
        pa.field("instance", pa.int32()),
        pa.field("entity_names", pa.string()),
        pa.field("entity_key", pa.string()),
        pa.field("time", pa.timestamp("us", tz="UTC")),
        pa.field("label", pa.float64()),
        pa.field("label_json", pa.string()),
        pa.field("received_at", pa.timestamp("us", tz="UTC")),
        pa.field("position", pa.int32()),
    ]
)


class StoredGroundTruth:
    """Files at `ground-truth/team=../environment=../endpoint=../<digest>.parquet`."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def put(
        self,
        deployment: ServedDeployment,
        digest: str,
        records: Sequence[GroundTruthRecord],
        received_at: datetime,
    ) -> None:
        key = _key(deployment, digest)
        if self._storage.exists(key):
            return
        rows = [
            {**_row(record), "received_at": received_at, "position": position}
            for position, record in enumerate(records)
        ]
        with tempfile.TemporaryDirectory(prefix="ground-truth-") as folder:
            path = Path(folder) / "records.parquet"
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), path, compression="zstd")
            try:
                self._storage.put_file(key, path)
            except ConflictError:
                if not self._storage.exists(key):
                    raise
                # Somebody stored the same records in this moment; only when they were received differs.

    def files(self, deployment: ServedDeployment, digests: Sequence[str]) -> list[Path]:
        uris = [self._storage.uri(_key(deployment, digest)) for digest in digests]
        return [self._storage.path(uri) for uri in uris]


def _key(deployment: ServedDeployment, digest: str) -> str:
    parts = (
        ("team", deployment.team_name),
        ("environment", deployment.environment),
        ("endpoint", deployment.name),
    )
    return "/".join(["ground-truth", *(f"{name}={value}" for name, value in parts), f"{digest}.parquet"])


def _row(record: GroundTruthRecord) -> dict[str, object]:
    label = record.label
    names = sorted(record.entity) if record.entity is not None else None
    return {
        "request_id": record.request_id,
        "instance": record.instance,
        "entity_names": None if names is None else json.dumps(names, ensure_ascii=False),
        "entity_key": None
        if record.entity is None or names is None
        else KEY_SEPARATOR.join(str(record.entity[name]) for name in names),
        "time": record.time,
        "label": None if isinstance(label, str) else float(label),
        "label_json": json.dumps(label, ensure_ascii=False),
    }
