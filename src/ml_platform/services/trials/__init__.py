"""Trials of model versions on live traffic: shadows, and A/B tests."""

from ml_platform.services.trials.ab_tests import AB_TEST, ABTestService
from ml_platform.services.trials.endpoints import router
from ml_platform.services.trials.interfaces import QualityRead, ShadowRead, TrialEvidence
from ml_platform.services.trials.shadows import ShadowService
from ml_platform.services.trials.workflows import ABTestWorkflow

__all__ = [
    "AB_TEST",
    "ABTestService",
    "ABTestWorkflow",
    "QualityRead",
    "ShadowRead",
    "ShadowService",
    "TrialEvidence",
    "router",
]
