"""`Idempotency-Key` over the API: one effect and one answer, whatever is repeated, raced or killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_platform.kit import idempotency
from ml_platform.kit.db import Database
from ml_platform.kit.ids import new_id
from ml_platform.services.access import Work
from ml_platform.services.audit.tables import AuditEventRow
from tests.support.platform import Caller, RunningPlatform


@pytest.fixture
def lead(platform: RunningPlatform) -> Caller:
    return platform.new_user(platform.new_team("once"), "team_lead", "ml_engineer")


def post(caller: Caller, key: str, path: str = "/datasets", **body: Any) -> httpx.Response:
    return caller.client.post(path, json=body, headers={"idempotency-key": key})


def made(platform: RunningPlatform, caller: Caller) -> list[str]:
    """Names of the datasets that the team has, once for each time that one was made."""
    with platform.runtime.components.get(Database).read() as session:
        rows = session.query(AuditEventRow).filter_by(action="dataset.create", actor_name=caller.name)
        return sorted(row.after["name"] for row in rows if row.after)


class TestRepeating:
    def test_gives_the_same_answer_and_no_second_effect(
        self, platform: RunningPlatform, lead: Caller
    ) -> None:
        first, second = (post(lead, "k", name="a") for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["x-request-id"] != first.headers["x-request-id"]
        assert made(platform, lead) == ["a"]

    def test_something_else_under_the_same_key_is_refused(
        self, platform: RunningPlatform, lead: Caller
    ) -> None:
        post(lead, "k", name="a")
        for answer in (post(lead, "k", name="b"), post(lead, "k", "/experiments", name="a")):
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
        assert made(platform, lead) == ["a"]

    def test_a_refusal_is_not_kept(self, lead: Caller) -> None:
        assert post(lead, "k", name="NOT A SLUG").status_code == 422
        assert post(lead, "k", name="a").status_code == 201
        assert post(lead, "l", name="a").status_code == 409

    def test_keys_belong_to_their_caller(self, platform: RunningPlatform, lead: Caller) -> None:
        other = platform.new_user(platform.new_team(), "ml_engineer")
        colleague = platform.new_user(lead.team, "ml_engineer")
        assert post(lead, "k", name="a").status_code == 201
        assert post(other, "k", name="a").status_code == 201
        assert post(colleague, "k", name="b").json()["name"] == "b"

    def test_keys_belong_to_the_team_that_is_meant(self, platform: RunningPlatform) -> None:
        names = [platform.new_team(), platform.new_team()]
        for name in names:
            client = platform.client(platform.admin_token, team=name)
            answer = client.post("/datasets", json={"name": "a"}, headers={"idempotency-key": "k"})
            assert "idempotent-replayed" not in answer.headers

    def test_the_case_of_the_content_type_hides_no_difference(self, lead: Caller) -> None:
        headers = {"idempotency-key": "k", "content-type": "Application/JSON"}
        assert lead.client.post("/datasets", content=b'{"name":"a"}', headers=headers).status_code == 201
        answer = lead.client.post("/datasets", content=b'{"name":"b"}', headers=headers)
        assert answer.json()["code"] == "idempotency_mismatch"

    def test_a_browser_session_has_keys_too(self, platform: RunningPlatform, lead: Caller) -> None:
        code = lead.client.post("/sign-in-links").json()["url"].partition("#code=")[2]
        browser = platform.client()
        browser.post(platform.url + "/login", json={"code": code})
        headers = {"idempotency-key": "k", "x-mlops-csrf": "1"}
        answers = [browser.post("/datasets", json={"name": "a"}, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert made(platform, lead) == ["a"]


class TestRacing:
    def test_many_at_once_have_one_effect(self, platform: RunningPlatform, lead: Caller) -> None:
        for round_ in range(3):
            answers: list[httpx.Response] = []
            barrier = threading.Barrier(8)

            def send(name: str = f"d{round_}", answers: list[Any] = answers, barrier: Any = barrier) -> None:
                with httpx.Client(base_url=lead.client.base_url, headers=lead.client.headers) as client:
                    barrier.wait()
                    headers = {"idempotency-key": name}
                    answers.append(client.post("/datasets", json={"name": name}, headers=headers, timeout=60))

            threads = [threading.Thread(target=send) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(90)
            seen = Counter(answer.status_code for answer in answers)
            assert seen[201] >= 1
            assert set(seen) <= {201, 409}, seen
            assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"in_progress", "conflict"}
            assert len({a.json()["dataset_id"] for a in answers if a.status_code == 201}) == 1
            assert post(lead, f"d{round_}", name=f"d{round_}").status_code == 201
        assert made(platform, lead) == ["d0", "d1", "d2"]


class TestAskingWhileTheAnswerIsBeingKept:
    def test_gives_that_answer(
        self, platform: RunningPlatform, lead: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep, committed, asked = idempotency.keep_answer, threading.Event(), threading.Event()

        def keep_late(database: Database, row_id: str, answer: dict[str, Any]) -> None:
            committed.set()
            asked.wait(10)
            keep(database, row_id, answer)

        monkeypatch.setattr(idempotency, "keep_answer", keep_late)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(post, lead, "late", name="late")
            assert committed.wait(30)
            second = pool.submit(post, lead, "late", name="late")
            with pytest.raises(TimeoutError):
                second.result(0.3)
            asked.set()
            assert (second.result(30).status_code, second.result().json()) == (201, first.result(30).json())
        assert made(platform, lead) == ["late"]


class TestFailing:
    def test_between_the_commit_and_the_answer_never_repeats_the_effect(
        self, platform: RunningPlatform, lead: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = Work.commit

        def commit_and_fail(work: Work) -> None:
            commit(work)
            if work.actor.name == lead.name:
                raise OSError("the power went")

        monkeypatch.setattr(Work, "commit", commit_and_fail)
        assert post(lead, "k", name="a").status_code == 500
        monkeypatch.undo()
        answer = post(lead, "k", name="a")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "was carried out" in answer.json()["detail"]
        assert made(platform, lead) == ["a"]

    def test_before_the_commit_leaves_the_key_free(
        self, platform: RunningPlatform, lead: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = Work.commit

        def fail(work: Work) -> None:
            if work.actor.name == lead.name:
                raise OSError("the power went")
            commit(work)

        monkeypatch.setattr(Work, "commit", fail)
        assert post(lead, "k", name="a").status_code == 500
        monkeypatch.undo()
        assert made(platform, lead) == []
        assert post(lead, "k", name="a").status_code == 201


PROGRAM = """
import os, signal, socket, sys
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from ml_platform.kit import idempotency
from ml_platform.server.app import create_app
from ml_platform.server.compose import compose
from ml_platform.server.settings import Settings
from ml_platform.services.access import Work

