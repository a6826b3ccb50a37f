"""A TCP proxy that cuts the connection at a chosen message, before or after it was done."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS: Final = 20.0

BEFORE: Final = "before"  # What the client sends does not reach the server.
LOST: Final = "lost"  # It reaches the server, and the answer is lost.
LATE: Final = "late"  # It reaches the server when deliver() is called.
HELD: Final = "held"  # So it does, and the connection is not cut.


class CuttingProxy:
    """Forwards everything to *port* of this machine, until it is told to cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._left = 0  # Messages of the client until the cut; 0: it never comes.
        self._how = BEFORE
        self.then: Callable[[], object] = lambda: None
        self.was_cut = threading.Event()
        self._pairs: list[_Pair] = []
        self._accepts = threading.Thread(target=self._accept)
        self._accepts.start()

    def cut_at(self, message: int, how: str) -> int:
        """Cut at that message, the next one being the first; once. 0: not at all.

        Returns how many were left of what was said before.
        """
        self.was_cut.clear()
        before, self._left = self._left, 0
        self._how, self._left = how, message
        return before

    def hold_at(self, message: int, then: Callable[[], object]) -> None:
        """Hold that message back, until deliver(), and call *then* in another thread."""
        self.then = then
        self.cut_at(message, HELD)

    def cut_now(self) -> str:
        """Return how to cut at the message that has come, if at all."""
        if not self._left:
            return ""
        self._left -= 1
        return "" if self._left else self._how

    def deliver(self) -> None:
        """Let what was kept back reach the server; return when it has answered."""
        late = [pair for pair in self._pairs if pair.late]
        assert late, "nothing was kept back"
        for pair in late:
            pair.deliver()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._accepts.join(WAIT_SECONDS)
        self._listening.close()
        for pair in self._pairs:
            pair.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append(_Pair(self, client, server))


class _Pair:
    """One connection of a client, and the one to the server that it is forwarded to."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_cut = False
        self._answered = threading.Event()
        self.late = b""
        targets = self._to_server, self._to_client
        self._threads = [threading.Thread(target=target) for target in targets]
        for thread in self._threads:
            thread.start()

    def deliver(self) -> None:
        data, self.late = self.late, b""
        self._server.sendall(data)
        assert self._answered.wait(WAIT_SECONDS)
        _end(self._server)

    def close(self) -> None:
        for each in (self._client, self._server):
            _end(each)
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
        self._client.close()
        self._server.close()

    def _to_server(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(1 << 20):
                how = self._proxy.cut_now()
                if how:
                    self._cut(how, data)
                    return
                self._server.sendall(data)
        _end(self._server)

    def _cut(self, how: str, data: bytes) -> None:
        self._is_cut = True
        self._proxy.was_cut.set()  # Before the client can know of it, and go on.
        if how in (LATE, HELD):
            self.late = data
        else:
            if how == LOST:
                self._server.sendall(data)
                self._send_on_until_answered()
            _end(self._server)
        if how == HELD:
            self._proxy.then()
        else:
            _end(self._client)

    def _send_on_until_answered(self) -> None:
        """Send what is left of a long message, too."""
        self._client.settimeout(0.02)
        while not self._answered.is_set():
            with contextlib.suppress(TimeoutError):
                data = self._client.recv(1 << 20)
                assert data, "the client has not waited for the answer"
                self._server.sendall(data)

    def _to_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(1 << 20):
                if self._is_cut:
                    self._answered.set()
                else:
                    self._client.sendall(data)
        self._answered.set()
        if not self.late:
            _end(self._client)


def _end(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
