"""Personal data in datasets: what kinds there are, what was found, and what people say of it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from pydantic import Field, computed_field

from ml_platform.contracts.base import ResponseModel

SURE_FROM = 0.6
"""A finding less sure than this is shown, and nothing follows from it until a person confirms it."""


class PersonalDataGroup(StrEnum):
    """What a kind means: policies are set for groups."""

    DIRECT = "direct"  # says who it is, or how to reach them
    SPECIAL = "special"  # Art. 9 of the GDPR: health, belief, origin, ...
    PSEUDONYM = "pseudonym"  # an id that stands for a person
    QUASI = "quasi"  # with others of its group it says who it is


class PersonalDataKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    PAYMENT_CARD = "payment_card"
    BANK_ACCOUNT = "bank_account"
    NATIONAL_ID = "national_id"
    PERSON_NAME = "person_name"
    ADDRESS = "address"
    SPECIAL_CATEGORY = "special_category"
    PERSON_ID = "person_id"
    IP_ADDRESS = "ip_address"
    DEVICE_ID = "device_id"
    BIRTH_DATE = "birth_date"
    POSTCODE = "postcode"
    LOCATION = "location"
    GENDER = "gender"
    AGE = "age"


_K, _G = PersonalDataKind, PersonalDataGroup
GROUPS: Mapping[PersonalDataKind, PersonalDataGroup] = MappingProxyType(
    dict.fromkeys(
        (_K.EMAIL, _K.PHONE, _K.PAYMENT_CARD, _K.BANK_ACCOUNT, _K.NATIONAL_ID, _K.PERSON_NAME, _K.ADDRESS),
        _G.DIRECT,
    )
    | {_K.SPECIAL_CATEGORY: _G.SPECIAL}
    | dict.fromkeys((_K.PERSON_ID, _K.IP_ADDRESS, _K.DEVICE_ID), _G.PSEUDONYM)
    | dict.fromkeys((_K.BIRTH_DATE, _K.POSTCODE, _K.LOCATION, _K.GENDER, _K.AGE), _G.QUASI)
)


class FoundBy(StrEnum):
    NAME = "name"
    VALUES = "values"
    BOTH = "both"
    PERSON = "person"


class PersonalDataStatus(StrEnum):
    FOUND = "found"
    TAGGED = "tagged"  # a person says that it is there
    WRONG = "wrong"  # a person says that it is not


class PersonalDataVerdict(StrEnum):
    """What a person says of a column and a kind; `as_found` takes back what was said."""

    PERSONAL = "personal"
    WRONG = "wrong"
    AS_FOUND = "as_found"


class PersonalDataFinding(ResponseModel):
    """A kind of personal data in a column; never any of its values."""

    column: str
    kind: PersonalDataKind
    status: PersonalDataStatus
    found_by: FoundBy
    share: float | None = Field(description="Part of the sample that has it; null when by name alone")
    confidence: float = Field(description="0 to 1; a person's word is 1")
    detail: str | None = Field(
        default=None, description="What it looked like, e.g. `nl.bsn` or `within text`"
    )
    marked_by: str | None = None
    marked_at: datetime | None = None
    reason: str | None = Field(default=None, description="Why somebody marked it")

    @computed_field(description="What the kind means: policies are set for groups")  # type: ignore[prop-decorator]
    @property
    def group(self) -> PersonalDataGroup:
        return GROUPS[self.kind]

    @computed_field(description="Whether anything follows from it")  # type: ignore[prop-decorator]
    @property
    def counts(self) -> bool:
        return self.status is not PersonalDataStatus.WRONG and self.confidence >= SURE_FROM


class PersonalDataReport(ResponseModel):
    """What a version of a dataset holds of personal data."""

    dataset: str
    version: int
    sampled_rows: int = Field(description="The most values of a column that were looked at")
    complete: bool = Field(
        description="Whether the values of every column were looked at in the time there is"
    )
    findings: list[PersonalDataFinding]
