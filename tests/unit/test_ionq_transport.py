"""The transport, key, host and errors of the IonQ client, against a scripted server: what is repeated, when, and what is told."""

from __future__ import annotations

import pickle
import shutil
import ssl
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from actors.ionq import errors as ionq_errors
from actors.ionq.api_key import ApiKey
from actors.ionq.clock import SystemClock
from actors.ionq.endpoint import Endpoint, resolve_endpoint
from actors.ionq.errors import (
    AuthenticationError,
    BadAnswerError,
    IonQError,
    JobCanceledError,
    JobFailedError,
    JobRejectedError,
    MissingKeyError,
    NotFoundError,
    RateLimitedError,
    RequestRefusedError,
    StoppedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
    UnavailableError,
)
from actors.ionq.exchange import retry_after_seconds
from actors.ionq.failures import FAILURES, unsuccessful
from actors.ionq.service import open_service
from actors.ionq.transport import Limits, Transport
from actors.retry import is_passing
from orchestrator.errors import CircuitError, ConfigError
from tests.integration.scripted_ionq import KEY, Fault, ScriptedIonQ, body_of, refuse

LIMITS = Limits(connect=1.0, read=0.25, total=10.0)
HEADERS = {"Content-Type": "application/json"}


class FakeClock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
def server() -> Iterator[ScriptedIonQ]:
    with ScriptedIonQ() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def transport(clock: FakeClock) -> Iterator[Transport]:
    transport = Transport(ApiKey(KEY), LIMITS, clock, jitter=lambda: 1.0)
    yield transport
    transport.close()


def post(transport: Transport, server: ScriptedIonQ) -> str:
    return transport.post(f"{server.url}/v0.4/jobs", headers=HEADERS, json=body_of("ab")).body["id"]


def get(transport: Transport, server: ScriptedIonQ) -> object:
    return transport.get(f"{server.url}/v0.4/backends", headers=HEADERS).body


def closed_port() -> str:
    with ScriptedIonQ() as gone:
        return gone.url


