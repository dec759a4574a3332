"""How patient rollouts are, and what deployments cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Time limits and intervals of rollouts, in seconds.

    `smoke_calls` and `trial_calls` are those by which latency is measured at the endpoint and in the test stage;
    `stability_rows` the most held-out rows that are asked for a second time, moved.
    `kserve_runtime` names the ServingRuntime that manifests ask for.
    `gate_tolerance` is how much worse than the champion a new version may be on the same rows, and
    `slice_tolerance` how much accuracy it may lose, beyond chance, on a part of them.
    """

    ready_timeout_seconds: float = 300.0
    ready_poll_seconds: float = 0.5
    canary_poll_seconds: float = 2.0
    smoke_timeout_seconds: float = 15.0
    smoke_rows: int = 5
    smoke_calls: int = 10
    explain_timeout_seconds: float = 30.0
    trial_calls: int = 50
    stability_rows: int = 500
    gate_tolerance: float = 0.0
    slice_tolerance: float = 0.05
    kserve_runtime: str = "mlops"


@dataclass(frozen=True, slots=True)
class Prices:
    """What an hour of a core, of a GiB and of a GPU costs, and 1,000,000 predictions; None: there is no price."""

    currency: str = "EUR"
    cpu_hour: float | None = None
    memory_gb_hour: float | None = None
    gpu_hour: float | None = None
    million_predictions: float | None = None

    @property
    def set(self) -> bool:
        found = (self.cpu_hour, self.memory_gb_hour, self.gpu_hour, self.million_predictions)
        return any(price is not None for price in found)
