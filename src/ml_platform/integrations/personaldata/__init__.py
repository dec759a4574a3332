"""Personal data found by the names of columns, and by patterns and check digits in a sample of their values."""

from ml_platform.integrations.personaldata.finder import RulesFinder

__all__ = ["RulesFinder"]
