"""How much the deployments of a team may take: its own limits, and the installation's where it has none."""

from ml_platform.services.access import Work
from ml_platform.services.deployments import Quota
from ml_platform.services.identity.tables import TeamRow


class TeamLimits:
    """Implements `TeamQuotas` of deployments."""

    def __init__(self, default: Quota) -> None:
        self._default = default

    def of_team(self, work: Work, *, lock: bool = False) -> Quota:
        # What refers to the team may be added meanwhile: that takes a weaker lock.
        held = {"key_share": True} if lock else None
        row, default = work.session.get(TeamRow, work.team_id, with_for_update=held), self._default
        if row is None:
            return default
        return Quota(
            deployments=default.deployments if row.max_deployments is None else row.max_deployments,
            replicas=default.replicas if row.max_replicas is None else row.max_replicas,
            cpu=default.cpu if row.max_cpu is None else row.max_cpu,
            memory_mb=default.memory_mb if row.max_memory_mb is None else row.max_memory_mb,
        )
