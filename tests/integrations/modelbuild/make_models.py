"""Makes the models of these tests, in the environment in which a user would have trained them."""

import sys
import warnings
from pathlib import Path

import mlflow
import mlflow.lightgbm
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

warnings.filterwarnings("ignore")

TEXTS = ["gender", "Contract", "PaymentMethod"]


def customers(rows: int = 1500) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "gender": random.choice(["Male", "Female"], rows),
            "Contract": random.choice(["Month-to-month", "One year", "Two year"], rows),
            "PaymentMethod": random.choice(["check", "card", "transfer (automatic)"], rows),
            "SeniorCitizen": random.integers(0, 2, rows),
            "tenure": random.integers(0, 73, rows),
            "MonthlyCharges": random.uniform(18, 120, rows).round(2),
        }
    )
    risk = (frame.tenure < 20) & (frame.Contract == "Month-to-month")
    label = np.where(risk | (random.random(rows) < 0.1), "Yes", "No")
    return frame, pd.Series(label, name="Churn")


def shifted(values):
    return np.log1p(values)


def pipeline(last: object, remainder: object = "passthrough", unknown: str = "ignore") -> Pipeline:
    columns = ColumnTransformer(
        [("texts", OneHotEncoder(handle_unknown=unknown), TEXTS)], remainder=remainder
    )
    return Pipeline([("columns", columns), ("model", last)])


class Shares(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        sys.stdout.write("noise " * 1000)
        return (model_input["tenure"] < 20).to_numpy() * 0.5 + 0.25


class Hangs(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        import time

        time.sleep(600)

    def predict(self, context, model_input, params=None):
        return model_input["tenure"]


class Exits(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        import os

        sys.stdout.write("last words\n")
        sys.stdout.flush()
        os._exit(0)

    def predict(self, context, model_input, params=None):
        return model_input["tenure"]


class Hogs(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        import time

        self.kept = bytearray(900_000_000)
        self.kept[::4096] = b"x" * len(self.kept[::4096])
        time.sleep(600)

    def predict(self, context, model_input, params=None):
        return model_input["tenure"]


class Broken(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        raise ValueError("I do not like these rows")


def save_all(out: Path, requirements: list[str]) -> None:
    frame, label = customers()
    frame.assign(Churn=label).to_parquet(out / "customers.parquet")
    common = {"pip_requirements": requirements}

    def sklearn_model(name, model, rows, answers, **settings):
        settings = {"serialization_format": "cloudpickle", "input_example": rows[:5]} | settings
        signature = infer_signature(rows, answers)
        mlflow.sklearn.save_model(model, str(out / name), signature=signature, **settings, **common)

    churn = pipeline(LGBMClassifier(n_estimators=40, verbose=-1, n_jobs=1)).fit(frame, label)
    sklearn_model("churn", churn, frame, churn.predict(frame))

    scaled = ColumnTransformer(
        [
            ("texts", OneHotEncoder(handle_unknown="error"), TEXTS),
            ("numbers", StandardScaler(), ["MonthlyCharges"]),
        ]
    )
    linear = Pipeline([("columns", scaled), ("model", LogisticRegression())]).fit(frame, label)
    sklearn_model("linear", linear, frame, linear.predict(frame), serialization_format="skops")

    numbers = frame[["SeniorCitizen", "tenure", "MonthlyCharges"]]
    spend = numbers.tenure * numbers.MonthlyCharges * 100
    trees = LGBMRegressor(n_estimators=40, verbose=-1, n_jobs=1).fit(numbers, spend)
    mlflow.lightgbm.save_model(
        trees, str(out / "regressor"), signature=infer_signature(numbers, trees.predict(numbers)),
        input_example=numbers.head(5), **common,
    )  # fmt: skip
    numbers.assign(spend=spend).to_parquet(out / "spend.parquet")

    holes = frame.copy()
    holes.loc[::7, "MonthlyCharges"] = np.nan
    holes.loc[::5, "Contract"] = None
    model = pipeline(LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1)).fit(holes, label)
    sklearn_model("holes", model, holes, model.predict(holes))
    holes.assign(Churn=label).to_parquet(out / "holes.parquet")

    odd = Pipeline([("odd", FunctionTransformer(shifted)), ("model", LinearRegression())]).fit(numbers, spend)
    sklearn_model("odd", odd, numbers, odd.predict(numbers))

    sklearn_model("unsigned", linear, frame, linear.predict(frame), input_example=None)
    matrix = numbers.to_numpy(dtype=np.float64)
    plain = LogisticRegression(max_iter=500).fit(matrix, (label == "Yes").astype(int))
    sklearn_model("matrix", plain, matrix, plain.predict(matrix))

    for kind in (Shares, Hangs, Exits, Hogs, Broken):
        mlflow.pyfunc.save_model(
            str(out / kind.__name__.lower()), python_model=kind(), input_example=frame.head(5),
            signature=infer_signature(frame, np.array([0.5])), **common,
        ) if kind is Shares else _save_unchecked(kind(), out / kind.__name__.lower(), frame, common)  # fmt: skip


def _save_unchecked(model, path, frame, common):
    """Without running it, as MLflow would with an input example; the example is laid beside it."""
    signature = infer_signature(frame, np.array([0.5]))
    mlflow.pyfunc.save_model(str(path), python_model=model, signature=signature, **common)
    frame.head(5).to_json(path / "input_example.json", orient="split", index=False)
    with (path / "MLmodel").open("a") as file:
        file.write("saved_input_example_info:\n  artifact_path: input_example.json\n  type: dataframe\n")


if __name__ == "__main__":
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    save_all(Path(sys.argv[1]), Path(sys.argv[2]).read_text().split())
