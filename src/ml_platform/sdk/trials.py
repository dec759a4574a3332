"""Trials of versions on live traffic: shadows and A/B tests."""

import time

from ml_platform.contracts.deployments import CanaryPlan, DeploymentAccepted
from ml_platform.contracts.trials import ABTest as ABTestData
from ml_platform.contracts.trials import ABTestDetail, ABTestReport, ShadowReport
from ml_platform.contracts.trials import Shadow as ShadowData
from ml_platform.sdk.errors import DeploymentFailedError, WaitTimeoutError
from ml_platform.sdk.objects import PlatformObject
from ml_platform.sdk.transport import Transport, at


class Shadow(PlatformObject[ShadowData]):
    """A version that answers copies of an endpoint's requests, unseen."""

    _shown = ("shadow_id", "deployment_id", "model_name", "model_version", "share", "status")

    @property
    def shadow_id(self) -> str:
        return self._data.shadow_id

    @property
    def status(self) -> str:
        """The state now."""
        return self.refresh().data.status.value

    def refresh(self) -> "Shadow":
        self._data = self._transport.get(at("shadows", self.shadow_id), ShadowData)
        return self

    def wait(self, timeout: float | None = None, *, poll: float = 0.3) -> "Shadow":
        """Waits until it gets copies of requests; approvals may take their time.

        Raises:
            DeploymentFailedError: a stage stopped it, or somebody did.
            WaitTimeoutError: it is still on its way after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        while (status := self.status) == "starting":
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(f"shadow {self.shadow_id} is still starting after {timeout} s")
            time.sleep(poll)
        if status != "running":
            raise DeploymentFailedError(
                f"shadow {self.shadow_id} {status}: {self._data.reason or 'it was ended'}",
                hint=f"mlops deployments rollout {self._data.rollout_id}",
            )
        return self

    def report(self, *, min_rows: int = 100) -> ShadowReport:
        """It beside what served, on the same requests; `not_enough_data` with fewer than `min_rows` of them."""
        path = at("shadows", self.shadow_id, "report")
        return self._transport.get(path, ShadowReport, {"min_rows": min_rows})

    def stop(self) -> "Shadow":
        """Ends it; what serves is not touched."""
        self._data = self._transport.post(at("shadows", self.shadow_id, "stop"), ShadowData)
        return self

    def promote(
        self, *, justification: str | None = None, canary: CanaryPlan | None = None
    ) -> DeploymentAccepted:
        """Starts a rollout of its version, through all gates."""
        path = at("shadows", self.shadow_id, "promote")
        return self._transport.post(path, DeploymentAccepted, _promotion(justification, canary))


class ABTest(PlatformObject[ABTestData]):
    """A test of versions that share an endpoint's traffic; it may be looked at at any time."""

    _shown = ("ab_test_id", "deployment_id", "name", "status", "winner", "reason")

    @property
    def ab_test_id(self) -> str:
        return self._data.ab_test_id

    @property
    def status(self) -> str:
        """The state now."""
        return self.refresh().data.status.value

    def refresh(self) -> "ABTest":
        self._data = self.detail()
        return self

    def detail(self) -> ABTestDetail:
        """With its plan, and what the newest look saw."""
        return self._transport.get(at("ab-tests", self.ab_test_id), ABTestDetail)

    def report(self) -> ABTestReport | None:
        """What the newest look saw; None before the first."""
        return self.detail().report

    def wait(self, timeout: float | None = None, *, poll: float = 1.0) -> "ABTest":
        """Waits until it is over, whichever way; raises WaitTimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout if timeout is not None else None
        while not self.refresh().data.status.finished:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"A/B test {self.ab_test_id} is still {self._data.status.value} after {timeout} s"
                )
            time.sleep(poll)
        return self

    def cancel(self) -> "ABTest":
        """Ends it; what served before has all traffic again."""
        self._data = self._transport.post(at("ab-tests", self.ab_test_id, "cancel"), ABTestDetail)
        return self

    def promote_winner(
        self, *, justification: str | None = None, canary: CanaryPlan | None = None
    ) -> DeploymentAccepted:
        """Starts a rollout of the version that won, through all gates; ConflictError without a winner."""
        path = at("ab-tests", self.ab_test_id, "promote")
        return self._transport.post(path, DeploymentAccepted, _promotion(justification, canary))


class Trials:
    """`platform.trials`: by id; they are started from their deployment."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def shadow(self, shadow_id: str) -> Shadow:
        return Shadow(self._transport, self._transport.get(at("shadows", shadow_id), ShadowData))

    def ab_test(self, ab_test_id: str) -> ABTest:
        return ABTest(self._transport, self._transport.get(at("ab-tests", ab_test_id), ABTestDetail))


def _promotion(justification: str | None, canary: CanaryPlan | None) -> dict[str, object]:
    return {
        "justification": justification,
        "canary": canary.model_dump(mode="json") if canary is not None else None,
    }
