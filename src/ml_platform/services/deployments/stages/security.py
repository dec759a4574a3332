"""security: the signature, unsafe serialisation, known advisories, secrets and the bill of materials; by reading, never by loading.

A scanner is advice and isolation is the boundary; but what reaches the operating system, the network or
the interpreter is stopped here, and so are grave advisories and secrets that were packed by mistake.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ml_platform.services.deployments.interfaces import AdvisoryReport, ScanFinding, SecretFinding
from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.stages.context import StageContext
from ml_platform.services.deployments.stages.validate import signature_problem

_MAX_LISTED = 100
SIGNATURE_INVALID = "signature_invalid"
GRAVE = frozenset({"CRITICAL", "HIGH"})


def security(context: StageContext) -> Outcome:
    version, chain = context.resolve(), context.parts.supply_chain
    inspection = context.parts.tools.inspect(version.source)
    unsigned = signature_problem(context.parts, version, inspection)
    if unsigned is not None:
        return failed(unsigned, code=SIGNATURE_INVALID, signature={"verified": False, "why": unsigned})
    findings = context.parts.tools.scan(version.source)
    requirements = inspection.requirements
    advisories = chain.check_advisories(requirements)
    secrets, all_seen = chain.find_secrets(version.source)
    unreadable = [finding for finding in findings if finding.severity == "unreadable"]
    evidence = {
        "signature": {
            "verified": True,
            "form": "OpenSSF model signing 1.0",
            "key_sha256": context.parts.signatures.key_sha256,
            "files": len(inspection.files),
        },
        "serialisation": [asdict(finding) for finding in findings[:_MAX_LISTED]],
        "findings": len(findings),
        "dangerous": sum(finding.severity == "dangerous" for finding in findings),
        "unreadable": len(unreadable),
        "requirements": list(requirements[:1000]),
        "advisories": _told(advisories),
        "secrets": [asdict(finding) for finding in secrets],
        "secrets_complete": all_seen,
        "bill_of_materials": chain.bill_of_materials(version, requirements),
        "complete": not unreadable,
    }
    problem = security_problem(findings, advisories, secrets)
    if problem is not None:
        code, reason = problem
        return failed(reason, code=code, **evidence)
    return Outcome(passed=True, evidence=evidence)


def security_problem(
    findings: Sequence[ScanFinding], advisories: AdvisoryReport, secrets: Sequence[SecretFinding]
) -> tuple[str, str] | None:
    """The code and the reason of what stops a deployment, the gravest first; None when nothing does."""
    dangerous = sorted({f"{f.name} in {f.path}" for f in findings if f.severity == "dangerous"})
    if dangerous:
        reason = f"loading the model would import what reaches outside of it: {', '.join(dangerous[:5])}"
        return "unsafe_artifact", reason
    if secrets:
        places = ", ".join(f"{found.kind} in {found.path}:{found.line}" for found in secrets[:5])
        return (
            "secret_found",
            f"the model's files hold what looks like a secret: {places}; revoke it, log it anew",
        )
    grave = [item for item in advisories.found if item.severity in GRAVE]
    if grave:
        named = ", ".join(
            f"{item.advisory_id} ({item.severity.lower()}) in {item.package} {item.version}"
            + (f", fixed in {item.fixed_in}" if item.fixed_in else "")
            for item in grave[:5]
        )
        return "known_vulnerability", f"its requirements have known advisories: {named}"
    return None


def _told(report: AdvisoryReport) -> dict[str, Any] | str:
    """Not scanned is said, never passed off as clean."""
    if not report.scanned:
        return report.note or "not scanned"
    told = asdict(report)
    told["found"] = told["found"][:_MAX_LISTED]
    return told
