"""Ray's own jobs client through `RayJobs`, against answers as a head gives them: what is said of each, and what is tried again."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from actors.cluster_jobs import JobRequest
from actors.ray_fleet import jobs
from actors.ray_fleet.jobs import RayJobs
from orchestrator.errors import ClusterError

Answer = tuple[int, object]
DETAILS = {
    "type": "SUBMISSION",
    "submission_id": "a",
    "status": "FAILED",
    "entrypoint": "python",
    "message": "it failed",
    "metadata": {"qfleet.run": "r"},
    "runtime_env": {"env_vars": {"IONQ_API_KEY": "sekret"}},
    "start_time": 1_000_500,
    "end_time": 1_002_500,
    "driver_exit_code": 2,
}


class Head:
    """A head that answers from a table, ``"GET /path"`` to an answer or to a list of answers, the last of which stays."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer]] = {
            "GET /api/version": (
                200,
                {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""},
            )
        }
        self.asked: list[tuple[str, Any]] = []

    def answer(self, request: str, body: bytes) -> Answer:
        self.asked.append((request, json.loads(body) if body else None))
        found = self.answers.get(request, (404, f"{request} does not exist"))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found


@pytest.fixture
def head() -> Iterator[tuple[Head, str]]:
    """The head and its address."""
    table = Head()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = table.answer(f"{self.command} {self.path}", body)
            text = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield table, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def request_(tmp_path: Any) -> JobRequest:
    (tmp_path / "x.py").write_text("")
    return JobRequest("a", "python x.py", str(tmp_path), ("x.py", "gone.py"), {"K": "v"}, {"qfleet.run": "r"})


def test_the_given_address_is_the_one_that_is_asked(
    head: tuple[Head, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    assert RayJobs(head[1]).ray_version == "2.60.0"
    assert jobs.os.environ["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:9"
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9"):
        RayJobs("http://127.0.0.1:9")


def test_a_state_has_seconds_and_no_environment(head: tuple[Head, str]) -> None:
    table, address = head
    driver = DETAILS | {"type": "DRIVER", "submission_id": None}
    table.answers |= {"GET /api/jobs/a": (200, DETAILS), "GET /api/jobs/": (200, [DETAILS, driver])}
    api = RayJobs(address)
    state = api.state("a")
    assert state is not None
    assert (state.started_at, state.ended_at, state.exit_code) == (1000.5, 1002.5, 2)
    assert "sekret" not in repr(state)
    assert api.states() == [state]  # drivers that nobody submitted are not jobs of ours
    assert api.state("b") is None


def test_a_request_is_sent_whole(head: tuple[Head, str], request_: JobRequest) -> None:
    table, address = head
    table.answers["POST /api/jobs/"] = (200, {"job_id": "a", "submission_id": "a"})
    table.answers |= {
        f"{verb} /api/packages/gcs/{name}": (200, "")
        for verb in ("GET", "PUT")
        for name in [_package(table, address, request_)]
    }
    assert RayJobs(address).submit(request_)
    sent = table.asked[-1][1]
    assert (sent["submission_id"], sent["entrypoint"]) == ("a", "python x.py")
    assert sent["runtime_env"]["env_vars"] == {"K": "v"}
    assert sent["metadata"] == {"qfleet.run": "r"}


def _package(table: Head, address: str, request: JobRequest) -> str:
    """Name under which Ray uploads the working directory: it asks for it first."""
    with pytest.raises(ClusterError):
        RayJobs(address).submit(request)
    return next(r.rpartition("/")[2] for r, _ in table.asked if "/packages/" in r)


@pytest.mark.parametrize(
    ("answers", "ends"),
    [
        ([(500, "ValueError: Job with submission_id a already exists. Please use another")], False),
        ([(500, "No available agent to submit job, please try again later."), (200, {"job_id": "a", "submission_id": "a"})], True),
        ([(500, "disk full")], ClusterError),
    ],
)  # fmt: skip
def test_what_follows_an_answer(
    head: tuple[Head, str],
    request_: JobRequest,
    answers: list[Answer],
    ends: bool | type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, address = head
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    monkeypatch.setattr(jobs.JobSubmissionClient, "_upload_working_dir_if_needed", lambda self, env: None)
    monkeypatch.setattr("ray.dashboard.modules.job.sdk._validate_no_local_paths", lambda env: None)
    table.answers["POST /api/jobs/"] = answers
    api = RayJobs(address)
    if isinstance(ends, bool):
        assert api.submit(request_) is ends
    else:
        with pytest.raises(ends, match="status code 500: disk full"):
            api.submit(request_)


@pytest.mark.parametrize(
    ("status", "environment", "words"),
    [
        (401, {}, "asks for a token and was sent none.*export RAY_AUTH_MODE=token"),
        (403, {}, "refuses the token of ~/.ray/auth_token"),
        (403, {"RAY_AUTH_TOKEN": "sekret"}, "refuses the token of RAY_AUTH_TOKEN:"),
        (
            403,
            {"RAY_AUTH_TOKEN_PATH": "/no/such"},
            "RAY_AUTH_TOKEN_PATH=/no/such, a file that cannot be read",
        ),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_told_with_what_to_do(
    head: tuple[Head, str],
    status: int,
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, address = head
    table.answers["GET /api/version"] = (status, "Unauthorized")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match=words) as caught:
        RayJobs(address)
    assert "sekret" not in str(caught.value)


def test_a_head_that_swallows_requests_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(jobs, "_TIMEOUT", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ClusterError, match="timed out"):
            RayJobs(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_equal_files_give_equal_archives_and_keep_their_modes(tmp_path: Path, request_: JobRequest) -> None:
    script = Path(request_.working_dir) / "x.py"
    script.chmod(0o755)
    first = jobs._archive(request_, tmp_path / "first.zip").read_bytes()
    os.utime(script, (1e9, 1e9))
    assert jobs._archive(request_, tmp_path / "second.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        [entry] = archive.infolist()
    assert (entry.filename, entry.external_attr >> 16) == ("x.py", 0o755)
    script.write_text("2")
    assert jobs._archive(request_, tmp_path / "third.zip").read_bytes() != first
