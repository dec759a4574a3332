"""Why a model answers as it does: SHAP values, computed in a process of their own.

`explainer` belongs to the worker and starts `program` at the first question; `attributions` is what that
program does with a prediction function and the background rows of a bundle.
"""
