"""Adapters to the outside. Each implements an interface that a service or the kit defines."""
