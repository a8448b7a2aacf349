"""The emulator over plain HTTP: documents with their nulls, authorization, paging, prices, time, rate limit; and the command."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from actors.ionq.emulator import Emulator, EmulatorSettings
from actors.ionq.emulator import service as service_module
from actors.ionq.emulator.clock import VirtualClock
from actors.ionq.emulator.faults import FaultPlan
from actors.ionq.emulator.simulation import Simulation
from orchestrator.costs.catalogue import Catalogue
from orchestrator.errors import ConfigError
from tests.command import start_command

ROOT = Path(__file__).parents[2]
FIELDS = {
    "id", "status", "type", "backend", "dry_run", "submitter_id", "project_id", "parent_job_id", "session_id", "metadata", "name",
    "submitted_at", "started_at", "completed_at", "predicted_wait_time_ms", "predicted_execution_duration_ms", "execution_duration_ms",
    "shots", "failure", "output", "settings", "stats", "results", "child_job_ids",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


class Caller:
    """Calls an emulator with a key."""

    def __init__(self, emulator: Emulator, key: str = "some key") -> None:
        self.url = emulator.url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"apiKey {key}"

    def __call__(self, verb: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(verb, f"{self.url}/v0.4{path}", timeout=30, **options)

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job's document when it has ended; the first simulation of all may compile kernels."""
        deadline = time.monotonic() + 120
        while True:
            job = self("GET", f"/jobs/{job_id}").json()
            if job["status"] in ("completed", "failed", "canceled"):
                return dict(job)
            assert time.monotonic() < deadline

    def submit(self, **changes: Any) -> str:
        answer = self("POST", "/jobs", json=body(**changes))
        assert answer.status_code == 201, answer.text
        assert answer.json() == {"id": answer.json()["id"], "status": "submitted", "session_id": None}
        return str(answer.json()["id"])


def body(n_circuits: int | None = None, **changes: Any) -> dict[str, Any]:
    gates = [{"gate": "h", "target": 0}, {"gate": "cnot", "control": 0, "target": 1}]
    circuits = {"circuit": gates} if n_circuits is None else {"circuits": [{"circuit": gates}] * n_circuits}
    return {
        "backend": "simulator",
        "type": "ionq.circuit.v1" if n_circuits is None else "ionq.multi-circuit.v1",
        "input": {"gateset": "qis", "qubits": 2, **circuits},
        "shots": 1000,
    } | changes


# --- Documents -----------------------------------------------------------------------------------------------------------------


def test_a_job_has_every_field_and_its_nulls(emulator: Emulator) -> None:
    call = Caller(emulator)
    job_id = call.submit(metadata={"a": "b"}, name="n", settings={"compilation": {"opt": 1}})
    job = call.ended(job_id)
    assert set(job) == FIELDS
    assert (
        job["failure"] is job["child_job_ids"] is job["session_id"] is job["predicted_wait_time_ms"] is None
    )
    assert (job["status"], job["metadata"], job["name"]) == ("completed", {"a": "b"}, "n")
    assert job["stats"] == {"qubits": 2, "circuits": 1, "gate_counts": {"1q": 1, "2q": 1}}
    assert job["results"] == {"probabilities": {"url": f"/v0.4/jobs/{job_id}/results/probabilities"}}
    found = requests.get(
        emulator.url + job["results"]["probabilities"]["url"], headers=call.session.headers, timeout=10
    )
    assert found.json() == {"0": pytest.approx(0.5, abs=1e-15), "3": pytest.approx(0.5, abs=1e-15)}
    assert job["settings"] == {"compilation": {"opt": 1}}


def test_a_batch_is_a_parent_and_its_children(emulator: Emulator) -> None:
    call = Caller(emulator)
    job_id = call.submit(n_circuits=3)
    job = call.ended(job_id)
    assert job["results"]["probabilities"]["url"].endswith("/results/probabilities/aggregated")
    assert len(set(job["child_job_ids"])) == 3
    found = call("GET", f"/jobs/{job_id}/results/probabilities/aggregated").json()
    assert list(found) == job["child_job_ids"]
    child = call("GET", f"/jobs/{job['child_job_ids'][1]}").json()
    assert set(child) == FIELDS
    assert (child["parent_job_id"], child["type"]) == (job_id, "ionq.circuit.v1")
    assert call("GET", f"/jobs/{child['id']}/results/probabilities").json() == found[child["id"]]
    # Each kind of job has its own address for results.
    assert call("GET", f"/jobs/{job_id}/results/probabilities").status_code == 404
    assert call("GET", f"/jobs/{call.submit()}/results/probabilities/aggregated").status_code == 404
    assert call("PUT", f"/jobs/{child['id']}/status/cancel").status_code == 400


