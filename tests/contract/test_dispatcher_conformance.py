"""What every dispatcher must do, checked by the same tests over the serial one, over Ray (with one job and with several in
flight), and over a fleet that is shared.

The Ray fleet here starts Ray by itself and ends it, unless some other test has one running already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pytest

from actors.backends.ideal import IdealBackend
from actors.ray_fleet import RayFleet
from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.shared import SharedFleet
from actors.ray_fleet.shared_start import NamedFleets
from actors.serial import SerialDispatcher
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import ModelConfig
from orchestrator.errors import CapabilityError, ExecutionError, FleetError, InputError, UnknownNameError
from orchestrator.jobs import Displacements, FailedJob, Job, JobResult, check_result
from orchestrator.models.model import Model
from orchestrator.protocols import Capabilities, Dispatcher


def fail(error: Exception) -> NoReturn:
    raise error


class CosineSession:
    """A backend of one line of mathematics: value m of circuit (s, d) is cos((m + 1) · sum of its angles).

    A job's `step` may ask for trouble; see TROUBLE.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def compile(self, circuit: MeasuredCircuit) -> int:
        return len(circuit.paulis)

    def run(self, compiled: int, job: Job) -> JobResult:
        started = time.time()
        sums = np.empty((job.n_samples, job.n_displacements))
        angles = job.shared_angles.copy()
        for s, row in enumerate(job.data_angles):
            angles[job.data_columns] = row
            for d in range(job.n_displacements):
                sums[s, d] = angles.sum() + job.displacements.rows(d, d + 1).deltas.sum()
        values = np.cos(sums[:, :, None] * np.arange(1, compiled + 1))
        finished = time.time()
        result = JobResult(
            job.job_id, values, None, None, values[..., 0].size, 0, 0.0, False, finished - started, started, finished, "", "cosine"
        )  # fmt: skip
        return TROUBLE[job.step](self, result) if job.step in TROUBLE else result

    def close(self) -> None:
        pass

    def fail_at_first(self, result: JobResult) -> JobResult:
        if result.job_id not in self.seen:
            self.seen.add(result.job_id)
            raise ExecutionError("HTTP 503")
        return result


FAILS, REFUSES, REFUSES_NAME, BREAKS, ANSWERS_NAN, ANSWERS_TEXT, FAILS_AT_FIRST = range(101, 108)
TROUBLE: dict[int, Callable[[CosineSession, JobResult], Any]] = {
    FAILS: lambda session, result: fail(ExecutionError("HTTP 500")),
    REFUSES: lambda session, result: fail(CapabilityError("no such gate here")),
    REFUSES_NAME: lambda session, result: fail(UnknownNameError("gate", "rxx", ("rx", "rz"))),
    BREAKS: lambda session, result: fail(ZeroDivisionError("by nothing")),
    ANSWERS_NAN: lambda session, result: replace(result, values=result.values * np.nan),
    ANSWERS_TEXT: lambda session, result: "42",
    FAILS_AT_FIRST: lambda session, result: session.fail_at_first(result),
}


class CosineBackend:
    name = "cosine"
    capabilities = Capabilities(is_exact=True, has_shots=False, has_jacobian=False, max_qubits=2)

    def open_session(self) -> CosineSession:
        return CosineSession()


class TogetherBackend(CosineBackend):
    capabilities = replace(CosineBackend.capabilities, jobs_in_flight=4)


def make_circuit(name: str = "a") -> MeasuredCircuit:
    return MeasuredCircuit(CircuitTemplate(2, 4, (), name), ("ZI", "IZ", "XX"))


CIRCUIT = make_circuit()


def make_jobs(n: int, circuit: MeasuredCircuit, step: int = 0) -> list[Job]:
    rng = np.random.default_rng(n)
    shifts = Displacements.single(np.arange(4), np.full(4, 0.5))
    return [
        Job(circuit.key, rng.normal(size=4), np.array([1, 3]), rng.normal(size=(3, 2)), shifts, step=step)
        for _ in range(n)
    ]


