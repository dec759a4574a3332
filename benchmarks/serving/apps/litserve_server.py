"""LitServe with batching, one worker: MODEL names the joblib file."""

import os
import sys

import joblib
import litserve
import pandas as pd


class Churn(litserve.LitAPI):
    def setup(self, _device):
        self._pipeline = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        return request

    def batch(self, inputs):
        return pd.DataFrame(inputs)

    def predict(self, frame):
        return self._pipeline.predict_proba(frame)[:, 1]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"churn_probability": float(output)}


if __name__ == "__main__":
    server = litserve.LitServer(
        Churn(max_batch_size=32, batch_timeout=0.002), accelerator="cpu", workers_per_device=1
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
