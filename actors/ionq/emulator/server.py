"""The emulator as a server: uvicorn on 127.0.0.1, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from actors.ionq.emulator.api import CONNECTION, Api
from actors.ionq.emulator.service import Service
from actors.ionq.emulator.settings import EmulatorSettings
from orchestrator.errors import ConfigError, FleetError

T = TypeVar("T")
HOST = "127.0.0.1"
_START_SECONDS = 30.0
_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 2


class Protocol(HttpToolsProtocol):
    """Lets the application close the connection, which ASGI has no word for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        inner: Any = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[CONNECTION] = self.transport
            await inner(scope, receive, send)

        self.app = app


class Emulator:
    """A running emulator: ``with Emulator(settings) as emulator: emulator.url``.

    Args:
        settings: how it behaves; the default is a service that is at once done with everything.
    """

    def __init__(self, settings: EmulatorSettings | None = None) -> None:
        self.settings = settings or EmulatorSettings()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._api: Api | None = None
        self._service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_up = threading.Event()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, what IONQ_REMOTE_HOST takes."""
        assert self._socket is not None, "the emulator is not running"
        return f"http://{HOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start; returns when requests are answered.

        Raises:
            ConfigError: the port is taken. FleetError: it does not start.
        """
        self._socket = _listen(self.settings.port)
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._thread.start()
        if not self._is_up.wait(_START_SECONDS):
            raise FleetError("the emulator did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; what has ended by now is in the ledger."""
        assert self._thread is not None
        assert self._socket is not None
        if self._server is not None and self._loop is not None and self._api is not None:
            self._server.should_exit = True
            self._loop.call_soon_threadsafe(self._api.stopping.set)
        self._thread.join()
        self._socket.close()

    def totals(self) -> dict[str, Any]:
        """Totals of the ledger and calls of each endpoint, see ``Api.totals``; also after the end."""
        assert self._api is not None, "the emulator was not started"
        return self._in_loop(self._api.totals)

    def entries(self) -> list[dict[str, Any]]:
        """Every accepted job, see ``Ledger.entries``; also after the end."""
        assert self._service is not None, "the emulator was not started"
        return self._in_loop(self._service.ledger.entries)

    def ends_at(self, job_id: str) -> float | None:
        """When a job will end at the earliest, on the emulator's clock; None: there is no such job."""
        assert self._service is not None, "the emulator is not running"
        return self._service.ends_at(job_id)

    def _in_loop(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, on the thread that the service runs on; after its end on ours."""
        if self._thread is None or not self._thread.is_alive() or self._loop is None:
            return ask()

        async def asked() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        service = self._service = Service(self.settings)
        self._loop, self._api = asyncio.get_running_loop(), Api(service)
        config = uvicorn.Config(
            self._api.app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._loop.call_soon(self._is_up.set)
        try:
            await self._server.serve(sockets=[self._socket] if self._socket else None)
        finally:
            service.close()


def _listen(port: int) -> socket.socket:
    # The protocol by name: asyncio turns Nagle's algorithm off only where it is said, and 40 ms a request hang on that.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise ConfigError("port", port, f"cannot be listened on ({error.strerror})", "0") from None
    listening.listen(128)
    return listening
