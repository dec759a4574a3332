"""Receivers of OpenLineage's events: an address that takes them over HTTP, and a file."""

from ml_platform.integrations.openlineage.receivers import FileReceiver, HttpReceiver

__all__ = ["FileReceiver", "HttpReceiver"]
