"""Experiments and their runs, as the platform shows them; MLflow keeps them."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from ml_platform.contracts.base import Name, RequestModel, ResponseModel, Text


def _one_segment(text: str) -> str:
    if "/" in text or "\\" in text or text in {".", ".."}:
        msg = "must be one part of an address: without '/' or '\\', and not '.' or '..'"
        raise ValueError(msg)
    return text


ExperimentName = Annotated[Name, AfterValidator(_one_segment)]
"""An experiment is also found by its name, which then stands in the address."""


class ExperimentCreate(RequestModel):
    name: ExperimentName | None = Field(default=None, examples=["churn"], description="Here or in the query")
    description: Text | None = None


class Experiment(ResponseModel):
    experiment_id: str
    name: str
    description: str | None
    created_at: datetime | None
    workspace: str = Field(description="The team's MLflow workspace, for `mlflow.set_workspace`")


class Run(ResponseModel):
    """A run with the latest value of each metric; a value that JSON cannot hold is null."""

    run_id: str
    experiment_id: str
    name: str
    status: str = Field(description="MLflow's: RUNNING, FINISHED, FAILED, KILLED, SCHEDULED")
    user: str | None
    job_id: str | None = Field(description="The training job that made it")
    started_at: datetime | None
    ended_at: datetime | None
    metrics: dict[str, float | None]
    params: dict[str, str]
    tags: dict[str, str]
