"""The arithmetic of trials on live traffic; nothing here knows a database, a deployment or a clock."""

from ml_platform.services.trials.statistics.ratio import SampleRatio, check_ratio
from ml_platform.services.trials.statistics.sequential import ArmSums, Difference, compare_arms

__all__ = ["ArmSums", "Difference", "SampleRatio", "check_ratio", "compare_arms"]
