"""RayFleet against real processes that die, refuse and hang. What it shares with any dispatcher is in the conformance suite."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from threadpoolctl import threadpool_info

from actors.ray_fleet import RayFleet
from actors.retry import RetryPolicy
from orchestrator.errors import CapabilityError, ExecutionError, FleetError
from orchestrator.jobs import Job, JobResult
from tests.contract.test_dispatcher_conformance import (
    CIRCUIT,
    CosineBackend,
    CosineSession,
    expected_values,
    make_jobs,
    values_by_id,
)

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(60)]

KILLS_ITS_PROCESS = 999
"""A job of this step never returns."""


class SlowSession(CosineSession):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def run(self, compiled: int, job: Job) -> JobResult:
        if job.step == KILLS_ITS_PROCESS:
            time.sleep(
                0.3
            )  # until the answer before this one has left the process: a lost one is charged to its own job
            os._exit(1)
        time.sleep(self.seconds)
        return super().run(compiled, job)


class SlowBackend(CosineBackend):
    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds

    def open_session(self) -> SlowSession:
        return SlowSession(self.seconds)


class ThreadCounting(CosineSession):
    """Answers every value with the number of threads that numpy's BLAS uses in this process."""

    def run(self, compiled: int, job: Job) -> JobResult:
        answer = super().run(compiled, job)
        pools = threadpool_info()
        assert pools, "numpy has no BLAS that can be asked"
        n_threads = max(pool["num_threads"] for pool in pools)
        return replace(answer, values=np.full_like(answer.values, float(n_threads)))


class ThreadCountingBackend(CosineBackend):
    def open_session(self) -> ThreadCounting:
        return ThreadCounting()