def test_a_dry_run_completes_without_results_or_cost(emulator: Emulator) -> None:
    call = Caller(emulator)
    job_id = call.submit(backend="qpu.aria-1", dry_run=True)
    job = call("GET", f"/jobs/{job_id}").json()
    assert (job["status"], job["dry_run"], job["results"]) == ("completed", True, None)
    assert call("GET", f"/jobs/{job_id}/results/probabilities").status_code == 404
    assert call("GET", f"/jobs/{job_id}/cost").json()["cost"] == {"unit": "usd", "value": 0.0}


def test_sharpen_is_a_truth_value(emulator: Emulator) -> None:
    call = Caller(emulator)
    job_id = call.submit()
    call.ended(job_id)
    path = f"/jobs/{job_id}/results/probabilities"
    assert call("GET", path, params={"sharpen": True}).json() == call("GET", path).json()
    assert call("GET", path, params={"sharpen": "hard"}).status_code == 400


def test_refusals_are_documents(emulator: Emulator) -> None:
    call = Caller(emulator)
    for answer, status, phrase in (
        (call("POST", "/jobs", json=body(backend="qpu")), 400, "Bad Request"),
        (call("POST", "/jobs", data=b"\xff\xfe"), 400, "Bad Request"),
        (call("GET", "/jobs/nobody"), 404, "Not Found"),
        (call("GET", "/nothing"), 404, "Not Found"),
        (call("PATCH", "/jobs"), 405, "Method Not Allowed"),
    ):
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "message", "statusCode"}
        assert (answer.json()["error"], answer.json()["statusCode"]) == (phrase, status)
    assert "rotation" not in call("POST", "/jobs", json=body(backend="qpu")).text


def test_a_key_is_demanded() -> None:
    with Emulator(EmulatorSettings(key="right")) as emulator:
        for header in (None, "apiKey ", "apiKey wrong", "Bearer right", "right"):
            headers = {} if header is None else {"Authorization": header}
            answer = requests.get(f"{emulator.url}/v0.4/jobs", headers=headers, timeout=10)
            assert answer.status_code == 401
            assert "right" not in answer.text
        assert Caller(emulator, "right")("GET", "/jobs").json() == {"jobs": [], "next": None}
        assert requests.get(f"{emulator.url}/v0.4/backends", timeout=10).status_code == 200


def test_pages_by_a_limit_in_the_body_or_the_query() -> None:
    with Emulator() as emulator:
        call = Caller(emulator)
        ids = [call.submit(name=f"n{i}") for i in range(5)]
        found: list[str] = []
        cursor: str | None = None
        for expected in (2, 2, 1):
            params = {"next": cursor} if cursor else {}
            page = call("GET", "/jobs", json={"limit": 2}, params=params).json()
            assert len(page["jobs"]) == expected
            found += [job["id"] for job in page["jobs"]]
            cursor = page["next"]
        assert cursor is None
        assert found == ids[::-1]
        assert len(call("GET", "/jobs", params={"limit": 4}).json()["jobs"]) == 4
        assert call("GET", "/jobs", params={"status": "failed"}).json() == {"jobs": [], "next": None}
        for bad in ({"limit": 0}, {"limit": 1001}, {"status": "done"}, {"next": "x"}):
            assert call("GET", "/jobs", params=bad).status_code == 400


# --- Money ---------------------------------------------------------------------------------------------------------------------


