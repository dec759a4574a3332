"""The people of the demo: a team, its engineer, two approvers, and the calling application."""

from contextlib import suppress
from dataclasses import dataclass

from ml_platform.contracts.identity import Role
from ml_platform.sdk import Platform
from ml_platform.sdk.errors import ConflictError

TEAM = "telco"
_PEOPLE = {
    "ana": [Role.ML_ENGINEER],
    "maria": [Role.MANAGER],
    "sam": [Role.SENIOR_DATA_SCIENTIST],
    "shop": [Role.PREDICTION_CLIENT],
}


@dataclass(frozen=True, slots=True)
class Cast:
    """A connection for each of them, with a key that ends after a day."""

    engineer: Platform
    manager: Platform
    senior: Platform
    application_key: str


def assemble(admin: Platform) -> Cast:
    """Makes the team and its people when they are missing, and a fresh key for each."""
    with suppress(ConflictError):  # it is there from an earlier run
        admin.identity.create_team(TEAM, "The demo's team")
    connection = admin.connection
    leader = Platform(url=connection.url, key=connection.key, team=TEAM)
    keys = {}
    for name, roles in _PEOPLE.items():
        with suppress(ConflictError):
            admin.identity.create_user(name)
        leader.identity.set_member(TEAM, name, roles)
        keys[name] = leader.identity.create_key("demo", user=name, expires_in_days=1).token
    leader.close()

    def as_user(name: str) -> Platform:
        return Platform(url=connection.url, key=keys[name], team=TEAM)

    return Cast(as_user("ana"), as_user("maria"), as_user("sam"), keys["shop"])
