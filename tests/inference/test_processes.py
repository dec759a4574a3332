"""The process tree: workers that die, stops that drain, parents that are killed, ports that are taken."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from ml_platform.inference.settings import load_settings
from ml_platform.inference.supervisor import Supervisor, _Member

from .support.control import endpoint, revision, snapshot
from .support.load import Load
from .support.server import eventually


class TestWorkers:
    def test_that_are_killed_are_replaced_and_the_others_answer_meanwhile(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2).start()
        server.has_applied(control.snapshot)
        pids = server.worker_pids()
        with Load(server.port, [[1.0]]) as load:
            eventually(lambda: load.answered > 50, "load")
            server.kill_worker(pids[0])
            eventually(lambda: len(set(server.worker_pids()) - {pids[0]}) == 2, "two workers again")
            before = load.answered
            eventually(lambda: load.answered > before + 50, "load afterwards")
        assert load.failures == []

    def test_that_are_all_killed_are_back_within_five_seconds(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server(workers=2).start()
        server.has_applied(control.snapshot)
        for pid in server.worker_pids():
            server.kill_worker(pid)
        eventually(lambda: server.predict([[1.0]]).status_code == 200, "an answer", seconds=5)

    def test_keep_the_counts_of_those_that_died(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        for _ in range(10):
            server.predict([[1.0]])
        assert server.metrics().revisions[0].requests == 10
        server.kill_worker(server.worker_pids()[0])
        server.has_applied(control.snapshot)
        server.predict([[1.0]])
        assert server.metrics().revisions[0].requests == 11

    def test_that_say_what_is_no_message_are_killed(self, tmp_path):
        async def scenario() -> int:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "import time; time.sleep(60)"
            )
            ours, theirs = socket.socketpair()
            reader, writer = await asyncio.open_connection(sock=ours)
            supervisor = Supervisor(load_settings([f"--state-dir={tmp_path}"], {}))
            hearing = asyncio.create_task(supervisor._hear(_Member(process, writer), reader))
            theirs.sendall(b'{"type":"report"\nhello\n')
            await asyncio.wait_for(hearing, 20)
            theirs.close()
            writer.close()
            return await asyncio.wait_for(process.wait(), 20)

        assert asyncio.run(scenario()) == -9


class TestStop:
    def test_lets_running_requests_end(self, control, make_server, mischief):
        source_hang = [["", 1.0]]
        control.publish(snapshot(1, endpoint(revision(mischief))))
        server = make_server(pyfunc_python=sys.executable).start()
        server.has_applied(control.snapshot)
        with Load(server.port, source_hang, callers=2) as load:
            eventually(lambda: load.answered > 10, "load")
            assert server.stop() == 0
        assert not [failure for failure in load.failures if failure[0].isdigit()]

    def test_leaves_no_process_behind(self, control, make_server, mischief):
        control.publish(snapshot(1, endpoint(revision(mischief))))
        server = make_server(pyfunc_python=sys.executable).start()
        server.has_applied(control.snapshot)
        tree = psutil.Process(server.process.pid).children(recursive=True)
        assert len(tree) == 3  # a worker, its isolated model, and the guard in between
        homes = list({Path(p.cwd()) for p in tree if Path(p.cwd()).name.startswith("mlops-model-")})
        assert len(homes) == 1
        assert server.stop() == 0
        assert not homes[0].exists()
        assert [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


class TestParent:
    def test_that_is_killed_takes_everybody_with_it_and_starts_again(self, control, make_server, mischief):
        control.publish(snapshot(1, endpoint(revision(mischief))))
        server = make_server(pyfunc_python=sys.executable).start()
        server.has_applied(control.snapshot)
        tree = psutil.Process(server.process.pid).children(recursive=True)
        server.kill()
        eventually(lambda: not any(p.is_running() for p in tree), "the children to end")
        port = server.port
        server.arguments = [f"--port={port}" if a == "--port=0" else a for a in server.arguments]
        server.start()
        assert server.port == port
        server.has_applied(control.snapshot)
        assert server.predict([["", 2.0]]).json() == {"predictions": [4.0]}

    def test_refuses_a_port_that_is_taken_and_names_it(self, control, make_server):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            result = _run_to_its_end(make_server(), port)
        assert result.returncode == 2
        assert f"127.0.0.1:{port}" in result.stderr

    def test_refuses_a_state_directory_that_is_in_use(self, control, make_server):
        server = make_server().start()
        result = _run_to_its_end(server, 0)
        assert result.returncode == 2
        assert "another inference server uses" in result.stderr


class TestConnections:
    def test_with_half_a_request_do_not_hold_up_others(self, control, make_server, one):
        control.publish(snapshot(1, endpoint(revision(one))))
        server = make_server().start()
        server.has_applied(control.snapshot)
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        head = b"POST /v1/models/churn:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
        for connection in slow:
            connection.sendall(head)
        assert server.predict([[1.0]]).status_code == 200
        for connection in slow:
            connection.close()
        assert server.predict([[1.0]]).status_code == 200

    def test_that_go_away_in_the_middle_leave_the_server_whole(self, control, make_server, churn):
        control.publish(snapshot(1, endpoint(revision(churn.bundle))))
        server = make_server().start()
        server.has_applied(control.snapshot)

        def leave() -> None:
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    connection.sendall(
                        b"POST /v1/models/churn:predict HTTP/1.1\r\ncontent-length: 10\r\n\r\n12"
                    )

        threads = [threading.Thread(target=leave) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.predict(churn.instances(1)).status_code == 200
        assert len(server.worker_pids()) == 1
        assert "Traceback" not in server.log.read_text()


def _run_to_its_end(server, port: int) -> subprocess.CompletedProcess[str]:
    arguments = [f"--port={port}" if a == "--port=0" else a for a in server.arguments]
    command = [sys.executable, "-m", "ml_platform.inference.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=dict(os.environ))
