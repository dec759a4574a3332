"""Shadows: they see what traffic sees, are logged and compared, and are noticed by nobody."""

import sys

import duckdb
import pytest

from ml_platform.inference.shadowing import difference

from .support.control import endpoint, revision, snapshot
from .support.load import Load
from .support.server import eventually


def metrics_of(server, revision_id: str):
    return next((r for r in server.metrics().revisions if r.revision_id == revision_id), None)


class TestShadow:
    def test_is_compared_and_logged_and_never_answers(self, control, make_server, one, two) -> None:
        control.publish(
            snapshot(1, endpoint(revision(one, "live"), revision(two, "dark", weight=0, shadow=True)))
        )
        server = make_server(workers=1).start()
        server.has_applied(control.snapshot)
        given = [server.predict([[float(n)], [n + 0.5]], x_request_id=f"request-{n:03}") for n in range(20)]
        assert {answer.headers["mlops-revision"] for answer in given} == {"live"}
        assert [answer.json()["predictions"] for answer in given] == [[n + 1.0, n + 1.5] for n in range(20)]
        dark = eventually(lambda: (m := metrics_of(server, "dark")) and m.compared == 40 and m, "comparisons")
        assert (dark.different, dark.skipped, dark.errors) == (40, 0, 0)
        assert dark.mean_distance == pytest.approx(1.0)
        assert metrics_of(server, "live").compared == 0
        text = server.get("/metrics").text
        assert "model_shadow_different_total{" in text
        log = server.state / "predictions" / "log"

        def logged() -> list[tuple] | None:
            rows = duckdb.sql(
                f"SELECT request_id, instance, prediction FROM read_parquet('{log}/**/*.parquet', "
                "hive_partitioning=true, union_by_name=true) WHERE revision_id = 'dark' ORDER BY ALL"
            ).fetchall()
            return rows if len(rows) == 40 else None

        rows = eventually(lambda: list(log.rglob("*.parquet")) and logged(), "the shadow's log")
        assert rows[6] == ("request-003", 0, 5.0)

    def test_that_hangs_or_raises_harms_nobody(self, control, make_server, one, mischief) -> None:
        control.publish(
            snapshot(1, endpoint(revision(one, "live"), revision(mischief, "dark", weight=0, shadow=True)))
        )
        server = make_server(workers=1, pyfunc_python=sys.executable).start()
        server.has_applied(control.snapshot)
        with Load(server.port, [[1.0]]) as load:
            eventually(lambda: load.answered > 300, "answers")
        assert load.failures == []
        dark = eventually(lambda: (m := metrics_of(server, "dark")) and m, "counts")
        assert dark.compared == 0
        assert dark.skipped > 0  # it takes columns that the requests lack

    def test_takes_columns_by_name(self, control, make_server, churn, storage) -> None:
        control.publish(
            snapshot(
                1,
                endpoint(
                    revision(churn.bundle, "live"),
                    revision(churn.bundle, "dark", weight=0, shadow=True),
                ),
            )
        )
        server = make_server(workers=1).start()
        server.has_applied(control.snapshot)
        for _ in range(5):
            assert server.predict(churn.instances(2)).status_code == 200
        dark = eventually(lambda: (m := metrics_of(server, "dark")) and m.compared == 10 and m, "comparisons")
        assert dark.different == 0


class TestDifference:
    @pytest.mark.parametrize(
        ("mine", "theirs", "expected"),
        [
            (0.5, 0.5, (False, 0.0)),
            (0.5, 0.75, (True, 0.25)),
            (1, 1.0, (False, 0.0)),
            ("a", "a", (False, 0.0)),
            ("a", "b", (True, 1.0)),
            ({"p": 1}, {"p": 2}, (True, 1.0)),
            (None, 0.5, (True, 1.0)),
        ],
    )
    def test_of_two_predictions(self, mine, theirs, expected) -> None:
        assert difference(mine, theirs) == expected
