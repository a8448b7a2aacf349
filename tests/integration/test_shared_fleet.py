"""A fleet that several runs share, with real processes: same bits as alone, one run for equal jobs, and nothing left of who dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from actors.backends.ideal import IdealBackend
from actors.ionq.book import SubmissionBook
from actors.ray_fleet.book import BookServer
from actors.ray_fleet.shared import SharedFleet
from actors.ray_fleet.shared_names import find_server
from actors.ray_fleet.shared_start import NamedFleets
from actors.ray_fleet.versions import versions
from actors.serial import SerialDispatcher
from orchestrator.errors import BudgetError, ConfigError, FleetError
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.protocols import Backend
from pipelines import cli, fleet
from tests.contract.test_dispatcher_conformance import CIRCUIT, CosineBackend, CosineSession
from tests.integration.test_book_over_ray import PayingBackend

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]


class CountingSession(CosineSession):
    """Takes a while, and writes down each job that it has run."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def run(self, compiled: int, job: Job) -> JobResult:
        time.sleep(self.seconds)
        with self.log.open("a") as file:
            file.write(f"{job.job_id}\n")
        return super().run(compiled, job)


class CountingBackend(CosineBackend):
    def __init__(self, log: Path, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def open_session(self) -> CountingSession:
        return CountingSession(self.log, self.seconds)


@pytest.fixture(scope="module")
def counting(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingBackend]:
    """The backend of the fleet "counting", which tests share; its clients may be silent for a second."""
    backend = CountingBackend(tmp_path_factory.mktemp("counting") / "log", 0.02)
    with NamedFleets() as fleets:
        fleets.start(
            "counting", lambda _: backend, {"n_actors": 2, "cpus_per_actor": 0.25}, lease_seconds=1.0
        )
        yield backend
        if "counting" in fleets.names():
            fleets.stop("counting")


def jobs_of(n: int, seed: int) -> list[Job]:
    rng = np.random.default_rng(seed)
    return [
        Job(CIRCUIT.key, rng.normal(size=4), np.array([1, 3]), rng.normal(size=(3, 2)), Displacements.none())
        for _ in range(n)
    ]


def alone(jobs: list[Job], backend: Backend | None = None) -> dict[str, bytes]:
    serial = SerialDispatcher(backend or CosineBackend())
    serial.register(CIRCUIT)
    return {result.job_id: result.values.tobytes() for result in serial.run(jobs)}


def bits(results: list[JobResult]) -> dict[str, bytes]:
    return {result.job_id: result.values.tobytes() for result in results}


def client(backend: Backend, title: str) -> SharedFleet:
    made = SharedFleet("counting", backend, title=title)
    made.register(CIRCUIT)
    return made


def status() -> dict[str, Any]:
    with NamedFleets() as fleets:
        return fleets.status("counting")


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_two_clients_have_the_bits_of_a_serial_run_and_equal_jobs_are_run_once(
    counting: CountingBackend,
) -> None:
    own, common, others = jobs_of(10, 1), jobs_of(10, 2), jobs_of(10, 3)
    before = status()
    with client(counting, "one") as one, client(counting, "other") as other:
        first, second = one.run(own + common), other.run(common + others)
        found = [list(second), list(first)]
        assert bits(found[1]) == alone(own + common)
        assert bits(found[0]) == alone(common + others)
        later = list(other.run(own))
        assert bits(later) == alone(own)
        assert {result.cost_usd for result in later} == {0.0}
        assert not any(np.shares_memory(x.values, y.values) for x in later for y in later if x is not y)
        later[0].values[:] = 0.0  # one's own copy: whoever asks next gets what was computed
        assert bits(list(other.run(own))) == alone(own)
    ran = counting.log.read_text().split()
    assert sorted(ran) == sorted({job.job_id for job in own + common + others}), "each job once"
    after = status()
    assert after["jobs_done"] - before["jobs_done"] == 60
    assert after["joined"] + after["cached"] - before["joined"] - before["cached"] == 30
    assert after["cached"] - before["cached"] >= 20
    wait_until(lambda: status()["circuits"] == 0)


def test_batches_that_go_out_together_all_arrive(counting: CountingBackend) -> None:
    """Calls of the server may overtake each other: of two batches sent at once, the first was seen to come last, and to be dropped."""
    jobs = jobs_of(8, seed=77)
    with client(counting, "two at once") as shared:
        expected = bits(list(shared.run(jobs)))
        for _ in range(30):
            answers = [shared.run([one]) for one in jobs]
            assert bits([result for each in answers for result in each]) == expected


def test_a_client_with_few_jobs_is_not_behind_one_with_many(counting: CountingBackend) -> None:
    many, few = jobs_of(150, 4), jobs_of(4, 5)
    with client(counting, "many") as greedy, client(counting, "few") as modest:
        going = greedy.run(many)
        next(going)
        began = time.monotonic()
        assert bits(list(modest.run(few))) == alone(few)
        seconds = time.monotonic() - began
        waiting = {row["title"]: row["jobs_waiting"] for row in status()["clients"]}
        assert waiting["many"] > 75, f"most of its jobs are still to come, after {seconds:.2f} s"


DIES = """
import os, ray, sys, logging
sys.path.insert(0, {root!r})
import tests.conftest
ray.init(address={address!r}, log_to_driver=False, logging_level=logging.ERROR)
from pathlib import Path
from tests.integration.test_shared_fleet import CountingBackend, client, jobs_of
dying = client(CountingBackend(Path({log!r}), 0.02), "dying")
going = dying.run(jobs_of(2000, 6))
next(going)
print("going", flush=True)
import time; time.sleep(60)
"""


def test_a_client_that_is_killed_leaves_nothing_behind(counting: CountingBackend) -> None:
    address = ray.get_runtime_context().gcs_address
    code = DIES.format(root=str(ROOT), address=address, log=str(counting.log))
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "going\n"
        before = status()
        assert [row["title"] for row in before["clients"]] == ["dying"]
        assert before["jobs_in_flight"] > 1000
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not status()["clients"])
    after = status()
    assert after["clients_expired"] == before["clients_expired"] + 1
    assert (after["jobs_in_flight"], after["circuits"]) == (0, 0)
    jobs = jobs_of(4, 7)
    with client(counting, "living") as living:
        began = time.monotonic()
        assert bits(list(living.run(jobs))) == alone(jobs)
        assert time.monotonic() - began < 5, "the dead one's jobs are not in the way"


