"""What a version must bring besides its files, gate by gate; everything that stops it is said at once."""

from dataclasses import dataclass
from typing import Any

from ml_platform.services.access import Work
from ml_platform.services.deployments.interfaces import TeamQuotas
from ml_platform.services.deployments.stages.candidate import Candidate
from ml_platform.services.deployments.stages.card import card_gate
from ml_platform.services.deployments.stages.lineage import lineage_gate
from ml_platform.services.deployments.stages.names import name_gate
from ml_platform.services.deployments.stages.quota import quota_gate


@dataclass(frozen=True, slots=True)
class Admission:
    evidence: dict[str, Any]
    problem: str | None


def admit(work: Work, quotas: TeamQuotas | None, candidate: Candidate) -> Admission:
    """Asks every gate, also behind one that stops it: nobody comes back once for each."""
    evidence: dict[str, Any] = {}
    problems = []
    for finding in (
        card_gate(candidate),
        lineage_gate(candidate),
        name_gate(work, candidate),
        quota_gate(work, quotas, candidate),
    ):
        evidence |= finding.evidence
        if finding.problem is not None:
            problems.append(finding.problem)
    return Admission(evidence, "; ".join(problems) or None)
