"""A job from submission to its end against a cluster in memory: nothing started twice, nothing of the log lost or shown twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.cluster_jobs import DIRECTORY_KEY, RUN_KEY, VERSIONS_KEY, JobRequest, JobState, JobStatus
from orchestrator.errors import ClusterError, ConfigError, InputError, SubmittedJobError
from pipelines.launch import jobs, start
from pipelines.launch.cluster import address_of, find
from pipelines.launch.follow import check_ended_well, follow
from pipelines.launch.request import Plan
from pipelines.launch.start import differences, submitted_versions
from pipelines.launch.submit import send


class Cluster:
    """Jobs in memory. `script` changes it before each request; an exception from there is what the request raises."""

    address = "http://head:8265"
    ray_version = "2.60.0"

    def __init__(self, script: Callable[[Cluster, int], None] = lambda cluster, n: None) -> None:
        self.jobs: dict[str, JobState] = {}
        self.log = ""
        self.stops: list[str] = []
        self.n_started = self._n = 0
        self._script = script

    def _turn(self) -> None:
        self._n += 1
        self._script(self, self._n)

    def submit(self, request: JobRequest) -> bool:
        is_new = request.id not in self.jobs
        if is_new:
            self.n_started += 1
            self.jobs[request.id] = JobState(
                request.id,
                "PENDING",
                request.entrypoint,
                "waiting for CPUs",
                request.metadata,
                self.n_started,
            )
        self._turn()
        return is_new

    def state(self, job: str) -> JobState | None:
        self._turn()
        return self.jobs.get(job)

    def states(self) -> list[JobState]:
        self._turn()
        return list(self.jobs.values())

    def stop(self, job: str) -> bool:
        self.stops.append(job)
        return True

    def logs(self, job: str) -> str:
        self._turn()
        return self.log

    def become(self, status: JobStatus, exit_code: int | None = None) -> None:
        for job, state in self.jobs.items():
            self.jobs[job] = replace(state, status=status, exit_code=exit_code)


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def plan(command: str = "train", run: str = "a", *, is_named: bool = True) -> Plan:
    return Plan(command, ("x",), "0123456789", run, is_named, "/runs", Path("/w"), (), {})


def watch(cluster: Cluster, **options: object) -> tuple[JobState, str, list[str]]:
    """(final state, what was shown, what was noted) of following the first job."""
    clock, shown, notes = Clock(), [], []
    state = follow(
        cluster, next(iter(cluster.jobs)), **{"show": shown.append, "note": notes.append, "clock": clock, "sleep": clock.sleep} | options
    )  # fmt: skip
    return state, "".join(shown), notes


# --- Starting once -------------------------------------------------------------------------------------------------------------


def test_a_lost_answer_starts_nothing_twice() -> None:
    def lose_the_first_answer(cluster: Cluster, n: int) -> None:
        if n == 2:  # after the job was taken
            raise ClusterError("connection reset")

    cluster = Cluster(lose_the_first_answer)
    with pytest.raises(ClusterError):
        send(cluster, plan())
    request, state = send(cluster, plan())
    assert cluster.n_started == 1
    assert state is not None
    assert state.id == request.id


def test_two_clients_at_once_start_one_job() -> None:
    def the_other_is_quicker(cluster: Cluster, n: int) -> None:
        if n == 1:  # after this client has seen that there is none
            pending.append(cluster.submit(plan().request()))

    pending: list[bool] = []
    cluster = Cluster(the_other_is_quicker)
    cluster.states, states = list, cluster.states  # type: ignore[method-assign]
    states()
    _, state = send(cluster, plan())
    assert cluster.n_started == 1
    assert state is not None


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_what_is_there_is_not_started_again(status: JobStatus) -> None:
    cluster = Cluster()
    send(cluster, plan())
    cluster.become(status)
    request, state = send(cluster, plan(), again=status != "SUCCEEDED")
    assert (cluster.n_started, request.id) == (1, plan().id())
    assert state is not None
    assert state.status == status


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_after_a_failure_training_asks_and_a_resume_goes_on(status: JobStatus) -> None:
    cluster = Cluster()
    send(cluster, plan())
    cluster.become(status, 1)
    with pytest.raises(InputError, match=r"jobs logs .*submit resume a --directory /runs.*--again"):
        send(cluster, plan())
    assert cluster.n_started == 1
    assert send(cluster, plan(), again=True)[0].id == plan().id(2)
    assert send(cluster, plan(), again=True)[0].id == plan().id(2)  # it is under way
    for n in (1, 2, 3):
        assert send(cluster, plan("resume"))[0].id == plan("resume").id(n)
        cluster.become(status, 1)


def test_a_job_of_a_longer_name_is_another() -> None:
    cluster = Cluster()
    send(cluster, plan(run="a"))
    longer = replace(plan(), run="a-01234567")  # its id begins as the other one's does
    assert send(cluster, longer)[1] is None
    assert send(cluster, plan(run="a"))[1] is not None
    assert cluster.n_started == 2


# --- Following -----------------------------------------------------------------------------------------------------------------


def test_the_log_is_whole_and_shown_once_whatever_breaks() -> None:
    def run(cluster: Cluster, n: int) -> None:
        if 40 <= n < 60 or n % 7 == 0:
            raise ClusterError("the head does not answer")
        if n > 3:
            cluster.become("RUNNING")
            cluster.log += f"line {n}\n"
        if n > 90:
            cluster.become("SUCCEEDED", 0)

    cluster = Cluster(run)
    cluster.submit(plan().request())
    state, shown, notes = watch(cluster)
    assert (state.status, state.exit_code) == ("SUCCEEDED", 0)
    assert shown == cluster.log
    assert any("does not answer" in note for note in notes)


def test_only_what_comes_from_now_on() -> None:
    cluster = Cluster(
        lambda cluster, n: cluster.become("SUCCEEDED", 0) if n > 5 else cluster.become("RUNNING")
    )
    cluster.submit(plan().request())
    cluster.log = "before\nafter\n"
    assert watch(cluster, skip=7)[1] == "after\n"


def test_a_start_that_does_not_come_has_a_deadline_and_a_reason() -> None:
    cluster = Cluster()
    cluster.submit(plan().request())
    with pytest.raises(
        ClusterError, match=r"not started in 1 min 30 s: waiting for CPUs.*jobs attach.*jobs stop"
    ):
        watch(cluster, pending_seconds=90.0)
    assert not cluster.stops  # it may start yet: whether it should is not ours to say


def test_a_cluster_that_is_gone_is_left_after_a_while() -> None:
    def gone(cluster: Cluster, n: int) -> None:
        if n > 5:
            raise ClusterError("no route to host")

    cluster = Cluster(gone)
    cluster.submit(plan().request())
    clock = Clock()
    with pytest.raises(ClusterError, match=r"no route to host; it has not answered for 3 min.*jobs attach"):
        watch(cluster, clock=clock, sleep=clock.sleep)
    assert 180 < clock.now < 200


@pytest.mark.parametrize(
    ("status", "code", "ours", "words"),
    [
        ("FAILED", 2, 2, "exit code 2"),
        ("FAILED", 1, 1, "submit resume a --directory /runs"),
        ("FAILED", -9, 137, "exit code 137"),
        ("FAILED", None, 1, "did not start: no such package"),
        ("STOPPED", None, 130, "submit resume a"),
    ],
)
def test_the_drivers_exit_code_is_ours(status: JobStatus, code: int | None, ours: int, words: str) -> None:
    metadata = {RUN_KEY: "a", DIRECTORY_KEY: "/runs"}
    state = JobState("j", status, "python", "Traceback\nno such package", metadata, 0.0, 1.0, code)
    with pytest.raises(SubmittedJobError) as caught:
        check_ended_well(state)
    assert caught.value.exit_code == ours
    assert words in str(caught.value)
    check_ended_well(replace(state, status="SUCCEEDED", exit_code=0))


# --- Jobs there ----------------------------------------------------------------------------------------------------------------

STATES = [
    JobState("qfleet-train-a-1", "FAILED", "python", "", {RUN_KEY: "a"}, 1e9, 1e9 + 5, 2),
    JobState("qfleet-train-b-1", "RUNNING", "python", "", {RUN_KEY: "b"}, 1e9),
    JobState("qfleet-resume-a-1", "PENDING", "python", "", {RUN_KEY: "a"}),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("qfleet-train-a-1", 0),
        ("a", 2),
        ("b", 1),
        ("latest", 2),
        ("qfleet-train", 1),
    ],
)
def test_a_job_is_found_by_id_run_or_beginning(wanted: str, found: int) -> None:
    assert find(STATES, wanted, "http://h") is STATES[found]


def test_a_job_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'qfleet-train-b-1'"):
        find(STATES, "qflet-train-b", "http://h")
    with pytest.raises(InputError, match="jobs there: none"):
        find([], "latest", "http://h")


def test_a_stopped_job_is_waited_for() -> None:
    cluster = Cluster()
    cluster.submit(plan().request())
    cluster.become("RUNNING")
    [state] = cluster.states()
    with pytest.raises(ClusterError, match="has not ended"):
        jobs.stop(cluster, state, 0.0)
    assert cluster.stops == [state.id]
    cluster.become("STOPPED")
    assert jobs.stop(cluster, cluster.states()[0], 0.0).status == "STOPPED"
    assert cluster.stops == [state.id]  # nobody asks a job to stop that has ended


def test_tables_have_a_line_a_job_and_json_has_no_environment() -> None:
    lines = jobs.table(STATES).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[-3:] == ["5.0", "s", "2"]
    assert jobs.as_json(STATES[0])["exit_code"] == 2
    assert "metadata" not in jobs.as_json(STATES[0])
    assert "FAILED, exit code 2" in jobs.as_text(STATES[0], 2e9)
    assert jobs.last_lines("a\nb\nc\n", 2) == "b\nc\n"


@pytest.mark.parametrize(
    ("given", "environment", "address"),
    [
        (None, {}, "http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, "http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "https://head/"}, "https://head"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://a:1", "RAY_ADDRESS": "http://b:1"}, "http://a:1"),
        ("head:8265", {"RAY_API_SERVER_ADDRESS": "http://a:1"}, "http://head:8265"),
    ],
)
def test_which_cluster_is_asked(given: str | None, environment: dict[str, str], address: str) -> None:
    assert address_of(given, environment) == address


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'http://head:8265'"):
        address_of("ray://head:10001", {})


# --- Versions ------------------------------------------------------------------------------------------------------------------


def test_versions_that_differ_are_said() -> None:
    ours = {"python": "3.11.9", "numpy": "2.4.6", "ray": "2.60.0"}
    assert differences(ours | {"python": "3.11.2"}, ours) == []
    assert differences({"python": "3.12.1", "numpy": "2.3.1", "cirq-core": "1.7.0"}, ours) == [
        "python 3.11.9 here, 3.12.1 where it was submitted",
        "numpy 2.4.6 here, 2.3.1 where it was submitted",
        "cirq-core missing here, 1.7.0 where it was submitted",
    ]


def test_versions_travel_with_the_job() -> None:
    metadata = dict(plan().request().metadata)
    sent = submitted_versions({"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"metadata": metadata})})
    assert {"python", "ray", "numpy"} <= sent.keys()
    for broken in ("", "{}", "[]", json.dumps({"metadata": {"qfleet.versions": "3"}})):
        assert submitted_versions({"RAY_JOB_CONFIG_JSON_ENV_VAR": broken}) == {}
    assert submitted_versions({}) == {}


def test_a_job_says_first_how_its_installation_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = start.own_versions() | {"numpy": "1.0"}
    metadata = {"metadata": {VERSIONS_KEY: json.dumps(theirs)}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(metadata))
    assert start.main(["resume", "none-of-that-name", "--directory", "/none"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "1.0 where it was submitted" in said[0]
    assert "none-of-that-name" in said[1]
