"""Predictions beside what happened: the join of the prediction log with ground truth, and its measures.

A label finds its prediction by the request's id, or by entity: then it is the last prediction for that entity
before the label's time, and of several such labels the earliest counts, since it is what was foreseen. A label
that was given again replaces the one before. What shadow revisions answered to the same request has the same label.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from ml_platform.services.monitoring.statistics.parquet import literal, opened

KEY_SEPARATOR = "\x1f"
_MOST_KEYS = 16
_SHADOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class AnswerKind:
    """What the predictions of a revision are.

    With `probability` they are the probability of `classes[1]`, else what the model's `predict` gives.
    """

    task: str
    probability: bool = False
    classes: tuple[bool | int | float | str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LabelledRevision:
    """One revision's predictions; `metrics` is None when they cannot be compared with labels."""

    revision_id: str
    model_name: str
    model_version: str
    predictions: int
    labelled: int
    usable: int
    metrics: Mapping[str, float | None] | None


@dataclass(frozen=True, slots=True)
class Labelled:
    labels: int
    matched: int
    ambiguous: int
    revisions: tuple[LabelledRevision, ...]


def measure_labelled(
    predictions: Sequence[Path],
    labels: Sequence[Path],
    *,
    deployment_id: str,
    since: datetime,
    until: datetime,
    kind_of: Callable[[str], AnswerKind | None],
    beside: str | None = None,
    threads: int = 2,
    memory: str = "800MB",
) -> Labelled:
    """Joins files of the prediction log with files of labels; memory grows with the labels alone.

    With `beside`, a revision, only what that revision answered as well is measured of each.
    """
    if not predictions:
        return Labelled(0, 0, 0, ())
    with opened(predictions, threads=threads, memory=memory) as connection:
        join_labels(connection, labels, deployment_id=deployment_id, since=since, until=until)
        if beside is not None:
            connection.execute(_BESIDE.format(revision=literal(beside)))
        labelled, matched, ambiguous = map(int, connection.execute(_COUNTS).fetchall()[0])
        rows = connection.execute(_REVISIONS).fetchall()
        found = [_revision(connection, row, kind_of(str(row[0]))) for row in rows]
    return Labelled(labelled, matched, ambiguous, tuple(found))


def join_labels(
    connection: duckdb.DuckDBPyConnection,
    labels: Sequence[Path],
    *,
    deployment_id: str,
    since: datetime,
    until: datetime,
) -> None:
    """Makes of the view `data` the view `answered` and the table `pairs` of answers with their label."""
    first, last = (f"TIMESTAMPTZ {literal(moment.isoformat())}" for moment in (since, until))
    connection.execute(_ANSWERED.format(deployment=literal(deployment_id), since=first, until=last))
    _load_labels(connection, labels)
    connection.execute(_BY_REQUEST)
    for names in _key_names(connection):
        connection.execute(_by_entity(names))
    connection.execute(_PAIRS)


_ANSWERED = """
CREATE VIEW answered AS
SELECT request_id, instance, time, revision_id, model_name, model_version, entity_keys, prediction, prediction_json
FROM data WHERE deployment_id = {deployment} AND status = 200 AND time >= {since} AND time < {until}
"""

_LABELS = """
CREATE TABLE labels (
    id BIGINT, request_id VARCHAR, instance INTEGER, entity_names VARCHAR, entity_key VARCHAR, time TIMESTAMPTZ,
    label DOUBLE, label_json VARCHAR, received_at TIMESTAMPTZ, position INTEGER
)
"""

_FOUND = "l.id, l.label, l.label_json, l.time AS label_time, l.received_at, l.position"

_BY_REQUEST = f"""
CREATE TABLE sized AS
SELECT a.*, count(*) OVER (PARTITION BY a.request_id, a.revision_id, a.time) AS instances
FROM answered a SEMI JOIN labels l ON a.request_id = l.request_id;
CREATE TABLE found AS
SELECT s.* EXCLUDE (instances), {_FOUND}, true AS by_request
FROM sized s JOIN labels l ON s.request_id = l.request_id
    AND (s.instance = l.instance OR (l.instance IS NULL AND s.instances = 1))
"""  # noqa: S608 - constants

_PAIRS = """
CREATE TABLE pairs AS
SELECT request_id, instance, time, revision_id, prediction, prediction_json, label, label_json FROM found
QUALIFY row_number() OVER (
    PARTITION BY request_id, instance, revision_id, time
    ORDER BY by_request DESC, CASE WHEN by_request THEN NULL ELSE label_time END, received_at DESC, position DESC
) = 1
"""

