"""Training jobs from the request to their end, with real scripts in real processes."""

import hashlib
from typing import Any

import pytest

from ml_platform.kit.db import Database
from ml_platform.services.identity.tables import KeyRow
from tests.support.crash import eventually
from tests.support.platform import Caller, RunningPlatform
from tests.support.training import archive_of, create_experiment, submit, submit_script, wait_for

HANG = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.05)\n"


@pytest.fixture
def ana(platform: RunningPlatform) -> Caller:
    caller = platform.new_user(platform.new_team(), "data_scientist")
    create_experiment(caller.client)
    return caller


def train(caller: Caller, **request: Any) -> Any:
    return caller.client.post("/experiments/experiment/train", json=request)


class TestAJobThatSucceeds:
    def test_from_an_uploaded_source_with_config_arguments_and_metrics(self, ana: Caller) -> None:
        script = (
            "import json, os, sys\nfrom pathlib import Path\nimport helper\n"
            "config = json.loads(Path(os.environ['MLOPS_CONFIG']).read_text())\n"
            "print('args', sys.argv[1:], helper.NAME)\n"
            "out = Path(os.environ['MLOPS_OUTPUTS']) / 'metrics.json'\n"
            "out.write_text(json.dumps({'depth': config['depth']}))\n"
        )
        data = archive_of({"jobs/fit.py": script, "helper.py": "NAME = 'helper'"})
        headers = {"content-type": "application/gzip"}
        source = ana.client.post("/sources", content=data, headers=headers).json()
        assert source["sha256"] == hashlib.sha256(data).hexdigest()
        again = ana.client.post("/sources", content=data, headers=headers).json()
        assert again["source_id"] == source["source_id"]
        answer = train(
            ana, script="jobs/fit.py", source=source["source_id"], config={"depth": 3}, args=["--fast"]
        )
        assert answer.status_code == 202
        assert answer.json()["status"] == "submitted"
        job = wait_for(ana.client, answer.json()["job_id"])
        assert (job["status"], job["metrics"], job["exit_code"]) == ("succeeded", {"depth": 3.0}, 0)
        assert job["model_id"] is None
        assert job["started_at"] <= job["finished_at"]
        log = ana.client.get(f"/jobs/{job['job_id']}/logs").json()
        assert log["eof"]
        assert "args ['--fast'] helper" in log["text"]
        run = ana.client.get(f"/runs/{job['run_id']}").json()
        assert (run["status"], run["metrics"]) == ("FINISHED", {"depth": 3.0})

    def test_the_next_job_uses_the_experiments_last_source(self, ana: Caller) -> None:
        first = submit_script(ana.client, "experiment", "print('same')")
        second = submit(ana.client, "experiment", script="train.py", config={"n": 2})
        jobs = [ana.client.get(f"/jobs/{job}").json() for job in (first, second)]
        assert jobs[0]["source_id"] == jobs[1]["source_id"]
        assert wait_for(ana.client, second)["status"] == "succeeded"

    def test_its_key_is_its_own_narrow_and_gone_at_the_end(
        self, ana: Caller, platform: RunningPlatform
    ) -> None:
        script = (
            "import os, urllib.request, json\n"
            "request = urllib.request.Request(os.environ['MLOPS_API_URL'] + '/api/v1/whoami',\n"
            "    headers={'authorization': 'Bearer ' + os.environ['MLOPS_API_KEY']})\n"
            "print('who', json.loads(urllib.request.urlopen(request).read())['permissions'])\n"
        )
        job = wait_for(ana.client, submit_script(ana.client, "experiment", script))
        text = ana.client.get(f"/jobs/{job['job_id']}/logs").json()["text"]
        assert "who ['read', 'read_data', 'train_model', 'predict']" in text
        with platform.runtime.components.get(Database).read() as session:
            keys = session.query(KeyRow).filter(KeyRow.name == job["job_id"]).all()
        assert [key.revoked_at is not None for key in keys] == [True]


