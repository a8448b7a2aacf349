"""A job of a cluster as plain data, and what is asked of a cluster's jobs API. Ray's is in ``actors/ray_fleet/jobs.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

JobStatus = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
RUN_KEY, DIRECTORY_KEY, COMMAND_KEY, VERSIONS_KEY = (
    "qfleet.run", "qfleet.directory", "qfleet.command", "qfleet.versions",
)  # fmt: skip
"""Metadata of our jobs: the run's name and folder, the command, and the submitting machine's versions as JSON."""


@dataclass(frozen=True)
class JobRequest:
    """What is to run on a cluster.

    Attributes:
        id: the job's name on the cluster. A second request with the same id starts nothing.
        entrypoint: shell command, run in a copy of `files`.
        working_dir, files: a folder here, and the files of it that go along, relative to it.
        env_vars: of the driver and its workers; may hold keys, so it is not printed.
        metadata: readable by everybody who may see the cluster's jobs.
    """

    id: str
    entrypoint: str
    working_dir: str
    files: tuple[str, ...] = field(default=(), repr=False)
    env_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """What a cluster says of one job. Times are Unix seconds; `exit_code` is the driver's, where it ended by itself."""

    id: str
    status: JobStatus
    entrypoint: str
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class JobsApi(Protocol):
    """A cluster's jobs. Every method may raise ClusterError: no answer, access refused, or an unexpected answer."""

    address: str
    ray_version: str

    def submit(self, request: JobRequest) -> bool:
        """Start a job, once. False: one of that id was there already, and nothing was started."""

    def state(self, job: str) -> JobState | None:
        """What is known of the job; None: the cluster knows none of that id."""

    def states(self) -> Sequence[JobState]:
        """All jobs that the cluster remembers, the oldest first."""

    def stop(self, job: str) -> bool:
        """Ask the job to stop (SIGTERM, later SIGKILL). False: it had ended before."""

    def logs(self, job: str) -> str:
        """All that the driver has printed so far."""
