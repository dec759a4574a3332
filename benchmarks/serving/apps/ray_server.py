"""Ray Serve, one replica: MODEL names the joblib file. `batched` adds its own batching."""

import os
import sys
import threading

import joblib
import pandas as pd
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Churn:
    def __init__(self, path: str) -> None:
        self._pipeline = joblib.load(path)

    async def __call__(self, request: Request) -> dict[str, float]:
        frame = pd.DataFrame([await request.json()])
        return {"churn_probability": float(self._pipeline.predict_proba(frame)[0, 1])}


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class BatchedChurn:
    def __init__(self, path: str) -> None:
        self._pipeline = joblib.load(path)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def _predict(self, rows: list[dict]) -> list[float]:
        return self._pipeline.predict_proba(pd.DataFrame(rows))[:, 1].tolist()

    async def __call__(self, request: Request) -> dict[str, float]:
        return {"churn_probability": await self._predict(await request.json())}


if __name__ == "__main__":
    port, home = int(sys.argv[1]), sys.argv[2]
    ray.init(include_dashboard=False, _temp_dir=home, num_cpus=2, object_store_memory=100 * 1024 * 1024)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    chosen = BatchedChurn if sys.argv[3:] == ["batched"] else Churn
    serve.run(chosen.bind(os.environ["MODEL"]), route_prefix="/predict")
    threading.Event().wait()
