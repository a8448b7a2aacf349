"""A small loopback IonQ whose every fault is scripted and whose every request is kept: what the client's tests count on.

It speaks just enough of API v0.4, with `failure: null` and `next: null`. It simulates nothing: circuit c of a job is answered by
``{"<c>": 1.0}``, so that the order of the circuits can be read from the results.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "key-0123456789-secret"
STALL_SECONDS = 1.0  # longer than the tests' read timeout


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        kind: status (an error, or any other answer), drop (the connection closes), stall (then drop), cut (half a body),
            trickle (a body that never ends).
        is_accepted: whether the request takes effect all the same.
    """

    kind: str = "status"
    status: int = 200
    body: Any = None
    retry_after: str | None = None
    is_accepted: bool = False
    location: str | None = None


def refuse(status: int, retry_after: str | None = None, is_accepted: bool = False) -> Fault:
    body = {"error": "Some Error", "message": f"said by the server with {KEY}", "statusCode": status}
    return Fault("status", status, json.dumps(body), retry_after, is_accepted)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    headers: dict[str, str]
    connection: int


@dataclass
class ScriptedIonQ:
    """Use as a context manager. `faults[endpoint]` are met in order, one by each request; then all is well."""

    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    requests: list[Request] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=lambda: {"status": "completed", "failure": None})
    n_polls: int = 0  # GETs of a job before it is done
    page_size: int = 2
    is_shuffled: bool = False
    lists_children: bool = True
    latency: float = 0.0  # seconds from a request's effect to its answer
    n_hidden_listings: int = 0  # listings that do not show the newest job yet

    def __enter__(self) -> ScriptedIonQ:
        handler = type("BoundHandler", (_Handler,), {"ionq": self})
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def use_tls(self, context: ssl.SSLContext) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def script(self, endpoint: str, *faults: Fault) -> None:
        self.faults[endpoint].extend(faults)

    def count(self, endpoint: str) -> int:
        return sum(self.endpoint(each.method, each.path) == endpoint for each in self.requests)

    @staticmethod
    def endpoint(method: str, path: str) -> str:
        parts = path.removeprefix("/v0.4/").split("/")
        kind = "jobs" if len(parts) == 1 else parts[2] if len(parts) > 2 else "job"
        if parts[-1] in ("estimate", "backends"):
            kind = parts[-1]
        return f"{method} {kind}"

    def take(self, request: Request) -> tuple[Fault | None, tuple[int, Any]]:
        """The fault that this request meets, and the answer it gets otherwise."""
        with self._lock:
            self.requests.append(request)
            endpoint = self.endpoint(request.method, request.path)
            fault = self.faults[endpoint].popleft() if self.faults[endpoint] else None
            if fault is not None and not fault.is_accepted:
                return fault, (0, None)
            return fault, self._answer(endpoint, request)

    def _answer(self, endpoint: str, request: Request) -> tuple[int, Any]:
        parts = request.path.removeprefix("/v0.4/").split("/")
        if endpoint == "POST jobs":
            return 201, self._accept(request.body)
        if endpoint == "GET jobs":
            return 200, self._page(int(request.query.get("next", ["0"])[0]))
        if endpoint == "GET backends":
            return 200, [{"backend": "simulator", "status": "available", "qubits": 29}]
        if endpoint == "GET estimate":
            return 200, {"cost_unit": "USD", "estimated_cost": 0.25, "input_values": request.query}
        job = self.jobs.get(parts[1])
        if job is None:
            return 404, {"error": "Not Found", "message": "no such job", "statusCode": 404}
        if endpoint == "GET job":
            job["polls"] += 1
            return 200, self._shown(job)
        if endpoint == "PUT status":
            job |= {"status": "canceled", "polls": 10**6}
            self.final = {"status": "canceled", "failure": None}
            return 200, {"id": job["id"], "status": "canceled"}
        if endpoint == "GET cost":
            money = {"value": 24.83, "unit": "usd"}
            return 200, {"dry_run": False, "estimated_cost": money, "cost": money}
        assert endpoint == "GET results"
        if parts[-1] != "aggregated":
            return 200, {"0": 1.0}
        answers = [(child, {str(index): 1.0}) for index, child in enumerate(job["children"])]
        return 200, dict(reversed(answers) if self.is_shuffled else answers)

    def _accept(self, body: dict[str, Any]) -> dict[str, Any]:
        job_id = str(uuid.uuid4())
        children = [str(uuid.uuid4()) for _ in body["input"].get("circuits", ())]
        self.jobs[job_id] = {"id": job_id, "body": body, "children": children, "polls": 0}
        return {"id": job_id, "status": "submitted", "session_id": None}

    def _page(self, start: int) -> dict[str, Any]:
        newest_first = list(self.jobs.values())[::-1]
        if self.n_hidden_listings > 0 and start == 0:
            self.n_hidden_listings -= 1
            newest_first = newest_first[1:]
        rows = [self._shown(job) for job in newest_first[start : start + self.page_size]]
        is_last = start + self.page_size >= len(newest_first)
        return {"jobs": rows, "next": None if is_last else str(start + self.page_size)}

    def _shown(self, job: dict[str, Any]) -> dict[str, Any]:
        is_done = job["polls"] > self.n_polls
        shown = {
            "id": job["id"],
            "name": job["body"].get("name"),
            "metadata": job["body"].get("metadata"),
            "backend": job["body"].get("backend"),
            "stats": {"qubits": 1},
            "submitted_at": "2026-11-21T00:00:00.000Z",
            "started_at": None,
            "completed_at": None,
            "parent_job_id": None,
            "child_job_ids": (job["children"] if self.lists_children else None) or None,
            "status": "started",
            "failure": None,
        }
        return shown | self.final if is_done else shown


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is none of our business
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    ionq: ScriptedIonQ

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        body = json.loads(content) if content else None
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query),
            body,
            dict(self.headers),
            self.client_address[1],
        )
        fault, (status, answer) = self.ionq.take(request)
        time.sleep(self.ionq.latency)
        if fault is None:
            self._send(status, json.dumps(answer))
        elif fault.kind == "status":
            self._send(fault.status, fault.body or "", fault.retry_after, fault.location)
        else:
            self._break_off(fault)

    def _break_off(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.kind == "stall":
            time.sleep(STALL_SECONDS)
        elif fault.kind == "cut":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "')
        elif fault.kind == "trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(int(3 * STALL_SECONDS / 0.05)):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
                time.sleep(0.05)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _send(
        self, status: int, body: str, retry_after: str | None = None, location: str | None = None
    ) -> None:
        content = body.encode()
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        if location is not None:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def body_of(token: str, n_circuits: int | None = None) -> dict[str, Any]:
    """A submission as the API takes it: of one circuit, or of a batch."""
    circuit = [{"gate": "x", "target": 0}]
    program = {"gateset": "qis", "qubits": 1}
    program |= (
        {"circuit": circuit} if n_circuits is None else {"circuits": [{"circuit": circuit}] * n_circuits}
    )
    return {
        "backend": "simulator",
        "type": "ionq.circuit.v1" if n_circuits is None else "ionq.multi-circuit.v1",
        "input": program,
        "name": f"qfleet-{token}",
        "metadata": {"qfleet_token": token},
        "shots": 100,
    }