def test_what_a_job_costs_is_its_estimate_and_only_completed_jobs_are_paid() -> None:
    clock = VirtualClock()
    faults = FaultPlan.from_mapping({"fault": [{"endpoint": "submit", "kind": "fail", "calls": [3]}]})
    with Emulator(EmulatorSettings(queue_seconds=10.0, clock=clock, faults=faults)) as emulator:
        call = Caller(emulator)
        off = {"error_mitigation": {"debiasing": False}}
        paid = call.submit(n_circuits=2, backend="qpu.aria-1", settings=off, name="paid")
        canceled = call.submit(backend="qpu.aria-1")
        failed = call.submit(backend="qpu.forte-1")
        # 1,000 shots of one one-qubit and one two-qubit gate, the minimum on top of the price (the dearer reading), for each circuit.
        price = 2 * (1000 * (0.000220 + 0.000975) + 12.4166)
        cost = call("GET", f"/jobs/{paid}/cost").json()
        assert cost == {
            "dry_run": False,
            "estimated_cost": {"unit": "usd", "value": pytest.approx(price)},
            "cost": None,
        }
        assert emulator.totals()["billed_micro_usd"] == 0
        assert call("PUT", f"/jobs/{canceled}/status/cancel").json() == {"id": canceled, "status": "canceled"}
        clock.advance(10.0)
        assert call.ended(paid)["status"] == "completed"
        assert call("GET", f"/jobs/{paid}/cost").json()["cost"]["value"] == pytest.approx(price)
        assert call("GET", f"/jobs/{failed}/cost").json()["cost"]["value"] == 0.0
        assert emulator.totals()["billed_micro_usd"] == round(1e6 * price)
        # A completed job may be canceled: it stays paid.
        assert call("PUT", f"/jobs/{paid}/status/cancel").json()["status"] == "canceled"
        assert call("GET", f"/jobs/{paid}").json()["status"] == "canceled"
        assert call("DELETE", f"/jobs/{paid}").json() == {"id": paid, "status": "deleted"}
        assert emulator.totals()["billed_micro_usd"] == round(1e6 * price)
        assert call("PUT", f"/jobs/{failed}/status/cancel").status_code == 400


def test_estimates_use_the_same_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[targets."qpu.aria-1"]\nlike = "qpu.aria-1"\ndate = 2026-01-01\nsource = "a contract"\nprice_1q_usd = 1\n'
        "price_2q_usd = 2\nminimum_usd = 0\n"
    )
    with Emulator(EmulatorSettings(prices=Catalogue.load(path), queue_seconds=2.0)) as emulator:
        call = Caller(emulator)
        query = {"backend": "qpu.aria-1", "1q_gates": 3, "2q_gates": 4, "shots": 10}
        found = call("GET", "/jobs/estimate", params=query).json()
        assert found["estimated_cost"] == 110.0
        assert found["input_values"]["error_mitigation"] is False
        assert found["rate_information"]["cost_2q_gate"] == 2.0
        assert found["current_predicted_queue_time"] == 2
        for bad in (
            {"backend": "qpu.aria-9"},
            {**query, "shots": "many"},
            {**query, "error_mitigation": "maybe"},
        ):
            assert call("GET", "/jobs/estimate", params=bad).status_code == 400


def test_the_backends(emulator: Emulator) -> None:
    found = {backend["backend"]: backend["qubits"] for backend in Caller(emulator)("GET", "/backends").json()}
    assert found == {
        "simulator": 29,
        "qpu.aria-1": 25,
        "qpu.aria-2": 25,
        "qpu.forte-1": 36,
        "qpu.forte-enterprise-1": 36,
    }


# --- Time ----------------------------------------------------------------------------------------------------------------------


def test_results_come_when_the_queue_is_over() -> None:
    with Emulator(EmulatorSettings(queue_seconds=8.0, clock=VirtualClock())) as emulator:
        call = Caller(emulator)
        job_id = call.submit()
        seen = []
        for now in (0, 2, 4, 6, 8):
            if now == 8:
                call.ended(job_id)
            job = call("GET", f"/jobs/{job_id}").json()
            has_results = call("GET", f"/jobs/{job_id}/results/probabilities").status_code == 200
            seen.append((job["status"], job["results"] is not None, has_results))
            moved = requests.post(f"{emulator.url}/emulator/clock", json={"advance": 2.0}, timeout=10)
        assert seen == [
            ("submitted", False, False),
            *[("ready", False, False)] * 2,
            ("started", False, False),
            ("completed", True, True),
        ]
        assert moved.json() == {"now": 10.0}
        for bad in ({"advance": -1}, {"advance": "x"}, {}, []):
            assert requests.post(f"{emulator.url}/emulator/clock", json=bad, timeout=10).status_code == 400


