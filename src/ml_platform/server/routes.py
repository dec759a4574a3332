"""The routes below `/api/v1`, slice by slice."""

from ml_platform.services.audit import router as audit
from ml_platform.services.datasets import router as datasets
from ml_platform.services.features import router as features
from ml_platform.services.identity import router as identity

ROUTERS = (identity, audit, datasets, features)
