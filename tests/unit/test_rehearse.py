"""Rehearsal without a server: virtual time, queue and execution times, the machine's schedule, and what is told of many runs."""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import threading
import time as real_time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from actors.backends.ionq import IonQBackend
from actors.ionq.emulator.circuits import CircuitReader
from actors.ionq.emulator.jobs import Job, Jobs
from actors.ionq.emulator.schedule import Schedule
from actors.ionq.emulator.settings import EmulatorSettings
from actors.ionq.emulator.submission import read_submission
from actors.ionq.emulator.timing import GateTimes, Lognormal, Recorded, execution_from_text, queue_from_text
from actors.ionq.errors import StoppedError
from actors.ionq.rehearsal import VirtualTime
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.errors import ConfigError, InputError
from orchestrator.jobs import JobPhases
from orchestrator.protocols import JobSpan
from pipelines.latency import write_spans
from pipelines.plots.rehearsal import rehearsal_distributions
from pipelines.rehearsal_report import assumptions, sections
from pipelines.rehearsal_run import Conditions, Rehearsed, seed_of
from pipelines.rehearse import conditions_of, distribution, recorded_queue, summary
from pipelines.run_folder import RunFolder

# --- Virtual time


def play(time: VirtualTime, width: int, parts: dict[str, Callable[[], None]]) -> None:
    """Run every part as a job, on `width` threads that are started in an order of their own."""

    def in_turn(name: str) -> None:
        real_time.sleep(random.random() / 500)  # the machine's scheduler at its worst
        with time.turn(name):
            parts[name]()

    time.announce(list(parts))
    with ThreadPoolExecutor(width) as pool:
        for future in [pool.submit(in_turn, name) for name in parts]:
            future.result(timeout=30)


def test_time_jumps_and_events_come_in_order_whatever_the_threads_do() -> None:
    def once() -> list[tuple[str, int, float]]:
        time, seen = VirtualTime(5), []

        def part(name: str, naps: list[float]) -> Callable[[], None]:
            def work() -> None:
                for number, nap in enumerate(naps):
                    time.sleep(nap)
                    seen.append((name, number, time.now()))

            return work

        draws = np.random.default_rng(3)
        naps = {f"job {k}": draws.integers(1, 4, 6).astype(float).tolist() for k in range(5)}
        play(time, 5, {name: part(name, own) for name, own in naps.items()})
        ends = [(sum(own[: k + 1]), j, k) for j, own in enumerate(naps.values()) for k in range(6)]
        assert [(at, int(name[-1]), k) for name, k, at in seen] == sorted(ends)
        assert time.seconds == max(map(sum, naps.values()))
        return seen

    assert once() == once()


@pytest.mark.parametrize(("n_jobs", "width"), [(7, 3), (3, 7), (4, 1)])
def test_jobs_take_turns_in_waves(n_jobs: int, width: int) -> None:
    time = VirtualTime(width)
    for call in (1, 2):  # time goes on from one call of the dispatcher to the next
        play(time, width, {str(k): lambda: time.sleep(3600.0) for k in range(n_jobs)})
        assert time.seconds == call * math.ceil(n_jobs / width) * 3600.0


def test_time_stands_while_somebody_works() -> None:
    time, seen = VirtualTime(2), []

    def worker() -> None:
        real_time.sleep(0.05)
        seen.append(time.seconds)
        time.sleep(5.0)

    play(time, 2, {"works": worker, "sleeps": lambda: time.sleep(1.0)})
    assert seen == [0.0]
    assert time.seconds == 5.0


def test_a_request_that_is_held_is_its_senders_waiting() -> None:
    time = VirtualTime(2)
    assert not time.hold(5.0, lambda: None)  # nobody's request

    def sender() -> None:
        answered = threading.Event()
        assert time.hold(5.0, answered.set)
        assert answered.wait(10)
        assert time.now() == 5.0

    play(time, 2, {"sends": sender, "sleeps": lambda: time.sleep(7.0)})
    assert time.seconds == 7.0


def test_who_is_quiet_runs_ahead_alone() -> None:
    time, seen = VirtualTime(2), []

    def quiet() -> None:
        time.be_quiet_until(10.0, passing=0.5)
        for _ in range(4):
            time.sleep(2.0)
        seen.append((time.now(), time.seconds))  # 8.5 of its own; nobody has waited for anything
        time.sleep(2.0)  # beyond what it knew
        seen.append((time.now(), time.seconds))

    play(time, 2, {"quiet": quiet, "sleeps": lambda: time.sleep(9.0)})
    assert seen == [(8.5, 0.0), (10.5, 10.5)]


def test_winding_down_ends_what_is_under_way_and_begins_nothing() -> None:
    time, done = VirtualTime(2), []

    def first() -> None:
        time.sleep(1.0)
        time.wind_down()

    def second() -> None:
        time.sleep(5.0)
        done.append(time.now())

    with pytest.raises(StoppedError, match="come to its end"):
        play(time, 2, {"first": first, "second": second, "third": lambda: done.append(-1.0)})
    time.wait_until_idle()
    assert done == [5.0]


