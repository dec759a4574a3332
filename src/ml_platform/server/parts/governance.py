"""Risk and approvals: who holds which role, which models there are."""

from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.deployable_models import RegistryCatalogue
from ml_platform.server.production_use import DeployedModels, RowsRevalidator
from ml_platform.server.runtime import Runtime
from ml_platform.server.serving_keys import MembershipRoles
from ml_platform.services.access import WorkFactory
from ml_platform.services.governance import (
    ModelDirectory,
    ProductionUse,
    Revalidator,
    ReviewWatch,
    RoleDirectory,
)

_REVIEWS_SECONDS = 600.0


def compose(runtime: Runtime) -> None:
    parts = runtime.components
    parts.provide(RoleDirectory, MembershipRoles())
    parts.provide(ModelDirectory, RegistryCatalogue(parts.get(ObjectStorage)))
    production = parts.provide(ProductionUse, DeployedModels())
    parts.provide(Revalidator, RowsRevalidator(parts))
    watch = ReviewWatch(parts.get(WorkFactory), production)
    runtime.repeat("model-reviews", _REVIEWS_SECONDS, watch.run)
