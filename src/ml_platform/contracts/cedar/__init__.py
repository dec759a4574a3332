"""Policies in Cedar: the platform's own, the schema that all are held against, and how they are evaluated.

Both the server and the command line use this: what a test says offline is what the server will decide. The
evaluator (the package `cedarpy`) is imported when it is used; who only calls the platform need not have it.
"""

from ml_platform.contracts.cedar.bounds import shape_problem
from ml_platform.contracts.cedar.checking import check, platform_policies
from ml_platform.contracts.cedar.evaluating import Question, Rules, Ruling
from ml_platform.contracts.cedar.texts import GOVERNED, PLATFORM, SCHEMA, WIDENABLE

__all__ = [
    "GOVERNED",
    "PLATFORM",
    "SCHEMA",
    "WIDENABLE",
    "Question",
    "Rules",
    "Ruling",
    "check",
    "platform_policies",
    "shape_problem",
]