def test_the_driver_may_end_it_before_all_jobs_have_begun() -> None:
    time = VirtualTime(2)
    time.announce(["sleeps", "ends", "is never handed out"])

    def work(name: str, seconds: float) -> float:
        with time.turn(name):
            time.sleep(seconds)
            return time.now()

    with ThreadPoolExecutor(2) as pool:
        slow, quick = pool.submit(work, "sleeps", 3.0), pool.submit(work, "ends", 1.0)
        assert quick.result(timeout=10) == 1.0
        real_time.sleep(0.02)
        assert not slow.done()  # somebody may still begin before it wakes
        time.wind_down()
        assert slow.result(timeout=10) == 3.0
    time.wait_until_idle()


def test_a_stopped_time_wakes_everybody() -> None:
    time = VirtualTime(2)
    time.announce(["a", "b"])

    def sleeper() -> None:
        with time.turn("a"):  # "b" never comes, so that time stands
            time.sleep(1.0)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(sleeper)
        real_time.sleep(0.02)
        assert not future.done()
        time.stop()
        with pytest.raises(StoppedError):
            future.result(timeout=10)
    with pytest.raises(RuntimeError, match="only a job"):
        time.sleep(1.0)


# --- Queue and execution times


def test_lognormal_has_the_median_and_the_percentile_it_is_given() -> None:
    queue, n = Lognormal(120.0, 900.0), 4000
    draws = np.array([queue.draw(5, number) for number in range(n)])
    for value, share in ((120.0, 0.5), (900.0, 0.9)):
        error = math.sqrt(share * (1 - share) / n)
        assert abs((draws <= value).mean() - share) < 4 * error
    assert np.array_equal(draws, [queue.draw(5, number) for number in range(n)])
    assert queue.draw(6, 0) != queue.draw(5, 0)
    assert Lognormal(60.0, 60.0).draw(1, 1) == pytest.approx(60.0)


def test_recorded_queue_times_are_drawn_as_often_as_they_were_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(InputError, match="no queue times"):
        recorded_queue(folder)
    phases = [
        JobPhases(0.1, 0.2, queue, 3.0, 0.1, 0.1, is_served=queue == 0.0)
        for queue in (0.0, 60.0, 60.0, 600.0)
    ]
    spans = [JobSpan("w", str(k), 0.0, 1.0, 0.0, each) for k, each in enumerate(phases)]
    write_spans(spans, folder.artifacts / "latency.csv")
    queue, n = recorded_queue(folder), 3000
    assert queue == Recorded((60.0, 60.0, 600.0))  # what was served from record did not queue
    assert queue.median == 60.0
    (tmp_path / "config.toml").touch()  # which makes the folder a run
    named = {"queue": "0", "queue_from": str(tmp_path), "directory": "runs"}
    others = {"execution": "gates", "latency": 0.1, "failures": 0.0, "faults": None}
    assert conditions_of(argparse.Namespace(**named, **others)).queue == queue
    draws = np.array([queue.draw(2, number) for number in range(n)])
    assert abs((draws == 60.0).mean() - 2 / 3) < 4 * math.sqrt(2 / 9 / n)
    assert set(draws.tolist()) == {60.0, 600.0}
    for seconds in ((), (1.0, -1.0)):
        with pytest.raises(ConfigError, match="queue"):
            Recorded(seconds)


def test_queue_and_execution_as_text() -> None:
    assert queue_from_text("90") == 90.0
    assert queue_from_text("120,900") == Lognormal(120.0, 900.0)
    assert execution_from_text("gates") == GateTimes()
    assert execution_from_text("30") == 30.0
    for text in ("soon", "", "-1", "nan", "1,2,3", "0,5", "900,120", "1,inf"):
        with pytest.raises(ConfigError, match="queue"):
            queue_from_text(text)
    for text in ("soon", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="execution"):
            execution_from_text(text)


def test_gates_take_their_time_one_after_the_other() -> None:
    counts = [GateCounts(48, 16), GateCounts(1, 0)]
    assert GateTimes().seconds(counts, 1000) == pytest.approx(49 * 0.135 + 16 * 0.6 + 2 * 1.0)


@pytest.mark.parametrize(("name", "value"), [("execution", -1.0), ("patience_seconds", float("nan"))])
def test_settings_refuse_times_that_are_none(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        EmulatorSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("failures", 1.0), ("failures", -0.1), ("latency_seconds", -1.0)]
)
def test_conditions_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError):
        Conditions(**{name: value})  # type: ignore[arg-type]


# --- The machine


def accepted(jobs: Jobs, at: float) -> Job:
    body = {
        "backend": "qpu.aria-1", "type": "ionq.circuit.v1", "shots": 100,
        "input": {"gateset": "qis", "qubits": 1, "circuit": [{"gate": "h", "target": 0}]},
    }  # fmt: skip
    answer: Future[list[str]] = Future()
    answer.set_result(['{"0": 1.0}'])
    return jobs.add(read_submission(json.dumps(body), CircuitReader()), at, 0.0, 1, None, answer)


