"""KServe's Python server with a model of its own, V1, V2 and gRPC: MODEL names the joblib file."""

import os

import joblib
import pandas as pd
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class Churn(Model):
    def __init__(self) -> None:
        super().__init__("churn")
        self._pipeline = joblib.load(os.environ["MODEL"])
        self.ready = True

    async def predict(self, payload, *_headers, **_more):
        if isinstance(payload, InferRequest):
            found = self._pipeline.predict_proba(payload.as_dataframe())[:, 1]
            output = InferOutput("churn", [len(found)], "FP64")
            output.set_data_from_numpy(found, binary_data=False)
            return InferResponse(payload.id or generate_uuid(), self.name, [output])
        frame = pd.DataFrame(payload["instances"])
        return {"predictions": self._pipeline.predict_proba(frame)[:, 1].tolist()}


if __name__ == "__main__":
    ModelServer().start([Churn()])
