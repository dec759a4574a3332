"""BentoML with adaptive batching: MODEL names the joblib file.

Rows are taken as a list: batches of data frames fail in BentoML 1.4.39, which takes a frame's shape for a number.
"""

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1)
class Churn:
    def __init__(self) -> None:
        self._pipeline = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        return self._pipeline.predict_proba(pd.DataFrame(rows))[:, 1].tolist()