class TestAJobThatFails:
    def test_a_script_that_crashes_says_its_exit_code(self, ana: Caller) -> None:
        job = wait_for(ana.client, submit_script(ana.client, "experiment", "raise SystemExit(7)"))
        assert (job["status"], job["exit_code"], job["code"]) == ("failed", 7, "job_failed")
        assert job["reason"] == "the script exited with code 7"
        assert f"mlops jobs logs {job['job_id']}" in job["hint"]
        assert ana.client.get(f"/runs/{job['run_id']}").json()["status"] == "FAILED"

    def test_a_script_that_hangs_is_ended(self, ana: Caller) -> None:
        job = wait_for(ana.client, submit_script(ana.client, "experiment", HANG, timeout_seconds=1))
        assert (job["status"], job["reason"]) == ("timed_out", "it ran longer than 1 s")

    def test_requirements_that_are_refused(self, ana: Caller) -> None:
        files = {"train.py": "print(1)", "requirements.txt": "--index-url http://evil/"}
        job = wait_for(ana.client, submit(ana.client, "experiment", source=files))
        assert job["status"] == "failed"
        assert "line 1 of the requirements" in job["reason"]

    def test_metrics_that_are_no_numbers_are_said(self, ana: Caller) -> None:
        script = "import os; open(os.environ['MLOPS_OUTPUTS'] + '/metrics.json', 'w').write('{\"a\": NaN}')"
        job = wait_for(ana.client, submit_script(ana.client, "experiment", script))
        assert (job["status"], job["metrics"]) == ("succeeded", {})
        assert "finite numbers" in job["reason"]

    def test_a_script_that_logs_no_model_registers_none(self, ana: Caller) -> None:
        wanted = {"name": "nothing", "label": "y", "gate": {"metric": "accuracy", "threshold": 0.5}}
        job = wait_for(ana.client, submit_script(ana.client, "experiment", "print(1)", register_as=wanted))
        assert (job["status"], job["model_id"], job["code"]) == ("succeeded", None, "gate_failed")
        assert job["gate"]["reasons"] == ["the script logged no model to its run"]
        assert ana.client.get("/models/nothing").status_code == 404


class TestLogs:
    def test_much_output_is_read_in_pieces_and_cut_at_its_bound(self, ana: Caller) -> None:
        job = wait_for(
            ana.client, submit_script(ana.client, "experiment", "for n in range(60000): print('line', n)")
        )
        text, offset, eof = "", 0, False
        while not eof:
            piece = ana.client.get(f"/jobs/{job['job_id']}/logs", params={"offset": offset}).json()
            text, offset, eof = text + piece["text"], piece["next_offset"], piece["eof"]
        assert "line 59999\n" in text
        assert offset == len(text.encode())

    def test_followed_live_to_the_end(self, ana: Caller) -> None:
        script = "import time\nfor n in range(3):\n    print('tick', n, flush=True)\n    time.sleep(0.2)\n"
        job_id = submit_script(ana.client, "experiment", script)
        with ana.client.stream("GET", f"/jobs/{job_id}/logs?follow=true") as answer:
            assert answer.headers["content-type"].startswith("text/plain")
            text = "".join(answer.iter_text())
        assert [f"tick {n}" in text for n in range(3)] == [True] * 3
        assert "mlops: succeeded" in text


class TestCancelling:
    def test_a_running_job_ends_cancelled_by_whom(self, ana: Caller) -> None:
        job_id = submit_script(ana.client, "experiment", HANG)
        wait_for(ana.client, job_id, "running")
        assert ana.client.post(f"/jobs/{job_id}/cancel").status_code == 200
        assert ana.client.post(f"/jobs/{job_id}/cancel").status_code == 200
        job = wait_for(ana.client, job_id)
        assert (job["status"], job["reason"]) == ("cancelled", f"cancelled by {ana.name}")
        assert ana.client.get(f"/runs/{job['run_id']}").json()["status"] == "KILLED"
        assert ana.client.post(f"/jobs/{job_id}/cancel").status_code == 200

    def test_one_that_ended_by_itself_is_a_conflict(self, ana: Caller) -> None:
        job = wait_for(ana.client, submit_script(ana.client, "experiment", "print(1)"))
        assert ana.client.post(f"/jobs/{job['job_id']}/cancel").status_code == 409


