"""The control plane's one route that the inference plane needs, as a real HTTP server with long polls."""

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from ml_platform.contracts.serving import (
    FeatureStore,
    ServingEndpoint,
    ServingKey,
    ServingRevision,
    Snapshot,
    Sticky,
    encode_snapshot,
)

from .bundles import Bundle

TOKEN = "mlops_control_token"


class ControlPlane:
    """Publishes snapshots. `requests` counts polls; `answer_with` makes it answer something else."""

    def __init__(self, port: int = 0) -> None:
        self.condition = threading.Condition()
        self.snapshot: Snapshot | None = None
        self.polls = 0
        self.stopped = False
        self.answer_with: tuple[int, bytes] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self, snapshot: Snapshot) -> None:
        with self.condition:
            self.snapshot = snapshot
            self.condition.notify_all()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self.condition:
            self.stopped = True  # connections that are kept alive end with the answer they wait for
            self.condition.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        control = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                split = urlsplit(self.path)
                if split.path != "/api/v1/inference/snapshot":
                    return self.reply(404, b"")
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    return self.reply(401, b"")
                query = parse_qs(split.query)
                data = control._wait(int(query["after"][0]), float(query["wait"][0]))
                if control.stopped:
                    self.close_connection = True
                    return None
                if control.answer_with is not None:
                    return self.reply(*control.answer_with)
                return self.reply(204 if data is None else 200, data or b"")

            def reply(self, status: int, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                try:
                    self.end_headers()
                    self.wfile.write(data)
                except ConnectionError:
                    self.close_connection = True  # the server was stopped while it waited

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _wait(self, after: int, wait: float) -> bytes | None:
        deadline = time.monotonic() + wait
        with self.condition:
            self.polls += 1
            self.condition.notify_all()
            while not self._has_news(after):
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self.condition.wait(left)
            return encode_snapshot(self.snapshot) if self.snapshot is not None else None

    def _has_news(self, after: int) -> bool:
        changed = self.snapshot is not None and self.snapshot.version != after
        return self.stopped or self.answer_with is not None or changed


def key(
    token: str, team: str | None = "acme", permissions: tuple[str, ...] = ("predict",), **more
) -> ServingKey:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return ServingKey(
        key_id=f"key-{digest[:8]}", token_sha256=digest, team=team, permissions=permissions, **more
    )


def revision(bundle: Bundle, revision_id: str = "rev-1", weight: float = 100, **more) -> ServingRevision:
    return ServingRevision(
        revision_id=revision_id,
        model_name=more.pop("model_name", "churn"),
        model_version=more.pop("model_version", "1"),
        weight=weight,
        bundle_uri=bundle.path.as_uri(),
        bundle_digest=bundle.digest,
        **more,
    )


def endpoint(
    *revisions: ServingRevision,
    name: str = "churn",
    team: str = "acme",
    environment: str = "production",
    sticky: Sticky | None = None,
) -> ServingEndpoint:
    return ServingEndpoint(
        team=team,
        environment=environment,
        name=name,
        deployment_id=f"dep-{name}",
        revisions=revisions,
        sticky=sticky,
    )


ADMIN = "mlops_admin_secret"
CALLER = "mlops_caller_secret"


def snapshot(
    version: int, *endpoints: ServingEndpoint, keys=(), stores: tuple[FeatureStore, ...] = ()
) -> Snapshot:
    """A snapshot with the caller's key of team acme, a platform key for everything, and what is given."""
    standard = (
        key(CALLER),
        key(ADMIN, team=None, permissions=("predict", "inference_internal", "read_metrics")),
    )
    return Snapshot(version=version, keys=(*standard, *keys), endpoints=endpoints, feature_stores=stores)
