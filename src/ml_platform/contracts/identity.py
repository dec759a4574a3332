"""Who asks, what they may do, and the teams they do it for."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from ml_platform.contracts.base import Name, RequestModel, ResponseModel, Slug


class Role(StrEnum):
    """A role is held in one team; `admin` is held over the installation."""

    VIEWER = "viewer"
    DATA_SCIENTIST = "data_scientist"
    SENIOR_DATA_SCIENTIST = "senior_data_scientist"
    ML_ENGINEER = "ml_engineer"
    ML_ARCHITECT = "ml_architect"
    TEAM_LEAD = "team_lead"
    MANAGER = "manager"
    PRODUCT_OWNER = "product_owner"
    LEGAL = "legal"
    SECURITY = "security"
    BOARD_CHAIR = "board_chair"
    APPROVER = "approver"
    AUDITOR = "auditor"
    INFERENCE_SERVER = "inference_server"
    PREDICTION_CLIENT = "prediction_client"
    TRAINING_JOB = "training_job"


class Permission(StrEnum):
    """What an endpoint asks for; policies say which roles have it."""

    READ = "read"
    READ_DATA = "read_data"
    WRITE_DATA = "write_data"
    TRAIN_MODEL = "train_model"
    DEPLOY_STAGING = "deploy_staging"
    DEPLOY_PRODUCTION = "deploy_production"
    PREDICT = "predict"
    APPROVE = "approve"
    BREAK_GLASS = "break_glass"
    READ_AUDIT = "read_audit"
    READ_METRICS = "read_metrics"
    MANAGE_KEYS = "manage_keys"
    MANAGE_TEAM = "manage_team"
    MANAGE_PLATFORM = "manage_platform"
    SYNC_INFERENCE = "sync_inference"


Rate = Annotated[float, Field(ge=1, le=1_000_000)]
SessionIdle = Annotated[
    int,
    Field(ge=5, le=10_080, description="Minutes after which an unused browser session ends; null: 8 hours"),
]
MaxDeployments = Annotated[
    int, Field(ge=0, le=1_000_000, description="Most endpoints; null: as the installation's setting says")
]
MaxReplicas = Annotated[
    int, Field(ge=0, le=1_000_000, description="Most copies of all endpoints together; null: the setting")
]
MaxCpu = Annotated[float, Field(ge=0, le=10_000_000, description="Most cores of them; null: the setting")]
MaxMemory = Annotated[int, Field(ge=0, le=10**12, description="Most MiB of them; null: the setting")]


class TeamCreate(RequestModel):
    name: Slug = Field(examples=["fraud"])
    description: Name | None = None
    requests_per_second: Rate | None = Field(
        default=None, description="Most predictions a second of all of its keys together; default: no limit"
    )
    max_deployments: MaxDeployments | None = None
    max_replicas: MaxReplicas | None = None
    max_cpu: MaxCpu | None = None
    max_memory_mb: MaxMemory | None = None
    session_idle_minutes: SessionIdle | None = None


class TeamUpdate(RequestModel):
    """What is left out stays as it is; null takes a limit away."""

    description: Name | None = None
    requests_per_second: Rate | None = None
    max_deployments: MaxDeployments | None = None
    max_replicas: MaxReplicas | None = None
    max_cpu: MaxCpu | None = None
    max_memory_mb: MaxMemory | None = None
    session_idle_minutes: SessionIdle | None = None


class Team(ResponseModel):
    team_id: str
    name: str
    description: str | None
    requests_per_second: float | None = None
    max_deployments: int | None = Field(
        default=None, description="Quota of endpoints; null: as the installation's setting says"
    )
    max_replicas: int | None = None
    max_cpu: float | None = None
    max_memory_mb: int | None = None
    session_idle_minutes: int | None = Field(
        default=None, description="An unused browser session ends after these minutes; null: 8 hours"
    )
    created_at: datetime


class UserCreate(RequestModel):
    name: Slug = Field(examples=["ana"])
    display_name: Name | None = None
    admin: bool = False


class User(ResponseModel):
    user_id: str
    name: str
    display_name: str | None
    admin: bool
    active: bool
    created_at: datetime


class MemberSet(RequestModel):
    roles: list[Role] = Field(max_length=16, description="Replaces all roles of this user in the team")


class Member(ResponseModel):
    user_id: str
    user_name: str
    roles: list[Role]


class KeyCreate(RequestModel):
    name: Name = Field(examples=["laptop"])
    user: Slug | None = Field(default=None, description="Default: yourself")
    roles: list[Role] | None = Field(
        default=None,
        max_length=16,
        description="Narrows the key to these of its owner's roles; default: all of them",
    )
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)
    requests_per_second: Rate | None = Field(
        default=None, description="Most predictions a second with this key; default: no limit of its own"
    )


class Key(ResponseModel):
    key_id: str
    name: str
    user_name: str
    roles: list[Role] | None
    requests_per_second: float | None = None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyCreated(Key):
    token: str = Field(description="Shown this once; only its hash is kept")


class WhoAmI(ResponseModel):
    user_id: str
    name: str
    admin: bool
    team: str
    teams: dict[str, list[Role]]
    permissions: list[Permission]


class SignInLink(ResponseModel):
    url: str = Field(description="Opens a browser session once, within ten minutes")
    expires_at: datetime
