"""The first start: a team, an administrator with a key, and the inference server's key."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from ml_platform.contracts.identity import Role
from ml_platform.kit.ids import new_id
from ml_platform.kit.secrets import write_private
from ml_platform.services.access import Actor, WorkFactory
from ml_platform.services.identity import IdentityService
from ml_platform.services.identity.tables import KeyRow, MembershipRow, TeamRow, UserRow

ADMIN = "admin"
INFERENCE = "inference-server"


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """Paths of the files (0600) that hold the two keys."""

    admin: Path
    inference: Path


def bootstrap(factory: WorkFactory, *, team: str, secrets: Path) -> FirstKeys:
    """Makes what is missing; a second call changes nothing.

    A key is written to its file before the transaction commits: killed in between, the file holds a
    token that nobody knows, and the next start replaces both.
    """
    keys = FirstKeys(admin=secrets / "admin.key", inference=secrets / "inference.key")
    with factory.begin(Actor.system("first-start")) as work:
        row = work.session.scalars(select(TeamRow).order_by(TeamRow.id)).first()
        if row is None:
            row = TeamRow(
                id=new_id("team"),
                name=team,
                description=None,
                requests_per_second=None,
                created_at=work.clock(),
            )
            work.session.add(row)
            work.session.flush()
            work.record("team.create", "team", row.id, after={"name": team}, team_id=row.id)
        home_team = (row.id, row.name)
    actor = Actor.system("first-start", team_id=home_team[0], team_name=home_team[1])
    _ensure(factory, actor, ADMIN, "user", [Role.TEAM_LEAD], None, keys.admin, admin=True)
    roles = [Role.INFERENCE_SERVER]
    _ensure(factory, actor, INFERENCE, "service", roles, roles, keys.inference, admin=False)
    return keys


def _ensure(
    factory: WorkFactory,
    actor: Actor,
    name: str,
    kind: str,
    roles: list[Role],
    key_roles: list[Role] | None,
    path: Path,
    *,
    admin: bool,
) -> None:
    with factory.begin(actor) as work:
        user = work.session.scalars(select(UserRow).where(UserRow.name == name)).first()
        if user is None:
            user = UserRow(
                id=new_id("usr"),
                name=name,
                display_name=None,
                kind=kind,
                admin=admin,
                active=True,
                created_at=work.clock(),
            )
            work.session.add(user)
            work.session.flush()
            work.session.add(
                MembershipRow(
                    id=new_id("mbr"),
                    team_id=actor.team_id,
                    user_id=user.id,
                    roles=[role.value for role in roles],
                )
            )
            work.record("user.create", "user", user.id, after={"name": name, "admin": admin})
        first = f"{name} (first start)"
        query = select(KeyRow).where(KeyRow.user_id == user.id, KeyRow.name == first)
        issued = work.session.scalars(query).first()
        if issued is not None and (path.exists() or admin):
            return  # an administrator's key that was removed on purpose is not made again
        purpose = "api" if admin else "inference"
        key = IdentityService(work).issue_key(user, name=first, roles=key_roles, purpose=purpose)
        write_private(path, key.token)
