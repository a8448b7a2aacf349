"""A submitted job from here to its end: its log as it grows, what it waits for, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from actors.cluster_jobs import DIRECTORY_KEY, RUN_KEY, JobsApi, JobState
from orchestrator.errors import ClusterError, InputError, SubmittedJobError
from pipelines.display.formatting import format_duration, qfleet_command

_POLL_SECONDS = (0.5, 5.0)  # right after something was printed; after a long silence
_LOST_SECONDS = 180.0
"""How long a cluster may not answer before we leave the job alone."""

_PATIENCE_SECONDS = 5.0  # every job waits a moment for its start

Show = Callable[[str], None]


def follow(
    api: JobsApi,
    job: str,
    *,
    show: Show | None,
    note: Show,
    skip: int = 0,
    pending_seconds: float = 600.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> JobState:
    """Wait for the job's end, and return it.

    The whole log is asked for each time and its new part shown: nothing is lost or shown twice when the connection breaks.

    Args:
        show: takes each new part of the log; None: the log is not fetched.
        note: takes what we have to say ourselves.
        skip: characters of the log that are not shown.
        pending_seconds: after this long without a start we leave the job to wait alone.

    Raises:
        ClusterError: it has not started in time, or the cluster has not answered for three minutes. The job is left as it is.
        InputError: the cluster knows no such job.
    """
    began = answered = clock()
    delay = _POLL_SECONDS[0]
    n_shown, told = skip, ""
    while True:
        try:
            state = api.state(job)
            text = (
                api.logs(job) if show is not None and state is not None and state.status != "PENDING" else ""
            )
        except ClusterError as error:
            if clock() - answered > _LOST_SECONDS:
                raise _left(
                    job, f"{error}; it has not answered for {format_duration(_LOST_SECONDS)}"
                ) from None
            if told != str(error):
                told = str(error)
                note(f"{told}; trying again")
            sleep(_POLL_SECONDS[1])
            continue
        answered = clock()
        if state is None:
            raise InputError(
                f"the cluster at {api.address} knows no job {job!r}; 'qfleet jobs list' shows those it knows"
            )
        if show is not None and len(text) > n_shown:
            show(text[n_shown:])
            n_shown, delay = len(text), _POLL_SECONDS[0]
        if state.is_over:
            return state
        if state.status == "PENDING":
            if told != state.message and clock() - began > _PATIENCE_SECONDS:
                told = state.message
                note(f"{job} is waiting for its start: {told}")
            if clock() - began > pending_seconds:
                raise _left(
                    job, f"{job} has not started in {format_duration(pending_seconds)}: {state.message}"
                )
        sleep(delay)
        delay = min(delay * 1.3, _POLL_SECONDS[1])


def check_ended_well(state: JobState) -> None:
    """Nothing for a job that succeeded.

    Raises:
        SubmittedJobError: it failed or was stopped; with the driver's exit code, 130 for a stop.
    """
    if state.status == "SUCCEEDED":
        return
    if state.status == "STOPPED":
        raise SubmittedJobError(f"{state.id} was stopped{how_to_go_on(state)}", 130)
    if state.exit_code is None:
        reason = state.message.strip().splitlines()
        raise SubmittedJobError(
            f"{state.id} did not start: {reason[-1] if reason else 'the cluster does not say why'}"
        )
    code = state.exit_code if state.exit_code > 0 else 128 - state.exit_code
    go_on = "" if code == 2 else how_to_go_on(state)
    raise SubmittedJobError(f"{state.id} failed with exit code {code}{go_on}", code)


def how_to_go_on(state: JobState) -> str:
    """How an unfinished training run is continued; empty for other jobs."""
    run, directory = state.metadata.get(RUN_KEY), state.metadata.get(DIRECTORY_KEY)
    if run is None or directory is None:
        return ""
    return "; continue its run with: " + qfleet_command("submit", "resume", run, "--directory", directory)


def _left(job: str, reason: str) -> ClusterError:
    return ClusterError(
        f"{reason}. The job is left as it is: '{qfleet_command('jobs', 'attach', job)}' follows it on, "
        f"'{qfleet_command('jobs', 'stop', job)}' ends it"
    )
