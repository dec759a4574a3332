"""The program that the crash tests kill: workflows of four effects, a wait for a message and a sleep."""

import sqlite3
from pathlib import Path

from ml_platform.integrations.dbos import DbosEngine
from ml_platform.kit.durable import Flow


class Sink:
    """The outside world: takes each key once and counts how often it was asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS effects (key TEXT PRIMARY KEY, value TEXT)")
            connection.execute("CREATE TABLE IF NOT EXISTS tries (key TEXT)")

    def apply(self, key: str, value: str) -> str:
        with self._connect() as connection:
            connection.execute("INSERT INTO tries VALUES (?)", (key,))
            connection.execute("INSERT OR IGNORE INTO effects VALUES (?, ?)", (key, value))
        return value

    def effects(self) -> dict[str, str]:
        with self._connect() as connection:
            return dict(connection.execute("SELECT key, value FROM effects"))

    def tries(self) -> dict[str, int]:
        with self._connect() as connection:
            return dict(connection.execute("SELECT key, count(*) FROM tries GROUP BY key"))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30)


class Delivery:
    name = "delivery"

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def run(self, flow: Flow, *, item: str) -> list[str]:
        done = [flow.step("build", self._sink.apply, flow.key("build"), f"{item} built")]
        done.append(flow.step("check", self._sink.apply, flow.key("check"), f"{item} checked"))
        approval = flow.receive("approval", 3600)
        done.append(flow.step("deploy", self._sink.apply, flow.key("deploy"), f"{item} by {approval['by']}"))
        flow.sleep(0.3)
        done.append(flow.step("announce", self._sink.apply, flow.key("announce"), f"{item} announced"))
        return done


def deliver(database_url: str, sink: Path, items: list[str]) -> None:
    """Starts what was not started, approves what was not approved, and waits until all is delivered."""
    engine = DbosEngine(database_url, poll_interval=0.05)
    engine.register(Delivery(Sink(sink)))
    engine.launch()
    for item in items:
        engine.start("delivery", item, {"item": item})
        engine.send(item, "approval", {"by": "ann"}, idempotency_key="approval")
    for item in items:
        assert engine.result(item, 40) == expected(item)
    engine.shutdown()


def expected(item: str) -> list[str]:
    return [f"{item} built", f"{item} checked", f"{item} by ann", f"{item} announced"]


def expected_effects(items: list[str]) -> dict[str, str]:
    steps = ("build", "check", "deploy", "announce")
    return {f"{i}/{step}": value for i in items for step, value in zip(steps, expected(i), strict=True)}
