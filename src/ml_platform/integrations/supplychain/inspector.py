"""Implements `SupplyChain` of deployments."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml_platform.integrations.supplychain.advisories import OsvAdvisories
from ml_platform.integrations.supplychain.secrets import find_secrets
from ml_platform.kit.clock import rfc3339
from ml_platform.services.deployments import AdvisoryReport, DeployableVersion, SecretFinding

_SPEC = "1.6"


class SupplyChainInspector:
    """Reads, and runs nothing.

    Args:
        advisories: a local copy of published advisories; None when there is none.
    """

    def __init__(self, advisories: OsvAdvisories | None = None) -> None:
        self._advisories = advisories

    def check_advisories(self, requirements: Sequence[str]) -> AdvisoryReport:
        if self._advisories is None:
            return AdvisoryReport(scanned=False, note="not scanned: the setting advisories names no source")
        pinned, loose = _pins(requirements)
        return AdvisoryReport(
            scanned=True,
            source=self._advisories.name,
            source_modified=rfc3339(self._advisories.modified()),
            packages=len(pinned),
            not_pinned=tuple(loose),
            found=tuple(self._advisories.find(*pinned)),
        )

    def find_secrets(self, directory: Path) -> tuple[Sequence[SecretFinding], bool]:
        return find_secrets(directory)

    def bill_of_materials(self, version: DeployableVersion, requirements: Sequence[str]) -> dict[str, Any]:
        """CycloneDX 1.6: the model and the packages that it asks for; the same for the same model."""
        pinned, loose = _pins(requirements)
        name = f"{version.model_name}/{version.version}"
        components = [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{package}@{number}",
                "name": package,
                "version": number,
                "purl": f"pkg:pypi/{package}@{number}",
            }
            for package, number in sorted(set(pinned))
        ]
        components += [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{package}",
                "name": package,
                "purl": f"pkg:pypi/{package}",
            }
            for package in sorted({canonicalize_name(_name_of(line)) for line in loose} - {""})
        ]
        return {
            "bomFormat": "CycloneDX",
            "specVersion": _SPEC,
            "version": 1,
            "metadata": {
                "component": {
                    "type": "machine-learning-model",
                    "bom-ref": f"model:{name}",
                    "name": version.model_name,
                    "version": str(version.version),
                    "hashes": [{"alg": "SHA-256", "content": version.digest}],
                }
            },
            "components": components,
            "dependencies": [
                {"ref": f"model:{name}", "dependsOn": [component["bom-ref"] for component in components]}
            ],
        }


def _pins(requirements: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and version of those that are pinned, and the lines that are not."""
    pinned: list[tuple[str, str]] = []
    loose: list[str] = []
    for line in requirements:
        text = line.split("#", 1)[0].strip()
        if not text or text.startswith("-"):
            continue
        try:
            parsed = Requirement(text)
        except InvalidRequirement:
            loose.append(text[:200])
            continue
        exact = [spec.version for spec in parsed.specifier if spec.operator in ("==", "===")]
        if len(exact) == 1 and "*" not in exact[0]:
            pinned.append((canonicalize_name(parsed.name), exact[0]))
        else:
            loose.append(text[:200])
    return pinned, loose


def _name_of(line: str) -> str:
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
    return found[0] if found else ""
