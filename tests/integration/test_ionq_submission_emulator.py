"""The submitter against the emulator in a storm: the same answers as on a calm day, no job twice, no dollar more."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cirq
import pytest

from actors.ionq.api_key import ApiKey
from actors.ionq.book import SubmissionBook
from actors.ionq.client import IonQClient
from actors.ionq.clock import SystemClock
from actors.ionq.emulator import Emulator, EmulatorSettings
from actors.ionq.emulator.faults import FaultPlan
from actors.ionq.errors import PassingIonQError
from actors.ionq.submission import Patience, Submission, Submitter
from actors.ionq.transport import Limits
from orchestrator.costs.bill import job_price
from orchestrator.costs.catalogue import Catalogue
from orchestrator.costs.gate_counts import count_gates

KEY = "key-of-the-emulator"
LIMITS = Limits(connect=2.0, read=0.5, total=5.0, first_delay=0.005, max_delay=0.02)
PATIENCE = Patience(first_poll=0.01, max_poll=0.05, grace=0.3, max_sends=5)
N_JOBS = 24
SHOTS = 100

STORM = [
    {"endpoint": "submit", "kind": "status", "status": 502, "when": "after", "probability": 0.2},
    {"endpoint": "submit", "kind": "drop", "when": "after", "probability": 0.2},
    {"endpoint": "submit", "kind": "stall", "seconds": 1.0, "when": "after", "probability": 0.05},
    {"endpoint": "submit", "kind": "not_json", "when": "after", "probability": 0.1},
    {"endpoint": "submit", "kind": "status", "status": 503, "retry_after": 0, "probability": 0.1},
    {"endpoint": "submit", "kind": "status", "status": 429, "retry_after": 0, "probability": 0.1},
    {"endpoint": "submit", "kind": "drop", "probability": 0.1},
    {"endpoint": "submit", "kind": "fail", "code": "QuantumComputerError", "probability": 0.2},
    {"endpoint": "submit", "kind": "fail", "probability": 0.1},
    {"endpoint": "submit", "kind": "child_fail", "code": "InternalError", "probability": 0.2},
    {"endpoint": "results", "kind": "shuffle", "probability": 0.5},
    {"endpoint": "results", "kind": "status", "status": 404, "probability": 0.3},
    {"endpoint": "results", "kind": "empty", "probability": 0.3},
    {"endpoint": "any", "kind": "status", "status": 500, "probability": 0.05},
    {"endpoint": "any", "kind": "drop", "probability": 0.05},
    {"endpoint": "any", "kind": "stall", "seconds": 1.0, "probability": 0.01},
    {"endpoint": "any", "kind": "not_json", "probability": 0.05},
]


def circuits_of(index: int) -> list[list[dict[str, Any]]]:
    """1 to 4 circuits on two qubits, all of them different."""
    return [
        [
            {"gate": "ry", "targets": [0], "rotation": 0.1 + 0.05 * index + 0.7 * number},
            {"gate": "cnot", "control": 0, "target": 1},
        ]
        for number in range(index % 4 + 1)
    ]


def submission(index: int, target: str) -> Submission:
    circuits = circuits_of(index)

    def body(token: str) -> dict[str, Any]:
        return {
            "backend": target,
            "type": "ionq.multi-circuit.v1",
            "lang": "json",
            "input": {"gateset": "qis", "qubits": 2, "circuits": [{"circuit": each} for each in circuits]},
            "name": f"qfleet-{token}",
            "metadata": {"qfleet_token": token},
            "shots": SHOTS,
            "settings": {"error_mitigation": {"debiasing": False}},
            **({"noise": {"model": "aria-1", "seed": index}} if target == "simulator" else {}),
        }

    counts = [count_gates(each) for each in circuits]
    price = job_price(Catalogue.default().entry(target), counts, SHOTS, False)
    return Submission(f"{index:02x}", body, len(circuits), True, price, SHOTS, target)


def run_all(url: str, book: SubmissionBook, target: str) -> dict[int, Any]:
    """Ten at a time; passing errors are tried again, as the fleet does."""
    clock = SystemClock()
    client = IonQClient(url, limits=LIMITS, clock=clock, results_grace=2.0, key=ApiKey(KEY))
    submitter = Submitter(client, book, clock, PATIENCE)
    answers: dict[int, Any] = {}

    def work(start: int) -> None:
        for index in range(start, N_JOBS, 10):
            while index not in answers:
                try:
                    answers[index] = submitter.run(submission(index, target)).answer
                except PassingIonQError:
                    continue

    threads = [threading.Thread(target=work, args=(start,)) for start in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    return answers


@pytest.mark.parametrize(("target", "seed"), [("qpu.aria-1", 0), ("simulator", 1), ("simulator", 2)])
def test_a_storm_changes_nothing_but_the_time(tmp_path: Path, target: str, seed: int) -> None:
    price = sum(submission(index, target).micro_dollars for index in range(N_JOBS))
    answers = []
    for name, faults in (("calm", []), ("storm", STORM)):
        plan = FaultPlan.from_mapping({"seed": seed, "fault": faults})
        settings = EmulatorSettings(key=KEY, queue_seconds=0.05, faults=plan)
        (tmp_path / name).mkdir()
        with Emulator(settings) as emulator, SubmissionBook(tmp_path / name, cap=price) as book:
            answers.append(run_all(emulator.url, book, target))
            ledger, totals = emulator.totals(), book.totals()
        assert ledger["duplicates"] == 0
        assert ledger["jobs"]["completed"] == N_JOBS
        assert ledger["billed_micro_usd"] == totals.spent == price
        assert totals.reserved == 0
        if name == "storm":
            assert ledger["jobs_accepted"] > N_JOBS  # some failed and were submitted anew
    assert (price > 0) == (target != "simulator")
    assert {index: len(answer) for index, answer in answers[0].items()} == {
        index: index % 4 + 1 for index in range(N_JOBS)
    }
    if target == "simulator":  # a machine's shots differ from job to job
        assert answers[0] == answers[1]


def test_our_client_and_cirq_ionqs_read_the_same_job() -> None:
    """A batch written by cirq_ionq's serialiser, sent by its client over our transport, and read by both."""
    first, second = cirq.LineQubit.range(2)
    bell = cirq.Circuit(cirq.H(first), cirq.CNOT(first, second), cirq.measure(first, second, key="m"))
    tilted = cirq.Circuit(cirq.ry(0.7).on(first), cirq.X(second), cirq.measure(first, second, key="m"))
    with Emulator(EmulatorSettings(key=KEY)) as emulator:
        client = IonQClient(emulator.url, limits=LIMITS, key=ApiKey(KEY))
        job = client.service.create_batch_job([bell, tilted], repetitions=50, target="simulator")
        theirs = [result.probabilities() for result in job.results(polling_seconds=1)]
        ours = client.results(job.job_id(), True, 2)
        client.cancel(job.job_id())
        assert client.job(job.job_id()).status == "canceled"
    for circuit, their, our in zip((bell, tilted), theirs, ours, strict=True):
        state = circuit[:-1].final_state_vector(qubit_order=[first, second])
        expected = {index: p for index, p in enumerate(abs(state) ** 2) if p > 1e-9}
        assert their == pytest.approx(expected, abs=1e-6)  # cirq's states are complex64
        swapped = {0: 0, 1: 2, 2: 1, 3: 3}  # bit i is qubit i in IonQ's keys
        assert {swapped[int(key)]: p for key, p in our.items()} == pytest.approx(expected, abs=1e-6)
