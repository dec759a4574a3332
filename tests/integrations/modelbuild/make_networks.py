"""Makes models of PyTorch, in the environment that also serves and exports them."""

import sys
import warnings
from pathlib import Path

import cloudpickle
import mlflow
import mlflow.pytorch
import numpy as np
import pandas as pd
import torch
from mlflow.models import infer_signature
from torch import nn

warnings.filterwarnings("ignore")


class Undecided(nn.Module):
    """Its way depends on what it is given, which no graph of it can hold."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, rows):
        found = self.layer(rows)
        for _ in range(int(rows.sum().item()) % 3 + 1):
            found = found * 2
        return found


def save_all(out: Path, requirements: list[str]) -> None:
    torch.manual_seed(3)
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "tenure": random.integers(0, 73, 500),
            "charges": random.uniform(18, 120, 500).round(2),
            "usage": random.exponential(30, 500),
        }
    )
    frame.to_parquet(out / "customers.parquet")

    def save(name, module, rows, **settings):
        module.eval()
        tensor = torch.from_numpy(rows.to_numpy(dtype=np.float32) if isinstance(rows, pd.DataFrame) else rows)
        with torch.no_grad():
            answers = module(tensor).numpy()
        np.save(out / f"{name}.npy", answers)
        # None: MLflow would try to serve it at once, which takes as long as all the rest.
        mlflow.pytorch.save_model(
            module,
            str(out / name),
            signature=infer_signature(rows, answers),
            pip_requirements=requirements,
            **settings,
        )

    pickled = {"serialization_format": "pickle"}
    share = nn.Sequential(
        nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1), nn.Sigmoid()
    )
    save("share", share, frame, **pickled)
    matrix = random.normal(size=(500, 4)).astype(np.float32)
    np.save(out / "matrix.npy", matrix)
    pd.DataFrame(matrix, columns=["0", "1", "2", "3"]).to_parquet(out / "matrix.parquet")
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    save("exported", module, matrix, serialization_format="pt2", input_example=matrix[:2])
    save(
        "classes",
        nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(dim=1)),
        matrix,
        **pickled,
    )
    save("undecided", Undecided(), frame, **pickled)


if __name__ == "__main__":
    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    save_all(Path(sys.argv[1]), Path(sys.argv[2]).read_text().split())
