"""Templates to probabilities through the emulator: what is sent is what was meant, in both gate sets, and cirq_ionq can read it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import cirq
import numpy as np
import pytest
import sympy

from actors.ionq.body import Settings, submission_body
from actors.ionq.client import IonQClient
from actors.ionq.emulator import Emulator
from actors.ionq.outcomes import probabilities
from actors.ionq.templates import JsonTemplate, gate_counts
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.template import CircuitTemplate

N_QUBITS = 4
QUBITS = cirq.LineQubit.range(N_QUBITS)
BASIS = "XYZI"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Emulator() as emulator:
        yield emulator.url


@pytest.fixture
def client(url, monkeypatch) -> IonQClient:
    monkeypatch.setenv("IONQ_API_KEY", "of-a-test")
    return IonQClient(url)


@pytest.fixture(scope="module")
def template() -> CircuitTemplate:
    angle = map(sympy.Symbol, (f"s{i}" for i in itertools.count()))
    q = QUBITS
    circuit = cirq.Circuit(
        [cirq.ry(next(angle))(x) for x in q],
        cirq.CNOT(q[0], q[1]),
        cirq.ControlledGate(cirq.rx(next(angle)))(q[1], q[3]),
        cirq.ISWAP(q[2], q[3]) ** next(angle),
        cirq.CCX(q[3], q[0], q[2]),
        cirq.PhasedXPowGate(phase_exponent=0.3, exponent=next(angle))(q[1]),
        cirq.ZZ(q[0], q[2]) ** next(angle),
        cirq.SWAP(q[1], q[2]),
    )
    return template_from_circuit(circuit, q)[0]


def expected(template: CircuitTemplate, angles: np.ndarray) -> np.ndarray:
    """By cirq's simulator, float64 [2**n]."""
    resolver = {f"a{k}": float(angle) for k, angle in enumerate(angles)}
    circuit = cirq.resolve_parameters(template.circuit(), resolver)
    circuit.append([cirq.H(QUBITS[0]), cirq.X(QUBITS[1]) ** 0.5])  # to measure X and Y
    state = cirq.Simulator(dtype=np.complex128).simulate(circuit, qubit_order=QUBITS).final_state_vector
    return np.abs(state) ** 2


def send(client: IonQClient, texts: list[str], gateset: str) -> str:
    """The job's id, when it is completed."""
    settings = Settings("simulator", 100, gateset)
    job_id = client.submit(submission_body(texts, N_QUBITS, settings, "qfleet-t", {"qfleet_token": "t"}))
    deadline = time.monotonic() + 60
    while client.job(job_id).status != "completed":
        assert client.job(job_id).status in ("submitted", "ready", "started", "completed")
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return job_id


@pytest.mark.parametrize("gateset", ["qis", "native"])
@pytest.mark.parametrize("n_circuits", [1, 9])
def test_probabilities_are_those_of_cirq(client, template, gateset, n_circuits) -> None:
    angles = np.random.default_rng(1).uniform(-7, 7, (n_circuits, template.n_angles))
    angles[-1] = np.pi
    texts = JsonTemplate(template, BASIS, gateset).circuits_json(angles)
    answers = client.results(send(client, texts, gateset), n_circuits > 1, n_circuits)
    for row, answer in zip(angles, answers, strict=True):
        np.testing.assert_allclose(
            probabilities(answer, N_QUBITS), expected(template, row), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_the_real_client_reads_a_job_of_ours(client, template, gateset) -> None:
    angles = np.random.default_rng(2).uniform(-7, 7, (3, template.n_angles))
    job_id = send(client, JsonTemplate(template, BASIS, gateset).circuits_json(angles), gateset)
    client.service._client.batch_mode = True  # or it asks the URL of a single circuit's results
    results = client.service.get_job(job_id).results(polling_seconds=0.01)
    for row, result in zip(angles, results, strict=True):
        found = np.zeros(2**N_QUBITS)
        for outcome, probability in result.probabilities().items():
            found[outcome] = probability
        np.testing.assert_allclose(found, expected(template, row), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_the_provider_counts_the_same_gates(client, template, gateset) -> None:
    angles = np.random.default_rng(3).uniform(-7, 7, (1, template.n_angles))
    job_id = send(client, JsonTemplate(template, BASIS, gateset).circuits_json(angles), gateset)
    counts = gate_counts(template, BASIS, gateset)
    raw = client.service._client.get_job(job_id)
    assert raw["stats"]["gate_counts"] == {"1q": counts.n_1q, "2q": counts.n_2q}
