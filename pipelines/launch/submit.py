"""``qfleet submit``: a qfleet command as a job of a Ray cluster, started once however often it is submitted."""

from __future__ import annotations

import argparse
import os
import re
import sys
from importlib.metadata import version
from typing import Any, TextIO

from actors.cluster_jobs import JobRequest, JobsApi, JobState
from orchestrator.errors import ClusterError, InputError
from orchestrator.redaction import redact_uri
from pipelines.display.formatting import qfleet_command
from pipelines.launch.arguments import split
from pipelines.launch.cluster import address_of, connect
from pipelines.launch.follow import check_ended_well, follow, how_to_go_on
from pipelines.launch.request import Plan, plan_of
from pipelines.launch.working_dir import size_warning


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Submit, and with ``--follow`` or ``--wait`` see the job to its end. Returns what ``--json`` prints.

    Raises:
        InputError: the command would fail there, or the same job has failed before; nothing has been sent.
        ClusterError: no answer, no access, or no start in time. SubmittedJobError: it ended otherwise than well.
    """
    own, command_line = split(options.command, options.arguments)
    vars(options).update(vars(own))
    out = sys.stderr if options.json else sys.stdout
    plan = plan_of(options, command_line, os.environ)
    if warning := size_warning(plan.folder, plan.excludes):
        print(f"qfleet: {warning}", file=sys.stderr)
    if options.dry_run:
        address = address_of(options.address)
        print(_as_text(plan, address), file=out)
        return {
            "dry_run": True,
            "address": address,
            "job": plan.id(),
            "entrypoint": plan.request().entrypoint,
        }
    api = connect(options.address)
    _compare_ray(api.ray_version)
    request, state = send(api, plan, again=options.again)
    if state is None and plan.keys:
        print(
            f"qfleet: {', '.join(plan.keys)} went with the job; Ray writes them to its own logs on the nodes (docs/launching.md, Keys)",
            file=sys.stderr,
        )
    words = (
        "is submitted"
        if state is None
        else f"was submitted before and is {state.status}: nothing was started"
    )
    print(f"{request.id} {words}", file=out, flush=True)
    figures = {
        "job": request.id,
        "address": api.address,
        "is_new": state is None,
        "run_name": plan.run_name(),
    }
    if not (options.follow or options.wait):
        print(f"follow it with: {qfleet_command('jobs', 'attach', request.id)}", file=out)
        return figures | {"status": "PENDING" if state is None else state.status}
    state = see_to_its_end(
        api, request.id, out if options.follow else None, pending_seconds=options.pending_seconds
    )
    return figures | {"status": state.status, "exit_code": state.exit_code}


def send(api: JobsApi, plan: Plan, *, again: bool = False) -> tuple[JobRequest, JobState | None]:
    """Submit the plan unless it is there: (request, None) for a new job, (request, state) for the one that is there.

    An attempt that failed or was stopped is followed by another one where that is harmless (a run that is resumed) or asked for.

    Raises:
        InputError: the same job has failed or was stopped before, and doing it again was not asked for.
        ClusterError: no answer, or no access.
    """
    pattern = re.compile(re.escape(plan.id()) + r"(?:-(\d+))?")
    attempts = {int(m[1] or 1): s for s in api.states() if (m := pattern.fullmatch(s.id))}
    attempt = max(attempts, default=1)
    if state := attempts.get(attempt):
        if not state.is_over or (state.status == "SUCCEEDED" and not again):
            return plan.request(attempt), state
        if not again and plan.command != "resume":
            ended = "was stopped" if state.status == "STOPPED" else f"failed (exit code {state.exit_code})"
            raise InputError(
                f"{state.id} is the same job, and {ended}; '{qfleet_command('jobs', 'logs', state.id)}' shows why"
                f"{how_to_go_on(state) if plan.command == 'train' else ''}; --again starts it anew"
            )
        attempt += 1
    request = plan.request(attempt)
    if api.submit(request):
        return request, None
    there = api.state(request.id)  # another client was quicker, or our own request whose answer was lost
    if there is None:
        raise ClusterError(
            f"the cluster at {api.address} says that {request.id} is there, and does not know it; submit again"
        )
    return request, there


def see_to_its_end(
    api: JobsApi, job: str, log: TextIO | None, *, skip: int = 0, pending_seconds: float = 600.0
) -> JobState:
    """Follow the job, its log to `log`; Ctrl-C leaves it running.

    Raises:
        SubmittedJobError: it ended otherwise than well. ClusterError: see `follow`.
        KeyboardInterrupt: we were asked to leave; the text says how to come back.
    """

    def show(text: str) -> None:
        print(text, end="", file=log, flush=True)

    def note(text: str) -> None:
        print(f"qfleet: {text}", file=sys.stderr, flush=True)

    try:
        state = follow(
            api,
            job,
            show=None if log is None else show,
            note=note,
            skip=skip,
            pending_seconds=pending_seconds,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{job} goes on; follow it with: {qfleet_command('jobs', 'attach', job)}, "
            f"end it with: {qfleet_command('jobs', 'stop', job)}"
        ) from None
    check_ended_well(state)
    return state


def _compare_ray(theirs: str) -> None:
    ours = version("ray")
    if theirs != ours:
        print(
            f"qfleet: the cluster runs Ray {theirs}, this machine has {ours}; the job runs with the cluster's. Give both the same "
            "constraints.txt",
            file=sys.stderr,
        )


def _as_text(plan: Plan, address: str) -> str:
    request = plan.request()
    environment = ", ".join(
        name if name in plan.keys else f"{name}={redact_uri(value)}"
        for name, value in request.env_vars.items()
    )
    return (
        f"dry run: nothing was sent to {redact_uri(address)}\n"
        f"  job          {request.id}\n"
        f"  command      {request.entrypoint}\n"
        f"  files        {request.working_dir}, less {', '.join(plan.excludes)}: {len(request.files):,} files\n"
        f"  environment  {environment}"
    )


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["submit", *sys.argv[1:]]))