def test_a_client_that_was_stopped_for_long_goes_on(
    counting: CountingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGSTOP or a suspended laptop: the lease has ended, the fleet has forgotten it, and it joins again."""
    jobs = jobs_of(60, 8)
    with client(counting, "sleeper") as sleeper:
        going = sleeper.run(jobs)
        results = [next(going)]
        ray.get(find_server("counting").leave.remote(sleeper._client))  # what the end of its lease does
        results += list(going)
        assert bits(results) == alone(jobs)
        assert len(results) == len(jobs)


def test_another_backend_or_name_is_refused_in_words(counting: CountingBackend, capsys: Any) -> None:
    with pytest.raises(ConfigError, match=r"backend\.name = 'ideal': fleet 'counting' has cosine"):
        SharedFleet("counting", IdealBackend())
    with pytest.raises(FleetError, match=r"no fleet 'countign'.*did you mean 'counting'"):
        SharedFleet("countign", counting)
    with NamedFleets() as fleets, pytest.raises(ConfigError, match="there is a fleet of that name"):
        fleets.start("counting", lambda _: counting, {"n_actors": 1})
    assert cli.main(["fleet", "stop", "countign"]) == 1
    assert "did you mean 'counting'?" in capsys.readouterr().err


def test_a_fleet_of_other_versions_is_refused_in_words(
    counting: CountingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.ray_fleet.shared.versions", lambda: versions() | {"numpy": "1.0"})
    with pytest.raises(FleetError, match=rf"fleet 'counting' has numpy {np.__version__}, this run 1\.0"):
        client(counting, "of another time")
    assert "of another time" not in [row["title"] for row in status()["clients"]]


def test_a_fleet_that_pays_has_one_book_and_one_cap_for_all(tmp_path: Path) -> None:
    """The book refuses a second submission under one token, so a job that was run twice would end this with an error."""

    def pays(stack: ExitStack) -> Backend:
        return PayingBackend(stack.enter_context(BookServer(tmp_path, 40)).book)

    jobs = jobs_of(41, 11)
    backend = PayingBackend(None)  # the book is the fleet's
    with NamedFleets() as fleets:
        fleets.start("paying", pays, {"n_actors": 2, "cpus_per_actor": 0.25}, stays_here=True)
        with SharedFleet("paying", backend) as one, SharedFleet("paying", backend) as other:
            for run in (one, other):
                run.register(CIRCUIT)
            first, second = one.run(jobs[:30]), other.run(jobs[:30])
            assert bits(list(first)) == bits(list(second)) == alone(jobs[:30])
            assert bits(list(one.run(jobs[20:40]))) == alone(jobs[20:40])
            with pytest.raises(BudgetError) as caught:
                list(other.run(jobs))
            assert (caught.value.cap, caught.value.spent) == (40, 40)
            assert bits(list(other.run(jobs[:40]))) == alone(jobs[:40]), "what is paid is there for all"
        fleets.stop("paying")
    with SubmissionBook(tmp_path, lock_seconds=10.0) as book:
        assert book.totals()[:2] == (40, 0)


CONFIG = """
[run]
epochs = 2
name = "{name}"
directory = "{directory}"
[data]
name = "iris"
max_samples = 20
classes = [0, 1]
n_components = 2
[model]
n_qubits = 2
n_layers = 1
[fleet]
name = "lab"
cpus_per_actor = 0.5
[tracking]
enabled = false
"""


def test_a_training_on_a_named_fleet_ends_on_the_bits_of_a_serial_one(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from pipelines.trainer import Trainer

    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(name="shared", directory=tmp_path))
    assert cli.main(["fleet", "start", "lab", str(path), "--json"]) == 0
    try:
        config = fleet.TrainingConfig.from_toml(path)
        shared = Trainer(config, progress=False).fit()
        serial = Trainer(
            config.with_overrides(["fleet.dispatcher=serial", "run.name=serial"]), progress=False
        ).fit()
        assert shared.best_params.tobytes() == serial.best_params.tobytes()
        assert cli.main(["fleet", "status", "lab"]) == 0
        told = capsys.readouterr().out
        assert "fleet lab" in told
        assert "actor-1" in told
        with SharedFleet("lab", IdealBackend()) as waiting:
            waiting.register(CIRCUIT)
            going = waiting.run(jobs_of(5000, 10))
            next(going)
            ending = threading.Thread(target=cli.main, args=(["fleet", "stop", "lab"],))
            ending.start()
            with pytest.raises(FleetError, match=r"'lab' was stopped: .* then resume the run"):
                list(going)
            ending.join()
    finally:
        with NamedFleets() as fleets:
            assert "lab" not in fleets.names()


def fails(stack: ExitStack) -> Backend:
    raise ConfigError("backend.noise", "x", "cannot be had")


def test_a_fleet_that_cannot_be_started_leaves_no_name(local_ray: None) -> None:
    with NamedFleets() as fleets:
        with pytest.raises(ConfigError, match="cannot be had"):
            fleets.start("stillborn", fails, {"n_actors": 1})
        wait_until(lambda: "stillborn" not in fleets.names())


def test_the_death_of_the_server_is_told_to_who_waits(counting: CountingBackend) -> None:
    """Last of those that use this fleet."""
    with client(counting, "orphan") as orphan:
        going = orphan.run(jobs_of(500, 9))
        next(going)
        os.kill(status()["pid"], signal.SIGKILL)
        with pytest.raises(FleetError, match=r"is gone.*fleet start counting CONFIG`, then resume the run"):
            list(going)
