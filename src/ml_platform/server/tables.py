"""Imports every slice's tables, so that the metadata is complete for Alembic."""

import importlib
import pkgutil

from ml_platform import services
from ml_platform.kit import idempotency, outbox

__all__ = ["idempotency", "outbox"]

for _module in pkgutil.walk_packages(services.__path__, f"{services.__name__}."):
    if _module.name.rpartition(".")[2] == "tables":
        importlib.import_module(_module.name)
