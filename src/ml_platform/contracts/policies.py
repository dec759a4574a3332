"""An organisation's own policies: files of Cedar text and of tests, versions of them, and what a check finds."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from ml_platform.contracts.base import Moment, Name, RequestModel, ResponseModel
from ml_platform.contracts.identity import Permission, Role

MOST_FILES = 50
MOST_TESTS = 1_000
MOST_POLICIES = 300
MOST_CHARACTERS = 60_000
MOST_CHARACTERS_IN_ALL = 250_000

ENTER = "enter"
"""The operation of a question at a door behind which it is asked again, with what is known then."""

FileText = Annotated[str, StringConstraints(max_length=MOST_CHARACTERS)]
PolicyFile = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,60}\.cedar$", max_length=70, min_length=7)
]
TestFile = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,60}\.yaml$", max_length=70, min_length=6)
]


class PolicyFiles(RequestModel):
    """The whole set of an organisation; what is not in it is no longer in force."""

    files: dict[PolicyFile, FileText] = Field(
        max_length=MOST_FILES, description="Cedar text by file name; none at all takes every policy away"
    )
    tests: dict[TestFile, FileText] = Field(
        default_factory=dict, max_length=MOST_FILES, description="Tests as YAML by file name"
    )


class PolicyApply(PolicyFiles):
    note: Name | None = Field(default=None, description="Why, for the history and the audit log")
    expected_version: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Refuse when another version is in force; 0 for none"
    )


class Effect(StrEnum):
    PERMIT = "permit"
    FORBID = "forbid"


class PolicyOrigin(StrEnum):
    PLATFORM = "platform"
    ORGANISATION = "organisation"


class PolicySummary(ResponseModel):
    """One policy. `actions` is null where it is about every action."""

    policy_id: str
    origin: PolicyOrigin
    file: str
    effect: Effect
    actions: list[str] | None
    advice: str | None = Field(description="What a refusal says")


class PolicyProblem(ResponseModel):
    """Why a set cannot be taken."""

    file: str
    policy_id: str | None = None
    message: str


class TestPrincipal(RequestModel):
    """Who asks in a test; the roles are those in the team of the resource."""

    name: Name = "ana"
    kind: Literal["user", "service", "job"] = "user"
    admin: bool = False
    narrowed: bool = False
    roles: list[Role] = Field(default_factory=list, max_length=32)


class TestResource(RequestModel):
    """What is asked for in a test: the attributes of the schema's `Resource`, as far as they are known."""

    kind: Name = "deployment"
    team: Name = "team"
    environment: Name | None = None
    model: Name | None = None
    version: int | None = Field(default=None, ge=1, le=2**31 - 1)
    alias: Name | None = None
    tag: Name | None = None
    risk: Literal["low", "medium", "high"] | None = None
    risk_score: int | None = Field(default=None, ge=0, le=50)
    business_impact: int | None = Field(default=None, ge=0, le=10)
    customer_exposure: int | None = Field(default=None, ge=0, le=10)
    data_sensitivity: int | None = Field(default=None, ge=0, le=10)
    regulatory_scope: int | None = Field(default=None, ge=0, le=10)
    explainability: int | None = Field(default=None, ge=0, le=10)
    personal_data: bool | None = None
    registered_by: Name | None = None
    requested_by: Name | None = None


class TestContext(RequestModel):
    now: Moment | None = Field(default=None, description="Default: a Wednesday at noon, 2026-01-07T12:00:00Z")
    operation: Name = "request"


class PolicyTest(RequestModel):
    """A question and the answer that it must get."""

    name: Name
    principal: TestPrincipal = Field(default_factory=TestPrincipal)
    action: Permission
    resource: TestResource = Field(default_factory=TestResource)
    context: TestContext = Field(default_factory=TestContext)
    expect: Literal["allow", "deny"]
    by: list[Name] = Field(
        default_factory=list, max_length=20, description="Policies that must be among those which decide"
    )


class PolicyTests(RequestModel):
    """A file of tests."""

    tests: list[PolicyTest] = Field(min_length=1, max_length=MOST_TESTS)


class PolicyTestResult(ResponseModel):
    file: str
    name: str
    passed: bool
    expected: str
    found: str
    policies: list[str] = Field(description="Those which decided")
    message: str | None = None


class PolicyCheck(ResponseModel):
    """What a set is worth: it is `valid` when nothing is wrong with it and every test passes."""

    valid: bool
    problems: list[PolicyProblem]
    policies: list[PolicySummary]
    tests: list[PolicyTestResult]
    untested: list[str] = Field(description="Policies that decide in no test")


class PolicyVersion(ResponseModel):
    """One version of the organisation's set."""

    version: int
    digest: str = Field(description="SHA-256 over the files and the tests")
    policies: list[str] = Field(description="The ids of its policies")
    note: str | None
    applied_by: str
    applied_at: datetime


class PolicyVersionDetail(PolicyVersion):
    files: dict[str, str]
    tests: dict[str, str]


class PolicyOverview(ResponseModel):
    """What is in force."""

    version: int = Field(description="Of the organisation's set; 0 where there is none")
    in_force: int = Field(description="The version by which this process decides")
    problem: str | None = Field(description="Why the newest version is not the one in force")
    policies: list[PolicySummary]


class PolicySchema(ResponseModel):
    cedar_schema: str = Field(description="Entities, actions and context, as Cedar schema text")
