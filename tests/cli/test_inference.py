"""`mlops inference serve`: the command becomes the server, and serves a directory without a platform."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.inference.support.bundles import Bundle, build_linear, copy_bundle
from tests.inference.support.server import eventually


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build_linear(tmp_path_factory.mktemp("bundles") / "one", [1.0], bias=1.0)


def start(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ml_platform.cli.main", "inference", "serve", *arguments],
        env={**os.environ, "MLOPS_HOME": str(home)},
        stderr=subprocess.PIPE,
    )


def address(home: Path) -> str:
    def found() -> str | None:
        for path in home.glob("serve/*/address.json"):
            told = json.loads(path.read_text())
            return f"http://{told['host']}:{told['port']}"
        return None

    return eventually(found, "an address")


class TestServe:
    def test_serves_one_mounted_bundle_by_the_name_it_is_given_until_it_is_told_to_stop(self, tmp_path, one):
        mounted = copy_bundle(one, tmp_path / "mnt" / "models")
        options = ["--model-dir", str(mounted.path), "--model-name", "churn", "--anonymous", "--port", "0"]
        process = start(tmp_path / "home", *options, "--workers", "1", "--log-roll-seconds", "1")
        try:
            url = address(tmp_path / "home") + "/v1/models/churn:predict"
            answer = eventually(lambda: httpx.post(url, json={"instances": [[1.0]]}), "an answer")
            assert answer.json() == {"predictions": [2.0]}
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said

    def test_refuses_to_start_while_nobody_or_everybody_might_ask(self, tmp_path, one):
        process = start(tmp_path, "--model-dir", str(one.path))
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2
        assert b"--keys-file, or --anonymous" in said

    def test_refuses_a_directory_that_is_not_there(self, tmp_path):
        process = start(tmp_path, "--model-dir", str(tmp_path / "none"), "--anonymous")
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2
        assert b"there is no directory" in said

    def test_gives_the_servers_own_refusals_on(self, tmp_path):
        process = start(tmp_path, "--model-dir", str(tmp_path), "--anonymous")
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2
        assert b"there is no bundle.json" in said
