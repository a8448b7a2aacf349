"""Whole trainings, struck at random: each ends on the bits of the undisturbed one, and nothing is paid twice.

``make chaos`` plays 50 schedules; ``make chaos SCHEDULES=5 FIRST=12`` plays numbers 12 to 16. Plain ``make test`` plays two short ones.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator
from pipelines.tracking.tracker import fetch_metrics
from tests.chaos.nodes import Nodes
from tests.chaos.schedules import Schedule, schedule
from tests.chaos.stage import Driver, Figures, Stage
from tests.chaos.workloads import RUN, Workload
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.alone, pytest.mark.timeout(3600)]

N_SCHEDULES = int(os.environ.get("CHAOS_SCHEDULES") or 50)
FIRST = int(os.environ.get("CHAOS_FIRST") or 0)
SAME = (
    "params_sha256",
    "best_params_sha256",
    "metrics",
    "circuits",
    "shots",
    "cost_usd",
    "steps",
    "stop_reason",
)
Calm = Callable[[Workload], dict[str, Any]]


class Theatre:
    """Plays schedules, one after the other, and checks the end of each."""

    def __init__(
        self, folder: Path, nodes: Nodes, emulator: Emulator, environment: dict[str, str], calm: Calm, server: Callable[[], MlflowServer]
    ) -> None:  # fmt: skip
        self._folder, self._nodes, self._emulator = folder, nodes, emulator
        self._environment, self._calm, self._server = environment, calm, server
        self._billed = 0

    def play(self, one: Schedule) -> Figures:
        """Play a schedule; raises AssertionError where it does not end as it must."""
        calm = self._calm(one.workload)
        self._nodes.heal()
        folder = self._folder / str(one.seed)
        folder.mkdir()
        server = self._server() if one.is_tracked else None
        before = self._emulator.totals()
        stage = Stage(folder, self._nodes, one, self._environment, server)
        outcome = stage.play()
        figures = stage.figures
        assert figures.struck.total() == len(one.strikes) > 0, "nothing was disturbed"
        for key in SAME:
            assert outcome[key] == calm[key], key
        figures.n_circuits = outcome["circuits"]
        figures.n_circuits_lost = calm["circuits"] - outcome["circuits"]
        self._check_ledger(one, folder, before, calm, figures)
        if server is not None:
            self._check_tracked(one, folder, outcome, server)
        return figures

    def _check_ledger(
        self, one: Schedule, folder: Path, before: dict[str, Any], calm: dict[str, Any], figures: Figures
    ) -> None:
        """At the provider each job was completed once, and costs what the calm run did; the book says the same."""
        after = self._emulator.totals()
        figures.n_paid_jobs = after["jobs"]["completed"] - before["jobs"]["completed"]
        figures.n_paid_twice = after["duplicates"] - before["duplicates"]
        assert figures.n_paid_twice == 0
        billed = after["billed_micro_usd"] - before["billed_micro_usd"]
        assert billed == pytest.approx(1e6 * calm["cost_usd"], abs=0.5)
        if one.workload.is_paid:
            assert billed > 0
            with SubmissionBook(folder / "runs" / RUN) as book:
                assert book.unfinished() == []
                assert book.totals().spent == billed

    def _check_tracked(
        self, one: Schedule, folder: Path, outcome: dict[str, Any], server: MlflowServer
    ) -> None:
        """The server has every step once; what it lacked when the run ended, it gets now."""
        server.wait()
        environment = self._environment | {"RAY_ADDRESS": self._nodes.address}
        money = ["--yes-spend", "1e6"] if one.workload.is_paid else []
        again = Driver(folder, environment, ["resume", RUN, *money, "--json"], 99)
        assert again.wait() == 0, again.errors[-3000:]
        told = json.loads(again.output.strip().splitlines()[-1])
        for name in ("train/loss", "cost/circuits"):
            points = fetch_metrics(server.uri, told["run_id"])[name]
            assert sorted(point.step for point in points) == list(range(1, outcome["steps"] + 1)), name


@pytest.fixture
def theatre(
    tmp_path: Path, nodes: Nodes, emulator: Emulator, environment: dict[str, str], calm: Calm, mlflow_server: Callable[[], MlflowServer]
) -> Theatre:  # fmt: skip
    return Theatre(tmp_path, nodes, emulator, environment, calm, mlflow_server)


@pytest.mark.parametrize(("seed", "kinds"), [(0, ["actor", "disk"]), (1, ["actor", "driver", "book_disk"])])
def test_a_struck_run_ends_on_the_undisturbed_bits(theatre: Theatre, seed: int, kinds: list[str]) -> None:
    figures = theatre.play(schedule(seed, kinds))
    print(figures)
    assert figures.n_actors_lost > 0, "no driver has noticed anything"
    assert figures.n_drivers > 1


@pytest.mark.chaos
def test_all_schedules_end_on_the_undisturbed_bits(
    theatre: Theatre, capsys: pytest.CaptureFixture[str]
) -> None:
    total, failed = Figures(), []
    began = time.monotonic()
    for seed in range(FIRST, FIRST + N_SCHEDULES):
        one = schedule(seed)
        try:
            figures = theatre.play(one)
        except Exception as error:  # the others are played all the same
            failed.append(f"{one}: {type(error).__name__}: {error}")
            _say(capsys, f"FAILED {failed[-1]}")
            continue
        total.add(figures)
        _say(
            capsys,
            f"{one}: {figures.n_drivers} drivers, {figures.n_steps_redone} steps redone, {figures.seconds:.0f} s",
        )
    _say(capsys, f"{total}; wall time {time.monotonic() - began:.0f} s")
    assert not failed, "\n".join(failed)
    assert total.n_actors_lost > 0, "no driver has noticed anything"
    if total.struck["driver"] > 2:
        assert total.n_steps_redone > 0, "nothing had to be done again"
    if total.struck["disk"]:
        assert total.n_clean_stops > 0, "no driver has felt a full disk"


def _say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(line, flush=True)
