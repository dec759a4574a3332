"""Notifications by Apprise: Slack, PagerDuty, e-mail, webhooks and a hundred more, one URL each."""

from ml_platform.integrations.apprise.notifier import AppriseNotifier

__all__ = ["AppriseNotifier"]
