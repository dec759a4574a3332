import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ml_platform.contracts.problems import ErrorCode
from ml_platform.integrations.dbos import DbosEngine
from ml_platform.kit.durable import (
    DuplicateStepError,
    Flow,
    NotJsonError,
    Retry,
    StepFailedError,
    WorkflowFailedError,
    WorkflowIdInUseError,
    WorkflowNotFoundError,
    WorkflowStatus,
)
from ml_platform.kit.errors import ConflictError
from tests.support.crash import eventually


class Scripted:
    """A workflow whose body is the test's function."""

    def __init__(self, body, name="scripted"):
        self.name = name
        self._body = body

    def run(self, flow: Flow, **arguments):
        return self._body(flow, **arguments)


class TestStart:
    def test_a_workflow_runs_with_its_arguments_to_its_result(self, launch):
        engine = launch(Scripted(lambda flow, n: {"next": flow.step("add", lambda x: x + 1, n)}))
        engine.start("scripted", "job_1", {"n": 41})
        assert engine.result("job_1", 20) == {"next": 42}
        state = engine.status("job_1")
        assert (state.status, state.name, state.group) == (WorkflowStatus.SUCCEEDED, "scripted", "default")
        assert abs(datetime.now(UTC) - state.created_at) < timedelta(minutes=1)

    def test_started_twice_it_runs_once_also_after_it_ended(self, launch):
        ran = []
        engine = launch(Scripted(lambda flow: flow.step("count", lambda: ran.append(1))))
        for _ in range(3):
            engine.start("scripted", "job_1", {})
        engine.result("job_1", 20)
        engine.start("scripted", "job_1", {})
        engine.start("scripted", "job_2", {})
        engine.result("job_2", 20)
        assert len(ran) == 2

    def test_an_id_of_another_workflow_is_refused(self, launch):
        engine = launch(Scripted(lambda flow: 1), Scripted(lambda flow: 2, name="other"))
        engine.start("scripted", "job_1", {})
        with pytest.raises(WorkflowIdInUseError):
            engine.start("other", "job_1", {})

    def test_what_cannot_run_is_refused_before_anything_is_recorded(self, launch):
        class Typed:
            name = "typed"

            def run(self, flow: Flow, *, rows: int) -> int:
                return rows

        engine = launch(Typed())
        with pytest.raises(WorkflowNotFoundError):
            engine.start("unknown", "job_1", {})
        with pytest.raises(TypeError):
            engine.start("typed", "job_1", {"columns": 1})
        for value in (float("nan"), float("inf"), object(), "x" * 1_000_001):
            with pytest.raises(NotJsonError):
                engine.start("typed", "job_1", {"rows": value})
        with pytest.raises(WorkflowNotFoundError):
            engine.status("job_1")

    def test_no_more_run_at_once_than_allowed_and_no_group_takes_all_the_room(self, launch):
        release, lock, running, most = threading.Event(), threading.Lock(), {}, {}

        def body(flow, group):
            def work():
                with lock:
                    for key in (group, "all"):
                        running[key] = running.get(key, 0) + 1
                        most[key] = max(most.get(key, 0), running[key])
                release.wait(20)
                with lock:
                    for key in (group, "all"):
                        running[key] -= 1

            flow.step("work", work)

        engine = launch(Scripted(body), max_concurrency=4, max_per_group=3)
        for i in range(12):
            engine.start("scripted", f"flood_{i}", {"group": "flood"}, group="flood")
        eventually(lambda: running.get("flood") == 3)
        engine.start("scripted", "small_1", {"group": "small"}, group="small")
        eventually(lambda: running.get("small") == 1)
        release.set()
        for i in range(12):
            engine.result(f"flood_{i}", 20)
        engine.result("small_1", 20)
        assert most == {"flood": 3, "small": 1, "all": 4}


