"""The short write paths store exactly what MLflow's own methods store."""

import math

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from tests.integrations.mlflow.test_gateway import stores  # noqa: F401 - the fixture

NAN, INF = math.nan, math.inf
CASES = [
    [Metric("m", 1.0, 10, 0)],
    [Metric("m", 1.0, 10, 0), Metric("m", 1.0, 10, 0)],
    [Metric("m", 2.0, 10, 5), Metric("m", 1.0, 20, 1), Metric("m", 3.0, 10, 5), Metric("n", 0.0, 1, -3)],
    [Metric("m", NAN, 10, 1), Metric("m", INF, 11, 1), Metric("m", -INF, 12, 1)],
    [Metric("m", NAN, 10, 1), Metric("m", 0.0, 10, 1)],
    [Metric("m", -1.0, 10, 1), Metric("m", NAN, 10, 1)],
    [Metric("m", 5.0, 1, 1), Metric("m", 4.0, 1, 1), Metric("m", 5.0, 0, 1)],
    [Metric(f"k{i % 7}", float(i * 37 % 11), i * 13 % 5, i * 7 % 4) for i in range(200)],
]


@pytest.fixture
def both(stores, unique):  # noqa: F811 - the imported fixture
    """Two runs, and the store by its short paths and by MLflow's own methods."""
    from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore as Theirs

    team = "team-parity"
    stores.ensure_workspace(team)
    with stores.writing(team):
        experiment = stores.tracking.create_experiment(unique)
        ours = stores.tracking.create_run(experiment, "u", 5, [RunTag("a", "1")], None).info.run_id
        theirs = Theirs.create_run(stores.tracking, experiment, "u", 5, [RunTag("a", "1")], None).info.run_id
        yield stores.tracking, Theirs, ours, theirs


def rows(store, run):
    from sqlalchemy import text

    found = {}
    with store.engine.connect() as connection:
        for table in ("metrics", "latest_metrics", "params", "tags"):
            query = text(f"SELECT * FROM {table} WHERE run_uuid = :run")
            dropped = ("run_uuid",)
            found[table] = sorted(
                tuple((key, value) for key, value in row.items() if key not in dropped)
                for row in connection.execute(query, {"run": run}).mappings()
                if row["key"] != "mlflow.runName"
            )
    return found


class TestMetrics:
    @pytest.mark.parametrize("metrics", CASES)
    def test_one_by_one(self, both, metrics):
        store, theirs, our_run, their_run = both
        for metric in metrics:
            store.log_metric(our_run, metric)
            theirs.log_metric(store, their_run, metric)
        assert rows(store, our_run) == rows(store, their_run)

    @pytest.mark.parametrize("metrics", CASES)
    def test_as_a_batch_twice(self, both, metrics):
        store, theirs, our_run, their_run = both
        tags = [RunTag("t", "1"), RunTag("a", "2")]
        for _ in range(2):
            store.log_batch(our_run, metrics, [Param("p", "1"), Param("q", "2")], tags)
            theirs.log_batch(store, their_run, metrics, [Param("p", "1"), Param("q", "2")], tags)
        assert rows(store, our_run) == rows(store, their_run)


class TestRuns:
    @pytest.mark.parametrize(
        ("name", "tags"),
        [
            (None, []),
            ("n", []),
            (None, [RunTag("mlflow.runName", "t")]),
            ("t", [RunTag("mlflow.runName", "t")]),
            (None, [RunTag("a", "1"), RunTag("b", "2")]),
        ],
    )
    def test_created_runs_are_alike(self, both, name, tags):
        store, theirs, our_run, _ = both
        experiment = store.get_run(our_run).info.experiment_id
        ours = store.create_run(experiment, "u", 7, tags, name or "fixed" if not tags else name)
        other = theirs.create_run(store, experiment, "u", 7, tags, name or "fixed" if not tags else name)
        for made in (ours, other):
            read = store.get_run(made.info.run_id)
            assert dict(read.info) == dict(made.info)
            assert read.data.tags == made.data.tags
        same = [
            key for key in dict(ours.info) if key not in ("run_id", "run_uuid", "artifact_uri", "run_name")
        ]
        assert [dict(ours.info)[key] for key in same] == [dict(other.info)[key] for key in same]


REFUSED = [
    lambda log, run: log.log_metric(run, Metric("m", "x", 1, 0)),
    lambda log, run: log.log_metric(run, Metric("m" * 300, 1.0, 1, 0)),
    lambda log, run: log.log_metric(run, Metric("../m", 1.0, 1, 0)),
    lambda log, run: log.log_metric("0" * 32, Metric("m", 1.0, 1, 0)),
    lambda log, run: log.log_param(run, Param("p" * 300, "1")),
    lambda log, run: log.log_param("0" * 32, Param("p", "1")),
    lambda log, run: log.log_batch(run, [], [Param("p", "1"), Param("p", "2")], []),
    lambda log, run: log.log_batch(run, [], [Param("changed", "2")], []),
    lambda log, run: log.log_param(run, Param("changed", "2")),
    lambda log, run: log.log_batch("0" * 32, [Metric("m", 1.0, 1, 0)], [], []),
    lambda log, run: log.create_run("999999", "u", 1, [], None),
    lambda log, run: log.create_run("x", "u", 1, [], None),
]


class _Their:
    """MLflow's own methods over our store."""

    def __init__(self, store, theirs):
        self._store, self._theirs = store, theirs

    def __getattr__(self, name):
        return lambda *arguments: getattr(self._theirs, name)(self._store, *arguments)


class TestRefusals:
    @pytest.mark.parametrize("call", REFUSED)
    def test_errors_are_mlflows_own(self, both, call):
        store, theirs, our_run, their_run = both
        for run in (our_run, their_run):
            store.log_param(run, Param("changed", "1"))
        errors = []
        for log, run in ((store, our_run), (_Their(store, theirs), their_run)):
            with pytest.raises(MlflowException) as refused:
                call(log, run)
            errors.append((refused.value.error_code, refused.value.message.replace(run, "<run>")))
        assert errors[0] == errors[1]

    def test_a_deleted_run_takes_no_writes(self, both):
        store, _, run, _ = both
        store.delete_run(run)
        for call in (
            lambda: store.log_metric(run, Metric("m", 1.0, 1, 0)),
            lambda: store.log_param(run, Param("p", "1")),
            lambda: store.log_batch(run, [Metric("m", 1.0, 1, 0)], [], []),
        ):
            with pytest.raises(MlflowException, match="active"):
                call()

    def test_a_batch_with_a_conflict_writes_nothing_of_params_twice(self, both):
        store, _, run, _ = both
        store.log_param(run, Param("p", "1"))
        with pytest.raises(MlflowException, match="Changing param values"):
            store.log_batch(run, [Metric("m", 1.0, 1, 0)], [Param("p", "2")], [])
        assert rows(store, run)["metrics"] == []
