"""One disturbed training: it is begun, struck as its schedule says, resumed whenever it has stopped, and compared with the calm one."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.tracking.journal import read_points
from tests.chaos.driver import prepare
from tests.chaos.nodes import ACTOR, BOOK, Nodes, is_alive, wait_until
from tests.chaos.schedules import Schedule, Strike
from tests.chaos.workloads import RUN
from tests.command import Command

SECONDS = 150.0
"""Longest wait for anything; a run that hangs is no clean stop."""
TYPED = {"BookError", "CheckpointError", "FleetError", "ExecutionError", "StorageError"}
"""What a driver may stop with."""


GATE = "gate"
"""File in a stage's folder: the last step that its drivers may send out."""
ALL_STEPS = 10**9


class Driver(Command):
    """A process that drives a run by the command line."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: list[str], number: int) -> None:
        preparing = partial(prepare, folder / f"fleet-{number}.jsonl", folder / GATE)
        super().__init__(folder, arguments, environment, preparing)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.poll() is None

    def wait(self, timeout: float | None = SECONDS) -> int:
        """Its exit code."""
        try:
            code = super().wait(timeout)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGUSR1)  # where it stands, on its stderr
            time.sleep(1.0)
            self.kill()
            raise AssertionError(f"the driver hangs: {self.errors[-3000:]}") from None
        self.read(5.0)
        return code

    def kill(self) -> None:
        """SIGKILL, and its end."""
        super().kill()
        super().wait(SECONDS)


@dataclass
class Figures:
    """What happened in one schedule, or in several."""

    n_schedules: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    n_drivers: int = 0
    n_clean_stops: int = 0
    n_ended_by_ray: int = 0
    n_actors_lost: int = 0
    n_steps_redone: int = 0
    n_circuits: int = 0
    n_circuits_lost: int = 0
    n_paid_jobs: int = 0
    n_paid_twice: int = 0
    seconds: float = 0.0

    def add(self, other: Figures) -> None:
        """Take those of another schedule to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.struck.items()))
        return (
            f"{self.n_schedules} schedules, {self.struck.total()} faults injected ({kinds}), {self.n_actors_lost} actors lost as drivers "
            f"saw it, {self.n_drivers} drivers ({self.n_clean_stops} stopped by themselves, {self.n_ended_by_ray} ended by Ray), "
            f"{self.n_steps_redone} steps redone, "
            f"{self.n_circuits} circuits, {self.n_circuits_lost} lost, {self.n_paid_jobs} paid jobs, {self.n_paid_twice} run twice, "
            f"{self.seconds:.0f} s"
        )


