"""A TCP relay that can do what networks and failing servers do: be slow, hang, cut, speak TLS."""

import contextlib
import socket
import ssl
import threading
import time
from typing import Self


class Relay:
    """Listens on a free port and passes everything on to `target`; used as a context manager.

    `delay` waits so many seconds before each answer; `silent` takes connections and passes nothing on;
    `round_trips` counts how often an answer was followed by another question.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.delay = 0.0
        self.silent = False
        self.round_trips = 0
        self.connections = 0
        self._target = target
        self._tls = tls
        self._asked = False
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Closes every connection; new ones are taken."""
        with self._lock:
            ended, self._open = self._open, []
        for one in ended:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target), timeout=30)
        except OSError:
            client.close()
            return
        with self._lock:
            self._open += [client, server]
        threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
        self._pump(server, client, False)

    def _pump(self, source: socket.socket, sink: socket.socket, question: bool) -> None:
        try:
            while data := source.recv(65536):
                self._count(question)
                if not question:
                    time.sleep(self.delay)
                while self.silent:
                    time.sleep(0.01)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count(self, question: bool) -> None:
        with self._lock:
            self.round_trips += question and not self._asked
            self._asked = question
