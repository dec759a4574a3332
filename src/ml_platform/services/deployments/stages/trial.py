"""The part of the test stage that tries the built bundle on the runtime that will serve it.

It measures latency and memory against the deployment's budget, how stable the answers are, and keeps the
answers to the held-out rows that the smoke test will ask for again at the real endpoint.
"""

import math
from collections.abc import Sequence
from typing import Any

from ml_platform.contracts.deployments import Budget
from ml_platform.services.deployments.interfaces import BuiltBundle, BundleTrial, DeployableVersion
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.stages.build import bundle_of
from ml_platform.services.deployments.stages.context import StageContext
from ml_platform.services.deployments.stages.stability import (
    FEWEST_ROWS,
    Limits,
    assess,
    limits_of,
    move,
    not_assessed,
)

_MIB = 1024 * 1024


def try_out(context: StageContext, version: DeployableVersion, evidence: dict[str, Any]) -> Outcome:
    """`evidence` with what the trial found, and why it must stop here, if it must."""
    parts = context.parts
    stored, _ = bundle_of(context, version, parts.tools.inspect(version.source))
    bundle, problem = stored.bundle, stored.problem
    most = max(parts.settings.stability_rows, parts.settings.smoke_rows)
    sample = parts.tools.sample(version.source, version.reference, version.label, most)
    if not sample:
        return failed("there are no rows to try it with: log the model with an input_example", **evidence)
    plain = sample[: parts.settings.stability_rows]
    limits = limits_of(version.model_card)
    moved, columns = move(plain, limits.share, version.digest)
    enough = len(plain) >= FEWEST_ROWS and bool(columns)
    found = parts.tools.try_out(
        bundle,
        sample[: parts.settings.smoke_rows],
        plain=plain if enough else [],
        moved=moved if enough else [],
        calls=parts.settings.trial_calls,
    )
    stability, unstable = _stability(found, len(plain), columns, limits)
    runtime, over = judge_budget(found.milliseconds, budget_of(context), memory=found.memory_bytes)
    evidence = evidence | {
        "runtime": {"measured_on": bundle.runtime} | runtime,
        "stability": stability,
        "answers": {"bundle_digest": bundle.digest, "predictions": list(found.answers), "same": found.same},
        "bundle": _told(bundle, problem),
    }
    if over is not None:
        return failed(over, code="over_budget", **evidence)
    if unstable is not None:
        return failed(unstable, code="unstable", **evidence)
    return Outcome(passed=True, evidence=evidence)


def budget_of(context: StageContext) -> Budget:
    """What the deployment may take; nothing is limited where the request said nothing."""
    return Budget(**(context.config.get("budget") or {}))


def judge_budget(
    milliseconds: Sequence[float], budget: Budget, *, memory: int | None = None
) -> tuple[dict[str, Any], str | None]:
    """What was measured beside the budget, and why it is too much, or None."""
    p95 = percentile(milliseconds, 0.95)
    evidence: dict[str, Any] = {
        "calls": len(milliseconds),
        "p50_ms": round(percentile(milliseconds, 0.5), 3),
        "p95_ms": round(p95, 3),
        "budget": budget.model_dump(mode="json"),
    }
    problem = None
    if budget.p95_ms is not None and p95 > budget.p95_ms:
        problem = (
            f"p95 is {p95:.3g} ms over {len(milliseconds)} calls of one row, on the runtime that will serve it;"
            f" the deployment's budget is {budget.p95_ms:g} ms"
        )
    if memory is not None:
        evidence["memory_mb"] = round(memory / _MIB, 1)
        if problem is None and budget.memory_mb is not None and memory > budget.memory_mb * _MIB:
            problem = (
                f"the model takes {memory / _MIB:.1f} MiB on the runtime that will serve it; the deployment's"
                f" budget is {budget.memory_mb} MiB"
            )
    return evidence, problem


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _stability(
    found: BundleTrial, rows: int, columns: Sequence[str], limits: Limits
) -> tuple[dict[str, Any], str | None]:
    if rows < FEWEST_ROWS:
        return not_assessed(f"there are {rows} rows; it takes {FEWEST_ROWS}"), None
    if not columns:
        return not_assessed("the model takes no numeric column that varies"), None
    if not found.same:
        return not_assessed("the model answers the same rows differently each time"), None
    if len(found.pairs) < FEWEST_ROWS:
        return not_assessed(f"only {len(found.pairs)} rows were answered in time"), None
    return assess(found.pairs, columns, limits)


def _told(bundle: BuiltBundle, problem: str | None) -> dict[str, Any]:
    return {"digest": bundle.digest, "reused": bundle.reused, "rebuilt_because": problem}