Start = Callable[..., RayFleet]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts fleets that know CIRCUIT, and closes them in the end."""
    fleets: list[RayFleet] = []

    def start_fleet(
        backend: CosineBackend, n_actors: int = 2, cpus_per_actor: float = 0.5, **options: object
    ) -> RayFleet:
        fleet = RayFleet(backend, n_actors, cpus_per_actor=cpus_per_actor, **options)  # type: ignore[arg-type]
        fleet.register(CIRCUIT)
        fleets.append(fleet)
        return fleet

    yield start_fleet
    for fleet in fleets:
        fleet.close()


def ray_kill(fleet: RayFleet, name: str) -> None:
    ray.kill(fleet._roster.workers[name].handle)


def sigkill(fleet: RayFleet, name: str) -> None:
    os.kill(fleet.worker_pids()[name], signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


# Deaths


@pytest.mark.parametrize("kill", [ray_kill, sigkill])
def test_a_killed_actor_costs_no_result_and_is_replaced(start: Start, kill: Callable[[RayFleet, str], None]):
    fleet = start(SlowBackend())
    jobs = make_jobs(40, CIRCUIT)
    results = []
    for result in fleet.run(jobs):
        results.append(result)
        if len(results) == 10:
            kill(fleet, "actor-0")
    assert values_by_id(results) == expected_values(jobs)
    stats = fleet.stats()
    assert stats.workers_lost == 1
    assert 1 <= stats.jobs_retried <= 2
    assert stats.jobs_done == 40
    deadline = time.monotonic() + 20
    while fleet.n_workers < 2 and time.monotonic() < deadline:
        list(fleet.run(make_jobs(4, CIRCUIT)))
    assert set(fleet.worker_pids()) == {"actor-1", "actor-2"}
    assert {r.worker for r in fleet.run(jobs)} == {"actor-1", "actor-2"}


def test_all_actors_die_at_once_and_the_new_ones_finish(start: Start):
    fleet = start(SlowBackend())
    jobs = make_jobs(20, CIRCUIT)
    results = []
    for result in fleet.run(jobs):
        results.append(result)
        if len(results) == 5:
            for name in fleet.worker_pids():
                sigkill(fleet, name)
    assert values_by_id(results) == expected_values(jobs)
    assert fleet.stats().workers_lost == 2


def test_an_actor_that_died_between_two_runs_is_noticed(start: Start):
    fleet = start(SlowBackend(0))
    sigkill(fleet, "actor-0")
    jobs = make_jobs(6, CIRCUIT)
    assert values_by_id(list(fleet.run(jobs))) == expected_values(jobs)


def test_no_actor_left_and_none_to_come_is_said_clearly(start: Start):
    fleet = start(SlowBackend(), max_replacements=0)
    jobs = make_jobs(20, CIRCUIT)
    results = fleet.run(jobs)
    next(results)
    for name in fleet.worker_pids():
        sigkill(fleet, name)
    with pytest.raises(FleetError, match=r"every actor is lost \(2 in all\).*resume") as caught:
        list(results)
    assert "\n" not in str(caught.value)
    assert fleet.n_workers == 0


def test_a_job_that_kills_every_actor_is_given_up_and_the_others_are_not(start: Start):
    fleet = start(SlowBackend(0), policy=RetryPolicy(max_attempts=2))
    jobs = make_jobs(5, CIRCUIT)
    (poison,) = make_jobs(1, CIRCUIT, step=KILLS_ITS_PROCESS)
    with pytest.raises(ExecutionError, match=f"job {poison.job_id} failed 2 times"):
        list(fleet.run([*jobs[:2], poison, *jobs[2:]]))
    assert values_by_id(list(fleet.run(jobs))) == expected_values(jobs)
    assert fleet.stats().workers_lost == 2


# Starting


def test_more_actors_than_the_cluster_holds_are_refused():
    with pytest.raises(
        FleetError, match=r"need 3 CPUs, and this Ray cluster has 2 CPUs: set fleet.n_actors to at most 2"
    ):
        RayFleet(CosineBackend(), 3)


def test_cpus_that_others_hold_are_waited_for_only_so_long(start: Start):
    start(CosineBackend(), n_actors=1, cpus_per_actor=1.5)
    with pytest.raises(
        FleetError,
        match=r"1 of 1 actors did not start within 1.5 s, waiting for 1 more actor: it needs 1 CPU; .* 0.5 of 2 CPUs free",
    ):
        start(CosineBackend(), n_actors=1, cpus_per_actor=1.0, start_timeout_seconds=1.5)


class NoDoor(CosineBackend):
    def open_session(self) -> CosineSession:
        raise CapabilityError("set backend.api_key first")


class Unloadable(CosineBackend):
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("import qfleet_has_no_such_module",)


@pytest.mark.parametrize(
    ("backend", "error", "text"),
    [
        (NoDoor(), CapabilityError, "set backend.api_key first"),
        (Unloadable(), ExecutionError, "cannot load the backend: ModuleNotFoundError"),
    ],
)
def test_a_backend_that_cannot_be_opened_is_the_callers_error(
    start: Start, backend: CosineBackend, error: type[Exception], text: str
):
    with pytest.raises(error, match=text) as caught:
        start(backend)
    assert type(caught.value) is error
    wait_until(lambda: ray.available_resources().get("CPU") == 2.0)


class Logging(CosineBackend):
    """Writes down in which environment its sessions were opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_session(self) -> CosineBackend:
        with self.path.open("a") as file:
            file.write(f"{os.environ['NUMBA_NUM_THREADS']} {os.environ['OMP_NUM_THREADS']}\n")
        return self


def test_threads_of_libraries_are_limited(start: Start, tmp_path: Path):
    start(Logging(tmp_path / "log"), n_actors=3)
    assert (tmp_path / "log").read_text().split("\n") == ["1 1"] * 3 + [""]


def test_two_fleets_share_one_ray(start: Start):
    one, other = start(SlowBackend(0)), start(SlowBackend(0))
    jobs = make_jobs(8, CIRCUIT)
    for _ in zip(one.run(jobs), other.run(jobs), strict=True):
        pass
    one.close()
    assert ray.is_initialized()
    assert values_by_id(list(other.run(jobs))) == expected_values(jobs)


# Stopping


