"""RayJobs: the jobs API of a Ray cluster, which its head serves over HTTP beside the dashboard.

Ray's own client, with three things added: every request has a time limit, an address that is given is the one that is used (Ray lets
the environment overrule it), and what goes wrong is said in words.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from actors.cluster_jobs import JobRequest, JobState, JobStatus
from orchestrator.errors import ClusterError
from orchestrator.redaction import redact_uri

_TIMEOUT = (10.0, 120.0)  # seconds to connect, and between two packets of an answer
_AGENT_WAIT_SECONDS = 60.0  # a head that has just been started answers some seconds before it takes jobs
_ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"

_Answer = TypeVar("_Answer")


class _Client(JobSubmissionClient):
    """Ray's client; a host that swallows packets is given up instead of waited for."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        options.setdefault("timeout", _TIMEOUT)
        return super()._do_request(method, endpoint, **options)

    @property
    def cluster_version(self) -> str:
        return str(self._server_ray_version)


class RayJobs:
    """The jobs of the cluster at `address` (``http://host:8265``).

    Attributes:
        address: of the jobs API.
        ray_version: that the cluster runs.

    Raises:
        ClusterError: it cannot be reached, or asks for a token that is missing or wrong.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        for talker in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(talker).setLevel(logging.WARNING)
        with _overruling_environment(address):
            self._client = self._asked(lambda: _Client(address))
        self.ray_version = self._client.cluster_version

    def submit(self, request: JobRequest) -> bool:
        """Start the job, or find that it was started before; then False. The files are uploaded if they changed.

        Raises:
            ClusterError: it was refused, or whether it arrived is unknown; submitting again is safe.
        """
        deadline = time.monotonic() + _AGENT_WAIT_SECONDS
        while True:
            try:
                self._asked(lambda: self._submit(request))
                return True
            except ClusterError as error:
                if "already exists" in str(error):
                    return False
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def _submit(self, request: JobRequest) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._client.submit_job(
                entrypoint=request.entrypoint,
                submission_id=request.id,
                runtime_env={
                    "working_dir": str(_archive(request, Path(folder) / "working_dir.zip")),
                    "env_vars": dict(request.env_vars),
                },
                metadata=dict(request.metadata),
            )

    def state(self, job: str) -> JobState | None:
        """What is known of the job; None: the cluster knows none of that id."""
        try:
            return _state(self._asked(lambda: self._client.get_job_info(job)))
        except ClusterError as error:
            if "does not exist" in str(error):
                return None
            raise

    def states(self) -> list[JobState]:
        """All submitted jobs that the cluster remembers, the oldest first."""
        found = self._asked(self._client.list_jobs)
        return sorted(
            (_state(each) for each in found if each.submission_id), key=lambda s: s.started_at or 0.0
        )

    def stop(self, job: str) -> bool:
        """Ask the job to stop. False: it had ended before."""
        return bool(self._asked(lambda: self._client.stop_job(job)))

    def logs(self, job: str) -> str:
        """All that the driver has printed so far."""
        return str(self._asked(lambda: self._client.get_job_logs(job)))

    def _asked(self, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except AuthenticationError as error:
            raise ClusterError(_about_access(self.address, str(error))) from None
        except (OSError, RuntimeError, ValueError, AssertionError) as error:  # requests' errors are OSErrors
            reason = " ".join(redact_uri(str(error)).split()).removeprefix("Request failed with ")
            raise ClusterError(f"the cluster at {redact_uri(self.address)}: {reason}") from None


def _archive(request: JobRequest, path: Path) -> Path:
    """The files as one archive; equal files give equal bytes, which Ray uploads once.

    Given a folder, Ray reads it twice, once for a name and once for the content. A file that is edited in between makes a job that
    waits for a package which never came.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(request.files):
            file = Path(request.working_dir) / name
            if not file.is_file():  # gone meanwhile, or a link to a folder
                continue
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (file.stat().st_mode & 0o777) << 16
            archive.writestr(entry, file.read_bytes())
    return path


@contextmanager
def _overruling_environment(address: str) -> Iterator[None]:
    before = os.environ.get(_ADDRESS_VARIABLE)
    os.environ[_ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        os.environ.pop(_ADDRESS_VARIABLE)
        if before is not None:
            os.environ[_ADDRESS_VARIABLE] = before


def _about_access(address: str, answer: str) -> str:
    """What to do about a token that is missing or wrong; `answer` is Ray's text for the HTTP status 401 or 403."""
    right = "on its head node 'ray get-auth-token' prints the right one"
    if answer.startswith("Authentication required"):
        how = (
            f"asks for a token and was sent none: {right}; here, write it to a file of your own (chmod 600), and: "
            "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE (default: ~/.ray/auth_token)"
        )
    else:
        how = f"refuses the token of {_token_source()}: {right}; write it to a file of your own, and: export RAY_AUTH_TOKEN_PATH=FILE"
    return f"the cluster at {redact_uri(address)} {how}"


def _token_source() -> str:
    """Where Ray takes this process's token from, in its order."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path is None:
        return "~/.ray/auth_token"
    return f"RAY_AUTH_TOKEN_PATH={path}" + (
        "" if os.access(path, os.R_OK) else ", a file that cannot be read"
    )


def _state(details: Any) -> JobState:
    return JobState(
        id=str(details.submission_id),
        status=cast(JobStatus, details.status.value),
        entrypoint=str(details.entrypoint),
        message=str(details.message or ""),
        metadata=dict(details.metadata or {}),
        started_at=_seconds(details.start_time),
        ended_at=_seconds(details.end_time),
        exit_code=details.driver_exit_code,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None
