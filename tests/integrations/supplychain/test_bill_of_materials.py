"""The bill of materials names the model and what it asks for."""

from pathlib import Path

from ml_platform.integrations.supplychain import SupplyChainInspector
from ml_platform.services.deployments import DeployableVersion

VERSION = DeployableVersion(
    version_id="ver_1",
    model_name="churn",
    version=3,
    source=Path("/nowhere"),
    digest="ab" * 32,
    has_signature=True,
    label=None,
    reference=None,
    gate=None,
)


def test_it_is_the_same_for_the_same_model_and_names_every_package() -> None:
    lines = ["scikit_learn==1.9.1", "mlflow==3.17.2", "numpy>=2", "mlflow==3.17.2"]
    found = SupplyChainInspector().bill_of_materials(VERSION, lines)
    assert found == SupplyChainInspector().bill_of_materials(VERSION, lines[::-1])
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert [component["purl"] for component in found["components"]] == [
        "pkg:pypi/mlflow@3.17.2",
        "pkg:pypi/scikit-learn@1.9.1",
        "pkg:pypi/numpy",
    ]
    references = {component["bom-ref"] for component in found["components"]}
    [dependency] = found["dependencies"]
    assert set(dependency["dependsOn"]) == references
