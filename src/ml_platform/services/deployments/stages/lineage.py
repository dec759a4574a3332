"""Where a version comes from: the run that made it, and the data that it learnt from."""

from typing import Any

from ml_platform.contracts.governance import RiskLevel
from ml_platform.services.deployments.stages.candidate import Candidate, Finding

_ASKED = (RiskLevel.MEDIUM, RiskLevel.HIGH)


def lineage_gate(candidate: Candidate) -> Finding:
    """Stops production at medium and high risk; elsewhere what is missing is evidence alone.

    A job that declares its inputs leaves all of it. For another version its authors say in the card what it was
    trained on (`training_data`), or that it was made elsewhere, and where (`imported`).
    """
    version = candidate.version
    imported = _declared(version.model_card.get("imported"))
    described = _declared(version.model_card.get("training_data"))
    missing = []
    if version.origin.run_id is None and imported is None:
        missing.append("run")
    if not version.origin.data and described is None and imported is None:
        missing.append("data")
    evidence: dict[str, Any] = {
        "run_id": version.origin.run_id,
        "job_id": version.origin.job_id,
        "data": list(version.origin.data),
        "declared_data": described,
        "imported": imported,
        "missing": missing,
    }
    if not missing or not candidate.production or candidate.risk not in _ASKED:
        return Finding({"lineage": evidence})
    name = f"{version.model_name}/{version.version}"
    return Finding(
        {"lineage": evidence},
        f"the lineage of {name} lacks its {' and its '.join(missing)}: let a job that declares its inputs train"
        " it, or say in its card on what it was trained (training_data) or where it was made (imported): mlops"
        f" models card set {version.model_name} {version.version} --file card.yaml",
    )


def _declared(value: Any) -> Any:
    """What a card says, or None for nothing."""
    said = value.strip() if isinstance(value, str) else value
    return said if said not in (None, "", [], {}, False) else None