@pytest.mark.parametrize(
    "fault",
    [
        *(refuse(status) for status in (408, 409, 429, 500, 502, 503, 504, 520, 529)),
        Fault("drop"),
        Fault("stall"),
        Fault("cut"),
        Fault("trickle"),
        Fault("status", 200, "<html>a proxy's page</html>"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_a_get_is_repeated_with_doubling_delays(
    transport: Transport, server: ScriptedIonQ, clock: FakeClock, fault: Fault
) -> None:
    server.script("GET backends", fault, fault, fault)
    assert get(transport, server) == [{"backend": "simulator", "status": "available", "qubits": 29}]
    assert server.count("GET backends") == 4
    assert clock.slept == [0.05, 0.1, 0.2]


def test_silence_ends_at_the_read_limit(server: ScriptedIonQ) -> None:
    server.script("GET backends", Fault("stall"))
    server.script("POST jobs", Fault("stall"))
    transport = Transport(ApiKey(KEY), Limits(read=0.25, total=0.0))
    with pytest.raises(UnavailableError, match="no answer in time"):
        get(transport, server)
    with pytest.raises(SubmissionUnknownError, match="no answer in time"):
        post(transport, server)


def test_a_trickling_body_ends_at_the_read_limit(server: ScriptedIonQ) -> None:
    server.script("GET backends", Fault("trickle"))
    begin = time.monotonic()
    with pytest.raises(UnavailableError, match="broke off"):
        get(Transport(ApiKey(KEY), Limits(read=0.25, total=0.0)), server)
    assert time.monotonic() - begin < 0.9  # each byte comes well within `read`, all of them take 3 s


def test_delays_end_at_the_largest_and_calls_at_the_total(
    transport: Transport, server: ScriptedIonQ, clock: FakeClock
) -> None:
    server.script("GET backends", *[refuse(503)] * 50)
    with pytest.raises(UnavailableError) as caught:
        get(transport, server)
    assert clock.slept[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert set(clock.slept[6:]) == {2.0}
    assert clock.time <= LIMITS.total < clock.time + 2.0
    assert (caught.value.status, caught.value.code) == (503, "Some Error")


def test_jitter_takes_up_to_half_of_a_delay(server: ScriptedIonQ, clock: FakeClock) -> None:
    server.script("GET backends", refuse(500), refuse(500))
    get(Transport(ApiKey(KEY), LIMITS, clock, jitter=lambda: 0.0), server)
    assert clock.slept == [0.025, 0.05]


def test_retry_after_is_obeyed_up_to_a_limit(server: ScriptedIonQ, clock: FakeClock) -> None:
    limits = Limits(total=100.0, max_retry_after=60.0)
    transport = Transport(ApiKey(KEY), limits, clock, jitter=lambda: 1.0)
    server.script("GET backends", refuse(429, "7"), refuse(503, "3600"), refuse(503, "0"), refuse(503, "??"))
    get(transport, server)
    assert clock.slept == [7.0, 60.0, 0.2, 0.4]


def test_a_wait_beyond_the_total_is_not_begun(
    transport: Transport, server: ScriptedIonQ, clock: FakeClock
) -> None:
    server.script("GET backends", refuse(429, "30"))
    with pytest.raises(RateLimitedError) as caught:
        get(transport, server)
    assert caught.value.retry_after == 30
    assert clock.slept == []


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_seconds("Fri, 31 Dec 1999 23:59:59 GMT") == 0
    moment = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 97 < (retry_after_seconds(moment) or 0) <= 100
    assert retry_after_seconds("soon") is retry_after_seconds(None) is retry_after_seconds("nan") is None


@pytest.mark.parametrize(
    ("fault", "n_jobs"),
    [
        (Fault("drop"), 0),
        (Fault("drop", is_accepted=True), 1),
        (Fault("stall", is_accepted=True), 1),
        (Fault("cut", is_accepted=True), 1),
        (Fault("status", 201, "<html>", is_accepted=True), 1),
        (refuse(502, is_accepted=True), 1),
        *((refuse(status), 0) for status in (408, 409, 500, 502, 503, 504, 520, 529)),
        (Fault("status", 307, "{}", location="/v0.4/jobs"), 0),
    ],
    ids=str,
)
def test_a_post_of_unknown_outcome_is_not_repeated(
    transport: Transport, server: ScriptedIonQ, clock: FakeClock, fault: Fault, n_jobs: int
) -> None:
    server.script("POST jobs", fault)
    with pytest.raises(SubmissionUnknownError) as caught:
        post(transport, server)
    assert server.count("POST jobs") == 1
    assert len(server.jobs) == n_jobs
    assert clock.slept == []
    assert not isinstance(
        caught.value, (requests.RequestException, OSError)
    )  # else cirq_ionq would repeat it


def test_an_unknown_outcome_hands_on_retry_after(transport: Transport, server: ScriptedIonQ) -> None:
    server.script("POST jobs", refuse(503, "9"))
    with pytest.raises(SubmissionUnknownError) as caught:
        post(transport, server)
    assert caught.value.retry_after == 9


def test_a_post_refused_for_its_rate_is_repeated(
    transport: Transport, server: ScriptedIonQ, clock: FakeClock
) -> None:
    server.script("POST jobs", refuse(429, "3"), refuse(429))
    assert post(transport, server) in server.jobs
    assert len(server.jobs) == 1
    assert clock.slept == [3.0, 0.1]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_definite_refusal_is_told_at_once(
    transport: Transport, server: ScriptedIonQ, clock: FakeClock, status: int
) -> None:
    for method, endpoint in ((post, "POST jobs"), (get, "GET backends")):
        server.script(endpoint, refuse(status))
        with pytest.raises(RequestRefusedError) as caught:
            method(transport, server)
        error = caught.value
        assert server.count(endpoint) == 1
        assert (error.status, error.code) == (status, "Some Error")
        assert error.message == "said by the server with ***"
        assert not is_passing(error)
        kinds = {401: AuthenticationError, 404: NotFoundError}
        expected = kinds.get(status, RequestRefusedError)
        assert isinstance(
            error, expected if endpoint.startswith("GET") or status == 401 else SubmissionRefusedError
        )
    assert clock.slept == []


def test_a_conflict_is_told_at_once_except_to_a_get(transport: Transport, server: ScriptedIonQ) -> None:
    """A GET meets 409 where Cloudflare cannot resolve a name; a cancel, where the job cannot be canceled."""
    server.script("PUT status", refuse(409))
    with pytest.raises(RequestRefusedError):
        transport.put(f"{server.url}/v0.4/jobs/a/status/cancel", headers=HEADERS)
    assert server.count("PUT status") == 1


def test_authentication_names_the_variables(transport: Transport, server: ScriptedIonQ) -> None:
    server.script("GET backends", refuse(401))
    with pytest.raises(AuthenticationError, match="IONQ_API_KEY or CIRQ_IONQ_API_KEY"):
        get(transport, server)


def test_a_redirect_is_not_followed(transport: Transport, server: ScriptedIonQ) -> None:
    with ScriptedIonQ() as other:
        server.script("GET backends", Fault("status", 302, "{}", location=f"{other.url}/v0.4/backends"))
        with pytest.raises(BadAnswerError, match="redirect"):
            get(transport, server)
        assert other.requests == []


def test_what_was_never_sent_may_be_repeated(transport: Transport, clock: FakeClock) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        transport.post(f"{closed_port()}/v0.4/jobs", headers=HEADERS, json={})
    assert len(clock.slept) > 5


def test_a_post_waits_for_a_server_that_starts_late(server: ScriptedIonQ) -> None:
    """Connection refused, then accepted: exactly one job."""

    class StartingClock(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            parts["url"] = server.url

    class Moving(Transport):
        def _attempt(self, request: requests.Request):  # type: ignore[no-untyped-def]
            request.url = f"{parts['url']}/v0.4/jobs"
            return super()._attempt(request)

    parts = {"url": closed_port()}
    Moving(ApiKey(KEY), LIMITS, StartingClock()).post("http://", headers=HEADERS, json=body_of("ab"))
    assert len(server.jobs) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_a_body_that_is_no_json_is_refused_before_sending(
    transport: Transport, server: ScriptedIonQ, value: object
) -> None:
    with pytest.raises(CircuitError, match="finite"):
        transport.post(f"{server.url}/v0.4/jobs", headers=HEADERS, json={"rotation": value})
    assert server.requests == []


def test_connections_are_kept_alive_one_a_thread(transport: Transport, server: ScriptedIonQ) -> None:
    for _ in range(5):
        get(transport, server)
    post(transport, server)
    assert len({each.connection for each in server.requests}) == 1


def test_a_dropped_connection_is_replaced_before_a_post(transport: Transport, server: ScriptedIonQ) -> None:
    server.script("GET backends", Fault("drop"))
    get(transport, server)
    post(transport, server)
    assert len(server.jobs) == 1


def test_no_proxy_is_asked_for_this_machine(
    transport: Transport, server: ScriptedIonQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_port())
    monkeypatch.setenv("http_proxy", closed_port())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert get(transport, server)


def test_a_proxy_of_the_environment_is_asked_for_the_cloud(
    server: ScriptedIonQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    transport = Transport(ApiKey(KEY), LIMITS, use_environment=True)
    assert transport.get("http://cloud.invalid/v0.4/backends", headers=HEADERS).body


def test_a_netrc_does_not_replace_the_key(
    server: ScriptedIonQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    get(Transport(ApiKey(KEY), LIMITS, use_environment=True), server)
    assert server.requests[-1].headers["Authorization"] == f"apiKey {KEY}"


def test_a_stopped_clock_ends_a_wait(server: ScriptedIonQ) -> None:
    clock = SystemClock()
    clock.stop()
    server.script("GET backends", refuse(503))
    with pytest.raises(StoppedError):
        get(Transport(ApiKey(KEY), LIMITS, clock), server)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_an_untrusted_certificate_ends_a_call_before_anything_is_sent(
    clock: FakeClock, tmp_path: Path
) -> None:
    files = [str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        files[0],
        "-out",
        files[1],
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    with ScriptedIonQ() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[1], files[0])
        server.use_tls(context)
        with pytest.raises(UnavailableError, match="certificate is not trusted"):
            post(Transport(ApiKey(KEY), LIMITS, clock), server)
        assert server.requests == []
    assert clock.slept == []


# Secrets


def test_the_key_is_shown_nowhere(transport: Transport, server: ScriptedIonQ) -> None:
    service = open_service(Endpoint(server.url, True), transport)
    shown = [repr(ApiKey(KEY)), repr(transport), repr(vars(service)), repr(vars(service._client))]
    for fault in (refuse(400), refuse(401), refuse(500), Fault("drop"), Fault("stall"), Fault("cut")):
        server.script("POST jobs", fault)
        with pytest.raises(IonQError) as caught:
            post(transport, server)
        error = caught.value
        assert error.__context__ is None  # requests' own would hold the headers
        shown += ["".join(traceback.format_exception(error)), repr(error), str(pickle.dumps(error))]
    assert not [text for text in shown if KEY in text]
    assert server.requests[-1].headers["Authorization"] == f"apiKey {KEY}"


def test_nothing_that_holds_the_key_can_be_pickled(transport: Transport) -> None:
    for holder in (ApiKey(KEY), transport, transport._session()):
        with pytest.raises(TypeError, match="API key"):
            pickle.dumps(holder)


def test_the_key_comes_from_the_environment() -> None:
    both = {"IONQ_API_KEY": "second", "CIRQ_IONQ_API_KEY": " first\n"}
    assert ApiKey.from_environment(both).masked(b"first second") == b"*** second"
    assert ApiKey.from_environment({"IONQ_API_KEY": "second"}).masked(b"second") == b"***"
    for environment in ({}, {"IONQ_API_KEY": "  "}):
        with pytest.raises(MissingKeyError, match="set IONQ_API_KEY or CIRQ_IONQ_API_KEY"):
            ApiKey.from_environment(environment)


@pytest.mark.parametrize("key", ["bad key", "bad\nkey", "bäd", ""])
def test_a_key_that_no_header_takes_is_refused_unseen(key: str) -> None:
    with pytest.raises(MissingKeyError) as caught:
        ApiKey(key)
    assert not key or key not in str(caught.value)


# Hosts


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:8000", "http://localhost:80", "http://[::1]:80", "https://127.9.9.9"]
)
def test_this_machine_is_allowed(host: str) -> None:
    assert resolve_endpoint(host + "/v0.4?x=1", environment={}) == Endpoint(host, True)


@pytest.mark.parametrize(
    "host",
    [
        "https://api.ionq.co",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://10.0.0.1",
        "http://0.0.0.0:80",
        None,
    ],
)
def test_any_other_host_needs_leave(host: str | None) -> None:
    with pytest.raises(ConfigError, match=r"backend\.allow_cloud = true"):
        resolve_endpoint(host, environment={})


def test_the_cloud_with_leave() -> None:
    assert resolve_endpoint(None, True, {}) == Endpoint("https://api.ionq.co", False)
    environment = {"IONQ_REMOTE_HOST": "http://127.0.0.1:2", "CIRQ_IONQ_REMOTE_HOST": "http://127.0.0.1:1"}
    assert resolve_endpoint(None, False, environment) == Endpoint("http://127.0.0.1:1", True)
    with pytest.raises(ConfigError, match=r"unencrypted; did you mean 'https://api\.ionq\.co'"):
        resolve_endpoint("http://api.ionq.co", True, {})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:80", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "http://a:b@127.0.0.1", "//x"],
)
def test_what_is_no_url_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"backend\.host = "):
        resolve_endpoint(host, True, {})


# Errors


def test_every_error_pickles_with_all_it_says() -> None:
    kinds = [
        each for each in vars(ionq_errors).values() if isinstance(each, type) and issubclass(each, IonQError)
    ]
    assert len(kinds) > 12
    for kind in kinds:
        error = kind("problem", "Code", "message", 400, "job", 2.5)
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is kind
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)
        assert all(part in str(error) for part in ("problem", "Code", "message", "400", "job"))
    assert len(IonQError("problem", "Code", 1000 * "m").message or "") == 500
    assert str(pickle.loads(pickle.dumps(MissingKeyError("none")))) == str(MissingKeyError("none"))


def test_every_failure_code_has_its_consequence() -> None:
    codes = [
        "InvalidInput",
        "CompilationError",
        "ContractExpiredError",
        "DebiasingError",
        "InternalError",
        "NotEnoughQubits",
        "OptimizationError",
        "PreflightError",
        "QuantumCircuitComplexityError",
        "QuantumComputerError",
        "QuotaExhaustedError",
        "SimulationError",
        "SimulationTimeout",
        "SystemCancel",
        "TooLongPredictedExecutionTime",
        "TooManyControls",
        "TooManyGates",
        "TooManyShots",
        "UnknownBillingError",
        "UnsupportedGate",
    ]
    assert sorted(FAILURES) == sorted(codes)
    for code in codes:
        error = unsuccessful("id", "failed", code, "why")
        assert is_passing(error) is FAILURES[code].is_passing
        assert isinstance(error, JobFailedError if FAILURES[code].is_passing else JobRejectedError)
        assert FAILURES[code].advice in str(error)
        assert (error.code, error.message, error.job_id) == (code, "why", "id")
    assert not is_passing(unsuccessful("id", "failed", "QuotaExhaustedError", None))
    assert is_passing(unsuccessful("id", "failed", "QuantumComputerError", None))
    assert isinstance(unsuccessful("id", "failed", None, None), JobFailedError)
    assert isinstance(unsuccessful("id", "canceled", None, None), JobCanceledError)
    assert not is_passing(unsuccessful("id", "canceled", None, None))
    assert isinstance(unsuccessful("id", "canceled", "SystemCancel", None), JobFailedError)
