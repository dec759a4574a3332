"""Trees as graphs: forests of scikit-learn, LightGBM, XGBoost and CatBoost, alone or in a pipeline."""

import copy
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .originals import Unconvertible
from .preparing import with_plain_numbers
from .table import Table

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")

_CLASSIFIER_OPTIONS = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
_FOREST_OPTIONS = {name: [True, False] for name in ("raw_scores", "decision_path", "decision_leaf")}


def gives_sparse_rows(model: Any, table: Table) -> bool:
    """Whether what stands before a pipeline's last step gives it sparse rows.

    To XGBoost a cell that a sparse row leaves out is missing, while a graph's rows have a zero there.
    """
    if type(model).__name__ != "Pipeline" or len(model.steps) < 2 or "xgboost" not in sys.modules:
        return False
    from scipy.sparse import issparse

    return bool(issparse(model[:-1].transform(table.frame()[:1])))


def refuse_what_catboost_does_not_export(model: Any) -> None:
    """In its own words; the ways around would all end elsewhere, with less clear ones."""
    last = model.steps[-1][1] if type(model).__name__ == "Pipeline" else model
    if not type(last).__module__.startswith("catboost"):
        return
    from catboost import CatBoostError
    from catboost.utils import convert_to_onnx_object

    try:
        convert_to_onnx_object(last)
    except CatBoostError as error:
        names = last.feature_names_
        categories = [names[index] for index in last.get_cat_feature_indices()]
        columns = f" (here {', '.join(categories[:5])})" if categories else ""
        raise Unconvertible(f"CatBoost does not export it: {_said(error)}{columns}") from error


def _said(error: Exception) -> str:
    """Its words without the place in its source."""
    first = (str(error).strip().splitlines() or [""])[0]
    return first.split(": ", 1)[-1][:300] if first.startswith("catboost/") else first[:300]


def register(*, zeros_are_missing: bool) -> None:
    """Trees at the end of a pipeline, each as its own exporter writes them.

    Args:
        zeros_are_missing: what XGBoost is given are sparse rows, see `gives_sparse_rows`.
    """
    if "sklearn.ensemble" in sys.modules:
        from skl2onnx.operator_converters import random_forest
        from sklearn import ensemble

        for kind in ("RandomForest", "ExtraTrees"):
            forest, values = (getattr(ensemble, f"{kind}{what}") for what in ("Classifier", "Regressor"))
            _known(
                forest,
                _with_single_precision(random_forest.convert_sklearn_random_forest_classifier),
                options=_CLASSIFIER_OPTIONS | _FOREST_OPTIONS,
            )
            _known(
                values,
                _with_single_precision(random_forest.convert_sklearn_random_forest_regressor_converter),
                options=_FOREST_OPTIONS,
            )
        _known(
            ensemble.HistGradientBoostingClassifier,
            with_plain_numbers(random_forest.convert_sklearn_random_forest_classifier),
            options=_CLASSIFIER_OPTIONS | {"raw_scores": [True, False]},
        )
        _known(
            ensemble.HistGradientBoostingRegressor,
            with_plain_numbers(random_forest.convert_sklearn_random_forest_regressor_converter),
        )
    if "lightgbm" in sys.modules:
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        _known(LGBMClassifier, convert_lightgbm)
        _known(LGBMRegressor, convert_lightgbm, options={"split": None})
    if "xgboost" in sys.modules:
        xgboost = sys.modules["xgboost"]
        convert = _xgboost_converter(zeros_are_missing=zeros_are_missing)
        for kind in ("XGBClassifier", "XGBRFClassifier", "XGBRegressor", "XGBRFRegressor"):
            _known(getattr(xgboost, kind), convert)
    if "catboost" in sys.modules:
        catboost = sys.modules["catboost"]
        _known(catboost.CatBoostClassifier, _convert_catboost, parser=_two_outputs)
        _known(catboost.CatBoostRegressor, _convert_catboost)


def _known(
    kind: Any,
    convert: Callable[..., None],
    options: dict[str, Any] | None = None,
    parser: Callable[..., Any] | None = None,
) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    classifies = kind.__name__.endswith("Classifier")
    update_registered_converter(
        kind,
        _alias(kind),
        shapes.calculate_linear_classifier_output_shapes
        if classifies
        else shapes.calculate_linear_regressor_output_shapes,
        convert,
        options=options or (_CLASSIFIER_OPTIONS if classifies else None),
        parser=parser,
    )


