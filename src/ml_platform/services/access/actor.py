"""The one who acts: a person, a service account, a job, or the platform itself."""

from dataclasses import dataclass, field

from ml_platform.contracts.identity import Role


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller in the team for which this request is made.

    `memberships` maps team ids to roles. `team_id` is empty only for actors that belong to no team.
    """

    actor_id: str
    name: str
    kind: str = "user"  # user, job, system
    admin: bool = False
    team_id: str = ""
    team_name: str = ""
    memberships: dict[str, frozenset[Role]] = field(default_factory=dict)
    key_id: str | None = None
    narrowed: bool = False  # by a key that gives less than its owner has
    source: str | None = None  # the address from which the request came

    @property
    def roles(self) -> frozenset[Role]:
        """The roles in the current team."""
        return self.memberships.get(self.team_id, frozenset())

    @classmethod
    def system(cls, name: str, *, team_id: str = "", team_name: str = "") -> "Actor":
        """The platform acting for itself, e.g. a workflow that goes on after its request."""
        return cls(
            actor_id=f"system:{name}",
            name=name,
            kind="system",
            admin=True,
            team_id=team_id,
            team_name=team_name,
        )
