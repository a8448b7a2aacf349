"""``qfleet reconcile``: what IonQ charged for a run's jobs beside what the run's book says. Asks for figures, and spends nothing.

A paid run ends with it too; a provider that cannot be reached is then a note in the report, and the command may be given later.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from actors.crew import Crew
from actors.ionq.book_file import JOURNAL, read_journal
from actors.ionq.book_ledger import Entry, Ledger
from orchestrator.config import BackendConfig, TrainingConfig
from orchestrator.costs.money import in_usd, micro_nearest, usd_text
from orchestrator.errors import ExecutionError, InputError, QfleetError
from pipelines.display.formatting import format_usd
from pipelines.run_folder import FLEET_CONFIG, RunFolder

FILE = "reconciliation.json"
HALF_A_CENT = 5_000
"""Micro-dollars; a larger difference is no rounding to cents."""
_RUN_SECONDS = 60.0
"""What asking may take at the end of a run."""
_COMMAND_SECONDS = 3600.0


class Difference(NamedTuple):
    """A job that IonQ charged otherwise than the book says; micro-dollars."""

    job_id: str
    token: str
    booked: int
    billed: int


@dataclass(frozen=True)
class Reconciliation:
    """The comparison of a run's completed jobs; money in micro-dollars (1e-6 USD).

    Attributes:
        n_jobs: completed, by the book; booked: what they cost by it.
        n_billed: of these, those that IonQ gave a figure for; billed: their sum, and billed_booked what the book says of the same jobs.
        differences: jobs whose two figures are more than half a cent apart.
        note: why figures are missing; empty if none is.
    """

    n_jobs: int
    booked: int
    n_billed: int
    billed: int
    billed_booked: int
    differences: tuple[Difference, ...]
    note: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether IonQ gave a figure for every job."""
        return self.n_billed == self.n_jobs

    @property
    def text(self) -> str:
        """The outcome in a line."""
        if self.n_jobs and not self.n_billed:
            return f"no figures from IonQ: {self.note}"
        n = len(self.differences)
        differ = f"{n or 'no'} job{'' if n == 1 else 's'} differ{'s' if n == 1 else ''}"
        billed, booked = (format_usd(in_usd(micro)) for micro in (self.billed, self.billed_booked))
        compared = f"billed by IonQ {billed}, booked {booked}, {differ}"
        if self.is_complete:
            return compared
        return f"{compared}, of the {self.n_billed} of {self.n_jobs} jobs with a figure: {self.note}"

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "jobs": self.n_jobs,
            "jobs_billed": self.n_billed,
            "is_complete": self.is_complete,
            "booked_micro_usd": self.booked,
            "billed_micro_usd": self.billed,
            "booked_of_billed_micro_usd": self.billed_booked,
            "differences": [
                {
                    "job_id": each.job_id,
                    "token": each.token,
                    "booked_micro_usd": each.booked,
                    "billed_micro_usd": each.billed,
                }
                for each in self.differences
            ],
            "note": self.note,
        }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Reconcile the run, or the named fleet, that the command line names. Returns what ``--json`` prints.

    Raises:
        InputError: the run has paid for nothing. ConfigError, MissingKeyError: IonQ cannot be asked. ExecutionError: it gave no figure.
    """
    folder, backend = _found(options.run, options.directory)
    entries = completed_entries(folder)
    with _Provider(backend) as provider:
        outcome = reconcile(entries, provider.cost, backend.jobs_in_flight, _COMMAND_SECONDS)
    if outcome.n_jobs and not outcome.n_billed:  # what an earlier time has found out is kept
        raise ExecutionError(outcome.text)
    folder.write_json(FILE, outcome.to_json())
    print(outcome.text, file=sys.stderr if options.json else sys.stdout)
    for each in [] if options.json else outcome.differences:
        print(f"  {each.job_id}: billed {usd_text(each.billed)}, booked {usd_text(each.booked)}")
    return {"run_name": folder.name, **outcome.to_json()}


def _found(run: str, directory: str) -> tuple[RunFolder, BackendConfig]:
    """The folder of a run, or of the book of a named fleet, and the backend that was paid.

    Raises:
        InputError: there is none.
    """
    for path in (Path(run), Path(directory) / run):
        if (path / FLEET_CONFIG).is_file():
            return RunFolder(path), TrainingConfig.from_toml(path / FLEET_CONFIG).backend
    folder = RunFolder.find(run, directory)
    return folder, folder.read_config().backend


def reconcile_run(folder: RunFolder, backend: BackendConfig) -> Reconciliation:
    """Reconcile a run at its end, and write the outcome into its folder. Whatever goes wrong is a note of the outcome."""
    entries: list[Entry] = []
    try:
        entries = completed_entries(folder)
        with _Provider(backend) as provider:
            outcome = reconcile(entries, provider.cost, backend.jobs_in_flight, _RUN_SECONDS)
    except QfleetError as error:
        outcome = reconciled(entries, [None] * len(entries), str(error))
    folder.write_json(FILE, outcome.to_json())
    return outcome


def completed_entries(folder: RunFolder) -> list[Entry]:
    """The submissions that the book of a run says are completed; it is not locked, so the run may be at work.

    Raises:
        InputError: the run has no book. BookError: it cannot be read.
    """
    if not (folder.path / JOURNAL).exists():
        raise InputError(f"{folder.name} has no {JOURNAL}: nothing was paid for it")
    ledger = Ledger(str(folder.path / JOURNAL), read_journal(folder.path).events, None)
    return [entry for entry in ledger.entries.values() if entry.state == "completed"]


def reconcile(
    entries: Sequence[Entry], cost: Callable[[str], float | None], n_threads: int, seconds: float
) -> Reconciliation:
    """Ask for the charge of every entry, and compare.

    Args:
        entries: completed submissions.
        cost: what the provider charged for its job of this id, in US dollars; None while it has no figure. Called by several threads.
        n_threads: calls at the same time.
        seconds: what all this may take, but for the last calls, which are left to themselves.
    """
    deadline = time.monotonic() + seconds
    crew: Crew[float | None] = Crew(n_threads)
    calls: list[Future[float | None]] = []
    try:
        for cut in (entries[:1], entries[1:]):  # one first: where it is in vain, so are thousands
            new = [crew.hand(cost, str(entry.provider_id)) for entry in cut]
            calls += new
            wait(new, max(deadline - time.monotonic(), 0.0))
            if not calls or not calls[0].done() or calls[0].exception() is not None:
                break
    finally:
        for call in calls:
            call.cancel()
        crew.close()
    answers = [call if call.done() and not call.cancelled() else None for call in calls]
    errors = [error for call in answers if call is not None and (error := call.exception()) is not None]
    figures = [None if call is None or call.exception() is not None else call.result() for call in answers]
    figures += [None] * (len(entries) - len(figures))
    return reconciled(entries, figures, _why_missing(answers, errors, seconds))


def reconciled(entries: Sequence[Entry], figures: Sequence[float | None], why_missing: str) -> Reconciliation:
    """The comparison of `entries` with what they were charged, in US dollars; None where that is unknown, and `why_missing`."""
    known = [
        Difference(str(entry.provider_id), entry.token, entry.micro_dollars, micro_nearest(figure))
        for entry, figure in zip(entries, figures, strict=True)
        if figure is not None
    ]
    return Reconciliation(
        n_jobs=len(entries),
        booked=sum(entry.micro_dollars for entry in entries),
        n_billed=len(known),
        billed=sum(each.billed for each in known),
        billed_booked=sum(each.booked for each in known),
        differences=tuple(each for each in known if abs(each.billed - each.booked) > HALF_A_CENT),
        note="" if len(known) == len(entries) else why_missing,
    )


def _why_missing(
    answers: Sequence[Future[float | None] | None], errors: Sequence[BaseException], seconds: float
) -> str:
    if errors:
        return f"{type(errors[0]).__name__}: {errors[0]}"
    if None in answers:
        return f"there was no answer within {seconds:g} s; qfleet reconcile asks again"
    return "IonQ has no figure yet; qfleet reconcile asks again"


class _Provider:
    """The provider of a configured backend, for questions about its bill.

    Raises:
        InputError: the backend is none of IonQ's. ConfigError, MissingKeyError: it cannot be asked.
    """

    def __init__(self, backend: BackendConfig) -> None:
        if backend.name != "ionq":
            raise InputError(
                f"backend.name = {backend.name!r} sends no bill: only runs on 'ionq' are reconciled"
            )
        from actors.ionq.client import IonQClient
        from actors.ionq.clock import SystemClock
        from actors.ionq.transport import Limits

        self._clock = SystemClock()
        self._client = IonQClient(
            backend.host,
            allow_cloud=backend.allow_cloud,
            limits=Limits(connect=5.0, read=10.0, total=20.0),
            clock=self._clock,
        )
        self.cost = self._client.cost

    def __enter__(self) -> _Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.stop()
        self._client.close()


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["reconcile", *sys.argv[1:]]))
