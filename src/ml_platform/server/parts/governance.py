"""Risk and approvals: who holds which role, which models there are, what they were trained on."""

from ml_platform.contracts.personaldata import PersonalDataGroup
from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.deployable_models import RegistryCatalogue
from ml_platform.server.production_use import DeployedModels, RowsRevalidator
from ml_platform.server.runtime import Runtime
from ml_platform.server.serving_keys import MembershipRoles
from ml_platform.server.settings import PersonalDataSettings
from ml_platform.server.training_data import LineageTrainingData
from ml_platform.services.access import WorkFactory
from ml_platform.services.datasets import PersonalDataFinder
from ml_platform.services.governance import (
    InputRule,
    ModelDirectory,
    PersonalDataCheck,
    PersonalDataRules,
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
    training = LineageTrainingData(parts.get(PersonalDataFinder))
    check = parts.provide(
        PersonalDataCheck, PersonalDataCheck(training, rules_of(runtime.settings.personal_data))
    )
    watch = ReviewWatch(parts.get(WorkFactory), production, check)
    runtime.repeat("model-reviews", _REVIEWS_SECONDS, watch.run)


def rules_of(settings: PersonalDataSettings) -> PersonalDataRules:
    return PersonalDataRules(
        inputs={group: InputRule(getattr(settings, f"{group.value}_inputs")) for group in PersonalDataGroup},
        floors={group: getattr(settings, f"{group.value}_floor") for group in PersonalDataGroup},
    )