def test_close_ends_the_processes_even_in_the_middle_of_a_job_and_can_be_repeated(start: Start):
    fleet = start(SlowBackend(30.0))
    pids = list(fleet.worker_pids().values())
    started = fleet.run(make_jobs(4, CIRCUIT))
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(started)
    began = time.monotonic()
    fleet.close()
    fleet.close()
    assert time.monotonic() - began < 5
    wait_until(lambda: not any(map(is_alive, pids)))
    with pytest.raises(FleetError, match="closed"):
        list(fleet.run(make_jobs(1, CIRCUIT)))
    wait_until(lambda: ray.available_resources().get("CPU") == 2.0)


def test_an_interrupt_at_any_moment_leaves_the_fleet_usable(start: Start):
    fleet = start(SlowBackend(0.001))
    jobs = make_jobs(200, CIRCUIT)
    for n in range(1, 9):
        threading.Timer(0.011 * n, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            list(itertools.chain.from_iterable(fleet.run(jobs) for _ in itertools.count()))
    assert values_by_id(list(fleet.run(jobs))) == expected_values(jobs)
    assert fleet.n_workers == 2


# Several jobs in flight


class MeetingSession(CosineSession):
    """Lets nobody go before ten are inside, each for 0.2 s; answers every value with the most that were inside at once."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting = threading.Barrier(10)
        self.lock = threading.Lock()
        self.inside = self.most_inside = 0

    def run(self, compiled: int, job: Job) -> JobResult:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.2)
        answer = super().run(compiled, job)
        with self.lock:
            self.inside -= 1
        return replace(answer, values=np.full_like(answer.values, float(self.most_inside)))


class MeetingBackend(CosineBackend):
    capabilities = replace(CosineBackend.capabilities, jobs_in_flight=10)

    def open_session(self) -> CosineSession:
        return MeetingSession()


class PollingSession(CosineSession):
    """Waits for an answer that never comes, until it is closed; says when it is, and when its waits have ended."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.closed = threading.Event()

    def run(self, compiled: int, job: Job) -> JobResult:
        self.say("run")
        self.closed.wait()
        self.say("stopped")
        raise ExecutionError("the session is closed")

    def close(self) -> None:
        self.say("close")
        self.closed.set()

    def say(self, word: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{word}\n")


class PollingBackend(CosineBackend):
    capabilities = MeetingBackend.capabilities

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_session(self) -> CosineSession:
        return PollingSession(self.path)


class SlowTogetherBackend(SlowBackend):
    capabilities = MeetingBackend.capabilities


@pytest.mark.parametrize("max_in_flight", [2, 16])
def test_an_actor_is_at_as_many_jobs_as_the_backend_takes_and_at_no_more(start: Start, max_in_flight: int):
    fleet = start(MeetingBackend(), n_actors=1, max_in_flight=max_in_flight)
    values = [result.values for result in fleet.run(make_jobs(40, CIRCUIT))]
    assert len(values) == 40
    assert max(value.max() for value in values) == 10
    assert fleet.stats().cache_hits == 39


def test_a_closed_fleet_tells_its_sessions_which_wait_no_longer(start: Start, tmp_path: Path):
    log = tmp_path / "log"
    fleet = start(PollingBackend(log), n_actors=1)
    threading.Thread(
        target=lambda: (
            wait_until(lambda: log.is_file() and log.read_text().count("run") == 10),
            os.kill(os.getpid(), signal.SIGINT),
        ),
        daemon=True,
    ).start()
    with pytest.raises(KeyboardInterrupt):
        list(fleet.run(make_jobs(30, CIRCUIT)))
    began = time.monotonic()
    fleet.close()
    assert time.monotonic() - began < 5
    words = log.read_text().split()
    assert words[:11] == ["run"] * 10 + ["close"], "nothing is polled, and yet close is heard"


def test_a_killed_actor_with_many_jobs_in_flight_costs_no_result(start: Start):
    fleet = start(SlowTogetherBackend(0.1))
    jobs = make_jobs(60, CIRCUIT)
    results = []
    for result in fleet.run(jobs):
        results.append(result)
        if len(results) == 15:
            sigkill(fleet, "actor-0")
    assert values_by_id(results) == expected_values(jobs)
    assert fleet.stats().workers_lost == 1


# Figures


def test_a_step_of_one_small_job_costs_about_one_round_trip(start: Start):
    fleet = start(SlowBackend(0))
    (job,) = make_jobs(1, CIRCUIT)
    seconds = []
    for _ in range(100):
        began = time.perf_counter()
        list(fleet.run([job]))
        seconds.append(time.perf_counter() - began)
    print(
        f"round trip {statistics.median(seconds) * 1e3:.2f} ms, overhead {fleet.job_overhead_seconds * 1e3:.2f} ms"
    )
    assert statistics.median(seconds) < 0.01  # about 1 ms on an idle machine
    assert fleet.job_overhead_seconds < 0.01


def test_the_timeline_keeps_the_last_jobs(start: Start):
    fleet = start(SlowBackend(), max_spans=10)
    jobs = make_jobs(14, CIRCUIT)
    results = list(fleet.run(jobs))
    spans = fleet.timeline()
    assert [span.job_id for span in spans] == [result.job_id for result in results[4:]]
    for worker in ("actor-0", "actor-1"):
        own = sorted(span for span in spans if span.worker == worker)
        assert own
        times = sorted((span.started_at, span.finished_at) for span in own)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(times))
    assert fleet.stats().busy_seconds > 0


OWN_RAY = """
import os, signal, time, ray
from actors.ray_fleet import RayFleet
from tests.contract.test_dispatcher_conformance import CIRCUIT, CosineBackend, make_jobs

if __name__ == "__main__":
    with RayFleet(CosineBackend(), 1) as fleet:
        fleet.register(CIRCUIT)
        os.kill(fleet.worker_pids()["actor-0"], signal.SIGKILL)
        n_results = len(list(fleet.run(make_jobs(5, CIRCUIT))))
        time.sleep(1)  # for Ray's report of the death
    print(n_results, fleet.stats().workers_lost, ray.is_initialized())
"""


def test_a_ray_of_its_own_ends_with_the_fleet_and_prints_nothing():
    run = subprocess.run(
        [sys.executable, "-c", OWN_RAY], capture_output=True, text=True, timeout=50, check=True
    )
    assert run.stdout == "5 1 False\n"
    assert run.stderr == ""


JOINS = """
import json, os, ray
from actors.ray_fleet import RayFleet
from tests.contract.test_dispatcher_conformance import CIRCUIT, make_jobs
from tests.integration.test_ray_fleet import SlowBackend

if __name__ == "__main__":
    fleet = RayFleet(SlowBackend(), 2)
    fleet.register(CIRCUIT)
    n_results = len(list(fleet.run(make_jobs(5, CIRCUIT))))
    print(json.dumps([n_results, list(fleet.worker_pids().values())]), flush=True)
    while True:
        list(fleet.run(make_jobs(50, CIRCUIT)))
"""


def test_a_running_cluster_is_joined_and_a_killed_driver_leaves_no_actor_behind():
    address = ray.get_runtime_context().gcs_address
    environment = os.environ | {"RAY_ADDRESS": address}  # as in `ray job submit`
    with subprocess.Popen(
        [sys.executable, "-c", JOINS], env=environment, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        n_results, pids = json.loads(driver.stdout.readline())
        assert n_results == 5
        assert all(map(is_alive, pids))
        assert (
            ray.available_resources().get("CPU", 0.0) == 0.0
        )  # they run in this Ray, not in one of their own
        driver.kill()
    wait_until(lambda: not any(map(is_alive, pids)))
    wait_until(lambda: ray.available_resources().get("CPU") == 2.0)


def test_numerical_libraries_use_an_actors_share_of_the_cpus(start: Start) -> None:
    """One thread, on any machine with more than one core."""
    fleet = start(ThreadCountingBackend(), 1)
    for result in fleet.run(make_jobs(2, CIRCUIT)):
        assert set(result.values.ravel()) == {1.0}
