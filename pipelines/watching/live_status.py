"""LiveStatus: a display that nobody looks at. Once a second it writes how the run is into ``status.json``, and tells who else listens.

The training loop only leaves its newest report here; a thread reads it, and the dispatcher's counts, and writes. So a step of two
milliseconds pays nothing for it, and the heartbeat goes on while a step takes minutes.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from orchestrator.protocols import Dispatcher, DispatcherStats, FleetEvent, JobSpan, WorkerStatus
from pipelines.display.board import Board
from pipelines.display.progress import QuietProgress
from pipelines.watching.status_file import (
    FAILED,
    FINISHED,
    FINISHING,
    STARTING,
    STOPPED,
    TRAINING,
    VALIDATING,
    WAITING,
    write_status,
)

if TYPE_CHECKING:
    from orchestrator.training.reports import EpochReport, StepReport, Totals
    from pipelines.spending import Spending

_log = logging.getLogger(__name__)
_SECONDS = 1.0
_WINDOW_SECONDS = 10.0
"""Over which rates are taken."""
_MAX_EVENTS, _MAX_MESSAGES = 20, 5
"""The newest that the file holds."""
_Item = TypeVar("_Item")


class Tick(NamedTuple):
    """What a listener is told once a second.

    Attributes:
        status: as written; board: the newest reports.
        stats, workers: of the dispatcher; None and none before there is one.
        spans, events: those that are new since the tick before.
    """

    status: Mapping[str, Any]
    board: Board
    stats: DispatcherStats | None
    workers: Sequence[WorkerStatus]
    spans: Sequence[JobSpan]
    events: Sequence[FleetEvent]


class _Mark(NamedTuple):
    """Counts at one time, to take rates between two."""

    at: float
    circuits: Mapping[str, int]
    busy: Mapping[str, float]


class LiveStatus(QuietProgress):
    """Writes the status of one run until `end` or `close`.

    Args:
        folder: the run's folder.
        about: what does not change: ``run``, ``backend``, ...
        n_batches: steps of an epoch, if a validation follows them; else 0.
        redact: takes credentials out of a text.
        listeners: told every second, on the thread that writes.
        seconds: between two ticks.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        *,
        n_batches: int = 0,
        redact: Callable[[str], str] = str,
        listeners: Sequence[Callable[[Tick], None]] = (),
        seconds: float = _SECONDS,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._about = {
            **about,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started_at": round(time.time(), 3),
        }
        self._n_batches = n_batches
        self._redact = redact
        self._listeners = tuple(listeners)
        self._seconds = seconds
        self._board = Board(time.monotonic)
        self._dispatcher: Dispatcher | None = None
        self._state, self._reason = STARTING, ""
        self._messages: deque[str] = deque(maxlen=_MAX_MESSAGES)
        self._marks: deque[_Mark] = deque()
        self._stats: DispatcherStats | None = None
        self._workers: Sequence[WorkerStatus] = ()
        self._had: Sequence[WorkerStatus] = ()  # the newest that were any
        self._spans: Sequence[JobSpan] = ()
        self._events: Sequence[FleetEvent] = ()
        self._last_span: JobSpan | None = None
        self._last_event: FleetEvent | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="qfleet-status", daemon=True)

    # As a display

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Write for the first time, and from now on once a second."""
        self._board.title, self._board.details, self._board.is_paid = title, tuple(details), is_paid
        self._tick()
        self._thread.start()

    def phase(self, text: str) -> None:
        """For the next tick. What comes after the last step is the end of the run."""
        step = self._board.step
        if step is not None and self._state in (TRAINING, VALIDATING):
            self._state = FINISHING
        self._board.phase = text

    def on_step(self, report: StepReport) -> None:
        """For the next tick."""
        self._board.note_step(report)
        is_last = bool(self._n_batches) and (
            report.step % self._n_batches == 0 or report.step == report.n_steps
        )
        self._state = VALIDATING if is_last else TRAINING

    def on_epoch(self, report: EpochReport) -> None:
        """For the next tick."""
        self._board.note_epoch(report)
        self._state = TRAINING

    def on_spending(self, spending: Spending) -> None:
        """For the next tick."""
        self._board.spending = spending

    def message(self, text: str) -> None:
        """For the next tick."""
        self._messages.append(self._redact(text))

    # What a display does not hear of

    def watch(self, dispatcher: Dispatcher) -> None:
        """From now on the workers are those of `dispatcher`."""
        self._dispatcher = dispatcher
        if self._state in (STARTING, WAITING):
            self._state, self._reason, self._board.phase = TRAINING, "", ""

    def waits(self, text: str) -> None:
        """The fleet, which is being started, waits for what the cluster has not got: `text`."""
        if self._dispatcher is None:
            self._state, self._reason = WAITING, self._redact(text)

    def end(self, state: str, reason: str = "", totals: Totals | None = None) -> None:
        """The run is over: `FINISHED`, `STOPPED` (and can be resumed) or `FAILED`; written before this returns.

        Args:
            totals: what it has used in all, the final test included.
        """
        assert state in (FINISHED, STOPPED, FAILED)
        if self._is_over.is_set():
            return
        self.close()
        self._state, self._reason, self._board.phase = state, self._redact(reason), ""
        self._board.stopped_at = self._board.clock()
        self._board.totals = totals or self._board.totals
        self._tick()

    def close(self) -> None:
        """Write no more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    # The thread

    def _beat(self) -> None:
        while not self._is_over.wait(self._seconds):
            self._tick()

    def _tick(self) -> None:
        """Never raises: a run does not fail because it cannot be watched."""
        try:
            tick = self._looked()
        except Exception:
            _log.debug("the status cannot be told", exc_info=True)
            return
        try:
            write_status(self._folder, tick.status)
        except OSError as error:
            _log.debug("the status cannot be written: %s", error)
        for listener in self._listeners:
            try:
                listener(tick)
            except Exception:
                _log.debug("a listener failed", exc_info=True)

    def _looked(self) -> Tick:
        try:
            self._ask()
        except (
            Exception
        ):  # a closed dispatcher, or one that is elsewhere and cannot be reached: what it said last stands
            _log.debug("the fleet cannot be asked", exc_info=True)
        new_spans, new_events = _after(self._spans, self._last_span), _after(self._events, self._last_event)
        self._last_span = self._spans[-1] if self._spans else self._last_span
        self._last_event = self._events[-1] if self._events else self._last_event
        status = self._status(self._stats, self._workers, self._events[-_MAX_EVENTS:])
        return Tick(status, self._board, self._stats, self._workers, new_spans, new_events)

    def _ask(self) -> None:
        """What the dispatcher says now. One that has been closed has no workers any more, and those it had are shown."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            return
        workers = _read(dispatcher.workers)
        self._had = workers or self._had
        self._workers = self._had if self._is_over.is_set() else workers
        self._spans, self._events = _read(dispatcher.timeline), _read(dispatcher.events)
        self._stats = dispatcher.stats()

    def _status(
        self, stats: DispatcherStats | None, workers: Sequence[WorkerStatus], events: Sequence[FleetEvent]
    ) -> dict[str, Any]:
        """What the file says; docs/watching.md explains it."""
        board = self._board
        pace = board.pace()
        rates, utilisation = self._rates(workers)
        # One that has actors goes on with those, whatever others it waits for.
        is_stuck = all(worker.state == "starting" for worker in workers)
        is_told = bool(events) and events[-1].kind == "waiting" and self._state in (TRAINING, VALIDATING)
        is_waiting = is_stuck and is_told
        return {
            **self._about,
            "state": WAITING if is_waiting else self._state,
            "reason": self._redact(events[-1].text) if is_waiting else self._reason,
            "activity": board.phase,
            "heartbeat_at": round(time.time(), 3),
            "elapsed_seconds": round(board.elapsed(), 3),
            **_progress(board, pace),
            "circuits_per_second": sum(rates.values()) if workers else (pace[1] if pace else None),
            "utilisation": utilisation,
            "workers": [
                worker._asdict() | {"circuits_per_second": rates.get(worker.worker), "last_error": self._redact(worker.last_error)}
                for worker in workers
            ],
            "jobs_done": stats.jobs_done if stats else 0,
            "jobs_retried": stats.jobs_retried if stats else 0,
            "workers_lost": stats.workers_lost if stats else 0,
            "cache_hit_rate": stats.cache_hits / stats.cache_lookups if stats and stats.cache_lookups else None,
            "events": [event._asdict() | {"text": self._redact(event.text)} for event in events],
            "messages": list(self._messages),
        }  # fmt: skip

    def _rates(self, workers: Sequence[WorkerStatus]) -> tuple[dict[str, float], float | None]:
        """Circuits a second of each worker, and the share of their time that all were busy, over the last seconds."""
        now = time.monotonic()
        mark = _Mark(
            now,
            {worker.worker: worker.circuits_done for worker in workers},
            {worker.worker: worker.busy_seconds for worker in workers},
        )
        self._marks.append(mark)
        while len(self._marks) > 2 and self._marks[1].at < now - _WINDOW_SECONDS:
            self._marks.popleft()
        first = self._marks[0]
        seconds = now - first.at
        if seconds <= 0 or not workers:
            return {}, None
        rates = {name: (done - first.circuits.get(name, 0)) / seconds for name, done in mark.circuits.items()}
        busy = sum(spent - first.busy.get(name, 0.0) for name, spent in mark.busy.items())
        return rates, min(busy / (seconds * len(workers)), 1.0)


def _progress(board: Board, pace: tuple[float, float] | None) -> dict[str, Any]:
    """How far training has come; empty before the first step."""
    step, epoch, totals = board.step, board.epoch, board.totals
    found: dict[str, Any] = {}
    if step is not None:
        has_more = step.step < step.n_steps and board.stopped_at is None
        found |= {
            "step": step.step,
            "n_steps": step.n_steps,
            "epoch": step.epoch,
            "n_epochs": step.n_epochs,
            "loss": step.loss,
            "gradient_norm": step.gradient_norm,
            "learning_rate": step.learning_rate,
            "steps_per_second": pace[0] if pace else None,
            "seconds_left": round(board.seconds_left(pace[0]), 3) if pace and pace[0] and has_more else None,
        }
    if epoch is not None:
        found["best"] = {"metric": epoch.monitored, "value": epoch.best_value, "epoch": epoch.best_epoch}
        found["metrics"] = dict(epoch.metrics)
    if totals is not None:
        found |= {"circuits": totals.n_circuits, "shots": totals.n_shots, "cost_usd": totals.cost_usd}
    if board.spending is not None:
        found["spending"] = board.spending._asdict()
    return found


def _read(ask: Callable[[], Sequence[_Item]]) -> Sequence[_Item]:
    """What a dispatcher says, asked beside the thread that works with it: it may be changing what is being read."""
    for _ in range(5):
        try:
            return ask()
        except RuntimeError:
            time.sleep(0.001)
    return ask()


def _after(items: Sequence[_Item], last: _Item | None) -> list[_Item]:
    """Those after `last`, which is looked for from the end; all where it is not there any more."""
    new: list[_Item] = []
    for item in reversed(items):
        if item == last:
            break
        new.append(item)
    return new[::-1]
