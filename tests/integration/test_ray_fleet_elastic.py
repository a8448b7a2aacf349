"""A Ray fleet whose actors come and go while it works, and answers that are lost, late or wrong: same bits in the end."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import ObjectLostError

from actors.ray_fleet import RayFleet
from actors.ray_fleet import fleet as fleet_module
from actors.retry import RetryPolicy
from orchestrator.errors import ExecutionError, FleetError
from orchestrator.jobs import Job, JobResult
from tests.contract.test_dispatcher_conformance import (
    CIRCUIT,
    CosineBackend,
    CosineSession,
    expected_values,
    make_jobs,
    values_by_id,
)

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(90)]

KILLED, HANGS, FAR_AHEAD, CANNOT_TRAVEL, CANNOT_BE_READ, IS_HUGE, ANSWERS_OTHER, SLOW = range(201, 209)
"""A job of such a step fares like that; where a file is named, the first time only."""


class Unreadable:
    """Arrives, and cannot be made into an object again."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return int, ("no number",)


class TroubledSession(CosineSession):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, compiled: int, job: Job) -> JobResult:
        time.sleep(0.02)
        result = super().run(compiled, job)
        if job.step == FAR_AHEAD:
            return replace(result, started_at=result.started_at + 3600, finished_at=result.finished_at + 3600)
        if job.step == KILLED:
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        if job.step == SLOW:
            time.sleep(0.1)
        if not self.is_first(job):
            return result
        if job.step == HANGS:
            time.sleep(1000)
        if job.step == CANNOT_TRAVEL:
            return replace(result, backend=lambda: None)  # type: ignore[arg-type]
        if job.step == CANNOT_BE_READ:
            return replace(result, backend=Unreadable())  # type: ignore[arg-type]
        if job.step == ANSWERS_OTHER:
            object.__setattr__(result, "job_id", _Changing(result.job_id))
        if job.step == IS_HUGE:
            return replace(result, backend="x" * 2**20)
        return result

    def is_first(self, job: Job) -> bool:
        if job.step <= 200:
            return False
        try:
            (self.folder / job.job_id).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class _Changing(str):
    """Another job's id as soon as it has left the actor, past the check there."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return str, ("f" * 32,)


class TroubledBackend(CosineBackend):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open_session(self) -> CosineSession:
        if (self.folder / "closed").exists():
            raise ExecutionError("HTTP 503: no session today")
        return TroubledSession(self.folder)


@contextmanager
def started(backend: CosineBackend, n_actors: int = 2, **options: Any) -> Iterator[RayFleet]:
    with RayFleet(backend, n_actors, **({"cpus_per_actor": 0.25} | options)) as fleet:
        fleet.register(CIRCUIT)
        yield fleet


def kinds(fleet: RayFleet) -> list[str]:
    return [event.kind for event in fleet.events()]


def test_answers_that_are_lost_wrong_or_unreadable_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = ray.get

    def get_and_lose(reference: Any, **options: Any) -> Any:
        """As where the node that holds a large answer is gone: this Ray has one node only."""
        answer = get(reference, **options)
        if isinstance(answer, bytes) and len(answer) > 2**20 and not (tmp_path / "lost").exists():
            (tmp_path / "lost").touch()
            raise ObjectLostError(reference.hex(), "", "")
        return answer

    with started(TroubledBackend(tmp_path), policy=RetryPolicy(max_attempts=2)) as fleet:
        for step in (CANNOT_TRAVEL, CANNOT_BE_READ, ANSWERS_OTHER):
            jobs = make_jobs(4, CIRCUIT, step)
            before = fleet.stats().jobs_retried
            assert values_by_id(list(fleet.run(jobs))) == expected_values_of(jobs)
            assert fleet.stats().jobs_retried - before == 4, step
        assert sum(worker.failures for worker in fleet.workers()) == 12
        assert fleet.stats().workers_lost == 0
        now = time.time()
        jobs = make_jobs(3, CIRCUIT, FAR_AHEAD)
        assert values_by_id(list(fleet.run(jobs))) == expected_values_of(jobs)
        for span in fleet.timeline()[-3:]:
            assert now - 0.1 <= span.started_at <= span.finished_at <= time.time() + 0.1
            assert span.finished_at - span.started_at < 1.0
        monkeypatch.setattr(ray, "get", get_and_lose)
        jobs = make_jobs(4, CIRCUIT, IS_HUGE)
        assert values_by_id(list(fleet.run(jobs))) == expected_values_of(jobs)
        assert fleet.stats().workers_lost == 1
        assert "object" in next(event.text for event in fleet.events() if event.kind == "lost").lower()


def expected_values_of(jobs: list[Job]) -> dict[str, bytes]:
    plain = {job.job_id: replace(job, step=0) for job in jobs}
    values = expected_values(list(plain.values()))
    return {job_id: values[job.job_id] for job_id, job in plain.items()}


def test_an_actor_that_hangs_is_overtaken_and_replaced(tmp_path: Path) -> None:
    with started(TroubledBackend(tmp_path), hang_seconds=1.0) as fleet:
        list(fleet.run(make_jobs(8, CIRCUIT)))
        jobs = [*make_jobs(6, CIRCUIT), *make_jobs(1, CIRCUIT, HANGS)]
        began = time.monotonic()
        assert values_by_id(list(fleet.run(jobs))) == expected_values_of(jobs)
        assert time.monotonic() - began < 10
        assert "duplicated" in kinds(fleet)
        deadline = time.monotonic() + 30
        while fleet.stats().workers_lost == 0 or fleet.n_workers < 2:
            list(fleet.run(make_jobs(1, CIRCUIT)))
            assert time.monotonic() < deadline
        assert "it hangs" in next(event.text for event in fleet.events() if event.kind == "lost")


def test_half_of_the_actors_are_killed_in_the_middle_and_none_can_be_had_anew(tmp_path: Path) -> None:
    """The rest finish; sessions that do not open on the new ones are tried so often and no more."""
    with started(TroubledBackend(tmp_path), 4, max_replacements=3) as fleet:
        list(fleet.run(make_jobs(12, CIRCUIT)))
        (tmp_path / "closed").touch()
        jobs = make_jobs(60, CIRCUIT, SLOW)
        results = []
        for result in fleet.run(jobs):
            results.append(result)
            if len(results) == 10:
                for pid in list(fleet.worker_pids().values())[:2]:
                    os.kill(pid, signal.SIGKILL)
        assert values_by_id(results) == expected_values_of(jobs)
        deadline = time.monotonic() + 30
        while fleet.stats().workers_lost < 5:
            list(fleet.run(make_jobs(1, CIRCUIT)))
            assert time.monotonic() < deadline
        assert fleet.n_workers == len(fleet.workers()) == 2
        losses = [event.text for event in fleet.events() if event.kind == "lost"]
        assert sum("no session today" in text for text in losses) == 3


def test_a_job_that_kills_every_actor_speaks_of_memory(tmp_path: Path) -> None:
    with started(TroubledBackend(tmp_path), policy=RetryPolicy(max_attempts=2)) as fleet:
        with pytest.raises(ExecutionError, match=r"failed 2 times.*memory") as caught:
            list(fleet.run(make_jobs(1, CIRCUIT, KILLED)))
        assert "\n" not in str(caught.value)


def test_actors_join_and_leave_while_jobs_are_out(tmp_path: Path) -> None:
    """One that waits for room is told of, joins when there is some, and is used at once; those that leave end what they have."""
    texts: list[str] = []
    backend = TroubledBackend(tmp_path)
    with (
        started(CosineBackend(), 1, cpus_per_actor=1.0) as other,
        started(
            backend, 2, min_actors=1, cpus_per_actor=1.0, on_event=lambda event: texts.append(event.text)
        ) as fleet,
    ):
        assert fleet.n_workers == 1
        jobs = make_jobs(400, CIRCUIT)
        results: list[JobResult] = []
        n_retired = 0
        for result in fleet.run(jobs):
            results.append(result)
            if any(text.startswith("waiting for 1 more actor: it needs 1 CPU") for text in texts):
                other.close()
            if fleet.n_workers == 2 and not n_retired and any(r.worker == "actor-1" for r in results):
                n_retired = len(results)
                fleet.resize(1)
        assert values_by_id(results) == expected_values_of(jobs)
        assert "the cluster has 0 of 2 CPUs free" in " ".join(texts)
        assert 0 < n_retired < 400, "the second joined while the jobs were out"
        late = [result.worker for result in results[n_retired:]]
        assert late.count("actor-1") <= 2, "it ends what it has and gets nothing more"
        assert [kind for kind in kinds(fleet) if kind != "waiting"] == ["joined", "joined", "left"]
        assert fleet.stats().workers_lost == fleet.stats().jobs_retried == 0
        fleet.resize(2)
        deadline = time.monotonic() + 30
        while fleet.n_workers < 2:
            list(fleet.run(make_jobs(1, CIRCUIT)))
            assert time.monotonic() < deadline


def test_resources_that_no_node_has_are_refused_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(FleetError, match=r"each need .* 1 qpu_ionq.*no node has qpu_ionq"):
        RayFleet(CosineBackend(), 1, cpus_per_actor=0.25, resources_per_actor={"qpu_ionq": 1})
    assert time.monotonic() - began < 5
    with pytest.raises(FleetError, match=r"waiting for 1 more actor: .* 0 of 0 qpu_ionq free"):
        RayFleet(
            CosineBackend(), 1, cpus_per_actor=0.25, resources_per_actor={"qpu_ionq": 1},
            wait_for_nodes_seconds=1.0, start_timeout_seconds=1.0,
        )  # fmt: skip


def test_an_actor_with_other_versions_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = fleet_module.versions() | {"numpy": "2.3.1"}
    monkeypatch.setattr(fleet_module, "versions", lambda: ours)
    with pytest.raises(FleetError, match=rf"has numpy {np.__version__}, the driver 2.3.1: install the same"):
        RayFleet(CosineBackend(), 1, cpus_per_actor=0.25)


def test_pickles_of_this_file_do_what_they_say() -> None:
    assert pickle.loads(pickle.dumps(_Changing("a"))) == "f" * 32
    with pytest.raises(ValueError, match="no number"):
        pickle.loads(pickle.dumps(Unreadable()))