def expected_values(jobs: list[Job]) -> dict[str, bytes]:
    session = CosineSession()
    return {job.job_id: session.run(3, replace(job, step=0)).values.tobytes() for job in jobs}


def values_by_id(results: list[JobResult]) -> dict[str, bytes]:
    found = {result.job_id: result.values.tobytes() for result in results}
    assert len(found) == len(results), "a job was answered twice"
    return found


@contextmanager
def on_a_shared_fleet(backend: CosineBackend) -> Iterator[SharedFleet]:
    """A client of a fleet that is started for it."""
    connection = connect("local")  # as a RayFleet starts Ray by itself
    try:
        with NamedFleets() as fleets:
            fleets.start("conformance", lambda _: backend, {"n_actors": 2, "cpus_per_actor": 0.25})
            with SharedFleet("conformance", backend) as made:
                yield made
            fleets.stop("conformance")
    finally:
        release(connection)


@pytest.fixture(scope="module", params=["serial", "ray", "serial, together", "ray, together", "shared"])
def dispatcher(request: pytest.FixtureRequest) -> Iterator[Dispatcher]:
    backend = TogetherBackend() if "together" in request.param else CosineBackend()
    is_ray = "ray" in request.param
    if request.param == "shared":
        with on_a_shared_fleet(backend) as shared:
            yield shared
        return
    made: Dispatcher = RayFleet(backend, 2, cpus_per_actor=0.25) if is_ray else SerialDispatcher(backend)
    yield made
    made.close()


@pytest.fixture
def circuit(dispatcher: Dispatcher) -> MeasuredCircuit:
    dispatcher.register(CIRCUIT)
    return CIRCUIT


