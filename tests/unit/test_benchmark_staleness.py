"""``qfleet benchmark staleness``: the virtual queue against times worked out by hand, and a small study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.ionq.emulator.timing import Queue, Recorded
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job
from orchestrator.models.angle_map import Angles
from orchestrator.planning.plan import EvaluationPlan
from pipelines import cli
from pipelines.benchmark.staleness import study
from pipelines.benchmark.staleness_report import tables
from pipelines.benchmark.virtual_queue import Service, VirtualQueue
from pipelines.plots.staleness import staleness_study

TEMPLATE, _ = template_from_circuit(cirq.Circuit(cirq.ry(sympy.Symbol("a"))(cirq.LineQubit(0))))
CIRCUIT = MeasuredCircuit(TEMPLATE, ("Z",))


class InOrder(Recorded):
    """Queue times that are given, job by job."""

    def draw(self, seed: int, number: int) -> float:
        return self.seconds[number]


def jobs(n: int, first: int = 0) -> list[Job]:
    plan = EvaluationPlan(
        CIRCUIT, Angles(np.zeros(1), np.array([0]), np.arange(first, first + n, dtype=float)[:, None])
    )
    return [plan.job().part(slice(i, i + 1), slice(0, 1)) for i in range(n)]


def queue_of(dense: SimpleNamespace, queue: Queue, jobs_in_flight: int, execution: float) -> VirtualQueue:
    service = Service(queue, jobs_in_flight, lambda job: execution, lambda job: 1_000_000)
    made = VirtualQueue(dense.Backend(), service, 0, {})
    made.register(CIRCUIT)
    return made


def times(queue: VirtualQueue, sent: Sequence[Job]) -> list[float]:
    found = []
    for result in queue.run(sent):
        assert result.values[0, 0, 0] == pytest.approx(
            np.cos(next(j for j in sent if j.job_id == result.job_id).data_angles[0, 0])
        )
        found.append(queue.seconds)
    return found


def test_two_slots_and_a_machine_that_runs_one_at_a_time(dense: SimpleNamespace) -> None:
    """Slots: 0 and 1 at 0; 0 leaves the queue at 10, runs to 13; 2 goes out at 13, leaves at 14, runs to 17. 1 leaves at 12, runs 13 to 16;
    3 goes out at 16, leaves at 16, and runs 19 to 22, since 2 runs 16 to 19."""
    queue = queue_of(dense, InOrder((10.0, 12.0, 1.0, 0.0)), 2, 3.0)
    assert times(queue, jobs(4)) == [13.0, 16.0, 19.0, 22.0]
    assert queue.sent_micro == 4_000_000


def test_a_job_that_comes_out_of_the_queue_first_runs_first(dense: SimpleNamespace) -> None:
    queue = queue_of(dense, InOrder((100.0, 5.0, 50.0)), 3, 2.0)
    assert times(queue, jobs(3)) == [7.0, 52.0, 102.0]


def test_calls_overlap_and_time_stands_while_nobody_waits(dense: SimpleNamespace) -> None:
    """The second call's job waits in the queue while the first call's is waited for, and its answer is there when it is asked for."""
    queue = queue_of(dense, InOrder((10.0, 4.0, 10.0)), 2, 0.0)
    first, second = queue.run(jobs(1)), queue.run(jobs(1, first=1))
    assert queue.seconds == 0.0
    next(first)
    assert queue.seconds == 10.0
    next(second)
    assert queue.seconds == 10.0
    assert times(queue, jobs(1, first=2)) == [20.0]


def test_a_study(tmp_path: Path) -> None:
    """With a long queue and slots for two steps the same steps are almost twice as fast; without a queue, or slots, they are not."""
    found = study(
        2,
        30,
        0.79,
        staleness=(0, 1),
        rates=(0.4,),
        queues={"long": 1e5, "none": 0.0},
        jobs_in_flight=(4, 8),
        epochs=(2, 4),
    )
    assert [row["reached"] for row in found["steps"]] == [2, 2]
    n_steps = [row["steps"]["mean"] for row in found["steps"]]
    rows = {(row["queue"], row["jobs_in_flight"], row["staleness"]): row for row in found["conditions"]}
    of_steps = n_steps[0] / n_steps[1]
    for key, gain in {("long", 8): 2.0, ("long", 4): 1.0, ("none", 8): 1.0, ("none", 4): 1.0}.items():
        row = rows[*key, 1]
        assert rows[*key, 0]["speed_up"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        # a step too many is under way at the end, and the last may wait alone
        assert row["speed_up"]["mean"] == pytest.approx(of_steps * gain, rel=0.02 + (gain - 1) / n_steps[1])
        assert row["usd_ratio"]["mean"] == pytest.approx((n_steps[1] + 1) / n_steps[0], rel=1e-9)
    text = tables(found)
    assert "| best | long | 8 |" in text
    assert "| 4 | " in text
    staleness_study(found, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--seeds", "1"], "--seeds"),
        (["--steps", "3"], "--steps"),
        (["--target-loss", "-1"], "--target-loss"),
    ],
)
def test_what_is_refused(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "staleness", "--json", *options]) == 2
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told in said["error"]["message"]
