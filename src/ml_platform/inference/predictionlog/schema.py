"""What a file of the prediction log holds. Readers (drift, quality, cost) rely on these names and types.

Files stand at `<log root>/team=<t>/environment=<e>/endpoint=<n>/date=<YYYY-MM-DD>/<id>.parquet`, hive
partitions, the date in UTC. Each row is one instance of a request that reached a revision: a prediction
(status 200), or a failure of the model or the server (5xx; `error` says which). Input that was refused
with a 4xx is no prediction and is counted, not logged.

One file holds one revision. Its features are columns `f_<column>` of the signature's types, so two
revisions may differ in them: read with `union_by_name = true` (DuckDB) or
`missing_columns="insert", extra_columns="ignore"` (Polars). The columns of `COLUMNS` are in every file.
"""

from __future__ import annotations

from typing import Final

COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("request_id", "string"),
    ("instance", "int32"),  # position within the request
    ("time", "timestamp[us, UTC]"),  # when the answer was ready
    ("deployment_id", "string"),
    ("revision_id", "string"),
    ("model_name", "string"),
    ("model_version", "string"),
    ("status", "int16"),
    ("latency_ms", "double"),  # of the whole request, inside the server
    ("entity_keys", "string"),  # JSON object, null when the caller gave none
    ("prediction", "double"),  # where it is a number or a boolean, else null
    ("prediction_json", "string"),  # exactly as answered
    ("error", "string"),
    ("params", "string"),  # JSON object of the model's params, defaults included; null when it declares none
    ("feature_fallback", "string"),  # 'default' or 'last-known' when the feature store gave no answer
    ("unit", "string"),  # the hash of what kept its caller on this revision; null when nothing did
)

FEATURE_PREFIX: Final = "f_"

PARTITIONS: Final = ("team", "environment", "endpoint", "date")

FEATURE_TYPES: Final[dict[str, str]] = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "datetime": "timestamp[us, UTC]",
}
