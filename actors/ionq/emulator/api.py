"""API v0.4 over HTTP: routes, authorization, rate limit, latency and faults around the calls of `service`."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from actors.ionq.emulator.clock import TokenBucket
from actors.ionq.emulator.documents import BASE
from actors.ionq.emulator.faults import OF_CONNECTIONS, Fault, FaultInjector
from actors.ionq.emulator.refusal import Refusal, bad_request, error_body
from actors.ionq.emulator.service import Service

CONNECTION = "qfleet.connection"
"""Key of an ASGI scope: the transport, see ``server.Protocol``."""
_NO_KEY_NEEDED = "backends"
Handler = Callable[[Request, Fault | None], Awaitable[Response]]


class DroppedConnection(Response):
    """No answer: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close it, and let the server see that."""
        scope[CONNECTION].abort()
        await asyncio.sleep(0)


class Api:
    """The ASGI application.

    Args:
        service: what the calls do. stopping: set when the server stops, so that nothing stalls it.
    """

    def __init__(self, service: Service) -> None:
        self._service, settings = service, service.settings
        self._settings = settings
        self._faults = FaultInjector(settings.faults)
        self._bucket = TokenBucket(settings.rate, settings.burst, settings.clock) if settings.rate else None
        self.stopping = asyncio.Event()
        self.app = Starlette(routes=self._routes(), exception_handlers={HTTPException: _http_error})

    def totals(self) -> dict[str, Any]:
        """Totals of the ledger, see ``ledger.Ledger.totals``, and the calls of each endpoint."""
        self._service.settle()
        return self._service.ledger.totals() | {"calls": dict(self._faults.calls)}

    def _routes(self) -> list[Route]:
        job = f"{BASE}/jobs/{{id}}"
        calls: list[tuple[str, str, str, Handler]] = [
            ("GET", f"{BASE}/backends", "backends", self._backends),
            ("GET", f"{BASE}/jobs/estimate", "estimate", self._estimate),
            ("POST", f"{BASE}/jobs", "submit", self._submit),
            ("GET", f"{BASE}/jobs", "list", self._list),
            ("GET", job, "status", self._status),
            ("DELETE", job, "delete", self._delete),
            ("PUT", f"{job}/status/cancel", "cancel", self._cancel),
            ("GET", f"{job}/cost", "cost", self._cost),
            ("GET", f"{job}/results/probabilities", "results", self._results),
            ("GET", f"{job}/results/probabilities/aggregated", "results", self._aggregated),
        ]
        routes = [
            Route(path, self._guarded(name, handler), methods=[verb]) for verb, path, name, handler in calls
        ]
        return [
            *routes,
            Route("/emulator/ledger", self._ledger),
            Route("/emulator/clock", self._clock, methods=["POST"]),
        ]

    def _guarded(self, endpoint: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """`handler` behind latency, rate limit, faults and authorization."""

        async def answer(request: Request) -> Response:
            await request.body()
            fault = self._faults.next(endpoint)
            if self._settings.latency_seconds:
                await self._settings.clock.sleep(self._settings.latency_seconds)
            wait = self._bucket.take() if self._bucket else 0.0
            if wait:
                return _error(429, "Too Many Requests", math.ceil(wait))
            if fault is None or fault.kind not in OF_CONNECTIONS:
                return await self._worked(endpoint, handler, request, fault)
            if fault.when == "after":
                await self._worked(endpoint, handler, request, None)
            return await self._broken(fault)

        return answer

    async def _worked(
        self, endpoint: str, handler: Handler, request: Request, fault: Fault | None
    ) -> Response:
        try:
            if endpoint != _NO_KEY_NEEDED:
                self._authorize(request)
            return await handler(request, fault)
        except Refusal as error:
            return _error(error.status, error.message)

    def _authorize(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        wanted = self._settings.key
        if scheme != "apiKey" or not key.strip():
            raise Refusal(401, "the header Authorization must be 'apiKey <key>'")
        if wanted is not None and not hmac.compare_digest(key.strip().encode(), wanted.encode()):
            raise Refusal(401, "invalid API key")

    async def _broken(self, fault: Fault) -> Response:
        if fault.kind == "drop":
            return DroppedConnection()
        if fault.kind == "not_json":
            return Response("<html><body>upstream says hello</body></html>", 200, media_type="text/html")
        if fault.kind == "stall":
            await self._silence(fault.seconds)
            return DroppedConnection()
        return _error(fault.status, "injected by the emulator", fault.retry_after)

    async def _silence(self, seconds: float) -> None:
        """Say nothing for so long, or until the server stops."""
        ends = {
            asyncio.ensure_future(self._settings.clock.silence(seconds)),
            asyncio.ensure_future(self.stopping.wait()),
        }
        _, late = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in late:
            end.cancel()

    async def _submit(self, request: Request, fault: Fault | None) -> Response:
        return _json(self._service.submit(await _text(request), fault), 201)

    async def _status(self, request: Request, _: Fault | None) -> Response:
        return _json(await self._service.job(request.path_params["id"]))

    async def _list(self, request: Request, _: Fault | None) -> Response:
        return _json(await self._service.page(request.query_params, await _text(request)))

    async def _results(self, request: Request, fault: Fault | None) -> Response:
        return await self._probabilities(request, fault, aggregated=False)

    async def _aggregated(self, request: Request, fault: Fault | None) -> Response:
        return await self._probabilities(request, fault, aggregated=True)

    async def _probabilities(self, request: Request, fault: Fault | None, aggregated: bool) -> Response:
        sharpen = request.query_params.get("sharpen", "false")
        if sharpen.lower() not in ("true", "false"):
            raise bad_request(f"sharpen = {sharpen!r}; nearest valid: 'false'")
        text = await self._service.results(request.path_params["id"], aggregated, fault)
        return Response(text, media_type="application/json")

    async def _cancel(self, request: Request, _: Fault | None) -> Response:
        return _json(await self._service.cancel(request.path_params["id"]))

    async def _delete(self, request: Request, _: Fault | None) -> Response:
        return _json(await self._service.delete(request.path_params["id"]))

    async def _cost(self, request: Request, _: Fault | None) -> Response:
        return _json(await self._service.cost(request.path_params["id"]))

    async def _estimate(self, request: Request, _: Fault | None) -> Response:
        return _json(self._service.estimate(request.query_params))

    async def _backends(self, _: Request, __: Fault | None) -> Response:
        return _json(self._service.backends())

    async def _ledger(self, request: Request) -> Response:
        """The emulator's own: totals, calls by endpoint, and with ``?entries=true`` every job."""
        totals = self.totals()
        if request.query_params.get("entries") == "true":
            totals["entries"] = self._service.ledger.entries()
        return _json(totals)

    async def _clock(self, request: Request) -> Response:
        """The emulator's own: ``{"advance": seconds}`` moves a virtual clock."""
        try:
            seconds = json.loads(await request.body())["advance"]
            return _json({"now": self._service.advance(float(seconds))})
        except Refusal as error:
            return _error(error.status, error.message)
        except (ValueError, TypeError, KeyError):
            return _error(400, 'the body must be {"advance": seconds}')


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise bad_request("the body is not UTF-8") from None


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, media_type="application/json")


def _error(status: int, message: str, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Response(json.dumps(error_body(status, message)), status, headers, "application/json")


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail))
