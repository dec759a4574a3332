"""What trials need of the inference plane: a shadow's share of the requests, and who was kept on which arm."""

import duckdb

from ml_platform.contracts.serving import Sticky, decode_snapshot, encode_snapshot

from .support.control import endpoint, revision, snapshot
from .support.server import eventually


def logged(server, columns: str, expected: int) -> list[tuple]:
    log = server.state / "predictions" / "log"

    def read() -> list[tuple] | None:
        rows = duckdb.sql(
            f"SELECT {columns} FROM read_parquet('{log}/**/*.parquet', hive_partitioning=true,"
            " union_by_name=true) ORDER BY ALL"
        ).fetchall()
        return rows if len(rows) >= expected else None

    return eventually(lambda: list(log.rglob("*.parquet")) and read(), f"{expected} rows in the log")


class TestShadowShare:
    def test_only_that_share_of_the_requests_is_copied(self, control, make_server, one, two) -> None:
        dark = revision(two, "dark", weight=0, shadow=True, shadow_share=0.3)
        control.publish(snapshot(1, endpoint(revision(one, "live"), dark)))
        server = make_server(workers=1).start()
        server.has_applied(control.snapshot)
        for number in range(400):
            server.predict([[float(number)]])
        copied = len([row for row in logged(server, "revision_id", 440) if row[0] == "dark"])
        assert 60 <= copied <= 180  # 120 are expected; six standard deviations either side

    def test_a_candidate_that_becomes_a_shadow_gets_its_share(self, control, make_server, one, two) -> None:
        control.publish(snapshot(1, endpoint(revision(one, "live"), revision(two, "dark", weight=0))))
        server = make_server(workers=1).start()
        server.has_applied(control.snapshot)
        dark = revision(two, "dark", weight=0, shadow=True, shadow_share=0.000001)
        control.publish(snapshot(2, endpoint(revision(one, "live"), dark)))
        server.has_applied(control.snapshot)
        for number in range(100):
            server.predict([[float(number)]])
        assert {row[0] for row in logged(server, "revision_id", 100)} == {"live"}


class TestUnits:
    def test_the_log_says_who_was_kept_together_without_saying_who(
        self, control, make_server, one, two
    ) -> None:
        sticky = Sticky(by="header", name="x-user", salt="first")
        control.publish(
            snapshot(1, endpoint(revision(one, "a", weight=50), revision(two, "b", weight=50), sticky=sticky))
        )
        server = make_server(workers=1).start()
        server.has_applied(control.snapshot)
        for number in range(60):
            server.predict([[0.0]], x_user=f"user-{number % 20}")
        server.predict([[0.0]])
        rows = logged(server, "unit, revision_id", 61)
        units = {unit for unit, _ in rows if unit is not None}
        assert len(units) == 20
        assert len({row for row in rows if row[0] is not None}) == 20  # each on one revision alone
        assert sum(unit is None for unit, _ in rows) == 1
        assert not any("user" in unit for unit in units)

    def test_another_salt_deals_callers_out_anew(self, control, make_server, one, two) -> None:
        server = None
        seen = []
        for version, salt in enumerate(("first", "second"), start=1):
            sticky = Sticky(by="header", name="x-user", salt=salt)
            arms = (revision(one, "a", weight=50), revision(two, "b", weight=50))
            control.publish(snapshot(version, endpoint(*arms, sticky=sticky)))
            server = server or make_server(workers=1).start()
            server.has_applied(control.snapshot)
            answers = [server.predict([[0.0]], x_user=f"user-{number}") for number in range(64)]
            seen.append([answer.headers["mlops-revision"] for answer in answers])
        assert seen[0] != seen[1]


class TestTheSnapshot:
    def test_says_nothing_new_to_servers_of_the_version_before_unless_it_must(self, one) -> None:
        plain = encode_snapshot(snapshot(1, endpoint(revision(one, "a"))))
        assert b"shadow" not in plain
        assert decode_snapshot(plain).endpoints[0].revisions[0].shadow_share == 1.0
