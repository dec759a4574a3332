"""The parts of one process, and the order in which they start and stop."""

import threading
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp

from ml_platform.kit.wiring import Components
from ml_platform.server.settings import Settings

_log = structlog.get_logger(__name__)


class Runtime:
    """The parts of one process, and the order in which they start and stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.components = Components()
        self._starts: list[Callable[[], None]] = []
        self._stops: list[Callable[[], None]] = []
        self.mounts: list[tuple[str, ASGIApp]] = []

    def mount(self, path: str, app: ASGIApp) -> None:
        """Has another application answer below `path`; it authenticates for itself."""
        self.mounts.append((path, app))

    def on_start(self, action: Callable[[], None]) -> None:
        self._starts.append(action)

    def on_stop(self, action: Callable[[], None]) -> None:
        self._stops.append(action)

    def start(self) -> None:
        for action in self._starts:
            action()

    def stop(self) -> None:
        """Stops in the reverse order; one part that fails to stop does not keep the others up."""
        for action in reversed(self._stops):
            try:
                action()
            except Exception:
                _log.exception("stop.failed", part=getattr(action, "__qualname__", str(action)))

    def repeat(self, name: str, seconds: float, action: Callable[[], object]) -> None:
        """Runs `action` every so many seconds from start to stop, and once more at the stop."""
        stopped = threading.Event()

        def run() -> None:
            while not stopped.wait(seconds):
                once()

        def once() -> None:
            try:
                action()
            except Exception:  # a failing turn is logged and does not end the turns after it
                _log.exception("repeat.failed", name=name)

        thread = threading.Thread(target=run, name=name, daemon=True)

        def stop() -> None:
            stopped.set()
            thread.join(timeout=10)
            once()

        self.on_start(thread.start)
        self.on_stop(stop)
