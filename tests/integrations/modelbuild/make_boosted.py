"""Makes models of trees, of XGBoost, CatBoost and others, in the environment that also serves them."""

import json
import sys
import warnings
from pathlib import Path

import catboost
import lightgbm
import mlflow
import mlflow.catboost
import mlflow.lightgbm
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.filterwarnings("ignore")

TEXTS = ["contract", "payment"]
QUIET = {"verbose": 0, "allow_writing_files": False, "thread_count": 1, "random_seed": 7}
TREES = {"n_estimators": 25, "n_jobs": 1, "random_state": 7}


def customers(rows: int = 1200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Customers with gaps in their numbers, and what became of them: left, plan, spend."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "contract": random.choice(["month", "one year", "two years"], rows),
            "payment": random.choice(["card", "check", "transfer"], rows),
            "tenure": random.integers(0, 73, rows),
            "charges": random.uniform(18, 120, rows).round(2),
            "usage": random.exponential(30, rows),
        }
    )
    frame.loc[::4, "usage"] = np.nan
    frame.loc[::7, "charges"] = np.nan
    score = frame.tenure + (frame.contract == "month") * -20 + frame.usage.fillna(50) / 5
    outcome = pd.DataFrame(
        {
            "left": (score + random.normal(0, 8, rows) < 25).astype(int),
            "plan": np.digitize(score, [15, 40]),
            "spend": frame.tenure * frame.charges.fillna(70) + random.normal(0, 5, rows),
        }
    )
    return frame, outcome


def encoded(last: object) -> Pipeline:
    """Text columns one-hot, which makes the rows sparse: to XGBoost their zeros are missing values."""
    columns = ColumnTransformer(
        [("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS)],
        remainder="passthrough",
        sparse_threshold=1,
    )
    return Pipeline([("columns", columns), ("model", last)])


def imputed(last: object) -> Pipeline:
    """As pipelines often are: gaps filled in, texts one-hot, numbers scaled."""
    texts = make_pipeline(
        SimpleImputer(strategy="most_frequent", missing_values=None), OneHotEncoder(handle_unknown="ignore")
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [("texts", texts, TEXTS), ("numbers", numbers, ["tenure", "charges", "usage"])]
    )
    return Pipeline([("columns", columns), ("model", last)])


def _numbers(answers) -> bool:
    return np.asarray(answers).dtype.kind in "biuf"


def save_all(out: Path, requirements: list[str]) -> None:
    frame, outcome = customers()
    frame.assign(**outcome).to_parquet(out / "customers.parquet")
    numbers = frame[["tenure", "charges", "usage"]]
    left, plan, spend = outcome["left"], outcome["plan"], outcome["spend"]
    names = left.map({0: "No", 1: "Yes"})
    flower, kinds = load_iris(as_frame=True, return_X_y=True)
    flower.assign(kind=kinds).to_parquet(out / "flowers.parquet")
    known: dict[str, str] = {}

    def save(name, flavour, model, rows, data="customers", **settings):
        predicted = model.predict(xgboost.DMatrix(rows) if isinstance(model, xgboost.Booster) else rows)
        signature = infer_signature(rows, np.asarray(predicted))
        flavour.save_model(
            model, str(out / name), signature=signature, pip_requirements=requirements, **settings
        )
        shares = model.predict_proba(rows) if hasattr(model, "predict_proba") else []
        np.savez(
            out / f"{name}.npz",
            prediction=np.asarray(predicted).astype(float if _numbers(predicted) else str),
            shares=shares,
        )
        known[name] = data

    pickled = {"serialization_format": "cloudpickle"}
    save("xgboost-binary", mlflow.xgboost, xgboost.XGBClassifier(**TREES).fit(numbers, left), numbers)
    save("xgboost-classes", mlflow.xgboost, xgboost.XGBClassifier(**TREES).fit(numbers, plan), numbers)
    save("xgboost-values", mlflow.xgboost, xgboost.XGBRegressor(**TREES).fit(numbers, spend), numbers)
    model = encoded(xgboost.XGBClassifier(**TREES)).fit(frame, left)
    save("xgboost-pipeline", mlflow.sklearn, model, frame, **pickled)
    model = encoded(xgboost.XGBRegressor(**TREES)).fit(frame, spend)
    save("xgboost-pipeline-values", mlflow.sklearn, model, frame, **pickled)
    holes = frame.copy()
    holes.loc[::9, "contract"] = None
    holes.to_parquet(out / "holes.parquet")
    save(
        "xgboost-imputed",
        mlflow.sklearn,
        imputed(xgboost.XGBClassifier(**TREES)).fit(holes, plan),
        holes,
        "holes",
        **pickled,
    )
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(**TREES)).fit(flower, kinds)
    save("forest-scaled", mlflow.sklearn, forest, flower, "flowers", **pickled)
    histogram = HistGradientBoostingRegressor(max_iter=25).fit(numbers, spend)
    save("histogram-values", mlflow.sklearn, histogram, numbers, **pickled)
    data = xgboost.DMatrix(numbers, left)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 25)
    save("xgboost-booster", mlflow.xgboost, booster, numbers)
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "nthread": 1}, xgboost.DMatrix(numbers, plan), 15
    )
    save("xgboost-booster-classes", mlflow.xgboost, booster, numbers)

    for name, objective, label in (
        ("binary", {"objective": "binary"}, left),
        ("classes", {"objective": "multiclass", "num_class": 3}, plan),
        ("values", {"objective": "regression"}, spend),
    ):
        settings = {"verbose": -1, "num_threads": 1, **objective}
        booster = lightgbm.train(settings, lightgbm.Dataset(numbers, label), 25)
        save(f"lightgbm-booster-{name}", mlflow.lightgbm, booster, numbers)

    trees = {"iterations": 25, **QUIET}
    save(
        "catboost-binary", mlflow.catboost, catboost.CatBoostClassifier(**trees).fit(numbers, names), numbers
    )
    save(
        "catboost-classes",
        mlflow.catboost,
        catboost.CatBoostClassifier(**trees).fit(flower, kinds),
        flower,
        "flowers",
    )
    model = catboost.CatBoostRegressor(nan_mode="Max", **trees).fit(numbers, spend)
    save("catboost-values", mlflow.catboost, model, numbers)
    model = encoded(catboost.CatBoostClassifier(**trees)).fit(frame, plan)
    save("catboost-pipeline", mlflow.sklearn, model, frame, **pickled)
    model = catboost.CatBoostClassifier(cat_features=TEXTS, **trees).fit(frame, names)
    save("catboost-categories", mlflow.catboost, model, frame)
    (out / "known.json").write_text(json.dumps(known))


if __name__ == "__main__":
    save_all(Path(sys.argv[1]), Path(sys.argv[2]).read_text().split())
