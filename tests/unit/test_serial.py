"""CircuitActor and the serial dispatcher where they differ from any dispatcher (for that: the conformance suite)."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.circuit_actor import CircuitActor
from actors.registered_circuits import RegisteredCircuits
from actors.retry import UnknownCircuitError
from actors.serial import SerialDispatcher
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.errors import CapabilityError, ExecutionError, FleetError, InputError
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.protocols import Capabilities

CIRCUIT = MeasuredCircuit(CircuitTemplate(1, 1, (), "one"), ("Z",))


class Forgetful(CapabilityError):
    """Breaks the rule: hands on only one of its arguments, so it cannot be unpickled."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what)


class Backend:
    """Counts; raises, or spoils the answer, when told to."""

    name = "counting"
    capabilities = Capabilities(is_exact=True, has_shots=False, has_jacobian=False, max_qubits=1)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.error: Exception | None = None
        self.spoil: dict[str, Any] = {}

    def open_session(self) -> Backend:
        self.log.append("open")
        return self

    def compile(self, circuit: MeasuredCircuit) -> str:
        self.log.append("compile")
        return circuit.key

    def run(self, compiled: str, job: Job) -> JobResult:
        self.log.append("run")
        if self.error is not None:
            raise self.error
        values = np.cos(job.data_angles[:, :1])[:, None, :]
        fields: dict[str, Any] = {
            "job_id": job.job_id, "values": values, "variances": None, "jacobian": None, "n_circuits": 1, "n_shots": 0,
            "cost_usd": 0.0, "cache_hit": False, "compute_seconds": 0.25, "started_at": 1.0, "finished_at": 2.0, "worker": "",
            "backend": self.name,
        }  # fmt: skip
        return JobResult(**(fields | self.spoil))

    def close(self) -> None:
        self.log.append("close")


def job(angle: float = 0.3, circuit: MeasuredCircuit = CIRCUIT) -> Job:
    return Job(circuit.key, np.zeros(1), np.zeros(1, np.int64), np.array([[angle]]), Displacements.none())


def test_nothing_is_opened_before_it_is_needed_and_everything_only_once():
    backend = Backend()
    actor = CircuitActor(backend, "me")
    actor.register(CIRCUIT)
    actor.close()
    assert backend.log == []
    actor.register(CIRCUIT)
    results = [actor.run(job(0.1)), actor.run(job(0.2))]
    assert backend.log == ["open", "compile", "run", "run"]
    assert [(r.worker, r.cache_hit) for r in results] == [("me", False), ("me", True)]
    actor.close()
    actor.close()
    assert backend.log[4:] == ["close"]


def test_open_pays_for_the_session_beforehand():
    backend = Backend()
    actor = CircuitActor(backend, "me")
    actor.open()
    assert backend.log == ["open"]
    actor.register(CIRCUIT)
    actor.run(job())
    assert backend.log == ["open", "compile", "run"]


def test_an_unknown_circuit_is_answered_with_its_own_error():
    actor = CircuitActor(Backend(), "me")
    with pytest.raises(UnknownCircuitError, match="register") as caught:
        actor.run(job())
    assert caught.value.circuit_key == CIRCUIT.key


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CapabilityError("40 qubits"), CapabilityError),
        (ExecutionError("HTTP 500"), ExecutionError),
        (Forgetful("a", "b"), ExecutionError),
        (ZeroDivisionError("by nothing"), ExecutionError),
    ],
)
def test_errors_leave_the_actor_typed_and_picklable(error: Exception, expected: type[Exception]):
    backend = Backend()
    backend.error = error
    actor = CircuitActor(backend, "me")
    actor.register(CIRCUIT)
    with pytest.raises(expected) as caught:
        actor.run(job())
    assert type(caught.value) is expected
    assert str(error) in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    if error is not caught.value:
        assert "'counting' failed on job" in str(copy)
        assert "Traceback" in copy.__notes__[0]


@pytest.mark.parametrize(
    "spoil",
    [{"values": np.full((1, 1, 1), np.nan)}, {"values": np.zeros((2, 1, 1))}, {"job_id": "another"}],
)
def test_a_wrong_answer_is_a_failure(spoil: dict[str, Any]):
    backend = Backend()
    backend.spoil = spoil
    actor = CircuitActor(backend, "me")
    actor.register(CIRCUIT)
    with pytest.raises(ExecutionError):
        actor.run(job())


def test_the_serial_dispatcher_counts():
    dispatcher = SerialDispatcher(Backend())
    dispatcher.register(CIRCUIT)
    results = list(dispatcher.run([job(0.1), job(0.2), job(0.3)]))
    assert [r.values.item() for r in results] == [np.cos(a) for a in (0.1, 0.2, 0.3)]
    stats = dispatcher.stats()
    assert (stats.jobs_done, stats.busy_seconds, stats.cache_hits, stats.cache_lookups) == (3, 0.75, 2, 3)
    dispatcher.close()


def test_the_cause_of_a_failure_can_be_followed_in_the_debugger():
    backend = Backend()
    backend.error = ZeroDivisionError("by nothing")
    dispatcher = SerialDispatcher(backend)
    dispatcher.register(CIRCUIT)
    with pytest.raises(ExecutionError, match="failed 4 times") as caught:
        list(dispatcher.run([job()]))
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__cause__ is backend.error
    assert dispatcher.stats().jobs_retried == 3


