"""Graphs of native boosters, `lightgbm.Booster` and `xgboost.Booster`, which answer with bare values."""

import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any

from .graphs import OPSET, Graph, outputs_of, with_column
from .originals import Original, Task, Unconvertible
from .table import NUMERIC, Table

_SHARES = {"binary", "cross_entropy", "xentropy", "binary:logistic"}
_MATRICES = {"multiclass", "softmax", "multiclassova", "multi:softprob"}


def original(model: Any) -> Original:
    """What the booster answers: a value for each row, or one for each class."""
    objective = _objective(model)
    regression = objective.startswith(("reg:", "count:", "regression", "l1", "l2", "huber", "poisson"))
    task: Task = "regression" if regression else "other"
    if type(model).__module__.startswith("xgboost"):
        import xgboost

        return Original(lambda frame: model.predict(xgboost.DMatrix(frame)), None, None, task)
    return Original(model.predict, None, None, task)


def graphs(model: Any, _: Original, table: Table) -> Iterator[Callable[[], Graph]]:
    if not (table.matrix or table.has_only(*NUMERIC)):
        raise Unconvertible("a booster with columns that are no numbers does not convert")
    yield lambda: _convert(model, len(table.columns))


def _convert(model: Any, width: int) -> Graph:
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows = [("input", FloatTensorType([None, width]))]
    objective = _objective(model)
    if type(model).__module__.startswith("xgboost"):
        made = convert_xgboost(
            _xgboost_estimator(model, objective), initial_types=rows, target_opset=_opset()
        )
    else:
        made = convert_lightgbm(model, initial_types=rows, zipmap=False, target_opset=_opset())
    names = outputs_of(made)
    prediction = names[0]
    if objective in _SHARES:
        prediction = with_column(made, names[1], 1)
    elif objective in _MATRICES:
        prediction = names[1]
    return Graph(
        model=made,
        as_matrix=True,
        maker=f"onnxmltools {importlib.metadata.version('onnxmltools')}",
        prediction=prediction,
    )


def _opset() -> int:
    return min(15, OPSET[""])


def _objective(model: Any) -> str:
    if type(model).__module__.startswith("xgboost"):
        import json

        return str(json.loads(model.save_config())["learner"]["objective"]["name"])
    return str(
        model.params.get("objective") or model.dump_model(num_iteration=1).get("objective", "")
    ).split()[0]


def _xgboost_estimator(model: Any, objective: str) -> Any:
    """The same trees with scikit-learn's interface, which the converter knows best; without columns' names."""
    import xgboost

    classifies = objective.startswith(("binary:", "multi:"))
    estimator = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    estimator.load_model(model.save_raw("json"))
    booster = estimator.get_booster()
    booster.feature_names = None
    booster.set_attr(best_iteration=None)  # it answers with all of its trees
    return estimator
