"""Ids, cursors, JSON, logs, secrets, tokens, locks: the small things that everything stands on."""

import base64
import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.kit import ids, paging, strictjson, tokens
from ml_platform.kit.errors import AppError, BadInputError
from ml_platform.kit.locks import LockHeldError, file_lock
from ml_platform.kit.secrets import SecretStore, write_private
from ml_platform.kit.wiring import Components


class TestIds:
    def test_increase_also_within_a_millisecond_and_across_threads(self) -> None:
        made: list[list[str]] = [[] for _ in range(4)]

        def make(into: list[str]) -> None:
            into.extend(ids.new_id("job") for _ in range(2_000))

        threads = [threading.Thread(target=make, args=(one,)) for one in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(one == sorted(one) for one in made)
        assert len({id_ for one in made for id_ in one}) == 8_000

    def test_are_known_by_their_form(self) -> None:
        made = ids.new_id("job")
        assert ids.is_id(made, "job")
        for wrong in (made[:-1], made + "0", made.upper(), made.replace("job", "run"), made + "\n", "job_"):
            assert not ids.is_id(wrong, "job"), wrong


class TestCursors:
    @given(st.one_of(st.integers(-(2**62) + 1, 2**62 - 1), st.text().filter(lambda text: "\x00" not in text)))
    def test_come_back_as_they_were(self, key: int | str) -> None:
        cursor = paging.encode_cursor(key)
        read = paging.number_cursor if isinstance(key, int) else paging.text_cursor
        assert read(cursor) == key

    @given(st.text(max_size=60))
    def test_that_we_did_not_make_do_no_harm(self, text: str) -> None:
        for read in (paging.text_cursor, paging.number_cursor):
            with suppress(BadInputError):
                assert isinstance(read(text), int | str)

    @pytest.mark.parametrize(
        "key", [True, None, 1.5, 2**63, -(2**63), [1], {"a": 1}, "a\0b", "\ud800", float("nan")], ids=repr
    )
    def test_of_other_values_are_refused(self, key: object) -> None:
        cursor = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
        for read in (paging.text_cursor, paging.number_cursor):
            with pytest.raises(BadInputError, match="cursor"):
                read(cursor)

    def test_stand_behind_the_last_row_of_a_full_page(self) -> None:
        assert paging.cut([1, 2, 3], 3, lambda row: row) == ([1, 2, 3], None)
        rows, following = paging.cut([1, 2, 3, 4], 3, lambda row: row)
        assert rows == [1, 2, 3]
        assert following is not None
        assert paging.number_cursor(following) == 3


class TestStrictJson:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), [{"a": float("nan")}]])
    def test_knows_no_nan_and_no_infinity(self, value: object) -> None:
        for write in (strictjson.dumps, strictjson.canonical, strictjson.digest):
            with pytest.raises(ValueError, match="JSON compliant"):
                write(value)
        assert "null" in strictjson.dumps(strictjson.finite(value))

    def test_has_one_form_for_one_value(self) -> None:
        assert strictjson.canonical({"b": 1, "a": "ü"}) == strictjson.canonical({"a": "ü", "b": 1})
        assert strictjson.canonical({"a": "ü"}) == '{"a":"ü"}'.encode()


LOGGING = """
import logging, sys, structlog
from ml_platform.kit import logs

token = sys.argv[1]
logs.configure("DEBUG")
log = structlog.get_logger("test")
log.info("got " + token, header="Bearer " + token, token="short", Password="x")
log.info("nested", headers={"authorization": "abc"}, body=[{"x": token}], raw=token.encode())
logging.getLogger("other.library").warning("sending %s", token)
logging.getLogger("other.library").warning("sending %s", {"k": token})
try:
    raise ValueError(token)
except ValueError:
    log.exception("failed")
    logging.getLogger("other.library").exception("failed")
log.warning("two\\nlines", number=1, thing=object(), nan=float("nan"), half="\\ud800")
"""


class TestLogs:
    @pytest.fixture
    def token(self) -> str:
        return tokens.new_token(ids.new_id("key"))

    @pytest.fixture
    def lines(self, token: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", LOGGING, token], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stderr.decode().splitlines()

    def test_never_hold_a_token_wherever_it_stands(self, lines: list[str], token: str) -> None:
        text = "\n".join(lines)
        assert token not in text
        assert "short" not in text
        assert json.loads(lines[1])["headers"] == {"authorization": "[redacted]"}

    def test_are_one_json_object_a_line(self, lines: list[str]) -> None:
        assert len(lines) == 7
        last = [json.loads(line, parse_constant=pytest.fail) for line in lines][-1]
        assert (last["event"], last["level"], last["number"]) == ("two\nlines", "warning", 1)
        assert last["timestamp"].endswith("Z")


class TestSecrets:
    def test_are_readable_by_their_owner_alone(self, tmp_path: Path) -> None:
        store = SecretStore(tmp_path / "secrets")
        made = store.get_or_create("a.key")
        assert len(made) == 32
        assert store.get_or_create("a.key") == made
        assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "secrets" / "a.key").stat().st_mode & 0o777 == 0o600

    def test_are_one_for_all_who_start_at_once(self, tmp_path: Path) -> None:
        found: list[bytes] = []
        barrier = threading.Barrier(8)

        def get() -> None:
            barrier.wait()
            found.append(SecretStore(tmp_path).get_or_create("a.key"))

        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(found), len(set(found))) == (8, 1)
        assert [path.name for path in tmp_path.iterdir()] == ["a.key"]

    def test_are_written_whole_or_not_at_all(self, tmp_path: Path) -> None:
        write_private(tmp_path / "x", "old")
        with pytest.raises(UnicodeEncodeError):
            write_private(tmp_path / "x", "\ud800")
        assert (tmp_path / "x").read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 1


class TestTokens:
    def test_name_their_key_and_are_stored_hashed(self) -> None:
        key_id = ids.new_id("key")
        token = tokens.new_token(key_id)
        assert token.startswith(f"mlops_{key_id.removeprefix('key_')}_")
        assert len(tokens.sha256_of(token)) == 64
        assert tokens.sha256_of(token) != tokens.sha256_of(token[:-1])


def _hold(path: Path, ready: Path) -> None:
    with file_lock(path):
        ready.touch()
        time.sleep(60)


class TestLocks:
    def test_are_held_by_one(self, tmp_path: Path) -> None:
        with (
            file_lock(tmp_path / "a" / "lock"),
            pytest.raises(LockHeldError),
            file_lock(tmp_path / "a" / "lock", wait=False),
        ):
            pass
        with file_lock(tmp_path / "a" / "lock", wait=False):
            pass

    def test_are_given_back_when_their_holder_is_killed(self, tmp_path: Path) -> None:
        from tests.support.crash import eventually

        process = get_context("spawn").Process(target=_hold, args=(tmp_path / "lock", tmp_path / "ready"))
        process.start()
        eventually((tmp_path / "ready").exists, what="the lock")
        with pytest.raises(LockHeldError), file_lock(tmp_path / "lock", wait=False):
            pass
        process.kill()
        process.join()
        with file_lock(tmp_path / "lock", wait=False):
            pass


class TestWiring:
    def test_says_what_is_missing(self) -> None:
        with pytest.raises(LookupError, match="AppError"):
            Components().get(AppError)


class TestClock:
    def test_times_go_out_in_utc(self) -> None:
        from datetime import timedelta, timezone

        from ml_platform.kit.clock import rfc3339, utc_now

        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
        assert rfc3339(moment) == "2026-01-02T01:04:05.000000Z"
        assert utc_now().tzinfo is UTC