class Stage:
    """Where a schedule is played.

    Args:
        folder: empty; the run's folder will be in it.
        environment: of its drivers.
        server: MLflow's, where it is struck.
    """

    def __init__(
        self, folder: Path, nodes: Nodes, schedule: Schedule, environment: dict[str, str], server: Any = None
    ) -> None:
        self.folder = folder
        self.figures = Figures(n_schedules=1)
        self._nodes, self._schedule, self._server = nodes, schedule, server
        self._environment = environment | {"RAY_ADDRESS": nodes.address}
        self._driver: Driver | None = None
        self._gate = ALL_STEPS
        self._is_cluster_gone = False
        self._run = folder / "runs" / RUN

    def play(self) -> dict[str, Any]:
        """The JSON object that the last driver printed: the result of a finished run."""
        started = time.monotonic()
        for strike in self._schedule.strikes:
            if strike.kind in ("node", "leave"):
                self._nodes.add()  # beforehand, since it takes longer than many steps
        gates = [*(strike.step for strike in self._schedule.strikes[1:]), ALL_STEPS]
        try:
            self._open_gate(self._schedule.strikes[0].step)
            self._begin()
            for strike, gate in zip(self._schedule.strikes, gates, strict=True):
                self._reach(strike.step)
                self._gate = gate
                self._open_gate(gate)
                time.sleep(strike.delay)
                if not self._running().is_running:  # an earlier strike took a while to be felt
                    self._resume()
                late = f"{strike.kind} came too late: all steps are done"
                assert self._steps_done() < self._schedule.workload.n_steps, late
                getattr(self, f"_strike_{strike.kind}")(strike)
                self.figures.struck[strike.kind] += 1
            return self._ended()
        finally:
            if self._driver is not None and self._driver.is_running:
                self._driver.kill()
            self._note_lost_actors()
            self.figures.seconds = time.monotonic() - started

    # The run

    def _open_gate(self, step: int) -> None:
        """Let the run go on to the step of the next strike, and wait there: strikes take longer than many steps."""
        aside = self.folder / f".{GATE}"
        aside.write_text(str(step))
        aside.replace(self.folder / GATE)

    def _running(self) -> Driver:
        assert self._driver is not None
        return self._driver

    def _begin(self) -> None:
        config = self.folder / "config.toml"
        config.write_text("")
        tracking = []
        if self._schedule.is_tracked:
            tracking = [
                "tracking.enabled=true",
                f"tracking.uri={self._server.uri}",
                "tracking.log_model=false",
            ]
        fleet = ["fleet.dispatcher=ray", "fleet.n_actors=2", *tracking]
        self._start("train", str(config), *self._schedule.workload.arguments(*fleet))

    def _start(self, *arguments: str) -> None:
        number = self.figures.n_drivers
        self._driver = Driver(self.folder, self._environment, [*arguments, "--json"], number)
        self.figures.n_drivers += 1

    def _resume(self) -> None:
        """Another driver in place of the one that ended, for a reason that it must have given."""
        if (driver := self._running()).wait() != -signal.SIGKILL:
            self._check_clean_stop(driver)
        self.figures.n_steps_redone += max(0, self._steps_done() - self._steps_saved())
        assert self.figures.n_drivers < 12, "it stops again and again"
        if (self._run / "config.toml").exists():
            money = ["--yes-spend", "1e6"] if self._schedule.workload.is_paid else []
            self._start("resume", RUN, *money)
        else:
            self._begin()

    def _check_clean_stop(self, driver: Driver) -> None:
        if self._is_cluster_gone and not driver.output.strip():
            # Asked at the very moment when its raylet dies, Ray ends the process there and then: see docs/faults.md.
            self.figures.n_ended_by_ray += 1
            return
        assert driver.wait() == 1, f"exit code {driver.wait()}: {driver.errors[-3000:]}"
        told = driver.output.strip()
        assert told, f"the driver ended without a word: {driver.errors[-3000:]}"
        error = json.loads(told.splitlines()[-1])["error"]
        assert error["type"] in TYPED, f"{error}\n{driver.errors[-3000:]}"
        assert "qfleet resume" in error["message"], error
        self.figures.n_clean_stops += 1

    def _ended(self) -> dict[str, Any]:
        while (code := self._running().wait()) != 0:
            assert code in (1, -signal.SIGKILL), self._running().errors[-3000:]
            self._resume()
        return dict(json.loads(self._running().output.strip().splitlines()[-1]))

    def _reach(self, step: int) -> None:
        """Wait until the run has done so many steps."""
        end = time.monotonic() + SECONDS
        while self._steps_done() < step:
            assert time.monotonic() < end, f"step {step} was not reached"
            if not self._running().is_running:
                assert self._running().wait() != 0, f"the run was over before step {step} was struck"
                self._resume()
            time.sleep(0.01)

    def _steps_done(self) -> int:
        points, _ = read_points(self._run / "metrics.jsonl", 0, 2**62)
        return max((point.step for point in points if point.key == "train/loss"), default=0)

    def _steps_saved(self) -> int:
        saved = sorted(each.name for each in (self._run / "checkpoints").glob("[0-9]*"))
        return int(saved[-1].partition("-")[0]) if saved else 0

    def _note_lost_actors(self) -> None:
        for path in self.folder.glob("fleet-*.jsonl"):
            whole = path.read_text().rpartition("\n")[
                0
            ]  # whoever wrote it may have been killed in the middle of a line
            told = [json.loads(line) for line in whole.splitlines()]
            self.figures.n_actors_lost += sum(event["kind"] == "lost" for event in told)

    # What strikes it

    def _one_of(self, title: bytes, draw: float) -> int:
        """A living process of the fleet."""
        assert wait_until(lambda: self._nodes.pids(title), SECONDS), f"no process {title!r} to strike"
        pids = self._nodes.pids(title)
        return pids[int(draw * len(pids))]

    def _kill_one(self, title: bytes, draw: float) -> None:
        pid = self._one_of(title, draw)
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(pid), 10.0)

    def _strike_actor(self, strike: Strike) -> None:
        self._kill_one(ACTOR, strike.draw)

    def _strike_freeze(self, strike: Strike) -> None:
        """An actor that is slow: it stands still for a second."""
        pid = self._one_of(ACTOR, strike.draw)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(pid, signal.SIGCONT)

    def _strike_node(self, strike: Strike) -> None:
        assert wait_until(self._nodes.kill, SECONDS), "no node with an actor to kill"

    def _strike_swap(self, strike: Strike) -> None:
        """A node dies, and only then another joins; a second actor that is still starting is given time to be on it."""
        wait_until(lambda: len(self._nodes.pids(ACTOR)) > 1, 30.0)
        assert wait_until(self._nodes.kill, SECONDS), "no node with an actor to kill"
        self._nodes.add()

    def _strike_leave(self, strike: Strike) -> None:
        assert wait_until(self._nodes.send_away, SECONDS), "no node with an actor to send away"

    def _strike_driver(self, strike: Strike) -> None:
        assert self._running().is_running
        self._running().kill()
        self._resume()

    def _strike_disk(self, strike: Strike) -> None:
        """No file may grow any more: the journal's next line does not fit, or, if there is room for some, the next checkpoint."""
        size, done = (self._run / "metrics.jsonl").stat().st_size, self._steps_done()
        steps_of_room = strike.draw / 2 * (self._schedule.workload.n_steps - done) * (strike.draw > 0.5)
        self._forbid_growth(self._running().pid, size + int(steps_of_room * size / done))

    def _strike_book(self, strike: Strike) -> None:
        self._kill_one(BOOK, strike.draw)
        self._stopped()

    def _strike_book_disk(self, strike: Strike) -> None:
        self._forbid_growth(self._one_of(BOOK, strike.draw), (self._run / "submissions.jsonl").stat().st_size)

    def _forbid_growth(self, pid: int, n_bytes: int) -> None:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (n_bytes, hard))
        self._stopped()

    def _stopped(self) -> None:
        """The driver cannot go on, and says so."""
        self._felt()
        self._resume()

    def _felt(self) -> None:
        """It may go as far as it needs to feel the strike; whoever follows it waits for the next one again."""
        self._open_gate(ALL_STEPS)
        code = self._running().wait()
        codes = (1, -signal.SIGABRT) if self._is_cluster_gone else (1,)
        assert code in codes, f"exit code {code}: {self._running().errors[-3000:]}"
        self._open_gate(self._gate)

    def _strike_head(self, strike: Strike) -> None:
        """At work, that is: who is just connecting to a head that dies waits for Ray to give up, minutes."""
        self._one_of(ACTOR, strike.draw)
        self._is_cluster_gone = True
        self._nodes.kill_all()
        began = time.monotonic()
        self._felt()
        assert time.monotonic() - began < 45.0
        self._nodes.restart()
        self._resume()
        self._is_cluster_gone = False

    def _strike_tracking(self, strike: Strike) -> None:
        """The server is away for as long as it takes to start again."""
        self._server.kill()
        threading.Thread(target=self._server.start, daemon=True).start()