class TestStep:
    def test_first_run_and_replay_see_the_same_value(self, launch):
        seen = []

        def body(flow):
            seen.append(flow.step("tuple", lambda: (1, {"a": (2,)})))
            flow.receive("go", 60)

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine.send("job_1", "go", True, idempotency_key="1")
        engine.result("job_1", 20)
        assert seen == [[1, {"a": [2]}]] * 2

    def test_a_planned_error_keeps_its_code_detail_and_hint_and_no_traceback(self, launch, database_url):
        def fail():
            raise ConflictError("already there", hint="choose another name", extra={"name": "churn"})

        engine = launch(Scripted(lambda flow: flow.step("create", fail)))
        engine.start("scripted", "job_1", {})
        with pytest.raises(WorkflowFailedError) as failed:
            engine.result("job_1", 20)
        error = failed.value.error
        assert (error.code, error.detail, error.step) == (str(ErrorCode.CONFLICT), "already there", "create")
        assert (error.hint, error.extra) == ("choose another name", {"name": "churn"})
        assert engine.status("job_1").status == WorkflowStatus.FAILED
        assert "Traceback" not in everything_recorded(database_url)

    def test_an_unplanned_error_shows_its_type_alone(self, launch, database_url):
        def fail():
            raise RuntimeError("password=hunter2 in /srv/secret.py")

        engine = launch(
            Scripted(lambda flow: flow.step("create", fail)), Scripted(lambda flow: fail(), name="bare")
        )
        for name, step in (("scripted", "create"), ("bare", None)):
            engine.start(name, name, {})
            with pytest.raises(WorkflowFailedError) as failed:
                engine.result(name, 20)
            error = failed.value.error
            assert (error.code, error.detail, error.step) == (
                "internal_error",
                "unexpected RuntimeError",
                step,
            )
        assert "hunter2" not in everything_recorded(database_url)

    def test_a_workflow_can_go_another_way_after_a_failed_step_and_does_so_on_replay(self, launch):
        tried = []

        def fail():
            tried.append(1)
            raise ConflictError("taken")

        def body(flow):
            try:
                flow.step("first", fail)
            except StepFailedError as error:
                code = error.code
            flow.receive("go", 60)
            return flow.step("second", lambda: code)

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine.send("job_1", "go", 1, idempotency_key="1")
        assert engine.result("job_1", 20) == str(ErrorCode.CONFLICT)
        assert len(tried) == 1

    def test_a_failing_step_is_tried_again_as_often_as_allowed(self, launch):
        tried = []

        def flaky():
            tried.append(1)
            if len(tried) < 3:
                raise OSError("away")
            return "there"

        retry = Retry(attempts=3, first_wait=0.01, on=(OSError,))
        engine = launch(Scripted(lambda flow: flow.step("read", flaky, retry=retry)))
        engine.start("scripted", "job_1", {})
        assert engine.result("job_1", 20) == "there"

    def test_errors_that_another_try_will_not_cure_are_not_tried_again(self, launch):
        tried = []

        def wrong():
            tried.append(1)
            raise ConflictError("taken")

        engine = launch(
            Scripted(lambda flow: flow.step("read", wrong, retry=Retry(attempts=5, on=(OSError,))))
        )
        engine.start("scripted", "job_1", {})
        with pytest.raises(WorkflowFailedError):
            engine.result("job_1", 20)
        assert len(tried) == 1

    def test_results_that_are_not_json_and_doubled_names_fail_the_workflow(self, launch):
        def twice(flow):
            flow.step("a", lambda: 1)
            with pytest.raises(DuplicateStepError):
                flow.step("a", lambda: 2)
            return "refused"

        engine = launch(
            Scripted(lambda flow: flow.step("nan", lambda: float("nan"))), Scripted(twice, name="twice")
        )
        engine.start("scripted", "job_1", {})
        engine.start("twice", "job_2", {})
        with pytest.raises(WorkflowFailedError, match="not JSON"):
            engine.result("job_1", 20)
        assert engine.result("job_2", 20) == "refused"

    def test_a_step_within_a_step_is_refused(self, launch):
        engine = launch(Scripted(lambda flow: flow.step("outer", lambda: flow.step("inner", lambda: 1))))
        engine.start("scripted", "job_1", {})
        with pytest.raises(WorkflowFailedError) as failed:
            engine.result("job_1", 20)
        assert failed.value.error.detail == "unexpected DurableError"

    def test_keys_are_stable_and_differ_by_workflow_and_step(self, launch):
        engine = launch(Scripted(lambda flow: [flow.key("a"), flow.key("b")]))
        engine.start("scripted", "job_1", {})
        assert engine.result("job_1", 20) == ["job_1/a", "job_1/b"]


