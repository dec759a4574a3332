"""The model card says what a model of its risk has to say before it reaches production."""

from ml_platform.services.deployments.stages.candidate import Candidate, Finding
from ml_platform.services.governance import missing_sections


def card_gate(candidate: Candidate) -> Finding:
    """Outside production what is missing is evidence alone: people try things out there."""
    version = candidate.version
    missing = missing_sections(version.model_card, candidate.risk)
    evidence = {"model_card": version.model_card, "model_card_missing": missing}
    if not missing or not candidate.production or candidate.risk is None:
        return Finding(evidence)
    named = ", ".join(missing)
    return Finding(
        evidence,
        f"the model card of {version.model_name}/{version.version} is not complete: a model of"
        f" {candidate.risk.value} risk needs {named}; whoever may train models writes the card: mlops models"
        f" card set {version.model_name} {version.version} --file card.yaml",
    )
