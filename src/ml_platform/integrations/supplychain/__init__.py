"""What comes with a model: known advisories of its requirements, secrets in its files, its bill of materials."""

from ml_platform.integrations.supplychain.advisories import OsvAdvisories
from ml_platform.integrations.supplychain.inspector import SupplyChainInspector
from ml_platform.integrations.supplychain.secrets import find_secrets

__all__ = ["OsvAdvisories", "SupplyChainInspector", "find_secrets"]
