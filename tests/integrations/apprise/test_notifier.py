"""Notifications to a real receiver, and to one that is away."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ml_platform.integrations.apprise import AppriseNotifier
from ml_platform.kit.errors import UnavailableError


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook, and what it was told."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_address[1]}/hook", told
    server.shutdown()
    server.server_close()


@pytest.fixture
def nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"json://user:geheim@127.0.0.1:{probe.getsockname()[1]}/hook"


class TestSending:
    def test_a_receiver_is_told(self, receiver: tuple[str, list[dict[str, Any]]]) -> None:
        url, told = receiver
        assert AppriseNotifier(lambda: [url]).send("churn/2 serves", "in production", severity="success") == 1
        assert (told[0]["title"], told[0]["message"], told[0]["type"]) == (
            "churn/2 serves",
            "in production",
            "success",
        )

    def test_nobody_configured_is_no_error(self) -> None:
        assert AppriseNotifier(list).send("title", "body") == 0

    def test_one_that_is_away_does_not_silence_the_others(
        self, receiver: tuple[str, list[dict[str, Any]]], nobody: str
    ) -> None:
        url, told = receiver
        with pytest.raises(UnavailableError) as raised:
            AppriseNotifier(lambda: [nobody, url]).send("title", "body")
        assert len(told) == 1
        assert "geheim" not in raised.value.detail

    def test_a_url_that_means_nothing_is_said(self) -> None:
        with pytest.raises(UnavailableError, match="1 of 1"):
            AppriseNotifier(lambda: ["nonsense"]).send("title", "body")
