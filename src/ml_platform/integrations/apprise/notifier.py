"""Sends a notification to every configured URL."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from ml_platform.kit.errors import UnavailableError

_log = structlog.get_logger(__name__)
_SECONDS = 20.0


class AppriseNotifier:
    """Tells all of its URLs, each apart, so that one that is away does not silence the others.

    Args:
        urls: Apprise URLs, read before each notification. They hold secrets, so neither errors nor logs
            name more of one than its kind.
    """

    def __init__(self, urls: Callable[[], Sequence[str]]) -> None:
        self._urls = urls

    def send(self, title: str, body: str, *, severity: str = "info") -> int:
        """How many were told; raises UnavailableError when any of them could not be, or not in time."""
        failed: list[str] = []
        urls = self._urls()
        threads = [
            threading.Thread(target=self._send_one, args=(url, title, body, severity, failed), daemon=True)
            for url in urls
        ]
        for thread in threads:
            thread.start()
        for url, thread in zip(urls, threads, strict=True):
            thread.join(_SECONDS)
            if thread.is_alive():
                failed.append(_kind(url))
        if failed:
            raise UnavailableError(
                f"{len(failed)} of {len(urls)} receivers were not told: {', '.join(sorted(failed))}",
                hint="check the setting alert_urls",
            )
        return len(urls)

    def _send_one(self, url: str, title: str, body: str, severity: str, failed: list[str]) -> None:
        try:
            if not _notify(url, title, body, severity):
                failed.append(_kind(url))
        except Exception as error:  # whatever a receiver's plug-in raises is a receiver that was not told
            _log.warning("notification.failed", receiver=_kind(url), error=type(error).__name__)
            failed.append(_kind(url))


def _notify(url: str, title: str, body: str, severity: str) -> bool:
    import apprise  # it takes a second to load, and most installations never notify anyone

    kinds: dict[str, Any] = {
        "info": apprise.NotifyType.INFO,
        "success": apprise.NotifyType.SUCCESS,
        "warning": apprise.NotifyType.WARNING,
        "failure": apprise.NotifyType.FAILURE,
    }
    sender = apprise.Apprise()
    return bool(sender.add(url)) and bool(
        sender.notify(title=title, body=body, notify_type=kinds.get(severity, kinds["info"]))
    )


def _kind(url: str) -> str:
    return url.partition("://")[0][:40] or "unknown"