def test_every_job_is_answered_once_and_right(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    jobs = make_jobs(30, circuit)
    before = time.time()
    results = list(dispatcher.run(jobs))
    after = time.time()
    assert values_by_id(results) == expected_values(jobs)
    by_id = {job.job_id: job for job in jobs}
    for result in results:
        assert check_result(by_id[result.job_id], result, 3) is result
        assert result.worker
        assert result.backend == "cosine"
        assert result.started_at <= result.finished_at
        assert before <= result.sent_at <= after, "on the driver's clock"


def test_no_job_no_result(dispatcher: Dispatcher):
    assert list(dispatcher.run([])) == []


def test_equal_jobs_are_each_answered(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    (job,) = make_jobs(1, circuit)
    assert len(list(dispatcher.run([job, job, job]))) == 3


def test_it_says_how_large_it_is_and_what_a_job_costs(dispatcher: Dispatcher):
    assert dispatcher.n_workers >= 1
    assert dispatcher.stats().n_workers == dispatcher.n_workers
    assert 1e-6 < dispatcher.job_overhead_seconds < 0.1


def test_the_timeline_ends_with_the_last_jobs(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    before = time.time()
    results = list(dispatcher.run(make_jobs(5, circuit)))
    expected = [(r.worker, r.job_id, r.started_at, r.finished_at) for r in results]
    spans = dispatcher.timeline()[-5:]
    assert [span[:4] for span in spans] == expected
    (asked_at,) = {span.asked_at for span in spans}  # the call that they belong to
    assert before <= asked_at <= min(span.started_at for span in spans)
    assert {span.phases for span in spans} == {None}


def test_two_calls_are_under_way_at_once(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    """Both are sent before either is asked for an answer, and the second may be read first."""
    first, second = make_jobs(12, circuit), make_jobs(13, circuit)
    answers = [dispatcher.run(first), dispatcher.run(second)]
    assert values_by_id(list(answers[1])) == expected_values(second)
    assert values_by_id(list(answers[0])) == expected_values(first)


def test_a_call_that_nobody_reads_leaves_nothing_behind(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    unread = dispatcher.run(make_jobs(12, circuit))
    del unread
    jobs = make_jobs(5, circuit)
    assert values_by_id(list(dispatcher.run(jobs))) == expected_values(jobs)


def test_workers_say_what_they_have_done(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    def totals() -> tuple[int, int, int]:
        workers = dispatcher.workers()
        assert len(workers) == dispatcher.n_workers
        assert {worker.state for worker in workers} == {"ready"}
        assert all(worker.pid > 0 and worker.node for worker in workers)
        return (
            sum(worker.jobs_done for worker in workers),
            sum(worker.circuits_done for worker in workers),
            sum(worker.failures for worker in workers),
        )

    before = totals()
    jobs = make_jobs(7, circuit)
    list(dispatcher.run(jobs))
    after = totals()
    assert after[0] - before[0] == 7
    assert after[1] - before[1] == sum(job.n_samples * job.n_displacements for job in jobs)
    with pytest.raises(ExecutionError):
        list(dispatcher.run(make_jobs(1, circuit, FAILS)))
    assert totals()[2] > after[2]
    assert any("HTTP 500" in worker.last_error for worker in dispatcher.workers())


def test_circuits_are_compiled_once_per_worker(dispatcher: Dispatcher):
    circuit = make_circuit("compiled once")
    dispatcher.register(circuit)
    dispatcher.register(make_circuit("compiled once"))
    before = dispatcher.stats()
    results = list(dispatcher.run(make_jobs(20, circuit)))
    n_misses = sum(not result.cache_hit for result in results)
    after = dispatcher.stats()
    assert 1 <= n_misses <= dispatcher.n_workers
    assert after.jobs_done - before.jobs_done == after.cache_lookups - before.cache_lookups == 20
    assert after.cache_hits - before.cache_hits == 20 - n_misses
    assert after.busy_seconds > before.busy_seconds


def test_more_circuits_than_a_cache_holds(dispatcher: Dispatcher):
    circuits = [make_circuit(str(i)) for i in range(150)]
    jobs = []
    for circuit in circuits:
        dispatcher.register(circuit)
        jobs += make_jobs(1, circuit)
    for _ in range(2):  # the second time the first circuits have fallen out
        assert values_by_id(list(dispatcher.run(jobs))) == expected_values(jobs)


def test_a_circuit_that_was_never_registered_is_refused(dispatcher: Dispatcher):
    with pytest.raises(InputError, match="register"):
        list(dispatcher.run(make_jobs(1, make_circuit("nobody knows me"))))


def test_refusals_come_at_once_and_whole(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    retried = dispatcher.stats().jobs_retried
    with pytest.raises(CapabilityError, match="no such gate here"):
        list(dispatcher.run(make_jobs(1, circuit, REFUSES)))
    with pytest.raises(UnknownNameError) as caught:
        list(dispatcher.run(make_jobs(1, circuit, REFUSES_NAME)))
    assert caught.value.choices == ("rx", "rz")
    assert dispatcher.stats().jobs_retried == retried


def test_a_failed_job_is_delivered_as_such_where_the_others_go_on(
    dispatcher: Dispatcher, circuit: MeasuredCircuit
):
    good, bad = make_jobs(4, circuit), make_jobs(2, circuit, FAILS)
    answers = list(dispatcher.run_all([good[0], bad[0], *good[1:], bad[1]]))
    failed = {answer.job_id: answer.error for answer in answers if isinstance(answer, FailedJob)}
    assert failed.keys() == {job.job_id for job in bad}
    assert all("given up" in str(error) and "HTTP 500" in str(error) for error in failed.values())
    assert values_by_id([a for a in answers if isinstance(a, JobResult)]) == expected_values(good)
    with pytest.raises(CapabilityError, match="no such gate here"):  # of no use to the others either
        list(dispatcher.run_all([*good, *make_jobs(1, circuit, REFUSES)]))
    assert values_by_id(list(dispatcher.run(good))) == expected_values(good)


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (FAILS, "HTTP 500"),
        (BREAKS, "ZeroDivisionError: by nothing"),
        (ANSWERS_NAN, "values holds a value that is not finite"),
        (ANSWERS_TEXT, "answered with str, not a JobResult"),
    ],
)
def test_a_job_that_fails_again_and_again_is_given_up(
    dispatcher: Dispatcher, circuit: MeasuredCircuit, trouble: int, text: str
):
    retried = dispatcher.stats().jobs_retried
    (job,) = make_jobs(1, circuit, trouble)
    with pytest.raises(ExecutionError, match=f"job {job.job_id} failed 4 times") as caught:
        list(dispatcher.run([job]))
    assert text in str(caught.value)
    assert dispatcher.stats().jobs_retried - retried == 3


def test_a_job_that_fails_at_first_is_tried_again(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    retried = dispatcher.stats().jobs_retried
    jobs = make_jobs(4, circuit, FAILS_AT_FIRST)
    assert values_by_id(list(dispatcher.run(jobs))) == expected_values(jobs)
    assert dispatcher.stats().jobs_retried > retried


def test_a_failure_leaves_it_usable(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    jobs = make_jobs(10, circuit)
    with pytest.raises(ExecutionError):
        list(dispatcher.run(jobs[:5] + make_jobs(1, circuit, FAILS) + jobs[5:]))
    assert values_by_id(list(dispatcher.run(jobs))) == expected_values(jobs)


def test_a_run_that_nobody_finishes_leaves_it_usable(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    jobs = make_jobs(10, circuit)
    started = dispatcher.run(jobs)
    next(started)
    del started
    assert values_by_id(list(dispatcher.run(jobs))) == expected_values(jobs)


def test_two_runs_may_alternate(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    jobs = make_jobs(12, circuit)
    pairs = list(zip(dispatcher.run(jobs[:6]), dispatcher.run(jobs[6:]), strict=True))
    assert values_by_id([first for first, _ in pairs]) == expected_values(jobs[:6])
    assert values_by_id([second for _, second in pairs]) == expected_values(jobs[6:])


def test_every_dispatcher_gives_the_same_bits_on_the_real_engine():
    model = Model.from_config(ModelConfig(n_qubits=3, n_layers=1))
    circuit = model.measured
    rng = np.random.default_rng(5)
    columns = np.arange(3)
    n_angles = circuit.template.n_angles
    exact = Job(
        circuit.key, rng.normal(size=n_angles), columns, rng.normal(size=(8, 3)), Displacements.none()
    )
    keys = np.arange(1, 1 + len(circuit.groups), dtype=np.uint64)
    jobs = [
        exact,
        replace(exact, jacobian_angles=np.arange(n_angles)),
        replace(exact, shots=100, noise_keys=keys),
    ]
    parts = [jobs[2].part(slice(i, i + 2), slice(0, 1)) for i in range(0, 8, 2)]
    found = []
    for made in (SerialDispatcher(IdealBackend()), RayFleet(IdealBackend(), 2, cpus_per_actor=0.25)):
        made.register(circuit)
        results = {result.job_id: result for result in made.run(jobs + parts)}
        made.close()
        found.append(
            [(results[j.job_id].values.tobytes(), _bytes(results[j.job_id].jacobian)) for j in jobs + parts]
        )
    assert found[0] == found[1]
    assert found[0][2][0] == b"".join(values for values, _ in found[0][3:])  # nor do the pieces matter


def _bytes(array: np.ndarray | None) -> bytes | None:
    return None if array is None else array.tobytes()


def test_zz_closed_is_closed(dispatcher: Dispatcher, circuit: MeasuredCircuit):
    """Last of its module: it closes what the others share."""
    dispatcher.close()
    dispatcher.close()
    with pytest.raises(FleetError, match="closed"):
        list(dispatcher.run(make_jobs(1, circuit)))
