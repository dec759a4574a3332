"""Judging a model on rows it has not seen: figures, and two curves as SVG."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from churn_mlops.data.schema import LABEL
from churn_mlops.models.churn_model import ChurnModel

_SIZE, _MARGIN = 400, 48


def evaluate(model: ChurnModel, holdout: pd.DataFrame) -> dict[str, float]:
    """Quality of `model` on `holdout`, a table with the 19 raw columns and `churn`.

    `baseline_accuracy` is what always answering the more frequent class would reach: accuracy means nothing
    without it.

    Raises:
        ValueError: the holdout has rows of one class alone, on which no ranking can be judged.
    """
    truth = holdout[LABEL].to_numpy()
    if len(np.unique(truth)) < 2:
        raise ValueError(f"{LABEL}: the {len(truth)} holdout rows are all of one class; hold out more rows")
    probability = model.predict_proba(holdout)[:, 1]
    answer = (probability > 0.5).astype("int64")
    churn_rate = float(truth.mean())
    metrics = {
        "accuracy": accuracy_score(truth, answer),
        "roc_auc": roc_auc_score(truth, probability),
        "f1": f1_score(truth, answer),
        "precision": precision_score(truth, answer, zero_division=0),
        "recall": recall_score(truth, answer),
        "log_loss": log_loss(truth, probability),
        "brier_score": brier_score_loss(truth, probability),
        "average_precision": average_precision_score(truth, probability),
        "baseline_accuracy": max(churn_rate, 1 - churn_rate),
        "churn_rate": churn_rate,
    }
    return {name: float(value) for name, value in metrics.items()}


def charts(model: ChurnModel, holdout: pd.DataFrame) -> dict[str, str]:
    """File name to SVG: the ROC curve, and how often those with a given probability really left."""
    truth = holdout[LABEL].to_numpy()
    probability = model.predict_proba(holdout)[:, 1]
    false_positive, true_positive, _ = roc_curve(truth, probability)
    happened, said = calibration_curve(truth, probability, n_bins=10, strategy="quantile")
    return {
        "roc_curve.svg": _svg(
            "ROC curve", "false positive rate", "true positive rate", false_positive, true_positive
        ),
        "calibration.svg": _svg("Calibration", "predicted probability", "share that left", said, happened),
    }


def _svg(title: str, x_label: str, y_label: str, x: Sequence[float], y: Sequence[float]) -> str:
    """A line in the unit square with its diagonal.

    Written out here: a plotting library would be a sixth of the training environment and a third of the
    training time.
    """
    inner = _SIZE - 2 * _MARGIN
    points = " ".join(
        f"{_MARGIN + px * inner:.1f},{_SIZE - _MARGIN - py * inner:.1f}" for px, py in zip(x, y, strict=True)
    )
    low, high, middle = _MARGIN, _SIZE - _MARGIN, _SIZE // 2
    ticks = "".join(
        f'<text x="{low + t * inner:.0f}" y="{high + 16}">{t:g}</text>'
        f'<text x="{low - 16}" y="{high - t * inner + 4:.0f}">{t:g}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" '
        f'font-family="sans-serif" font-size="12" text-anchor="middle">'
        f'<rect width="{_SIZE}" height="{_SIZE}" fill="white"/>'
        f'<rect x="{low}" y="{low}" width="{inner}" height="{inner}" fill="none" stroke="#999"/>'
        f'<line x1="{low}" y1="{high}" x2="{high}" y2="{low}" stroke="#999" stroke-dasharray="4"/>'
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="2"/>{ticks}'
        f'<text x="{middle}" y="{low - 16}" font-size="15">{title}</text>'
        f'<text x="{middle}" y="{_SIZE - 10}">{x_label}</text>'
        f'<text transform="translate(14 {middle}) rotate(-90)">{y_label}</text></svg>\n'
    )
