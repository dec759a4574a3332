"""Risk and approvals: who holds which role, which models there are."""

from ml_platform.kit.storage import ObjectStorage
from ml_platform.server.deployable_models import RegistryCatalogue
from ml_platform.server.runtime import Runtime
from ml_platform.server.serving_keys import MembershipRoles
from ml_platform.services.governance import ModelDirectory, RoleDirectory


def compose(runtime: Runtime) -> None:
    parts = runtime.components
    parts.provide(RoleDirectory, MembershipRoles())
    parts.provide(ModelDirectory, RegistryCatalogue(parts.get(ObjectStorage)))