def test_a_job_in_simulation_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one job computes, it is `started`, and everything else is answered."""
    go_on = threading.Event()
    simulate = Simulation.probabilities

    def slowly(*arguments: Any) -> list[np.ndarray]:
        assert go_on.wait(60)
        return simulate(*arguments)

    monkeypatch.setattr(Simulation, "probabilities", slowly)
    with Emulator() as emulator:
        call = Caller(emulator)
        job_id = call.submit()
        status: list[str] = []
        waiting = threading.Thread(
            target=lambda: status.append(Caller(emulator)("GET", f"/jobs/{job_id}").json()["status"])
        )
        waiting.start()
        for _ in range(20):
            assert call("GET", "/backends").status_code == 200
        waiting.join()
        go_on.set()
        assert status == ["started"]
        assert call.ended(job_id)["status"] == "completed"


def test_counts_are_a_matter_of_the_seed_and_the_submission() -> None:
    def counts(seed: int, **changes: Any) -> dict[str, float]:
        with Emulator(EmulatorSettings(seed=seed)) as emulator:
            call = Caller(emulator)
            call.submit(backend="qpu.aria-1", name="before")
            job_id = call.submit(backend="qpu.aria-1", name="n", **changes)
            call.ended(job_id)
            return dict(call("GET", f"/jobs/{job_id}/results/probabilities").json())

    assert counts(1) == counts(1, metadata={"a": "b"})
    assert counts(1) != counts(2)
    assert counts(1) != counts(1, shots=2000)


def test_answers_that_were_let_go_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "_ANSWERS_KEPT", 0)
    with Emulator() as emulator:
        call = Caller(emulator)
        noisy = {"backend": "qpu.aria-1", "name": "n"}
        ids = [
            call.submit(n_circuits=2, **noisy),
            call.submit(name="ideal"),
            call.submit(n_circuits=2, **noisy),
        ]
        for job_id in ids:
            call.ended(job_id)
        answers = [
            list(call("GET", f"/jobs/{job_id}/results/probabilities/aggregated").json().values())
            for job_id in (ids[0], ids[2])
        ]
        assert answers[0] == answers[1]
        assert len(answers[0]) == 2
        assert emulator.totals()["jobs"]["completed"] == 3


def test_a_circuit_beyond_the_simulator_fails_with_its_reason(emulator: Emulator) -> None:
    call = Caller(emulator)
    wide = {"gateset": "qis", "qubits": 20, "circuit": [{"gate": "h", "target": 19}]}
    job = call.ended(call.submit(input=wide))
    assert job["status"] == "failed"
    assert job["failure"]["code"] == "SimulationError"
    assert "up to 14 qubits, and this one has 20" in job["failure"]["message"]


def test_the_rate_limit_says_when_to_come_back() -> None:
    clock = VirtualClock()
    with Emulator(EmulatorSettings(rate=0.25, burst=2, clock=clock)) as emulator:
        call = Caller(emulator)
        assert [call("GET", "/jobs").status_code for _ in range(3)] == [200, 200, 429]
        refused = call("GET", "/jobs")
        assert refused.headers["Retry-After"] == "4"
        assert refused.json() == {
            "error": "Too Many Requests",
            "message": "Too Many Requests",
            "statusCode": 429,
        }
        clock.advance(4.0)
        assert [call("GET", "/jobs").status_code for _ in range(2)] == [200, 429]


def test_latency_is_waited_for_and_connections_are_kept() -> None:
    with Emulator(EmulatorSettings(latency_seconds=0.05)) as emulator:
        call = Caller(emulator)
        started = time.perf_counter()
        for _ in range(3):
            call("GET", "/jobs")
        assert time.perf_counter() - started >= 0.15
        pools = call.session.get_adapter(emulator.url).poolmanager.pools
        [pool] = map(pools.__getitem__, pools.keys())
        assert (pool.num_connections, pool.num_requests) == (1, 3)


def test_faults_of_status_carry_their_header() -> None:
    plan = {"fault": [{"endpoint": "list", "kind": "status", "status": 529, "retry_after": 7, "calls": [1]}]}
    with Emulator(EmulatorSettings(faults=FaultPlan.from_mapping(plan))) as emulator:
        answer = Caller(emulator)("GET", "/jobs")
        assert (answer.status_code, answer.headers["Retry-After"]) == (529, "7")
        assert Caller(emulator)("GET", "/jobs").status_code == 200


def test_a_storm_is_the_same_storm_again() -> None:
    rules = [
        {"endpoint": "any", "kind": "drop", "probability": 0.1},
        {"endpoint": "submit", "kind": "drop", "when": "after", "probability": 0.15},
        {"endpoint": "any", "kind": "status", "status": 502, "probability": 0.1},
        {"endpoint": "submit", "kind": "fail", "code": "InternalError", "probability": 0.2},
    ]

    def outcomes(seed: int) -> tuple[list[str], int]:
        found = []
        plan = FaultPlan.from_mapping({"seed": seed, "fault": rules})
        with Emulator(EmulatorSettings(faults=plan, queue_seconds=60.0, clock=VirtualClock())) as emulator:
            call = Caller(emulator)
            for number in range(60):
                try:
                    found.append(str(call("POST", "/jobs", json=body(name=f"n{number}")).status_code))
                except requests.ConnectionError:
                    found.append("dropped")
            return found, emulator.totals()["jobs_accepted"]

    found, accepted = outcomes(3)
    assert (found, accepted) == outcomes(3)
    assert (found, accepted) != outcomes(4)
    assert set(found) == {"201", "502", "dropped"}
    assert found.count("201") < accepted < 60  # some were accepted and their answers lost


def test_a_queue_that_is_left_is_not_billed() -> None:
    with Emulator(EmulatorSettings(queue_seconds=1.5)) as emulator:
        Caller(emulator).submit(backend="qpu.aria-1")
    before = emulator.totals()
    time.sleep(1.6)
    assert emulator.totals() == before
    assert before["jobs"]["submitted"] == 1
    assert before["billed_micro_usd"] == 0


def test_stopping_waits_for_no_stalled_request() -> None:
    plan = {"fault": [{"endpoint": "list", "kind": "stall", "seconds": 3600.0}]}
    with Emulator(EmulatorSettings(faults=FaultPlan.from_mapping(plan))) as emulator:
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{emulator.url}/v0.4/jobs", headers={"Authorization": "apiKey k"}, timeout=0.2)
        started = time.perf_counter()
    assert time.perf_counter() - started < 30.0


def test_a_port_that_is_taken_is_refused(emulator: Emulator) -> None:
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match="cannot be listened on"), Emulator(EmulatorSettings(port=port)):
        pass


# --- The command ---------------------------------------------------------------------------------------------------------------


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[[fault]]\nendpoint = "submit"\nkind = "status"\ncalls = [1]\n')
    options = [
        "--faults",
        str(plan),
        "--ledger",
        str(tmp_path / "ledger.jsonl"),
        "--key",
        "QFLEET_TEST_KEY",
        "--noise",
        "aria-1",
    ]
    key = {"QFLEET_TEST_KEY": "hunter2"}
    with start_command(ROOT, "emulator", *options, "--json", environment=key) as process:
        deadline = time.monotonic() + 60
        while "\n" not in process.errors:
            assert time.monotonic() < deadline, "it does not say where it listens"
            time.sleep(0.01)
        url = process.errors.partition("\n")[0].strip()
        headers = {"Authorization": "apiKey hunter2"}
        statuses = [
            requests.post(f"{url}/v0.4/jobs", json=body(), headers=headers, timeout=60) for _ in range(2)
        ]
        assert [answer.status_code for answer in statuses] == [503, 201]
        path = f"{url}/v0.4/jobs/{statuses[1].json()['id']}"
        deadline = time.monotonic() + 120
        while requests.get(path, headers=headers, timeout=60).json()["status"] != "completed":
            assert time.monotonic() < deadline
        found = requests.get(f"{path}/results/probabilities", headers=headers, timeout=60).json()
        assert all(abs(1000 * value - round(1000 * value)) < 1e-9 for value in found.values())  # noisy: shots
        process.send_signal(signal.SIGINT)
        printed, words = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(printed)["jobs_accepted"] == 1
    assert "1 jobs accepted (0 duplicates), 1 completed" in words
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [(line["event"], line["status"]) for line in lines] == [
        ("accepted", "submitted"),
        ("ended", "completed"),
    ]
    assert "hunter2" not in printed + words + (tmp_path / "ledger.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--noise", "aria1"], "did you mean 'aria-1'"),
        (["--faults", "nowhere.toml"], "cannot be read as TOML"),
        (["--ledger", "/nowhere/ledger.jsonl"], "cannot be written"),
        (["--key", "QFLEET_NO_SUCH_VARIABLE"], "that one is not set"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import cli

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert cli.main(["emulator", *options]) == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert message in capsys.readouterr().err
