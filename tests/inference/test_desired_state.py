"""The desired state: pulled, kept, applied without a dropped request, and outlived by nobody's failure."""

import json
import socket
import time

import pytest

from .support.bundles import copy_bundle
from .support.control import ADMIN, CALLER, ControlPlane, endpoint, key, revision, snapshot
from .support.load import Load
from .support.server import eventually


class TestApply:
    def test_swaps_revisions_under_load_without_a_failure(self, control, make_server, one, two):
        first = snapshot(1, endpoint(revision(one, "rev-1")))
        control.publish(first)
        server = make_server(workers=2).start()
        server.has_applied(first)
        with Load(server.port, [[1.0]]) as load:
            eventually(lambda: load.answered > 50, "load")
            version = 1
            for shares in ((90, 10), (50, 50), (0, 100), (100, 0)) * 3:
                version += 1
                pair = (revision(one, "rev-1", shares[0]), revision(two, "rev-2", shares[1]))
                control.publish(snapshot(version, endpoint(*pair)))
                server.has_applied(control.snapshot)
            replaced = snapshot(version + 1, endpoint(revision(two, "rev-3")))
            control.publish(replaced)
            server.has_applied(replaced)
            before = load.answered
            eventually(lambda: load.answered > before + 50, "load after the swaps")
        assert load.failures == []
        assert set(load.revisions) == {"rev-1", "rev-2", "rev-3"}

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/models/churn:predict", {"instances": [[1.0]]}),
            ("/v1/models/churn:explain", {"instances": [[1.0]]}),
            ("/models/churn/invocations", {"inputs": [[1.0]]}),
            (
                "/v2/models/churn/infer",
                {"inputs": [{"name": "x0", "shape": [1], "datatype": "FP64", "data": [1.0]}]},
            ),
        ],
    )
    def test_a_body_that_arrives_when_its_revision_is_gone_is_answered_by_the_next(
        self, control, make_server, one, two, path, body
    ):
        control.publish(snapshot(1, endpoint(revision(one, "rev-1"))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).headers["mlops-revision"] == "rev-1"
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"authorization: Bearer {CALLER}\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(head.encode() + data[:5])
            time.sleep(0.2)  # long enough that the worker has begun with it, which nothing shows from outside
            control.publish(snapshot(2, endpoint(revision(two, "rev-2"))))
            server.has_applied(control.snapshot)
            assert server.predict([[1.0]]).headers["mlops-revision"] == "rev-2"
            slow.sendall(data[5:])
            answer = b"".join(iter(lambda: slow.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 200" if "explain" not in path else "HTTP/1.1 501"), answer
        assert "mlops-revision: rev-2" in answer or "explain" in path

    def test_a_body_that_arrives_when_its_endpoint_is_gone_is_404(self, control, make_server, one, two):
        control.publish(
            snapshot(1, endpoint(revision(one, "rev-1")), endpoint(revision(two, "o-1"), name="other"))
        )
        server = make_server().start()
        server.has_applied(control.snapshot)
        data = b'{"instances": [[1.0]]}'
        head = (
            "POST /v1/models/other:predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"connection: close\r\nauthorization: Bearer {CALLER}\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(head.encode() + data[:5])
            time.sleep(0.2)  # as above
            control.publish(snapshot(2, endpoint(revision(one, "rev-1"))))
            server.has_applied(control.snapshot)
            slow.sendall(data[5:])
            answer = b"".join(iter(lambda: slow.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 404"), answer

    def test_changes_of_weight_take_effect_within_a_second(self, control, make_server, one, two):
        control.publish(snapshot(1, endpoint(revision(one, "rev-1", 100), revision(two, "rev-2", 0))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).headers["mlops-revision"] == "rev-1"
        taken = []
        for version in range(2, 7):  # what the server can is the best of a few: others use the machine, too
            first, second = (100, 0) if version % 2 else (0, 100)
            expected = "rev-1" if version % 2 else "rev-2"
            started = time.monotonic()
            parts = revision(one, "rev-1", first), revision(two, "rev-2", second)
            control.publish(snapshot(version, endpoint(*parts)))
            eventually(
                lambda expected=expected: server.predict([[1.0]]).headers["mlops-revision"] == expected,
                "the change",
            )
            taken.append(time.monotonic() - started)
        assert min(taken) < 1

    def test_revokes_a_key_within_two_seconds(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one)), keys=(key("leaked"),)))
        server = make_server().start()
        server.has_applied(control.snapshot)
        taken = []
        for version in range(2, 8, 2):
            assert server.predict([[1.0]], token="leaked").status_code == 200
            started = time.monotonic()
            control.publish(snapshot(version, endpoint(revision(one))))
            eventually(lambda: server.predict([[1.0]], token="leaked").status_code == 401, "revocation")
            taken.append(time.monotonic() - started)
            control.publish(snapshot(version + 1, endpoint(revision(one)), keys=(key("leaked"),)))
            server.has_applied(control.snapshot)
        assert min(taken) < 2
        assert server.predict([[1.0]]).status_code == 200

    def test_removes_an_endpoint_that_is_gone(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one)), endpoint(revision(one, "rev-2"), name="other")))
        server = make_server().start()
        server.has_applied(control.snapshot)
        control.publish(snapshot(2, endpoint(revision(one, "rev-2"), name="other")))
        eventually(lambda: server.predict([[1.0]]).status_code == 404, "removal")
        assert server.predict([[1.0]], name="other").status_code == 200


class TestBundles:
    def test_that_were_changed_are_refused_while_the_old_revision_serves(
        self, control, make_server, storage, tmp_path, one, two
    ):
        control.publish(snapshot(1, endpoint(revision(one, "rev-1"))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        changed = copy_bundle(two, storage / f"changed-{tmp_path.name}")
        model = changed.path / "model.onnx"
        data = bytearray(model.read_bytes())
        data[-5] ^= 1
        model.write_bytes(data)
        control.publish(snapshot(2, endpoint(revision(changed, "rev-2"))))
        state, reason = server.has_applied(control.snapshot).revision_state("rev-2")
        assert state == "failed"
        assert "model.onnx: digest mismatch" in reason
        response = server.predict([[1.0]])
        assert (response.json(), response.headers["mlops-revision"]) == ({"predictions": [2.0]}, "rev-1")

    def test_recover_once_they_can_be_read(self, control, make_server, storage, tmp_path, one):
        bundle = copy_bundle(one, storage / f"late-{tmp_path.name}")
        hidden = bundle.path.rename(bundle.path.with_name("hidden-" + bundle.path.name))
        control.publish(snapshot(1, endpoint(revision(bundle))))
        server = make_server().start()
        state, reason = server.has_applied(control.snapshot).revision_state("rev-1")
        assert (state, "cannot be read" in reason) == ("failed", True)
        response = server.predict([[1.0]])
        assert response.status_code == 503
        assert "could not be loaded" in response.json()["error"]
        hidden.rename(bundle.path)
        eventually(lambda: server.predict([[1.0]]).status_code == 200, "the load")

    def test_outside_the_storage_roots_are_refused(self, control, make_server, tmp_path, one):
        outside = copy_bundle(one, tmp_path / "outside")
        control.publish(snapshot(1, endpoint(revision(outside))))
        server = make_server().start()
        state, reason = server.has_applied(control.snapshot).revision_state("rev-1")
        assert (state, "not below a storage root" in reason) == ("failed", True)

    def test_are_checked_again_and_fetched_anew_when_the_cache_was_changed(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        server.stop()
        cached = server.state / "bundles" / one.digest / "model.onnx"
        cached.write_bytes(b"something else")
        server.start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).json() == {"predictions": [2.0]}
        assert cached.read_bytes() == (one.path / "model.onnx").read_bytes()

    def test_that_fail_leave_a_warm_revision_to_answer_at_a_cold_start(
        self, control, make_server, storage, tmp_path, one, two
    ):
        broken = copy_bundle(two, storage / f"broken-{tmp_path.name}")
        (broken.path / "model.onnx").unlink()
        control.publish(snapshot(1, endpoint(revision(one, "rev-1", 0), revision(broken, "rev-2", 100))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).headers["mlops-revision"] == "rev-1"


class TestWithoutTheControlPlane:
    def test_predictions_go_on_through_a_restart_and_without_the_storage(
        self, make_server, storage, tmp_path, one
    ):
        control = ControlPlane()
        bundle = copy_bundle(one, storage / f"gone-{tmp_path.name}")
        control.publish(snapshot(1, endpoint(revision(bundle))))
        server = make_server(control=control).start()
        server.has_applied(control.snapshot)
        control.stop()
        assert server.predict([[1.0]]).status_code == 200
        eventually(lambda: not server.status().control_plane_connected, "the loss to be noticed")
        bundle.path.rename(bundle.path.with_name("away-" + bundle.path.name))
        server.stop()
        server.start()
        eventually(lambda: server.predict([[1.0]]).json() == {"predictions": [2.0]}, "answers from disk")
        assert server.predict([[1.0]], token="unknown").status_code == 401
        again = ControlPlane(control.port)
        try:
            again.publish(snapshot(2, endpoint(revision(one, "rev-2"))))
            server.has_applied(again.snapshot)
            assert server.predict([[1.0]]).headers["mlops-revision"] == "rev-2"
        finally:
            again.stop()

    def test_nonsense_from_it_changes_nothing(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        for answer in ((500, b"oops"), (200, b"{}"), (200, b"\xff"), (200, b'{"format":2,"version":9}')):
            polls = control.polls
            control.answer_with = answer
            with control.condition:
                control.condition.notify_all()
            eventually(lambda polls=polls: control.polls > polls + 1, "another poll")
            assert server.predict([[1.0]]).status_code == 200
            assert server.status().control_plane_error
        control.answer_with = None
        control.publish(snapshot(2, endpoint(revision(one, "rev-2"))))
        server.has_applied(control.snapshot)
        assert server.status().control_plane_connected

    def test_a_damaged_snapshot_on_disk_is_replaced(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server()
        (server.state / "snapshot.json").write_bytes(b'{"format":1,"vers')
        server.start()
        server.has_applied(control.snapshot)
        assert server.predict([[1.0]]).status_code == 200

    def test_is_not_ready_before_the_first_snapshot(self, control, make_server, one):
        server = make_server().start()
        assert server.get("/health/ready", None).status_code == 503
        assert server.get("/health/live", None).status_code == 200
        assert server.predict([[1.0]]).status_code == 401
        control.publish(snapshot(1, endpoint(revision(one))))
        eventually(lambda: server.get("/health/ready", None).status_code == 200, "readiness")


class TestStandalone:
    def test_serves_a_directory_of_bundles_by_their_names(self, make_server, tmp_path, one, two):
        copy_bundle(one, tmp_path / "models" / "first")
        copy_bundle(two, tmp_path / "models" / "second")
        options = {"control": None, "model_dir": tmp_path / "models", "anonymous": 1}
        server = make_server(**options, storage_roots=tmp_path).start()
        eventually(lambda: server.get("/v1/models/second", None).status_code == 200, "the models")
        assert server.predict([[1.0]], name="first", token=None).json() == {"predictions": [2.0]}
        assert server.predict([[1.0]], name="second", token=None).json() == {"predictions": [3.0]}
        assert server.get("/internal/status", None).status_code == 401

    def test_takes_keys_from_a_file(self, make_server, tmp_path, one):
        copy_bundle(one, tmp_path / "models" / "first")
        entry = key("local-key", team="default")
        (tmp_path / "keys.json").write_text(
            json.dumps(
                [
                    {
                        "key_id": "k",
                        "token_sha256": entry.token_sha256,
                        "team": "default",
                        "permissions": ["predict"],
                    }
                ]
            )
        )
        options = {"control": None, "model_dir": tmp_path / "models", "keys_file": tmp_path / "keys.json"}
        server = make_server(**options, storage_roots=tmp_path).start()
        eventually(lambda: server.predict([[1.0]], "first", "local-key").status_code == 200, "an answer")
        assert server.predict([[1.0]], "first", None).status_code == 401


class TestKeysOfTheSnapshot:
    def test_of_the_platform_may_name_any_team(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one), team="umbrella")))
        server = make_server().start()
        server.has_applied(control.snapshot)
        headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
        path = f"{server.base}/umbrella/production/v1/models/churn:predict"
        assert server.client.post(path, content=b'{"instances":[[1.0]]}', headers=headers).status_code == 200
        headers["authorization"] = f"Bearer {CALLER}"
        assert server.client.post(path, content=b'{"instances":[[1.0]]}', headers=headers).status_code == 404

    def test_serves_the_bundle_of_the_digest_and_ends_rather_than_serve_another(
        self, make_server, tmp_path, one, two
    ):
        copy_bundle(one, tmp_path / "model")
        options = {
            "control": None,
            "model_dir": tmp_path / "model",
            "anonymous": 1,
            "storage_roots": tmp_path,
        }
        server = make_server(**options, bundle_digest=one.digest).start()
        eventually(lambda: server.predict([[1.0]], name="model", token=None).status_code == 200, "an answer")
        refused = make_server(**options, bundle_digest=two.digest)
        with pytest.raises(RuntimeError, match=f"has the digest {one.digest}, not {two.digest}"):
            refused.start(wait=False)
        assert refused.process.returncode != 0
