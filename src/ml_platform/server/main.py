"""The control plane's process: `python -m ml_platform.server.main`."""

import gc
import os
import signal
import sys
from types import FrameType

import structlog
import uvicorn

from ml_platform.kit import logs
from ml_platform.server.app import create_app
from ml_platform.server.local.guardian import Guardian
from ml_platform.server.local.layout import Layout
from ml_platform.server.settings import Settings
from ml_platform.services.deployments import SnapshotFeed

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Answers those who wait for news as soon as it is told to stop, so that they do not delay it."""

    def __init__(self, config: uvicorn.Config, feed: SnapshotFeed) -> None:
        super().__init__(config)
        self._feed = feed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._feed.close()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serves until SIGTERM; requests under way get `shutdown_seconds` to finish."""
    settings = Settings()
    logs.configure(settings.log_level)
    layout = Layout(settings.home)
    with layout.hold("api"):
        layout.write_process("api")
        supervised = os.environ.get("MLOPS_SUPERVISED") == "1"
        guardian = Guardian(layout, settings.api.hang_seconds) if supervised else None
        app = create_app(settings)
        gc.collect()
        gc.freeze()  # what is loaded by now stays: later collections need not walk it
        if guardian is not None:
            guardian.start()
        config = uvicorn.Config(
            app,
            host=settings.api.host,
            port=settings.api.port,
            loop="uvloop" if sys.platform != "win32" else "auto",
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=int(settings.shutdown_seconds),
            timeout_keep_alive=75,  # longer than clients keep theirs: nobody sends into a closing connection
        )
        server = _Server(config, app.state.components.get(SnapshotFeed))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            server.run()
        finally:
            if guardian is not None:
                guardian.stop()
        return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
