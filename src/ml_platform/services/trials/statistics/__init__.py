"""The arithmetic of trials on live traffic; nothing here knows a database, a deployment or a clock."""

from ml_platform.services.trials.statistics.arms import NOTHING, ArmRead, ArmsRead, read_arms
from ml_platform.services.trials.statistics.pairs import PairsRead, agreement_of, read_pairs
from ml_platform.services.trials.statistics.ratio import SampleRatio, check_ratio
from ml_platform.services.trials.statistics.sequential import ArmSums, Difference, compare_arms

__all__ = [
    "NOTHING",
    "ArmRead",
    "ArmSums",
    "ArmsRead",
    "Difference",
    "PairsRead",
    "SampleRatio",
    "agreement_of",
    "check_ratio",
    "compare_arms",
    "read_arms",
    "read_pairs",
]