class TestWaiting:
    def test_a_message_ends_the_wait_and_arrives_once(self, launch):
        engine = launch(Scripted(lambda flow: [flow.receive("approval", 60), flow.receive("approval", 0.1)]))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        eventually(lambda: engine.running() == 0)
        for _ in range(3):
            engine.send("job_1", "approval", {"by": "ann"}, idempotency_key="decision_1")
        assert engine.result("job_1", 20) == [{"by": "ann"}, None]

    def test_messages_wait_for_their_receiver_in_order_by_topic(self, launch):
        begin = threading.Event()

        def body(flow):
            flow.step("hold", lambda: begin.wait(20))
            return [flow.receive(topic, 5) for topic in ("a", "b", "a")]

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        for i, topic in enumerate("bac"):
            engine.send("job_1", topic, i, idempotency_key=str(i))
            time.sleep(0.002)  # messages of one millisecond have no order
        engine.send("job_1", "a", None, idempotency_key="last")
        begin.set()
        assert engine.result("job_1", 20) == [1, 0, None]

    def test_a_message_written_by_another_process_is_found(self, launch, database_url):
        engine = launch(Scripted(lambda flow: flow.receive("approval", 60)))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        from dbos import DBOS

        DBOS.send("job_1", {"payload": "yes"}, "approval")  # past the engine: nobody wakes the workflow
        assert engine.result("job_1", 20) == "yes"

    def test_a_message_to_nobody_is_an_error(self, launch):
        engine = launch(Scripted(lambda flow: 1))
        with pytest.raises(WorkflowNotFoundError):
            engine.send("nobody", "a", 1, idempotency_key="1")

    def test_sleep_lasts_and_leaves_no_thread(self, launch):
        def body(flow):
            began = flow.now()
            flow.sleep(1.5)
            return (flow.now() - began).total_seconds()

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1 and engine.running() == 0)
        assert 1.5 <= engine.result("job_1", 20) < 10

    def test_poll_answers_what_the_probe_found_and_wake_asks_at_once(self, launch):
        found = []
        engine = launch(
            Scripted(
                lambda flow: flow.poll("job", lambda: found[0] if found else None, every=3600, timeout=7200)
            )
        )
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        found.append({"exit_code": 0})
        engine.wake("job_1")
        assert engine.result("job_1", 20) == {"exit_code": 0}

    def test_poll_asks_by_itself_and_gives_up_in_time(self, launch):
        asked = []
        engine = launch(
            Scripted(lambda flow: flow.poll("job", lambda: asked.append(1), every=0.2, timeout=1))
        )
        engine.start("scripted", "job_1", {})
        assert engine.result("job_1", 20) is None
        assert len(asked) >= 3

    def test_a_failing_probe_is_a_failed_step(self, launch):
        def probe():
            raise ConflictError("gone")

        engine = launch(Scripted(lambda flow: flow.poll("job", probe, every=1, timeout=9)))
        engine.start("scripted", "job_1", {})
        with pytest.raises(WorkflowFailedError, match="gone"):
            engine.result("job_1", 20)

    def test_many_wait_without_threads_and_all_go_on(self, launch):
        engine = launch(Scripted(lambda flow: flow.receive("go", 600)), max_concurrency=2)
        ids = [f"job_{i}" for i in range(40)]
        for workflow_id in ids:
            engine.start("scripted", workflow_id, {})
        eventually(lambda: engine.waiting() == 40)
        eventually(lambda: engine.running() == 0)
        for workflow_id in ids:
            engine.send(workflow_id, "go", workflow_id, idempotency_key="1")
        assert [engine.result(i, 30) for i in ids] == ids


class TestCancel:
    def test_a_waiting_workflow_ends_at_once_and_does_not_come_back(self, launch):
        after = []

        def body(flow):
            flow.receive("go", 600)
            flow.step("after", lambda: after.append(1))

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine.cancel("job_1")
        with pytest.raises(WorkflowFailedError) as failed:
            engine.result("job_1", 20)
        assert failed.value.error.code == "cancelled"
        assert engine.waiting() == 0
        engine.send("job_1", "go", 1, idempotency_key="1")
        engine.start("scripted", "job_1", {})
        engine = launch(Scripted(body))
        engine.start("scripted", "job_2", {})
        eventually(lambda: engine.waiting() == 1)
        assert engine.status("job_1").status == WorkflowStatus.CANCELLED
        assert not after

    def test_a_running_one_ends_at_its_next_step_or_within_a_long_step_that_asks(self, launch):
        in_step, after = threading.Event(), []

        def body(flow):
            def long():
                in_step.set()
                while True:
                    flow.check_interrupted()
                    time.sleep(0.01)

            flow.step("long", long)
            after.append(1)

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        assert in_step.wait(20)
        engine.cancel("job_1")
        eventually(lambda: engine.running() == 0)
        assert engine.status("job_1").status == WorkflowStatus.CANCELLED
        assert not after

    def test_what_has_ended_stays_as_it_ended(self, launch):
        engine = launch(Scripted(lambda flow: 1))
        engine.start("scripted", "job_1", {})
        engine.result("job_1", 20)
        engine.cancel("job_1")
        assert engine.result("job_1", 1) == 1
        with pytest.raises(WorkflowNotFoundError):
            engine.cancel("unknown")


