"""What a deployment costs by the installation's price list: what would run, what it replaces, the difference."""

from collections.abc import Iterable

from ml_platform.contracts.deployments import PlannedCost
from ml_platform.services.deployments.settings import Prices
from ml_platform.services.deployments.sizes import Size

HOURS_A_MONTH = 730
"""8,760 hours a year in twelve parts."""

NO_PRICES = (
    "no price list is set: MLOPS_PRICES__CPU_HOUR, MLOPS_PRICES__MEMORY_GB_HOUR, MLOPS_PRICES__GPU_HOUR,"
    " MLOPS_PRICES__MILLION_PREDICTIONS"
)


def planned_cost(
    prices: Prices,
    wanted: Size,
    replaced: Iterable[Size],
    *,
    canary: bool = False,
    predictions_per_hour: float | None = None,
) -> PlannedCost:
    """Of the copies that always run, and of the most that there may be under load.

    Predictions cost the same before and after, so they stand apart: with what was asked within the last hour.
    """
    if not prices.set:
        return PlannedCost(detail=NO_PRICES)
    hourly = _hourly(prices, wanted, wanted.replicas)
    before = sum(_hourly(prices, size, size.replicas) for size in replaced)
    most = _hourly(prices, wanted, wanted.most) if wanted.most is not None else None
    predictions = None
    if prices.million_predictions is not None and predictions_per_hour is not None:
        predictions = predictions_per_hour / 1_000_000 * prices.million_predictions
    return PlannedCost(
        currency=prices.currency,
        hourly=_rounded(hourly),
        monthly=_monthly(hourly),
        at_most_hourly=_rounded(most),
        at_most_monthly=_monthly(most),
        replaces_hourly=_rounded(before),
        replaces_monthly=_monthly(before),
        difference_hourly=_rounded(hourly - before),
        difference_monthly=_monthly(hourly - before),
        per_million_predictions=prices.million_predictions,
        predictions_hourly=_rounded(predictions),
        predictions_monthly=_monthly(predictions),
        detail=_detail(prices, wanted, canary),
    )


def _hourly(prices: Prices, size: Size, copies: int) -> float:
    each = size.resources
    return copies * (
        each.cpu * (prices.cpu_hour or 0.0)
        + each.memory_mb / 1024 * (prices.memory_gb_hour or 0.0)
        + each.gpus * (prices.gpu_hour or 0.0)
    )


def _detail(prices: Prices, size: Size, canary: bool) -> str:
    each = size.resources
    parts = [f"{each.cpu:g} cores", f"{each.memory_mb / 1024:g} GiB", f"{each.gpus} GPUs"]
    text = f"{size.replicas} x ({', '.join(parts if each.gpus else parts[:2])})"
    if size.most is None:
        text += ", more under load, without a limit"
    elif size.most > size.replicas:
        text += f", up to {size.most} under load"
    if canary:
        text += "; while the canary goes on, both run"
    asked = {"cores": prices.cpu_hour, "memory": prices.memory_gb_hour}
    if each.gpus:
        asked["GPUs"] = prices.gpu_hour
    free = [name for name, price in asked.items() if price is None]
    return text + (f"; there is no price of {' and '.join(free)}" if free else "")


def _rounded(amount: float | None) -> float | None:
    return round(amount, 4) if amount is not None else None


def _monthly(hourly: float | None) -> float | None:
    return round(hourly * HOURS_A_MONTH, 2) if hourly is not None else None
