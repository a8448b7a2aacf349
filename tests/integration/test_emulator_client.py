"""The emulator under the real cirq-ionq client, against cirq's own simulators; and the client's failures, fault by fault."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import cirq
import cirq_ionq
import numpy as np
import pytest
import requests

from actors.ionq.emulator import Emulator, EmulatorSettings
from actors.ionq.emulator.clock import VirtualClock
from actors.ionq.emulator.faults import FaultPlan

QUBITS = cirq.LineQubit.range(3)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def service_of(emulator: Emulator, **options: Any) -> cirq_ionq.Service:
    return cirq_ionq.Service(
        remote_host=emulator.url, api_key="some key", default_target="simulator", **options
    )


def faulty(*rules: dict[str, Any], **options: Any) -> Emulator:
    return Emulator(EmulatorSettings(faults=FaultPlan.from_mapping({"fault": list(rules)}), **options))


def ghz_like(seed: int = 0) -> cirq.Circuit:
    """Every kind of gate that the client serialises, not symmetric under a reversal of the qubits."""
    a, b, c, d = np.random.default_rng(seed).uniform(-1, 1, 4)
    q = QUBITS
    return cirq.Circuit(
        cirq.H(q[0]),
        cirq.X(q[1]) ** a,
        cirq.Y(q[2]) ** b,
        cirq.CNOT(q[0], q[2]),
        [cirq.S(q[0]), cirq.T(q[1]) ** -1, cirq.X(q[2]) ** 0.5],
        cirq.XX(q[0], q[1]) ** c,
        cirq.YY(q[1], q[2]) ** d,
        cirq.ZZ(q[2], q[0]) ** a,
        cirq.SWAP(q[1], q[2]),
        cirq.PauliStringPhasor(cirq.X(q[0]) * cirq.Y(q[1]) * cirq.Z(q[2]), exponent_neg=0.3),
        cirq.H(q[1]),
    )


def exact(circuit: cirq.Circuit) -> np.ndarray:
    state = cirq.Simulator(dtype=np.complex128).simulate(circuit, qubit_order=QUBITS)
    return np.asarray(np.abs(state.final_state_vector) ** 2)


def dense(found: dict[int, float], n_qubits: int = 3) -> np.ndarray:
    probabilities = np.zeros(2**n_qubits)
    for outcome, probability in found.items():
        probabilities[outcome] = probability
    return probabilities


def measured(circuit: cirq.Circuit) -> cirq.Circuit:
    return circuit + cirq.measure(*QUBITS, key="m")


# --- Results -------------------------------------------------------------------------------------------------------------------


def test_single_circuits_give_exact_probabilities(emulator: Emulator) -> None:
    for seed in range(3):
        job = service_of(emulator).create_job(measured(ghz_like(seed)), repetitions=100, name=f"job {seed}")
        result = job.results(polling_seconds=0.01)
        assert isinstance(result, cirq_ionq.SimulatorResult)
        np.testing.assert_allclose(dense(result.probabilities()), exact(ghz_like(seed)), atol=1e-9)
        assert (job.name(), job.target(), job.num_qubits(), job.repetitions()) == (
            f"job {seed}",
            "simulator",
            3,
            100,
        )


def test_run_samples_and_keeps_the_measurement_keys(emulator: Emulator) -> None:
    circuit = cirq.Circuit(
        cirq.X(QUBITS[0]),
        cirq.H(QUBITS[1]),
        cirq.measure(QUBITS[0], QUBITS[2], key="a"),
        cirq.measure(QUBITS[1], key="b"),
    )
    result = service_of(emulator).run(circuit, repetitions=400, seed=1)
    assert result.histogram(key="a") == {0b10: 400}
    assert abs(result.histogram(key="b")[1] - 200) < 5 * math.sqrt(100)


def test_a_batch_keeps_its_order(emulator: Emulator) -> None:
    circuits = [measured(ghz_like(seed)) for seed in range(5)]
    job = service_of(emulator).create_batch_job(circuits, repetitions=10, name="batch")
    results = job.results(polling_seconds=0.01)
    assert isinstance(results, list)
    for seed, result in enumerate(results):
        np.testing.assert_allclose(dense(result.probabilities()), exact(ghz_like(seed)), atol=1e-9)
    assert len(service_of(emulator).run_batch(circuits, repetitions=7)) == 5


def test_circuits_of_unlike_sizes_in_a_batch(emulator: Emulator) -> None:
    small = cirq.Circuit(cirq.X(QUBITS[0]), cirq.measure(QUBITS[0], key="m"))
    one, two = (
        service_of(emulator)
        .create_batch_job([small, measured(ghz_like())], repetitions=10)
        .results(polling_seconds=0.01)
    )
    assert one.probabilities() == {1: 1.0}
    np.testing.assert_allclose(dense(two.probabilities()), exact(ghz_like()), atol=1e-9)


def depolarised(circuit: cirq.Circuit, one: float, two: float) -> np.ndarray:
    """Outcome probabilities with a depolarising channel after each gate."""
    noisy = cirq.Circuit()
    for operation in circuit.all_operations():
        n = len(operation.qubits)
        noisy.append(cirq.Moment(operation))
        noisy.append(
            cirq.Moment(cirq.depolarize((one if n == 1 else two) * (1 - 4.0**-n), n).on(*operation.qubits))
        )
    final = cirq.DensityMatrixSimulator(dtype=np.complex128).simulate(noisy, qubit_order=QUBITS)
    return np.asarray(np.diag(final.final_density_matrix).real)


def noisy_circuit() -> cirq.Circuit:
    q = QUBITS
    layers = [[cirq.ry(0.3 + i)(q[i]) for i in range(3)] + [cirq.CNOT(q[0], q[1]), cirq.CNOT(q[1], q[2])]] * 6
    return cirq.Circuit(layers)


def assert_drawn_from(found: np.ndarray, wanted: np.ndarray, shots: int) -> None:
    """Within five standard errors (and half a shot), and made of whole shots."""
    assert np.abs(found * shots - np.round(found * shots)).max() < 1e-6
    assert (np.abs(found - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / shots) + 0.5 / shots).all()


def test_a_noise_model_gives_shots_of_its_distribution(emulator: Emulator) -> None:
    shots = 100_000
    wanted = depolarised(noisy_circuit(), 0.0005, 0.0133)
    away = np.abs(wanted - exact(noisy_circuit())) / np.sqrt(wanted * (1 - wanted) / shots)
    assert away.max() > 10  # told apart from no noise

    def run(seed: int) -> np.ndarray:
        job = service_of(emulator).create_job(
            measured(noisy_circuit()), repetitions=shots, noise={"model": "aria-1", "seed": seed}
        )
        return dense(job.results(polling_seconds=0.01).probabilities())

    assert_drawn_from(run(1), wanted, shots)
    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_machines_are_noisy_and_the_same_submission_gives_the_same_counts(emulator: Emulator) -> None:
    shots = 10_000
    wanted = depolarised(noisy_circuit(), 0.00026667, 0.00494933)

    def run(name: str) -> dict[int, int]:
        job = service_of(emulator).create_job(
            measured(noisy_circuit()), repetitions=shots, target="qpu.forte-1", name=name
        )
        result = job.results(polling_seconds=0.01)
        assert isinstance(result, cirq_ionq.QPUResult)
        return dict(result.counts())

    first = run("one")
    assert_drawn_from(dense({k: v / shots for k, v in first.items()}), wanted, shots)
    assert run("one") == first
    assert run("another") != first


@pytest.mark.parametrize("target", ["simulator", "qpu.aria-1"])
def test_native_gates(emulator: Emulator, target: str) -> None:
    q = QUBITS
    source = cirq.Circuit(
        cirq.H(q[0]), cirq.CNOT(q[0], q[1]), cirq.ry(0.7)(q[2]), cirq.CNOT(q[1], q[2]), cirq.rx(0.4)(q[1])
    )
    native = cirq.optimize_for_target_gateset(source, gateset=cirq_ionq.AriaNativeGateset())
    assert any(isinstance(op.gate, cirq_ionq.MSGate) for op in native.all_operations())
    shots = 10_000
    job = service_of(emulator).create_job(measured(native), repetitions=shots, target=target)
    result = job.results(polling_seconds=0.01)
    if target == "simulator":
        np.testing.assert_allclose(
            dense(result.probabilities()), exact(source), atol=1e-7
        )  # cirq's compiler: 1e-8
        np.testing.assert_allclose(dense(result.probabilities()), exact(native), atol=1e-9)
    else:
        found = dense({k: v / shots for k, v in result.counts().items()})
        assert_drawn_from(found, depolarised(native, 0.0005, 0.0133), shots)


def test_list_cancel_and_delete() -> None:
    with Emulator(EmulatorSettings(queue_seconds=60.0, clock=(clock := VirtualClock()))) as emulator:
        service = service_of(emulator)
        jobs = [service.create_job(measured(ghz_like()), repetitions=10, name=f"n{i}") for i in range(3)]
        assert [job.status() for job in jobs] == ["submitted"] * 3
        clock.advance(20.0)
        assert jobs[0].status() == "ready"
        jobs[0].cancel()
        assert jobs[0].status() == "canceled"
        assert [job.name() for job in service.list_jobs(status="ready", limit=2)] == ["n2", "n1"]
        clock.advance(40.0)
        for job in jobs[1:]:
            job.results(polling_seconds=0.05)
        assert jobs[1].status() == "completed"
        jobs[1].delete()
        with pytest.raises(cirq_ionq.IonQNotFoundException):
            service.get_job(jobs[1].job_id())
        assert emulator.totals()["jobs"] == {"submitted": 0, "completed": 2, "failed": 0, "canceled": 1}


# --- The failure matrix --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "jobs", "posts"),
    [
        ({"kind": "status", "status": 503, "retry_after": 5}, 1, 2),
        ({"kind": "status", "status": 429}, 1, 2),
        ({"kind": "status", "status": 520}, 1, 2),
        ({"kind": "drop"}, 1, 2),
        ({"kind": "drop", "when": "after"}, 2, 2),
        ({"kind": "status", "status": 502, "when": "after", "calls": [1, 2]}, 3, 3),
    ],
)
def test_the_plain_client_repeats_a_submission_blindly(rule: dict[str, Any], jobs: int, posts: int) -> None:
    with faulty({"endpoint": "submit", "calls": [1], **rule}) as emulator:
        service_of(emulator).create_job(measured(ghz_like()), repetitions=10, name="paid once?")
        totals = requests.get(f"{emulator.url}/emulator/ledger", timeout=10).json()
        assert totals == emulator.totals()
    assert totals["jobs_accepted"] == jobs
    assert totals["duplicates"] == jobs - 1
    assert totals["calls"]["submit"] == posts


@pytest.mark.parametrize("status", [400, 402, 403, 409, 422, 504])
def test_a_definite_refusal_holds_the_whole_body(status: int) -> None:
    with faulty({"endpoint": "submit", "kind": "status", "status": status}) as emulator:
        with pytest.raises(cirq_ionq.IonQException, match="injected by the emulator") as refused:
            service_of(emulator).create_job(measured(ghz_like()), repetitions=10)
        assert "rotation" in str(refused.value)
        assert emulator.totals()["jobs_accepted"] == 0


def test_for_ever_unavailable() -> None:
    with (
        faulty({"endpoint": "submit", "kind": "status"}) as emulator,
        pytest.raises(TimeoutError, match="maximum number of retries"),
    ):
        service_of(emulator, max_retry_seconds=0.1).create_job(measured(ghz_like()), repetitions=10)


def test_an_answer_that_is_not_json_may_be_a_job() -> None:
    with faulty({"endpoint": "submit", "kind": "not_json", "when": "after"}) as emulator:
        with pytest.raises(requests.JSONDecodeError):
            service_of(emulator).create_job(measured(ghz_like()), repetitions=10)
        assert emulator.totals()["jobs_accepted"] == 1


def test_a_failed_job_loses_its_reason_and_one_without_breaks_the_client() -> None:
    with faulty(
        {"endpoint": "submit", "kind": "fail", "code": "QuantumComputerError", "calls": [1]},
        {"endpoint": "submit", "kind": "fail", "calls": [2]},
        {"endpoint": "submit", "kind": "cancel", "calls": [3]},
    ) as emulator:
        service = service_of(emulator)
        job = service.create_job(measured(ghz_like()), repetitions=10)
        with pytest.raises(RuntimeError, match="status: failed"):
            job.results()
        assert job._job["failure"] == {"code": "QuantumComputerError", "message": "injected by the emulator"}
        for _ in range(2):
            with pytest.raises(TypeError):
                service.create_job(measured(ghz_like()), repetitions=10).results()
        assert emulator.totals()["billed_micro_usd"] == 0


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"kind": "empty"}, StopIteration),
        ({"kind": "scale"}, ValueError),
        ({"kind": "status", "status": 404}, cirq_ionq.IonQNotFoundException),
    ],
)
def test_results_that_are_none(rule: dict[str, Any], error: type[Exception]) -> None:
    with faulty({"endpoint": "results", "calls": [1], **rule}) as emulator:
        job = service_of(emulator).create_job(measured(ghz_like()), repetitions=10)
        with pytest.raises(error):
            job.results().to_cirq_result()
        np.testing.assert_allclose(dense(job.results().probabilities()), exact(ghz_like()), atol=1e-9)


def test_shuffled_circuits_are_taken_for_each_other() -> None:
    with faulty({"endpoint": "results", "kind": "shuffle", "calls": [1]}) as emulator:
        job = service_of(emulator).create_batch_job(
            [measured(ghz_like(seed)) for seed in range(4)], repetitions=10
        )
        wanted = [exact(ghz_like(seed)) for seed in range(4)]
        shuffled = [dense(result.probabilities()) for result in job.results()]
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(shuffled, wanted, strict=True))
        for found in shuffled:
            assert min(np.abs(found - a).max() for a in wanted) < 1e-9
        calm = [dense(result.probabilities()) for result in job.results()]
        np.testing.assert_allclose(calm, wanted, atol=1e-9)


def test_a_batch_that_completes_without_one_of_its_circuits() -> None:
    with faulty({"endpoint": "submit", "kind": "child_fail", "child": 1, "parent": "completed"}) as emulator:
        circuits = [measured(ghz_like(seed)) for seed in range(3)]
        job = service_of(emulator).create_batch_job(circuits, repetitions=10, target="qpu.aria-1")
        assert len(job.results()) == 2
        assert emulator.totals()["billed_micro_usd"] > 0
        whole = job._client.get_job(job.job_id())
        child = job._client.get_job(whole["child_job_ids"][1])
        assert child["status"] == "failed"
        assert child["parent_job_id"] == job.job_id()


def test_a_stalled_answer_is_waited_for_until_the_client_gives_up() -> None:
    with faulty({"endpoint": "submit", "kind": "stall", "when": "after", "seconds": 30.0}) as emulator:
        headers = {"Authorization": "apiKey k"}
        body = {
            "backend": "simulator",
            "type": "ionq.circuit.v1",
            "shots": 1,
            "input": {"qubits": 1, "circuit": [{"gate": "h", "target": 0}]},
        }
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{emulator.url}/v0.4/jobs", json=body, headers=headers, timeout=0.3)
        assert emulator.totals()["jobs_accepted"] == 1


def test_a_page_without_a_next_one_is_asked_for_again() -> None:
    with Emulator() as emulator:
        service = service_of(emulator)
        service.create_job(measured(ghz_like()), repetitions=10, name="only")
        with warnings.catch_warnings():
            found = service.list_jobs(
                limit=3
            )  # one job, three times: the client takes `next: null` for a page
        assert [job.name() for job in found] == ["only"] * 3
