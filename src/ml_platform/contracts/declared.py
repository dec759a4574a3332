"""Deployments as a file: what should serve, kept with the code and applied by a pipeline."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from ml_platform.contracts.base import Name, RequestModel, ResponseModel, Slug
from ml_platform.contracts.deployments import (
    Budget,
    CanaryPlan,
    Environment,
    FeatureServing,
    ReplicaResources,
)


class DeclaredDeployment(RequestModel):
    """One endpoint as it should be. What is left out is not compared, and is the default for a new one."""

    name: Slug = Field(description="Of the endpoint", examples=["churn"])
    environment: Environment
    model: str = Field(
        max_length=300,
        pattern=r"^[A-Za-z0-9._-]{1,200}([/@][A-Za-z0-9._-]{1,80})?$",
        description="`name/version`, or `name@alias`, which is looked up when the file is applied",
        examples=["churn/3"],
    )
    replicas: int | None = Field(default=None, ge=1, le=1000)
    auto_scale: bool | None = None
    max_replicas: int | None = Field(default=None, ge=1, le=1000)
    justification: Name | None = Field(default=None, description="Shown to the approvers")
    canary: CanaryPlan | None = None
    resources: ReplicaResources | None = None
    features: FeatureServing | None = None
    budget: Budget | None = None


class DeclaredState(RequestModel):
    """A file `deployment.yaml`."""

    version: Literal[1] = Field(description="Of this form")
    deployments: list[DeclaredDeployment] = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _each_once(self) -> "DeclaredState":
        names = [(item.environment, item.name) for item in self.deployments]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            msg = f"{twice[0].value}/{twice[1]} stands there twice"
            raise ValueError(msg)
        return self


class DeclaredOutcome(StrEnum):
    SAME = "same"
    NEW = "new"
    DIFFERENT = "different"
    UNDER_WAY = "under_way"


class DeclaredDifference(ResponseModel):
    field: str
    live: str | None
    file: str


class DeclaredComparison(ResponseModel):
    """One endpoint of the file beside what is live."""

    deployment: str = Field(description="environment/name")
    outcome: DeclaredOutcome
    model_id: str = Field(description="The version that the file asks for, its alias looked up")
    differences: list[DeclaredDifference]
