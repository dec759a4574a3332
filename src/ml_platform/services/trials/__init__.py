"""Trials of model versions on live traffic: shadows and A/B tests."""