home, place, database, workflows = sys.argv[1:]
urls = {"url": SecretStr(database), "workflow_url": SecretStr(workflows)} if database else {}
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
port = listener.getsockname()[1]
settings = Settings(home=Path(home), api={"port": port}, database=urls)
app = create_app(settings, compose(settings))

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

real_commit, real_keep = Work.commit, idempotency.keep_answer

def commit(work):
    mine = work.idempotency_id is not None
    if mine and place == "before":
        die()
    real_commit(work)
    if mine and place == "after":
        die()

def keep(*arguments):
    real_keep(*arguments)
    if place == "kept":
        die()

Work.commit, idempotency.keep_answer = commit, keep
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        (Path(home) / "port").write_text(str(port))
Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])
"""


class ControlPlane:
    """One in a process of its own, that kills itself at a chosen place."""

    def __init__(self, home: Path, urls: tuple[str, str]) -> None:
        self.home = home
        self.urls = urls
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def send(client: httpx.Client, name: str, key: str) -> httpx.Response:
        return client.post("/datasets", json={"name": name}, headers={"idempotency-key": key})

    @classmethod
    def post(cls, client: httpx.Client, name: str) -> str:
        """Sends a request that kills it; answers the key."""
        key = new_id("key")
        with pytest.raises(httpx.TransportError):
            cls.send(client, name, key)
        return key

    def start(self, place: str) -> httpx.Client:
        if self.process is not None:
            self.stop()
        found = self.home / "port"
        found.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.home), place, *self.urls],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 90
        while not found.exists():
            assert self.process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)
        token = (self.home / "secrets" / "admin.key").read_text()
        url = f"http://127.0.0.1:{found.read_text()}/api/v1"
        return httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def killable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlPlane]:
    if request.param == "sqlite":
        plane = ControlPlane(tmp_path, ("", ""))
        yield plane
        plane.stop()
        return
    server = request.getfixturevalue("postgres_server")
    with server.fresh_database() as url, server.fresh_database() as workflows:
        plane = ControlPlane(tmp_path, (url, workflows))
        yield plane
        plane.stop()


@pytest.mark.slow
class TestKilled:
    def test_at_every_place_there_is_one_effect(self, killable: ControlPlane) -> None:
        on_sqlite = not killable.urls[0]
        died = ControlPlane.post(killable.start("before"), "d-before")
        client = killable.start("after")  # dies in the next request that has an effect
        assert names(client) == []
        if on_sqlite:  # nobody else can be at it: the key is free, and this time it has its effect
            with pytest.raises(httpx.TransportError):
                ControlPlane.send(client, "d-before", died)
        else:  # another process might be at it: the key is free when its lease is over
            assert ControlPlane.send(client, "d-before", died).json()["code"] == "in_progress"
            died = ControlPlane.post(client, "d-after")
        name = "d-before" if on_sqlite else "d-after"
        client = killable.start("kept")
        assert ControlPlane.send(client, name, died).json()["code"] == "conflict"
        assert names(client) == [name]
        kept = ControlPlane.post(client, "d-kept")
        client = killable.start("nowhere")
        answer = ControlPlane.send(client, "d-kept", kept)
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
        assert names(client) == [name, "d-kept"]


def names(client: httpx.Client) -> list[str]:
    return [item["name"] for item in client.get("/datasets").json()["items"]]