class TestRetrying:
    def test_an_ended_job_runs_again_as_another(self, ana: Caller) -> None:
        first = wait_for(ana.client, submit_script(ana.client, "experiment", "raise SystemExit(1)"))
        answer = ana.client.post(f"/jobs/{first['job_id']}/retry")
        assert answer.status_code == 202
        second = wait_for(ana.client, answer.json()["job_id"])
        assert (second["retry_of"], second["source_id"]) == (first["job_id"], first["source_id"])
        assert second["status"] == "failed"

    def test_one_under_way_is_a_conflict(self, ana: Caller) -> None:
        job_id = submit_script(ana.client, "experiment", HANG, timeout_seconds=60)
        assert ana.client.post(f"/jobs/{job_id}/retry").status_code == 409
        ana.client.post(f"/jobs/{job_id}/cancel")
        wait_for(ana.client, job_id)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            ({"script": "other.py"}, "script"),
            ({"script": "../train.py"}, "script"),
            ({"script": "/etc/passwd"}, "script"),
            ({"script": "notes.txt"}, "script"),
            ({"requirements": "missing.txt"}, "requirements"),
            ({"num_gpus": 4}, "num_gpus"),
            ({"instance_type": "gpu.large"}, "instance_type"),
            ({"instance_type": "quantum"}, "instance_type"),
            ({"memory_bytes": 2**43}, "memory_bytes"),
            ({"timeout_seconds": 604800}, "timeout_seconds"),
            ({"colour": "red"}, "colour"),
            ({"inputs": {"train": "dataset:none@1"}}, None),
            ({"register_as": {"name": "m", "gate": {"metric": "roc_auc", "threshold": 0.5}}}, "register_as"),
            ({"source": {"../x.py": ""}}, None),
            ({"source": {}}, "source"),
            ({"source": "src_unknown"}, "source"),
        ],
    )
    def test_a_wrong_request_names_its_field(
        self, ana: Caller, request_: dict[str, Any], field: str | None
    ) -> None:
        answer = train(ana, **{"source": {"train.py": "print(1)", "notes.txt": ""}, **request_})
        assert answer.status_code in (404, 422), answer.text
        if field is not None:
            assert answer.status_code == 422
            assert field in {error["field"].split(".")[0] for error in answer.json()["errors"]}
        assert ana.client.get("/jobs").json()["items"] == []

    @pytest.mark.parametrize(
        ("source", "field", "says"),
        [
            (5, "source", "must be the id of an uploaded source, or its files as {path: text}"),
            ("x" * 65, "source", "at most 64 characters"),
            ({"train.py": 5}, "source.train.py", "should be a valid string"),
            ({"../x.py": ""}, "source.../x.py", "must be a plain relative path inside the source"),
        ],
    )
    def test_a_wrong_source_is_explained_in_words(
        self, ana: Caller, source: Any, field: str, says: str
    ) -> None:
        answer = train(ana, source=source)
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert error["field"] == field
        assert says in error["message"]

    def test_no_source_at_all_says_how_to_send_one(self, ana: Caller) -> None:
        answer = train(ana, script="train.py", config={})
        assert answer.status_code == 422
        assert "POST /sources" in answer.json()["hint"]

    @pytest.mark.parametrize(
        "data",
        [
            b"not an archive",
            b"",
            archive_of({"../evil.py": "x"}),
            archive_of({"/abs.py": "x"}),
            archive_of({}),
        ],
        ids=["not an archive", "nothing", "a path upwards", "an absolute path", "an empty archive"],
    )
    def test_a_bad_archive_is_a_4xx(self, ana: Caller, data: bytes) -> None:
        answer = ana.client.post("/sources", content=data, headers={"content-type": "application/gzip"})
        assert answer.status_code in (400, 422), answer.text

    def test_another_content_type_is_415(self, ana: Caller) -> None:
        answer = ana.client.post("/sources", content=b"x", headers={"content-type": "text/html"})
        assert answer.status_code == 415

    def test_an_unknown_experiment_is_404(self, ana: Caller) -> None:
        answer = ana.client.post("/experiments/none/train", json={"source": {"train.py": ""}})
        assert answer.status_code == 404

    def test_a_viewer_may_look_but_not_train(self, ana: Caller, platform: RunningPlatform) -> None:
        viewer = platform.new_user(ana.team, "viewer")
        assert viewer.client.get("/jobs").status_code == 200
        assert train(viewer, source={"train.py": ""}).status_code == 403

    def test_another_teams_job_is_404_everywhere(self, ana: Caller, platform: RunningPlatform) -> None:
        job_id = submit_script(ana.client, "experiment", "print(1)")
        bob = platform.new_user(platform.new_team(), "team_lead")
        create_experiment(bob.client)
        for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/cancel"), ("POST", "/retry")):
            assert bob.client.request(method, f"/jobs/{job_id}{path}").status_code == 404, path
        source = ana.client.get(f"/jobs/{job_id}").json()["source_id"]
        assert train(bob, source=source).status_code == 422
        wait_for(ana.client, job_id)


class TestListing:
    def test_newest_first_by_page_experiment_and_status(self, ana: Caller) -> None:
        create_experiment(ana.client, "other")
        jobs = [submit_script(ana.client, "experiment", f"print({n})") for n in range(2)]
        jobs.append(submit_script(ana.client, "other", "print(1)"))
        page = ana.client.get("/jobs?limit=2").json()
        rest = ana.client.get("/jobs", params={"limit": 2, "cursor": page["next_cursor"]}).json()
        assert [job["job_id"] for job in page["items"] + rest["items"]] == jobs[::-1]
        assert rest["next_cursor"] is None
        of_other = ana.client.get("/jobs?experiment=other").json()["items"]
        assert [job["job_id"] for job in of_other] == jobs[2:]
        for job_id in jobs:
            wait_for(ana.client, job_id)
        eventually(lambda: len(ana.client.get("/jobs?status=succeeded").json()["items"]) == 3)