def test_time_of_sending_is_noted() -> None:
    dispatcher = SerialDispatcher(Backend())
    dispatcher.register(CIRCUIT)
    before = time.time()
    first, second = dispatcher.run([job(0.1), job(0.2)])
    assert before <= first.sent_at <= second.sent_at <= time.time()


# Several jobs in flight


class Waiting(Backend):
    """Answers a job when as many are inside as may be, or when it is told to; counts how many were inside at once."""

    capabilities = replace(Backend.capabilities, jobs_in_flight=10)

    def __init__(self, together: int = 10) -> None:
        super().__init__()
        self.meeting = threading.Barrier(together)
        self.lock = threading.Lock()
        self.inside = self.most_inside = 0
        self.stop = threading.Event()

    def compile(self, circuit: MeasuredCircuit) -> str:
        time.sleep(0.05)
        return super().compile(circuit)

    def run(self, compiled: str, job: Job) -> JobResult:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            self.wait()
            return super().run(compiled, job)
        finally:
            with self.lock:
                self.inside -= 1

    def wait(self) -> None:
        self.meeting.wait(30)

    def close(self) -> None:
        super().close()
        self.stop.set()


class Polling(Waiting):
    """Never answers; what waits ends when the session is closed."""

    def wait(self) -> None:
        self.stop.wait()
        raise ExecutionError("the session is closed")


class Stuck(Waiting):
    """Hears nothing."""

    def wait(self) -> None:
        threading.Event().wait()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def start(backend: Backend) -> SerialDispatcher:
    dispatcher = SerialDispatcher(backend)
    dispatcher.register(CIRCUIT)
    return dispatcher


def test_as_many_jobs_are_in_flight_as_the_backend_takes():
    backend = Waiting()  # were only nine inside at once, none would leave
    dispatcher = start(backend)
    jobs = [job(0.01 * i) for i in range(40)]
    results = {result.job_id: result for result in dispatcher.run(jobs)}
    assert [results[j.job_id].values.item() for j in jobs] == [np.cos(0.01 * i) for i in range(40)]
    assert backend.most_inside == 10
    assert backend.log.count("compile") == 1
    stats = dispatcher.stats()
    assert (stats.jobs_done, stats.cache_hits, stats.cache_lookups) == (40, 39, 40)
    dispatcher.close()


def test_failures_in_flight_are_tried_again_and_given_up_alike():
    backend = Waiting(together=1)
    dispatcher = start(backend)
    backend.error = ExecutionError("HTTP 500")
    with pytest.raises(ExecutionError, match="failed 4 times"):
        list(dispatcher.run([job(0.01 * i) for i in range(30)]))
    assert dispatcher.stats().jobs_retried >= 3
    backend.error = None
    assert len(list(dispatcher.run([job(0.01 * i) for i in range(30)]))) == 30
    dispatcher.close()


def test_what_nobody_waits_for_any_more_is_not_begun():
    backend = Waiting()
    dispatcher = start(backend)
    answers = dispatcher.run([job(0.01 * i) for i in range(1000)])
    next(answers)
    answers.close()
    wait_until(lambda: backend.inside == 0 or backend.meeting.n_waiting == backend.inside)
    assert backend.log.count("run") < 100
    backend.meeting.abort()
    dispatcher.close()


@pytest.mark.parametrize("kind", [Polling, Stuck])
def test_closing_waits_for_no_job(kind: type[Waiting]):
    backend = kind()
    dispatcher = start(backend)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            list(dispatcher.run([job(0.01 * i) for i in range(30)]))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(lambda: backend.inside == 10)
    began = time.monotonic()
    dispatcher.close()
    assert time.monotonic() - began < 5
    if kind is Polling:
        thread.join(10)
        assert [type(error) for error in errors] == [FleetError]
        assert backend.log.count("open") == 1, "a closed session is not opened again"
    with pytest.raises(FleetError, match="closed"):
        list(dispatcher.run([job()]))


@pytest.mark.parametrize("n_threads", [1, 4])
def test_circuits_are_bounded_and_a_call_keeps_its_own(monkeypatch: pytest.MonkeyPatch, n_threads: int):
    circuits = [MeasuredCircuit(CircuitTemplate(1, 1, (), str(i)), ("Z",)) for i in range(300)]
    backend = Backend()
    monkeypatch.setattr(backend, "capabilities", replace(Backend.capabilities, jobs_in_flight=n_threads))
    dispatcher = SerialDispatcher(backend)
    monkeypatch.setattr(dispatcher, "_circuits", RegisteredCircuits(200))
    for circuit in circuits[:200]:
        dispatcher.register(circuit)
    answers = dispatcher.run([job(0.1, circuit) for circuit in circuits[:200]])
    for circuit in circuits[100:]:
        dispatcher.register(circuit)
    with pytest.raises(InputError, match="register"):
        dispatcher.run([job(0.1, circuits[0])])
    assert len(list(answers)) == 200, "though the first half has been forgotten, and more than an actor keeps"
    assert len(list(dispatcher.run([job(0.1, circuit) for circuit in circuits[100:]]))) == 200
    dispatcher.close()


INTERRUPTED = """
import os, signal, threading, time
from tests.unit.test_serial import Stuck, job, start, wait_until

backend = Stuck()
dispatcher = start(backend)

def interrupt():
    wait_until(lambda: backend.inside == 10)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    list(dispatcher.run([job(0.01 * i) for i in range(30)]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_the_program_even_where_a_session_is_stuck():
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr
