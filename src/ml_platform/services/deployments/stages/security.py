"""security: unsafe serialisation, found by reading, never by loading.

A scanner is advice and isolation is the boundary; but what reaches the operating system, the network or
the interpreter is stopped here.
"""

from dataclasses import asdict

from ml_platform.services.deployments.ledger import Outcome, failed
from ml_platform.services.deployments.stages.context import StageContext

_MAX_LISTED = 100


def security(context: StageContext) -> Outcome:
    version = context.resolve()
    findings = context.parts.tools.scan(version.source)
    requirements = context.parts.tools.inspect(version.source).requirements
    dangerous = [finding for finding in findings if finding.severity == "dangerous"]
    unreadable = [finding for finding in findings if finding.severity == "unreadable"]
    evidence = {
        "serialisation": [asdict(finding) for finding in findings[:_MAX_LISTED]],
        "findings": len(findings),
        "dangerous": len(dangerous),
        "unreadable": len(unreadable),
        "requirements": list(requirements[:1000]),
        "advisories": "not scanned: no advisory source is configured",
        "complete": not unreadable,
    }
    if dangerous:
        names = ", ".join(sorted({f"{f.name} in {f.path}" for f in dangerous})[:5])
        reason = f"loading the model would import what reaches outside of it: {names}"
        return failed(reason, code="unsafe_artifact", **evidence)
    return Outcome(passed=True, evidence=evidence)