_BESIDE = """
DELETE FROM pairs p WHERE NOT EXISTS (
    SELECT 1 FROM pairs s WHERE s.revision_id = {revision} AND s.request_id = p.request_id AND s.instance = p.instance
)
"""

_COUNTS = """
SELECT (SELECT count(*) FROM labels), (SELECT count(DISTINCT id) FROM found),
    (SELECT count(DISTINCT l.id) FROM labels l JOIN sized s ON s.request_id = l.request_id
     WHERE l.instance IS NULL AND s.instances > 1)
"""

_REVISIONS = """
SELECT a.revision_id, any_value(a.model_name), any_value(a.model_version), count(*),
    (SELECT count(*) FROM pairs p WHERE p.revision_id = a.revision_id)
FROM answered a GROUP BY a.revision_id ORDER BY max(a.time) DESC
"""


def _load_labels(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    connection.execute(_LABELS)
    if files:
        names = ", ".join(literal(str(path)) for path in files)
        connection.execute(
            "INSERT INTO labels SELECT row_number() OVER (), request_id, instance, entity_names, entity_key, time,"  # noqa: S608 - quoted
            f" label, label_json, received_at, position FROM read_parquet([{names}])"
        )


def _key_names(connection: duckdb.DuckDBPyConnection) -> list[list[str]]:
    """The kinds of entity keys among the labels: one as a rule, the most frequent ones of too many."""
    rows = connection.execute(
        "SELECT entity_names FROM labels WHERE entity_names IS NOT NULL"  # noqa: S608 - a constant
        f" GROUP BY entity_names ORDER BY count(*) DESC LIMIT {_MOST_KEYS}"
    ).fetchall()
    return [json.loads(row[0]) for row in rows]


def _by_entity(names: list[str]) -> str:
    """Predictions may name further entities; the label's are looked at."""
    separator = f" || chr({ord(KEY_SEPARATOR)}) || "
    key = separator.join(f"json_extract_string(entity_keys, {literal(_pointer(name))})" for name in names)
    same = literal(json.dumps(names, ensure_ascii=False))
    return f"""
INSERT INTO found
WITH keyed AS MATERIALIZED (SELECT *, {key} AS entity_key FROM answered WHERE entity_keys IS NOT NULL),
l AS (
    SELECT labels.*, p.request_id AS of_request, p.instance AS of_instance, p.time AS answered_at
    FROM (SELECT * FROM labels WHERE entity_names = {same}) labels
    ASOF JOIN keyed p ON labels.entity_key = p.entity_key AND labels.time >= p.time
)
SELECT k.* EXCLUDE (entity_key), {_FOUND}, false
FROM l JOIN keyed k ON k.request_id = l.of_request AND k.instance = l.of_instance AND k.entity_key = l.entity_key
    AND abs(date_diff('second', k.time, l.answered_at)) <= {_SHADOW_SECONDS}
"""  # noqa: S608 - quoted


def _pointer(name: str) -> str:
    """A JSON pointer (RFC 6901) to a key of the object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _revision(
    connection: duckdb.DuckDBPyConnection, row: Sequence[object], kind: AnswerKind | None
) -> LabelledRevision:
    revision_id, name, version, predictions, labelled = row
    chosen = None if kind is None else _measures(kind)
    usable, metrics = 0, None
    if chosen is not None:
        truth, measures = chosen
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE usable AS SELECT * FROM"  # noqa: S608 - quoted
            f" (SELECT *, {truth} AS y FROM pairs WHERE revision_id = {literal(str(revision_id))})"
            " WHERE y IS NOT NULL AND coalesce(isfinite(prediction), prediction_json IS NOT NULL)"
        )
        counted = connection.execute("SELECT count(*) FROM usable").fetchone()
        usable = int(counted[0]) if counted else 0
        metrics = {name: _value(connection, query) for name, query in measures.items()} if usable else {}
    return LabelledRevision(
        str(revision_id),
        str(name),
        str(version),
        int(str(predictions)),
        int(str(labelled)),
        usable,
        metrics,
    )


def _measures(kind: AnswerKind) -> tuple[str, dict[str, str]] | None:
    """How a label reads as `y`, and a query over `usable` for each measure; None for other tasks."""
    if kind.task == "regression":
        return "CASE WHEN prediction IS NOT NULL AND isfinite(label) THEN label END", _REGRESSION
    if kind.task != "classification":
        return None
    if kind.probability and kind.classes is not None and len(kind.classes) == 2:
        negative, positive = (_is(kind_class) for kind_class in kind.classes)
        truth = f"CASE WHEN prediction BETWEEN 0 AND 1 THEN CASE WHEN {positive} THEN 1 WHEN {negative} THEN 0 END END"
        return truth, _PROBABILITY
    if kind.classes is not None:
        known = " OR ".join(_is(kind_class) for kind_class in kind.classes)
        if len(kind.classes) == 2:
            positive = _token(kind.classes[1])
            return f"CASE WHEN {known} THEN {_LABEL} END", _classes(_BINARY_F1.format(positive=positive))
        return f"CASE WHEN {known} THEN {_LABEL} END", _classes(None)
    return _LABEL, _classes(None)


_LABEL = "coalesce(label::VARCHAR, label_json)"
_ANSWER = "coalesce(prediction::VARCHAR, prediction_json)"

_REGRESSION = {
    "rmse": "SELECT sqrt(avg((prediction - y) ** 2)) FROM usable",
    "mae": "SELECT avg(abs(prediction - y)) FROM usable",
    "mean_error": "SELECT avg(prediction - y) FROM usable",
}

_PROBABILITY = {
    "accuracy": "SELECT avg(((prediction >= 0.5)::INT = y)::INT) FROM usable",
    "f1": """
        SELECT 2 * count(*) FILTER (y = 1 AND prediction >= 0.5)
            / nullif(count(*) FILTER (y = 1) + count(*) FILTER (prediction >= 0.5), 0) FROM usable""",
    # The Mann-Whitney statistic: each positive's rank among the negatives, ties counting half.
    "auc": """
        WITH scores AS (
            SELECT prediction, sum(y)::DOUBLE AS positives, sum(1 - y)::DOUBLE AS negatives FROM usable GROUP BY ALL
        ), ranked AS (
            SELECT *, sum(negatives) OVER (ORDER BY prediction ROWS UNBOUNDED PRECEDING) - negatives AS below
            FROM scores
        )
        SELECT sum(positives * (below + negatives / 2)) / nullif(sum(positives) * sum(negatives), 0) FROM ranked""",
    "log_loss": """
        SELECT -avg(CASE WHEN y = 1 THEN ln(greatest(prediction, 1e-15))
            ELSE ln(greatest(1 - prediction, 1e-15)) END) FROM usable""",
    "positive_rate": "SELECT avg(y) FROM usable",
    "mean_prediction": "SELECT avg(prediction) FROM usable",
}

_BINARY_F1 = f"""
    SELECT 2 * count(*) FILTER (y = {{positive}} AND {_ANSWER} = {{positive}})
        / nullif(count(*) FILTER (y = {{positive}}) + count(*) FILTER ({_ANSWER} = {{positive}}), 0) FROM usable"""  # noqa: S608

_MACRO_F1 = f"""
    WITH actual AS (SELECT y AS class, count(*) AS n FROM usable GROUP BY ALL),
    answered AS (SELECT {_ANSWER} AS class, count(*) AS n FROM usable GROUP BY ALL),
    hits AS (SELECT y AS class, count(*) AS n FROM usable WHERE y = {_ANSWER} GROUP BY ALL)
    SELECT avg(2 * coalesce(h.n, 0) / (coalesce(a.n, 0) + coalesce(p.n, 0)))
    FROM actual a FULL JOIN answered p USING (class) LEFT JOIN hits h USING (class)"""  # noqa: S608


def _classes(binary_f1: str | None) -> dict[str, str]:
    accuracy = f"SELECT avg((y = {_ANSWER})::INT) FROM usable"  # noqa: S608
    f1 = {"macro_f1": _MACRO_F1} if binary_f1 is None else {"f1": binary_f1}
    return {"accuracy": accuracy, **f1}


def _is(value: bool | float | str) -> str:
    """Whether a label is a class; true and 1 are the same one."""
    if isinstance(value, str):
        return f"label_json = {literal(json.dumps(value, ensure_ascii=False))}"
    return f"label = {float(value)!r}::DOUBLE"


def _token(value: bool | float | str) -> str:
    """A class as `_LABEL` and `_ANSWER` have it."""
    if isinstance(value, str):
        return literal(json.dumps(value, ensure_ascii=False))
    return f"{float(value)!r}::DOUBLE::VARCHAR"


def _value(connection: duckdb.DuckDBPyConnection, query: str) -> float | None:
    row = connection.execute(query).fetchone()
    return None if row is None or row[0] is None else float(row[0])