def _alias(kind: Any) -> str:
    return f"{kind.__module__.partition('.')[0]}{kind.__name__}"


def _two_outputs(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:  # noqa: ARG001
    """A classifier's outputs, for those that do not derive from scikit-learn's class of classifiers."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs.extend(inputs)
    operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("probabilities", FloatTensorType()))
    return operator.outputs


def _xgboost_converter(*, zeros_are_missing: bool) -> Callable[..., None]:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    def convert(scope: Any, operator: Any, container: Any) -> None:
        kind = operator.raw_operator.get_xgb_params().get("booster") or "gbtree"
        if kind != "gbtree":
            raise Unconvertible(f"XGBoost's booster {kind!r} does not convert, only 'gbtree' does")
        rows = _single_precision(scope, operator, container)
        if zeros_are_missing:
            rows = _without_zeros(scope, container, rows)
        # The converter counts columns by their place, so it must not see their names.
        model = copy.deepcopy(operator.raw_operator)
        model.get_booster().feature_names = None
        convert_xgboost(scope, _moved(operator, model, rows), container)

    return convert


def _convert_catboost(scope: Any, operator: Any, container: Any) -> None:
    """What CatBoost exports, without the last step that makes a mapping of each row's probabilities."""
    from catboost.utils import convert_to_onnx_object
    from onnx import helper

    exported = convert_to_onnx_object(operator.raw_operator)
    trees = [node for node in exported.graph.node if node.op_type in OPERATORS]
    others = {node.op_type for node in exported.graph.node} - {"ZipMap", *OPERATORS}
    if len(trees) != 1 or others or exported.graph.initializer:
        raise Unconvertible(f"CatBoost exports more than trees: {', '.join(sorted(others))}")
    attributes = {a.name: helper.get_attribute_value(a) for a in trees[0].attribute}
    container.add_node(
        trees[0].op_type,
        [_single_precision(scope, operator, container)],
        [output.full_name for output in operator.outputs],
        op_domain=trees[0].domain,
        op_version=1,
        name=scope.get_unique_operator_name("CatBoost"),
        **attributes,
    )


def _with_single_precision(convert: Callable[..., None]) -> Callable[..., None]:
    """For trees that see single precision whatever they are given, as scikit-learn's own."""

    def converted(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

        given = operator.inputs[0]
        if not isinstance(given.type, DoubleTensorType):
            convert(scope, operator, container)
            return
        rows = _single_precision(scope, operator, container)
        moved = _moved(operator, operator.raw_operator, rows)
        moved.inputs = [SimpleNamespace(type=FloatTensorType(given.type.shape), full_name=rows)]
        convert(scope, moved, container)

    return converted


def _single_precision(scope: Any, operator: Any, container: Any) -> str:
    """The rows as these libraries see them: a border between two floats is none between two doubles."""
    from onnx import TensorProto

    name: str = scope.get_unique_variable_name("single")
    container.add_node(
        "Cast",
        operator.inputs[0].full_name,
        name,
        op_version=13,
        name=scope.get_unique_operator_name("Cast"),
        to=TensorProto.FLOAT,
    )
    return name


def _without_zeros(scope: Any, container: Any, rows: str) -> str:
    from onnx import TensorProto

    zero, nan = scope.get_unique_variable_name("zero"), scope.get_unique_variable_name("nan")
    container.add_initializer(zero, TensorProto.FLOAT, [1], [0.0])
    container.add_initializer(nan, TensorProto.FLOAT, [1], [float("nan")])
    is_zero, name = scope.get_unique_variable_name("is_zero"), scope.get_unique_variable_name("without_zeros")
    container.add_node(
        "Equal", [rows, zero], is_zero, op_version=13, name=scope.get_unique_operator_name("Equal")
    )
    container.add_node(
        "Where", [is_zero, nan, rows], name, op_version=9, name=scope.get_unique_operator_name("Where")
    )
    return str(name)


def _moved(operator: Any, model: Any, rows: str) -> Any:
    """The operator with another model and another input."""
    return SimpleNamespace(
        raw_operator=model,
        inputs=operator.inputs,
        outputs=operator.outputs,
        input_full_names=[rows],
        output_full_names=operator.output_full_names,
    )
