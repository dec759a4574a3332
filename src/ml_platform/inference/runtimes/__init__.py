"""Runtimes: what turns typed rows into predictions."""