class TestLaunch:
    def test_the_rest_of_a_workflow_runs_in_the_next_engine_with_newer_code(self, launch):
        ran = []

        def old(flow):
            first = flow.step("first", lambda: ran.append("first") or "old")
            flow.receive("go", 600)
            return [first, "old"]

        def new(flow):
            first = flow.step("first", lambda: ran.append("first") or "new")
            flow.receive("go", 600)
            checked = flow.step("check", lambda: True) if flow.patched("check") else False
            return [first, "new", checked]

        engine = launch(Scripted(old))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine = launch(Scripted(new))
        eventually(lambda: engine.waiting() == 1)
        engine.send("job_1", "go", 1, idempotency_key="1")
        assert engine.result("job_1", 20) == ["old", "new", True]
        assert ran == ["first"]

    def test_code_that_no_longer_fits_the_records_fails_the_workflow_and_says_so(self, launch):
        engine = launch(Scripted(lambda flow: (flow.step("first", lambda: 1), flow.receive("go", 600))))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine = launch(Scripted(lambda flow: flow.step("renamed", lambda: 1)))
        with pytest.raises(WorkflowFailedError) as failed:
            engine.result("job_1", 20)
        assert failed.value.error.code == "workflow_changed"

    def test_a_sole_engine_adopts_the_workflows_of_other_names_and_versions(self, launch):
        workflow = Scripted(lambda flow: flow.receive("go", 600))
        engine = launch(workflow, executor_id="old-host", application_version="0.9")
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine = launch(workflow, executor_id="new-host", application_version="1.0")
        eventually(lambda: engine.waiting() == 1)
        engine.send("job_1", "go", "on", idempotency_key="1")
        assert engine.result("job_1", 20) == "on"

    def test_one_of_several_engines_leaves_them_until_told_to_recover(self, launch):
        workflow = Scripted(lambda flow: flow.receive("go", 600))
        engine = launch(workflow, executor_id="worker-0", sole=False)
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine = launch(workflow, executor_id="worker-1", sole=False)
        engine.start("scripted", "job_2", {})
        eventually(lambda: engine.waiting() == 1)
        assert engine.recover("worker-0") == 1
        eventually(lambda: engine.waiting() == 2)

    def test_an_engine_that_executes_nothing_still_starts_sends_and_asks(self, launch):
        workflow = Scripted(lambda flow: flow.receive("go", 600))
        engine = launch(workflow, execute=False)
        engine.start("scripted", "job_1", {})
        engine.send("job_1", "go", 7, idempotency_key="1")
        assert [state.workflow_id for state in engine.list_pending()] == ["job_1"]
        assert engine.status("job_1").status == WorkflowStatus.QUEUED
        assert launch(workflow).result("job_1", 20) == 7

    def test_a_step_under_way_is_interrupted_by_shutdown_and_runs_again_after_launch(self, launch):
        entered, ran = threading.Event(), []

        def body(flow):
            def long():
                ran.append(1)
                entered.set()
                while len(ran) == 1:
                    flow.check_interrupted()
                    time.sleep(0.01)
                return len(ran)

            return flow.step("long", long)

        engine = launch(Scripted(body))
        engine.start("scripted", "job_1", {})
        assert entered.wait(20)
        assert launch(Scripted(body)).result("job_1", 20) == 2

    def test_there_is_one_engine_at_a_time_and_its_workflows_have_one_name_each(self, launch, tmp_path):
        engine = launch(Scripted(lambda flow: 1))
        with pytest.raises(RuntimeError, match="launch"):
            engine.register(Scripted(lambda flow: 1, name="late"))
        second = DbosEngine(f"sqlite:///{tmp_path / 'second.db'}")
        second.register(Scripted(lambda flow: 1))
        with pytest.raises(ValueError, match="already"):
            second.register(Scripted(lambda flow: 1))
        with pytest.raises(RuntimeError, match="already running"):
            second.launch()
        engine.start("scripted", "job_1", {})
        assert engine.result("job_1", 20) == 1