def test_a_machine_runs_one_job_at_a_time() -> None:
    schedule, jobs = Schedule(), Jobs()
    slow, quick = accepted(jobs, 0.0), accepted(jobs, 0.0)
    schedule.add(slow, 100.0, 30.0)
    schedule.add(quick, 90.0, 30.0)  # out of the queue first, though accepted later
    assert (quick.started_at, quick.ends_at) == (90.0, 120.0)
    assert (slow.started_at, slow.ends_at) == (120.0, 150.0)
    assert [slow.status(now) for now in (0.0, 39.0, 41.0, 119.0, 121.0, 150.0)] == [
        "submitted", "submitted", "ready", "ready", "started", "completed",
    ]  # fmt: skip


def test_what_is_canceled_in_time_makes_room() -> None:
    schedule, jobs = Schedule(), Jobs()
    running, waiting, last = (accepted(jobs, 0.0) for _ in range(3))
    for job in (running, waiting, last):
        schedule.add(job, 10.0, 30.0)
    assert last.ends_at == 100.0
    waiting.canceled_at = 20.0
    schedule.plan(20.0)
    assert (running.ends_at, last.ends_at) == (40.0, 70.0)
    running.canceled_at = 25.0  # too late: it has begun
    schedule.plan(25.0)
    assert last.ends_at == 70.0


def test_the_schedule_is_that_of_a_queue_simulated_in_full() -> None:
    draws = np.random.default_rng(11)
    arrivals = np.cumsum(draws.exponential(5.0, 60)).tolist()
    dwells, runs = draws.exponential(20.0, 60).tolist(), draws.exponential(6.0, 60).tolist()
    schedule, jobs, planned = Schedule(), Jobs(), []
    for at, dwell, run in zip(arrivals, dwells, runs, strict=True):
        planned.append(accepted(jobs, at))
        before = [job.ends_at for job in planned[:-1]]
        schedule.add(planned[-1], dwell, run)
        assert all(
            job.ends_at >= end for job, end in zip(planned, before, strict=False)
        )  # never brought forward
    ready = [(at + dwell, k) for k, (at, dwell) in enumerate(zip(arrivals, dwells, strict=True))]
    heapq.heapify(ready)
    free, ends = 0.0, {}
    while ready:
        at, k = heapq.heappop(ready)
        free = ends[k] = max(free, at) + runs[k]
    np.testing.assert_allclose([job.ends_at for job in planned], [ends[k] for k in range(60)], rtol=1e-12)


# --- What is told


def rehearsed(seconds: float, ended_by: str | None = None, n_steps: int = 2) -> Rehearsed:
    ends = tuple(seconds * (k + 1) / n_steps for k in range(n_steps))
    return Rehearsed(seconds, ends, 2_500_000, 97, 4, 1, 1, 0, 0, 0, {"test/accuracy": 0.5}, ended_by, "why")


def test_distributions_are_of_values_that_occurred() -> None:
    found = summary([rehearsed(10.0 * (k + 1)) for k in range(20)])
    assert found["seconds"] == {"median": 100.0, "p10": 20.0, "p90": 180.0, "least": 10.0, "most": 200.0}
    assert found["step_seconds"]["most"] == 100.0
    assert set(found["usd"].values()) == {2.5}
    assert found["endings"] == {"done": 20}
    assert found["budget_steps"] is None
    assert distribution([]) is None


def test_table_and_picture_say_what_ended_a_run(tmp_path: Path) -> None:
    found = [rehearsed(100.0), rehearsed(50.0, "budget", 1), rehearsed(60.0, "failure")]
    backend = IonQBackend(target="qpu.aria-1")
    outcome = {
        "target": "qpu.aria-1", "steps": 2, "budget_usd": 2.0, "quote": {"least": 3.0, "most": 3.0}, **summary(found),
        "assumed": assumptions(Conditions(queue=Lognormal(120.0, 900.0), failures=0.25), backend),
        "runs": [{"seconds": each.seconds, "billed_micro": each.billed_micro, "ended_by": each.ended_by, "reason": each.reason}
                 for each in found],
    }  # fmt: skip
    table = sections(outcome)
    assert table["Money"]["the budget ends it after"] == "1 of 2 steps"
    assert table["Rehearsals"]["the first failure"] == "why"
    assert table["Time"]["the run"]["all"] == "50 s to 1 min 40 s"  # type: ignore[index]
    assert "15 min" in str(table["Assumed"]["queue"])
    assert "25 %" in str(table["Assumed"]["failures"])
    figure = rehearsal_distributions(outcome, tmp_path / "x.png", title="run")
    assert (tmp_path / "x.png").stat().st_size > 10_000
    times, costs = figure.axes
    assert times.get_xlabel().startswith("seconds")
    low, high = costs.get_xlim()
    assert low < 2.0 < 3.0 < high  # budget and quote are seen


def test_seeds_of_rehearsals_differ_and_repeat() -> None:
    seeds = [seed_of(s, n) for s in range(4) for n in range(50)]
    assert len(set(seeds)) == 200
    assert seeds[0] == seed_of(0, 0)
    assert max(seeds) < 2**53
