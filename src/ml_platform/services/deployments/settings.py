"""How patient rollouts are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Time limits and intervals of rollouts, in seconds.

    `kserve_runtime` names the ServingRuntime that manifests ask for.
    `gate_tolerance` is how much worse than the champion a new version may be on the same rows, and
    `slice_tolerance` how much accuracy it may lose, beyond chance, on a part of them.
    """

    ready_timeout_seconds: float = 300.0
    ready_poll_seconds: float = 0.5
    canary_poll_seconds: float = 2.0
    smoke_timeout_seconds: float = 15.0
    smoke_rows: int = 5
    gate_tolerance: float = 0.0
    slice_tolerance: float = 0.05
    kserve_runtime: str = "mlops"