class TestRecords:
    def test_nothing_is_pickled(self, launch, database_url):
        def body(flow):
            flow.step("value", lambda: {"a": [1, "é", None]})
            flow.receive("go", 20)
            flow.sleep(0.01)
            flow.now()
            flow.patched("p")
            flow.step("fails", fail)

        def fail():
            raise ValueError("x")

        engine = launch(Scripted(body), Scripted(lambda flow: None, name="empty"))
        engine.start("scripted", "job_1", {})
        engine.start("empty", "job_2", {})
        engine.send("job_1", "go", {"é": 1}, idempotency_key="1")
        with pytest.raises(WorkflowFailedError):
            engine.result("job_1", 20)
        assert engine.result("job_2", 20) is None
        formats = set()
        for table, row in recorded_rows(database_url):
            if row.get("serialization"):
                formats.add(row["serialization"])
            for column in ("inputs", "output", "error", "message"):
                text = row.get(column)
                # A pickle in base64 begins with gAS (protocol 4 and 5) or gAN.
                assert not (isinstance(text, str) and text.startswith("gA")), (table, column, text)
        assert formats == {"portable_json"}

    def test_a_pickle_planted_in_the_database_is_not_read(self, launch, database_url, tmp_path):
        import base64
        import pickle

        class Planted:
            def __reduce__(self):
                return (open, (str(tmp_path / "owned"), "w"))

        engine = launch(Scripted(lambda flow: flow.receive("go", 60)))
        engine.start("scripted", "job_1", {})
        eventually(lambda: engine.waiting() == 1)
        engine.shutdown()
        planted = base64.b64encode(pickle.dumps(Planted())).decode()
        with database_of(database_url).begin() as connection:
            tables = reflected(connection)
            connection.execute(
                sa.update(tables["workflow_status"]).values(inputs=planted, serialization="py_pickle")
            )
        engine = launch(Scripted(lambda flow: flow.receive("go", 60)))
        with pytest.raises(WorkflowFailedError):
            engine.result("job_1", 20)
        assert not (tmp_path / "owned").exists()

    def test_ended_workflows_can_be_deleted_and_pending_ones_stay(self, launch):
        engine = launch(Scripted(lambda flow: 1), Scripted(lambda flow: flow.receive("go", 60), name="waits"))
        engine.start("scripted", "job_1", {})
        engine.start("waits", "job_2", {})
        engine.result("job_1", 20)
        assert engine.prune(older_than=timedelta(hours=1)) == 0
        assert engine.prune(older_than=timedelta(seconds=-5)) == 1
        with pytest.raises(WorkflowNotFoundError):
            engine.status("job_1")
        assert [state.workflow_id for state in engine.list_pending("waits")] == ["job_2"]


class TestLogs:
    def test_a_good_run_says_nothing_and_a_failed_one_is_said_once(self, launch, caplog, capfd):
        with caplog.at_level(logging.DEBUG):
            engine = launch(
                Scripted(lambda flow: flow.step("fail", lambda: 1 / 0)), Scripted(lambda flow: 1, name="ok")
            )
            logging.getLogger("dbos").setLevel(logging.ERROR)
            engine.start("ok", "job_1", {})
            engine.result("job_1", 20)
            engine.start("scripted", "job_2", {})
            with pytest.raises(WorkflowFailedError):
                engine.result("job_2", 20)
            engine.shutdown()
        assert [r for r in caplog.records if r.name == "dbos"] == []
        written = capfd.readouterr()
        assert "ZeroDivisionError" in written.out + written.err + caplog.text
        assert (written.out + written.err + caplog.text).count("Traceback") <= 1


def database_of(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)


def reflected(connection) -> dict[str, sa.Table]:
    metadata = sa.MetaData(schema="dbos" if connection.dialect.name == "postgresql" else None)
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables}


def recorded_rows(url: str) -> list[tuple[str, dict]]:
    with database_of(url).connect() as connection:
        return [
            (name, dict(row))
            for name, table in reflected(connection).items()
            for row in connection.execute(sa.select(table)).mappings()
        ]


def everything_recorded(url: str) -> str:
    return repr(recorded_rows(url))
