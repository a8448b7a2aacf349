"""The IonQ client, and the real cirq_ionq over our transport, against scripted faults: the failure matrix, row by row."""

from __future__ import annotations

import json
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cirq
import cirq_ionq
import numpy as np
import pytest
import requests
from cirq_ionq import ionq_client

from actors.ionq.api_key import ApiKey
from actors.ionq.client import IonQClient
from actors.ionq.errors import (
    BadAnswerError,
    JobCanceledError,
    JobFailedError,
    JobRejectedError,
    MissingKeyError,
    NotFoundError,
    RequestRefusedError,
    SubmissionUnknownError,
    UnavailableError,
)
from actors.ionq.transport import Limits
from orchestrator.errors import CircuitError, ConfigError
from tests.integration.scripted_ionq import KEY, Fault, ScriptedIonQ, body_of, refuse

LIMITS = Limits(connect=1.0, read=0.25, total=5.0, first_delay=0.005, max_delay=0.02)


@pytest.fixture
def server() -> Iterator[ScriptedIonQ]:
    with ScriptedIonQ() as server:
        yield server


@pytest.fixture
def client(server: ScriptedIonQ) -> Iterator[IonQClient]:
    client = IonQClient(server.url, limits=LIMITS, results_grace=0.3, key=ApiKey(KEY))
    yield client
    client.close()


def answer(body: Any) -> Fault:
    return Fault("status", 200, json.dumps(body))


# Submitting


@pytest.mark.parametrize("convert", [dict, json.dumps, lambda body: json.dumps(body).encode()])
def test_a_body_is_posted_as_it_is(
    server: ScriptedIonQ, client: IonQClient, convert: Callable[[Any], Any]
) -> None:
    body = body_of("ab", 3)
    job_id = client.submit(convert(body))
    assert server.jobs[job_id]["body"] == body == body_of("ab", 3)
    sent = server.requests[0].headers
    assert sent["Authorization"] == f"apiKey {KEY}"
    assert sent["User-Agent"].startswith("cirq/")
    assert sent["Content-Type"] == "application/json"


@pytest.mark.parametrize("body", [{"status": "submitted"}, [], "id", {"id": None}, {"id": 5}, {"id": "../a"}])
def test_an_acceptance_without_an_id_is_an_unknown_outcome(
    server: ScriptedIonQ, client: IonQClient, body: Any
) -> None:
    server.script("POST jobs", answer(body))
    with pytest.raises(SubmissionUnknownError):
        client.submit(body_of("ab"))
    assert server.count("POST jobs") == 1


