"""Lineage on the wire: what something was made of, and what was made of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from ml_platform.contracts.base import ResponseModel

DEFAULT_DEPTH = 10
MAX_DEPTH = 30
DEFAULT_NODES = 500
MAX_NODES = 5_000


class LineageKind(StrEnum):
    """What a node can be, and by what it is asked for."""

    DATASET = "dataset"  # `name@version`, or `name` for the newest version
    FEATURE_VIEW = "feature_view"  # `name@<version of its dataset>`, or `name` as it is now
    TRAINING_SET = "training_set"
    SOURCE = "source"  # uploaded code
    ENVIRONMENT = "environment"  # the digest of its requirements
    JOB = "job"
    RUN = "run"  # MLflow's run
    MODEL = "model"  # a version: `name/version`, `name@alias`, or `name` for the newest
    REVISION = "revision"
    DEPLOYMENT = "deployment"
    PREDICTIONS = "predictions"  # all that a revision answered, by the revision's id
    PREDICTION = "prediction"  # one answer, by its request id
    GROUND_TRUTH = "ground_truth"  # all labels of a deployment, by the deployment's id
    DRIFT_CHECK = "drift_check"
    RETRAINING = "retraining"


class LineageDirection(StrEnum):
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    BOTH = "both"


class LineageNode(ResponseModel):
    ref: str = Field(description="Names the node within this answer")
    kind: LineageKind
    id: str = Field(description="What to ask for to go on from here")
    distance: int = Field(description="Steps from what was asked for; below zero upstream of it")
    expanded: bool = Field(description="Whether all of its neighbours in this direction are in the answer")
    created_at: datetime | None = None
    created_by: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class LineageEdge(ResponseModel):
    """`target` was made of, or because of, `source`; both are refs of nodes."""

    source: str
    target: str
    relation: str


class LineageGraph(ResponseModel):
    root: str
    direction: LineageDirection
    depth: int
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    truncated: bool = Field(description="There is more within this depth than an answer may hold")
    notes: list[str] = Field(default_factory=list)
