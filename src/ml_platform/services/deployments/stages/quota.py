"""The team's quota holds what it runs already and what this would add."""

from collections.abc import Iterable
from dataclasses import dataclass

from ml_platform.contracts.deployments import DeploymentQuota, QuotaUse, RevisionStatus, RolloutPurpose
from ml_platform.services.access import Work
from ml_platform.services.deployments.interfaces import Quota, TeamQuotas
from ml_platform.services.deployments.ledger import purpose_of
from ml_platform.services.deployments.repository import DeploymentRepository
from ml_platform.services.deployments.sizes import Size
from ml_platform.services.deployments.stages.candidate import Candidate, Finding
from ml_platform.services.deployments.tables import RevisionRow, RolloutRow

_SERVING = (RevisionStatus.SERVING,)
_BESIDE = (RevisionStatus.SHADOW, RevisionStatus.TRIAL)
_UNITS = {"deployments": "", "replicas": "", "cpu": " cores", "memory_mb": " MiB"}


@dataclass(frozen=True, slots=True)
class Use:
    """What deployments take of a quota: with auto-scaling the most that there may be."""

    deployments: int = 0
    replicas: int = 0
    cpu: float = 0.0
    memory_mb: int = 0

    @classmethod
    def of(cls, size: Size) -> "Use":
        copies, each = size.reserved, size.resources
        return cls(1, copies, round(copies * each.cpu, 3), copies * each.memory_mb)

    def plus(self, other: "Use") -> "Use":
        """Both, at one endpoint."""
        return Use(
            max(self.deployments, other.deployments),
            self.replicas + other.replicas,
            round(self.cpu + other.cpu, 3),
            self.memory_mb + other.memory_mb,
        )

    def at_least(self, other: "Use") -> "Use":
        return Use(*(max(getattr(self, name), getattr(other, name)) for name in _UNITS))


def quota_gate(
    work: Work, quotas: TeamQuotas | None, candidate: Candidate, *, placing: bool = False
) -> Finding:
    """Stops what takes more than there is; what takes no more than before passes also above the quota.

    A canary's two revisions count as the larger one: they stand side by side for the rollout alone. When it is
    about `placing`, whatever else of the team would be placed waits until this transaction is over.
    """
    if quotas is None:
        return Finding()
    quota = quotas.of_team(work, lock=placing)
    before, after = use_with(work, candidate)
    evidence = {
        name: {"limit": getattr(quota, name), "used": getattr(before, name), "needed": getattr(after, name)}
        for name in _UNITS
    }
    problems = list(_exceeded(quota, before, after))
    if not problems:
        return Finding({"quota": evidence})
    team = work.actor.team_name
    return Finding(
        {"quota": evidence},
        f"the quota of team {team!r} does not suffice: {', '.join(problems)}; retire a deployment, or ask an"
        f" administrator for more: mlops teams set-quota {team}",
    )


def use_with(work: Work, candidate: Candidate) -> tuple[Use, Use]:
    """What the team takes without this candidate, and with it."""
    repository = DeploymentRepository(work.session, work.team_id)
    found = repository.find(candidate.environment.value, candidate.endpoint)
    own = found.id if found is not None else "new"
    loaded, coming = _by_deployment(repository, candidate.rollout_id)
    others = [_use(rows, coming.get(key)) for key, rows in loaded.items() if key != own]
    standing = _use(loaded.get(own, []), None)
    wanted = Use.of(candidate.size)
    if candidate.purpose is RolloutPurpose.TRAFFIC:
        beside = _sum(row for row in loaded.get(own, []) if row.status in _BESIDE)
        with_it = _sum(row for row in loaded.get(own, []) if row.status in _SERVING).at_least(wanted)
        with_it = with_it.plus(beside)
    else:
        with_it = standing.plus(wanted)
    return _total([*others, standing]), _total([*others, with_it])


def quota_now(work: Work, quotas: TeamQuotas | None) -> DeploymentQuota:
    """The team's limits, and what its deployments take, those on their way included."""
    loaded, coming = _by_deployment(DeploymentRepository(work.session, work.team_id), None)
    use = _total(_use(rows, coming.get(key)) for key, rows in loaded.items())
    quota = quotas.of_team(work) if quotas is not None else None
    return DeploymentQuota(
        team=work.actor.team_name,
        limits=[
            QuotaUse(name=name, limit=getattr(quota, name, None), used=getattr(use, name)) for name in _UNITS
        ],
    )


def _by_deployment(
    repository: DeploymentRepository, before: str | None
) -> tuple[dict[str, list[RevisionRow]], dict[str, RolloutRow]]:
    """What is loaded and what is on its way, by deployment; of those on their way what was asked for earlier.

    Whoever asked first has the place: of two that do not fit together one goes on, and not neither. But what is
    placed already has its place, whoever asked: an earlier request may have become visible too late to be counted.
    """
    everything = repository.all_loaded()
    placed = {row.rollout_id for row in everything if row.status == RevisionStatus.CANDIDATE}
    coming = {
        row.deployment_id: row
        for row in repository.under_way()
        if before is None or row.id < before or row.id in placed
    }
    loaded: dict[str, list[RevisionRow]] = {deployment_id: [] for deployment_id in coming}
    for row in everything:
        loaded.setdefault(row.deployment_id, []).append(row)
    return loaded, coming


def _use(rows: list[RevisionRow], coming: RolloutRow | None) -> Use:
    serving, beside = (
        _sum(row for row in rows if row.status in statuses) for statuses in (_SERVING, _BESIDE)
    )
    if coming is None:
        return serving.plus(beside)
    wanted = Use.of(Size.of(coming.config))
    if purpose_of(coming) is RolloutPurpose.TRAFFIC:
        return serving.at_least(wanted).plus(beside)
    return serving.plus(beside).plus(wanted)


def _sum(rows: Iterable[RevisionRow]) -> Use:
    found = Use()
    for row in rows:
        found = found.plus(Use.of(Size.of(row.config)))
    return found


def _total(uses: Iterable[Use]) -> Use:
    found = Use()
    for use in uses:
        found = Use(
            found.deployments + use.deployments,
            found.replicas + use.replicas,
            round(found.cpu + use.cpu, 3),
            found.memory_mb + use.memory_mb,
        )
    return found


def _exceeded(quota: Quota, before: Use, after: Use) -> Iterable[str]:
    for name, unit in _UNITS.items():
        limit, used, needed = (getattr(each, name) for each in (quota, before, after))
        if needed > limit and needed > used:
            shown = name.removesuffix("_mb")
            yield f"{shown}: {used:.12g}{unit} of {limit:.12g}{unit} are taken, and this makes it {needed:.12g}{unit}"