@pytest.mark.parametrize(
    "fault",
    [Fault("drop", is_accepted=True), refuse(502, is_accepted=True), Fault("stall", is_accepted=True)],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_accepted_then_lost_is_found_by_its_token(
    server: ScriptedIonQ, client: IonQClient, fault: Fault
) -> None:
    for token in ("aa", "ab", "ac"):
        client.submit(body_of(token))
    server.script("POST jobs", fault)
    with pytest.raises(SubmissionUnknownError):
        client.submit(body_of("ad"))
    for token in ("ae", "af"):
        client.submit(body_of(token))
    assert server.count("POST jobs") == len(server.jobs) == 6
    assert server.jobs[client.find("ad") or ""]["body"]["name"] == "qfleet-ad"


def test_nan_is_refused_before_anything_is_sent(server: ScriptedIonQ, client: IonQClient) -> None:
    for angle in (math.nan, math.inf, np.float32(0.5)):
        body = body_of("ab") | {"input": {"circuit": [{"gate": "rx", "rotation": angle}]}}
        with pytest.raises(CircuitError):
            client.submit(body)
    assert server.requests == []


# Looking up


def test_find_reads_every_page_once(server: ScriptedIonQ, client: IonQClient) -> None:
    assert client.find("ab") is None  # an empty account, at which cirq_ionq loops for ever
    assert server.count("GET jobs") == 1
    ids = {f"a{index}": client.submit(body_of(f"a{index}")) for index in range(5)}
    server.requests.clear()
    assert client.find("a0") == ids["a0"]  # the oldest is on the last of three pages of two
    assert [each.query for each in server.requests] == [{}, {"next": ["2"]}, {"next": ["4"]}]
    assert server.requests[0].body == {"limit": 1000}
    assert client.find("a") is client.find("a00") is client.find("b0") is None


def test_find_knows_a_job_by_name_or_by_metadata(server: ScriptedIonQ, client: IonQClient) -> None:
    by_name = client.submit(body_of("aa") | {"metadata": None})
    by_metadata = client.submit(body_of("ab") | {"name": None})
    assert (client.find("aa"), client.find("ab")) == (by_name, by_metadata)


def test_find_takes_no_circuit_of_a_batch_for_the_batch(server: ScriptedIonQ, client: IonQClient) -> None:
    circuit = {"id": "child", "status": "completed", "name": "qfleet-ab", "parent_job_id": "parent"}
    batch = {"id": "parent", "status": "started", "name": "qfleet-ab", "parent_job_id": None}
    server.script("GET jobs", answer({"jobs": [circuit, batch], "next": None}))
    assert client.find("ab") == "parent"


@pytest.mark.parametrize(
    "faults",
    [
        [answer({"jobs": [], "next": "2"})] * 2,  # the same page for ever
        [answer({"jobs": None, "next": None})],
        [answer([])],
    ],
    ids=["circle", "null", "list"],
)
def test_a_list_that_cannot_be_read_proves_nothing(
    server: ScriptedIonQ, client: IonQClient, faults: list[Fault]
) -> None:
    server.script("GET jobs", *faults)
    with pytest.raises(BadAnswerError, match="job list"):
        client.find("ab")


def test_a_failing_list_is_read_again(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab"))
    server.script("GET jobs", refuse(503), Fault("drop"), Fault("status", 200, "<html>"))
    assert client.find("ab") == job_id


# Waiting


def test_a_job_is_followed_to_its_end(server: ScriptedIonQ, client: IonQClient) -> None:
    server.n_polls = 1
    job_id = client.submit(body_of("ab", 2))
    assert client.job(job_id).status == "started"
    status = client.job(job_id)
    assert status.is_completed
    assert status.child_ids == tuple(server.jobs[job_id]["children"])
    assert status.submitted_at == 1795219200.0
    assert status.started_at is None
    status.raise_if_unsuccessful()


@pytest.mark.parametrize(
    ("final", "kind", "code"),
    [
        ({"status": "failed", "failure": None}, JobFailedError, None),
        (
            {"status": "failed", "failure": {"code": "QuantumComputerError", "message": "why"}},
            JobFailedError,
            "QuantumComputerError",
        ),
        (
            {"status": "failed", "failure": {"code": "TooManyShots", "message": "why"}},
            JobRejectedError,
            "TooManyShots",
        ),
        ({"status": "failed", "failure": {"error": "why"}}, JobFailedError, None),
        ({"status": "canceled", "failure": None}, JobCanceledError, None),
    ],
    ids=lambda value: str(value),
)
def test_why_a_job_failed_is_told(
    server: ScriptedIonQ, client: IonQClient, final: dict[str, Any], kind: type[Exception], code: str | None
) -> None:
    server.final = final
    job_id = client.submit(body_of("ab"))
    with pytest.raises(kind) as caught:
        client.job(job_id).raise_if_unsuccessful()
    assert pickle.loads(pickle.dumps(caught.value)).code == code
    assert caught.value.job_id == job_id
    assert caught.value.message == ("why" if final["failure"] else None)


def test_a_status_that_cannot_be_read_is_typed(server: ScriptedIonQ, client: IonQClient) -> None:
    with pytest.raises(NotFoundError):
        client.job("nobody")
    for body in ([], {}, {"id": "x", "status": "completed"}, {"id": "nobody", "status": None}):
        server.script("GET job", answer(body))
        with pytest.raises(BadAnswerError):
            client.job("nobody")


def test_a_stalled_status_is_asked_again(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab"))
    server.script("GET job", Fault("stall"), Fault("trickle"), refuse(429, "0"))
    assert client.job(job_id).is_completed


# Results


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_results_come_in_the_order_of_the_circuits(
    server: ScriptedIonQ, client: IonQClient, is_shuffled: bool
) -> None:
    server.is_shuffled = is_shuffled
    job_id = client.submit(body_of("ab", 5))
    expected = [{str(index): 1.0} for index in range(5)]
    assert client.results(job_id, True, 5) == expected
    assert client.results(job_id, True, 5, child_ids=client.job(job_id).child_ids) == expected


def test_without_a_list_of_circuits_the_order_of_the_answer_counts(
    server: ScriptedIonQ, client: IonQClient
) -> None:
    server.lists_children = False
    job_id = client.submit(body_of("ab", 3))
    assert client.results(job_id, True, 3) == [{"0": 1.0}, {"1": 1.0}, {"2": 1.0}]


def test_single_and_batch_jobs_mix(server: ScriptedIonQ, client: IonQClient) -> None:
    """cirq_ionq asks the URL of whichever kind was submitted last, and in a fresh process always that of single jobs."""
    batch, single = client.submit(body_of("aa", 2)), client.submit(body_of("ab"))
    fresh = IonQClient(server.url, limits=LIMITS, key=ApiKey(KEY))
    for each in (client, fresh):
        assert each.results(batch, True, 2) == [{"0": 1.0}, {"1": 1.0}]
        assert each.results(single, False, 1) == [{"0": 1.0}]


@pytest.mark.parametrize("sharpen", [None, True, False])
def test_sharpening_is_asked_for(server: ScriptedIonQ, client: IonQClient, sharpen: bool | None) -> None:
    client.results(client.submit(body_of("ab")), False, 1, sharpen)
    assert server.requests[-1].query == ({} if sharpen is None else {"sharpen": [str(sharpen)]})


def test_results_may_be_late(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab", 2))
    first, second = server.jobs[job_id]["children"]
    server.script(
        "GET results",
        refuse(404),
        answer({}),
        answer({first: {"0": 1.0}}),
        answer({first: {"0": 1.0}, second: {}}),
    )
    assert client.results(job_id, True, 2) == [{"0": 1.0}, {"1": 1.0}]
    assert server.count("GET results") == 5


def test_results_that_never_come_end_the_wait(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab"))
    for fault in (refuse(404), answer({})):
        server.script("GET results", *[fault] * 200)
        with pytest.raises(BadAnswerError, match="has no results"):
            client.results(job_id, False, 1)
        server.faults.clear()


def test_a_failed_circuit_of_a_batch_is_told(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab", 2))
    first, second = server.jobs[job_id]["children"]
    failure = {"code": "SimulationError", "message": "one of them"}
    server.jobs[second] = {"id": second, "body": {}, "children": [], "polls": 0}
    server.script("GET results", *[answer({first: {"0": 1.0}})] * 200)
    status = client.job(job_id)
    server.final = {"status": "failed", "failure": failure}
    with pytest.raises(JobFailedError, match="one of them"):
        client.results(job_id, True, 2, child_ids=status.child_ids)


@pytest.mark.parametrize("extra", [-1, 1])
def test_results_of_another_number_of_circuits_are_refused(
    server: ScriptedIonQ, client: IonQClient, extra: int
) -> None:
    job_id = client.submit(body_of("ab", 3))
    with pytest.raises(BadAnswerError, match=f"3 circuits in a job of {3 + extra}"):
        client.results(job_id, True, 3 + extra)


@pytest.mark.parametrize(
    "bad",
    [{"0": math.nan}, {"0": -0.1}, {"a": 1.0}, {"-1": 1.0}, {"0": "1"}, {"0": None}, {"": 1.0}, {"0": {}}, 5],
    ids=str,
)
def test_what_are_no_probabilities_is_refused(server: ScriptedIonQ, client: IonQClient, bad: Any) -> None:
    job_id = client.submit(body_of("ab", 1))
    server.script("GET results", answer({server.jobs[job_id]["children"][0]: bad}))
    with pytest.raises(BadAnswerError, match="not outcome probabilities"):
        client.results(job_id, True, 1)


def test_sums_slightly_off_are_left_to_the_conversion(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab"))
    server.script("GET results", answer({"0": 0.5, "3": 0.4999}))
    assert client.results(job_id, False, 1) == [{"0": 0.5, "3": 0.4999}]


# The other calls


def test_cancel_cost_estimate_and_backends(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab"))
    assert client.cost(job_id) == 24.83
    client.cancel(job_id)
    with pytest.raises(JobCanceledError):
        client.job(job_id).raise_if_unsuccessful()
    estimate = client.estimate("qpu.aria-1", n_qubits=8, n_1q=48, n_2q=16, shots=1024, is_mitigated=True)
    assert estimate == 0.25
    assert server.requests[-1].query == {
        "backend": ["qpu.aria-1"],
        "type": ["ionq.circuit.v1"],
        "qubits": ["8"],
        "shots": ["1024"],
        "1q_gates": ["48"],
        "2q_gates": ["16"],
        "error_mitigation": ["true"],
    }
    assert client.backends()[0]["backend"] == "simulator"


def test_money_that_is_no_dollars_is_refused(server: ScriptedIonQ, client: IonQClient) -> None:
    job_id = client.submit(body_of("ab"))
    for cost in (None, {"value": None, "unit": "usd"}):
        server.script("GET cost", answer({"dry_run": False, "cost": cost}))
        assert client.cost(job_id) is None
    for value, unit in ((5, "credits"), ("5", "usd"), (math.nan, "usd"), (True, "usd")):
        server.script("GET cost", answer({"cost": {"value": value, "unit": unit}}))
        with pytest.raises(BadAnswerError):
            client.cost(job_id)


def test_the_door(server: ScriptedIonQ, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CIRQ_IONQ_API_KEY", "IONQ_API_KEY", "CIRQ_IONQ_REMOTE_HOST", "IONQ_REMOTE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="allow_cloud"):
        IonQClient()
    with pytest.raises(MissingKeyError):
        IonQClient(server.url)
    monkeypatch.setenv("IONQ_API_KEY", KEY)
    monkeypatch.setenv("IONQ_REMOTE_HOST", server.url)
    client = IonQClient()
    assert client.backends()
    assert server.url in repr(client)
    with pytest.raises(TypeError):
        pickle.dumps(client)


def test_many_threads_share_a_client(server: ScriptedIonQ, client: IonQClient) -> None:
    found: dict[str, str | None] = {}

    def work(token: str) -> None:
        job_id = client.submit(body_of(token, 2))
        client.results(job_id, True, 2)
        found[token] = server.jobs[job_id]["body"]["metadata"]["qfleet_token"]

    threads = [threading.Thread(target=work, args=(f"{index:02x}",)) for index in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {f"{index:02x}": f"{index:02x}" for index in range(10)}
    assert len({each.connection for each in server.requests}) == 10  # one a thread, kept


# The real cirq_ionq.Service over our transport


def circuit() -> cirq.Circuit:
    qubit = cirq.LineQubit(0)
    return cirq.Circuit(cirq.X(qubit) ** 0.3, cirq.measure(qubit, key="m"))


def test_the_real_service_runs(server: ScriptedIonQ, client: IonQClient) -> None:
    server.final |= {"metadata": {"measurement0": "m\u001f0", "shots": "10"}}
    result = client.service.run(circuit(), repetitions=10, target="simulator", seed=1)
    assert result.histogram(key="m") == {0: 10}
    assert len({each.connection for each in server.requests}) == 1


def test_the_real_service_duplicates_over_requests_but_not_over_ours(
    server: ScriptedIonQ, client: IonQClient
) -> None:
    lost = Fault("drop", is_accepted=True)
    server.script("POST jobs", lost)
    real = cirq_ionq.Service(remote_host=server.url, api_key=KEY)
    real.create_job(circuit(), repetitions=10, target="simulator")
    assert len(server.jobs) == 2  # what the transport is for
    server.jobs.clear()
    server.script("POST jobs", lost)
    with pytest.raises(SubmissionUnknownError):
        client.service.create_job(circuit(), repetitions=10, target="simulator")
    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refuse(400), RequestRefusedError),
        (refuse(401), RequestRefusedError),
        (refuse(404), NotFoundError),
        (Fault("status", 200, "<html>"), BadAnswerError),
        (refuse(503), UnavailableError),
        (Fault("stall"), UnavailableError),
    ],
    ids=lambda value: str(value),
)
def test_the_real_service_hands_on_our_errors(
    server: ScriptedIonQ, fault: Fault, kind: type[Exception]
) -> None:
    client = IonQClient(server.url, limits=Limits(read=0.25, total=0.0), key=ApiKey(KEY))
    server.script("GET job", fault)
    with pytest.raises(kind) as caught:
        client.service.get_job("nobody")
    assert KEY not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_other_users_of_cirq_ionq_keep_their_requests(client: IonQClient) -> None:
    assert ionq_client.requests is requests
