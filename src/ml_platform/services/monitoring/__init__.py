"""Watching models in production: drift, data quality, and what follows from them."""
