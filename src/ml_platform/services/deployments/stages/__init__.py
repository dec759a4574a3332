"""The nine stages: what each looks at and what it finds; none of them knows of workflows."""

from ml_platform.services.deployments.stages.build import build
from ml_platform.services.deployments.stages.context import RolloutParts, StageContext
from ml_platform.services.deployments.stages.security import security
from ml_platform.services.deployments.stages.smoke import smoke_test
from ml_platform.services.deployments.stages.test import test
from ml_platform.services.deployments.stages.validate import validate

__all__ = ["RolloutParts", "StageContext", "build", "security", "smoke_test", "test", "validate"]
