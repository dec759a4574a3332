"""Calls on a network that fails: what is repeated, what is not, and what is made of strange answers."""

import json
import socket
import time
from typing import Any

import pytest

from ml_platform.sdk import Platform
from ml_platform.sdk.config import Connection
from ml_platform.sdk.errors import (
    ConnectionFailedError,
    InvalidInputError,
    NotFoundError,
    ServerError,
    UnavailableError,
)
from ml_platform.sdk.transport import Transport, at
from tests.sdk.conftest import Answers

_TEAM = {"team_id": "t1", "name": "fraud", "description": None, "created_at": "2024-01-01T00:00:00Z"}


class TestRepeating:
    def test_a_part_that_is_down_for_a_moment_is_asked_again(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        answers.add(503, {}, retry_after="0")
        answers.add(502, b"bad gateway")
        answers.add(200, {"items": [_TEAM], "next_cursor": None})
        assert [team.name for team in platform_of_answers.identity.list_teams()] == ["fraud"]
        assert len(answers.received) == 3

    def test_a_post_is_repeated_under_the_same_idempotency_key(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        answers.hang_up()
        answers.add(201, _TEAM)
        assert platform_of_answers.identity.create_team("fraud").team_id == "t1"
        first, second = answers.received
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert first.body == second.body
        assert json.loads(first.body)["name"] == "fraud"

    def test_two_calls_have_two_idempotency_keys(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        for _ in range(2):
            answers.add(201, _TEAM)
            platform_of_answers.identity.create_team("fraud")
        assert len({request.headers["idempotency-key"] for request in answers.received}) == 2

    def test_a_call_that_had_its_whole_time_is_not_repeated(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            transport = Transport(Connection(url=url, key="mlops_a_b"))
            with pytest.raises(ConnectionFailedError, match="does not answer"):
                transport.request("GET", "/teams", timeout=0.2)
            transport.close()
            silent.settimeout(0.5)
            silent.accept()[0].close()
            with pytest.raises(TimeoutError):
                silent.accept()

    def test_it_gives_up_and_says_so(self, platform_of_answers: Platform, answers: Answers) -> None:
        for _ in range(4):
            answers.add(503, {"code": "unavailable", "detail": "the queue is full"}, retry_after="0")
        with pytest.raises(UnavailableError, match="the queue is full"):
            platform_of_answers.identity.whoami()
        assert len(answers.received) == 4

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500])
    def test_an_answer_is_not_asked_for_twice(
        self, platform_of_answers: Platform, answers: Answers, status: int
    ) -> None:
        answers.add(status, {"detail": "no"})
        with pytest.raises(Exception, match="no"):
            platform_of_answers.identity.whoami()
        assert len(answers.received) == 1

    def test_a_long_retry_after_does_not_make_it_hang(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        answers.add(503, {}, retry_after="soon")
        answers.add(200, {"items": [], "next_cursor": None})
        started = time.monotonic()
        assert platform_of_answers.identity.list_teams() == []
        assert time.monotonic() - started < 10

    def test_nobody_at_the_address_is_a_connection_error(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        with (
            Platform(f"http://127.0.0.1:{port}", "mlops_a_b") as nowhere,
            pytest.raises(ConnectionFailedError, match=f"127.0.0.1:{port} does not answer") as raised,
        ):
            nowhere.identity.whoami()
        assert isinstance(raised.value, ConnectionError)


class TestSending:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"deep": float("-inf")}]])
    def test_nan_and_infinity_never_leave(
        self, platform_of_answers: Platform, answers: Answers, value: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="NaN and Infinity cannot be sent"):
            platform_of_answers.features.create("d", {"name": "v", "exclude": value})
        assert answers.received == []

    def test_what_json_does_not_know_is_named(self, platform_of_answers: Platform, answers: Answers) -> None:
        with pytest.raises(InvalidInputError, match="a set is neither"):
            platform_of_answers.features.create("d", {"name": {1, 2}})
        assert answers.received == []

    def test_numbers_of_numpy_are_numbers(self, platform_of_answers: Platform, answers: Answers) -> None:
        numpy = pytest.importorskip("numpy")
        answers.add(422, {"detail": "read"})
        with pytest.raises(InvalidInputError, match="read"):
            platform_of_answers.features.create("d", {"ttl_seconds": numpy.int64(3), "x": numpy.arange(2)})
        sent = json.loads(answers.received[0].body)
        assert (sent["ttl_seconds"], sent["x"]) == (3, [0, 1])

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("churn 2024", "/api/v1/experiments/churn%202024"),
            ("a/../../keys", "/api/v1/experiments/a%2F..%2F..%2Fkeys"),
            ("a?limit=1#x", "/api/v1/experiments/a%3Flimit%3D1%23x"),
            ("Größe", "/api/v1/experiments/Gr%C3%B6%C3%9Fe"),
            ("50%25", "/api/v1/experiments/50%2525"),
        ],
    )
    def test_a_name_stays_one_segment_of_the_path(
        self, platform_of_answers: Platform, answers: Answers, name: str, path: str
    ) -> None:
        answers.add(404, {"code": "not_found", "detail": "not there"})
        with pytest.raises(NotFoundError):
            platform_of_answers.get_experiment(name)
        assert answers.received[0].path == path

    @pytest.mark.parametrize("name", ["", " ", ".", ".."])
    def test_what_is_no_name_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidInputError):
            at("keys", name)


class TestReading:
    def test_pages_are_followed_to_the_end(self, platform_of_answers: Platform, answers: Answers) -> None:
        answers.add(200, {"items": [_TEAM, _TEAM], "next_cursor": "c=1"})
        answers.add(200, {"items": [_TEAM], "next_cursor": None})
        assert len(platform_of_answers.identity.list_teams()) == 3
        assert answers.received[1].path == "/api/v1/teams?limit=100&cursor=c%3D1"

    def test_a_limit_ends_them_early(self, platform_of_answers: Platform, answers: Answers) -> None:
        version: dict[str, Any] = {"name": "m", "description": None, "aliases": {}, "latest_version": 1}
        version |= {"created_by": "ana", "created_at": "2024-01-01T00:00:00Z"}
        answers.add(200, {"items": [], "next_cursor": None})
        assert platform_of_answers.jobs.list(limit=7) == []
        assert answers.received[0].path == "/api/v1/jobs?limit=7"

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"items": 3}', b'{"items": [{"x": 1}]}'])
    def test_another_programs_answer_is_an_error_that_says_so(
        self, platform_of_answers: Platform, answers: Answers, body: bytes
    ) -> None:
        answers.add(200, body)
        with pytest.raises(ServerError, match="expects"):
            platform_of_answers.identity.list_teams()

    def test_fields_of_a_newer_server_are_left_alone(
        self, platform_of_answers: Platform, answers: Answers
    ) -> None:
        answers.add(201, _TEAM | {"colour": "red"})
        assert platform_of_answers.identity.create_team("fraud").name == "fraud"
