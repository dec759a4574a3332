"""The routes below `/api/v1`, slice by slice."""

from ml_platform.services.alerts import router as alerts
from ml_platform.services.audit import router as audit
from ml_platform.services.datasets import router as datasets
from ml_platform.services.deployments import router as deployments
from ml_platform.services.experiments import router as experiments
from ml_platform.services.features import router as features
from ml_platform.services.governance import models_router as model_register
from ml_platform.services.governance import router as governance
from ml_platform.services.identity import router as identity
from ml_platform.services.lineage import router as lineage
from ml_platform.services.monitoring import router as monitoring
from ml_platform.services.policies import router as policies
from ml_platform.services.registry import router as registry
from ml_platform.services.training import evaluations_router as evaluations
from ml_platform.services.training import router as training
from ml_platform.services.trials import router as trials

ROUTERS = (
    identity,
    audit,
    deployments,
    trials,
    monitoring,
    alerts,
    governance,
    policies,
    model_register,
    datasets,
    features,
    experiments,
    training,
    evaluations,
    registry,
    lineage,
)
