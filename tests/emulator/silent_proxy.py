"""A TCP proxy in front of an emulator, which keeps back the answers for a while."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType


class SilentProxy:
    """Listens at ``address``; what is sent to it arrives at once, the answers when they may."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.partition(":")
        self._upstream = (host, int(port))
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> SilentProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._may_answer.set()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @contextmanager
    def silent(self) -> Iterator[None]:
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(self._upstream)
                self._sockets += [inner, outer]
                for source, sink, is_answer in ((inner, outer, False), (outer, inner, True)):
                    arguments = (source, sink, is_answer)
                    threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):  # one side is gone
            while data := source.recv(65536):
                if is_answer:
                    self._may_answer.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
