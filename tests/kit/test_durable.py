from datetime import UTC, datetime

from ml_platform.integrations.dbos import DbosEngine
from ml_platform.integrations.dbos.flow import DbosFlow
from ml_platform.kit.durable import (
    JSON,
    Flow,
    Retry,
    StepFailedError,
    Workflow,
    WorkflowEngine,
    WorkflowError,
    WorkflowState,
    WorkflowStatus,
)


class Train:
    name = "train"

    def run(self, flow: Flow, *, job_id: str) -> JSON:
        return flow.step("fit", str.upper, job_id)


class TestProtocols:
    def test_a_plain_class_is_a_workflow_and_the_engine_and_its_flow_fit(self):
        workflow: Workflow = Train()
        engine: type[WorkflowEngine] = DbosEngine
        for protocol, implementation in (
            (WorkflowEngine, engine),
            (Flow, DbosFlow),
            (Workflow, type(workflow)),
        ):
            wanted = {name for name in vars(protocol) if not name.startswith("_")}
            assert wanted <= set(dir(implementation)), protocol


class TestRetry:
    def test_waits_grow_up_to_the_longest(self):
        retry = Retry(attempts=5, first_wait=1, factor=3, longest_wait=10)
        assert [retry.wait_after(failures) for failures in (1, 2, 3, 4)] == [1, 3, 9, 10]


class TestWorkflowStatus:
    def test_the_ended_ones_are_finished(self):
        assert {status for status in WorkflowStatus if status.finished} == {
            WorkflowStatus.SUCCEEDED,
            WorkflowStatus.FAILED,
            WorkflowStatus.CANCELLED,
        }


class TestErrors:
    def test_a_failed_step_says_its_step_its_code_and_why(self):
        error = StepFailedError(WorkflowError("conflict", "taken", step="create"))
        assert (error.code, str(error)) == ("conflict", "create: taken")

    def test_a_state_is_a_plain_value(self):
        now = datetime.now(UTC)
        assert WorkflowState("j", "train", WorkflowStatus.QUEUED, now, now).error is None
