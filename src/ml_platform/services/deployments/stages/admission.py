"""What a version must bring besides its files, gate by gate; everything that stops it is said at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ml_platform.services.deployments.stages.candidate import Candidate, Finding
from ml_platform.services.deployments.stages.card import card_gate


@dataclass(frozen=True, slots=True)
class Admission:
    evidence: dict[str, Any]
    problem: str | None


def admit(candidate: Candidate) -> Admission:
    """Asks every gate, also behind one that stops it: nobody comes back once for each."""
    return _together([card_gate(candidate)])


def _together(findings: Iterable[Finding]) -> Admission:
    evidence: dict[str, Any] = {}
    problems = []
    for finding in findings:
        evidence |= finding.evidence
        if finding.problem is not None:
            problems.append(finding.problem)
    return Admission(evidence, "; ".join(problems) or None)
