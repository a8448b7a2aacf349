"""RayTasks: a function over actors that answer, raise, die, and cannot be had; and the published tables on them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.ray_fleet.tasks import RayTasks
from orchestrator.errors import CapabilityError, ConfigError, ExecutionError, FleetError, InputError
from pipelines import cli
from pipelines.benchmark import tables_fleet
from pipelines.benchmark.tables_pool import fits
from pipelines.benchmark.tables_runs import Run, longest_first
from pipelines.benchmark.tables_settings import DataSet, Setting

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def actors(local_ray: None) -> Iterator[RayTasks]:
    with RayTasks(2, cpus_per_actor=0.5) as made:
        yield made


def square(number: int) -> int:
    return number * number


def who(number: int) -> tuple[int, str | None]:
    time.sleep(0.2)
    return os.getpid(), os.environ.get("NUMBA_NUM_THREADS")


def dies_once(task: tuple[int, str]) -> int:
    """Task 1 kills its process where the file is not there yet."""
    number, marker = task
    if number == 1 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def dies(number: int) -> int:
    os._exit(1)


def refuses(number: int) -> int:
    if number == 2:
        raise CapabilityError("not on Tuesdays")
    return number


def divides(number: int) -> float:
    return 1 / number


def fails_and_counts(folder: str) -> None:
    Path(folder, f"{time.monotonic_ns()}").touch()
    raise ExecutionError("the loss is nan")


def error_of(number: int) -> Exception:
    return ValueError(number)


# --- Answers ------------------------------


def test_every_argument_has_its_result_once(actors: RayTasks) -> None:
    numbers = [5, 3, 3, 0, -1, 7, 8]
    assert sorted(actors.run(square, numbers)) == [(i, n * n) for i, n in enumerate(numbers)]
    assert list(actors.run(square, [])) == []


def test_tasks_are_spread_over_actors_with_a_thread_each(actors: RayTasks) -> None:
    found = dict(actors.run(who, range(6)))
    assert {pid for pid, _ in found.values()} == set(actors.worker_pids().values())
    assert len(actors.worker_pids()) == 2
    assert os.getpid() not in {pid for pid, _ in found.values()}
    assert {threads for _, threads in found.values()} == {"1"}


def test_functions_without_a_name_and_results_that_are_errors(actors: RayTasks) -> None:
    factor = 3
    assert dict(actors.run(lambda n: n * factor, [2, 4])) == {0: 6, 1: 12}
    [(_, found)] = actors.run(error_of, [4])
    assert isinstance(found, ValueError)


def test_it_can_be_left_early_and_used_again(actors: RayTasks) -> None:
    for _ in actors.run(who, range(8)):
        break
    assert sorted(actors.run(square, [1, 2, 3])) == [(0, 1), (1, 4), (2, 9)]


def test_two_runs_are_not_mixed_up(actors: RayTasks) -> None:
    first = actors.run(square, [1, 2, 3])
    next(first)
    with pytest.raises(FleetError, match="in the middle of another run"):
        next(actors.run(square, [4]))
    assert len(list(first)) == 2
    assert list(actors.run(square, [4])) == [(0, 16)]


# --- Deaths ------------------------------


def test_a_dead_actors_task_is_done_again(tmp_path: Path) -> None:
    arguments = [(number, str(tmp_path / "died")) for number in range(6)]
    with RayTasks(2, cpus_per_actor=0.5) as actors:
        assert sorted(actors.run(dies_once, arguments)) == [(i, i) for i in range(6)]
        assert (tmp_path / "died").exists()
        assert actors.n_lost == 1


def test_a_task_that_kills_every_actor_is_given_up() -> None:
    with RayTasks(1, cpus_per_actor=0.5, max_attempts=2) as actors:
        with pytest.raises(ExecutionError, match="lost its actor 2 times"):
            list(actors.run(dies, [1]))
        assert actors.n_lost == 2
        assert list(actors.run(square, [4])) == [(0, 16)], "an actor was started in its place"


def test_no_actor_left_ends_it() -> None:
    with (
        RayTasks(1, cpus_per_actor=0.5, max_replacements=0) as actors,
        pytest.raises(FleetError, match="every actor is lost"),
    ):
        list(actors.run(dies, [1, 2]))


# --- Errors ------------------------------


def test_an_error_of_our_own_comes_as_it_is_and_others_by_name(actors: RayTasks) -> None:
    with pytest.raises(CapabilityError, match=r"^not on Tuesdays$"):
        list(actors.run(refuses, [1, 2, 3]))
    with pytest.raises(ExecutionError, match="ZeroDivisionError: division by zero"):
        list(actors.run(divides, [0]))
    assert dict(actors.run(divides, [4])) == {0: 0.25}


def test_an_error_of_the_task_is_not_tried_again(actors: RayTasks, tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"^the loss is nan$"):
        list(actors.run(fails_and_counts, [str(tmp_path)]))
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_pickled_is_refused(actors: RayTasks) -> None:
    with pytest.raises(InputError, match="cannot be sent to an actor"):
        list(actors.run(id, [threading.Lock()]))
    with pytest.raises(ExecutionError, match="lock"):
        list(actors.run(lambda n: threading.Lock(), [1]))
    assert list(actors.run(square, [2])) == [(0, 4)]


def test_numbers_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_actors = 0"):
        RayTasks(0)
    with pytest.raises(
        FleetError, match=r"5 actors with 1 CPUs each need 5 CPUs.*has 2: start at most 2 actors"
    ):
        RayTasks(5)
    assert ray.is_initialized(), "a Ray that was there before is left alone"


def test_closed_actors_say_so() -> None:
    actors = RayTasks(1, cpus_per_actor=0.5)
    actors.close()
    actors.close()
    with pytest.raises(FleetError, match="closed"):
        list(actors.run(square, [1]))


def test_actors_that_do_not_start_are_not_waited_for_for_ever() -> None:
    with (
        RayTasks(2, cpus_per_actor=1.0) as taking_all,
        RayTasks(1, cpus_per_actor=1.5, start_timeout_seconds=1.0) as waiting,
    ):
        list(taking_all.run(square, [1, 2]))
        with pytest.raises(FleetError, match="no actor was ready within 1 s"):
            list(waiting.run(square, [1]))


# --- The published tables ------------------------------

CURVES = DataSet("two_curves", 2)


class KilledOnce(RayTasks):
    """The actor that gives the first result is gone in the middle of its next task."""

    made: list[KilledOnce] = []  # noqa: RUF012

    def __init__(self, n_actors: int, *, address: str | None = None) -> None:
        super().__init__(n_actors, cpus_per_actor=0.5, address=address)
        self.is_shot = False
        self.made.append(self)

    def _pump(self) -> None:
        super()._pump()
        if self._results and not self.is_shot:
            self.is_shot = True
            os.kill(next(iter(self.worker_pids().values())), signal.SIGKILL)


def figures(outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """Every row, without what the clock says."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in outcome["rows"]]


def test_runs_on_actors_are_those_of_this_process_whatever_their_number() -> None:
    runs = [Run("separable", CURVES, Setting(1, 0.05), seed) for seed in range(3)]
    runs.append(Run("iqp", CURVES, Setting(1, 0.05), 0, (1, 5)))
    here = dict(fits(runs, 1))
    for n_actors in (1, 2):
        with tables_fleet.started(n_actors) as on_actors:
            there = dict(on_actors(runs))
        assert set(there) == set(here)
        for run, fit in here.items():
            assert vars(there[run]) | {"seconds": 0} == vars(fit) | {"seconds": 0}


def test_a_table_on_a_fleet_that_loses_an_actor_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["benchmark", "tables", "--quick", "--json", "--no-tracking", "--model", "iqp", "separable"]
    assert cli.main([*common, "--processes", "1", "--output", "here"]) == 0
    here = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(tables_fleet, "RayTasks", KilledOnce)
    KilledOnce.made.clear()
    assert cli.main([*common, "--actors", "2", "--output", "there"]) == 0
    # Ray's report of the death goes to stdout too, where Ray was not started by qfleet
    [printed] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    there = json.loads(printed)
    assert [actors.n_lost for actors in KilledOnce.made] == [1]
    assert (here["processes"], there["actors"]) == (1, 2)
    assert figures(there) == figures(here)
    assert len(figures(here)) == 6
    assert Path("there/tables.csv").is_file()


def test_more_actors_than_cpus_are_refused_before_anything_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["benchmark", "tables", "--quick", "--json", "--actors", "3"]) == 1
    assert "start at most 2 actors" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not list(tmp_path.iterdir())


def test_long_runs_are_handed_out_first() -> None:
    runs = [
        Run("iqp", DataSet("two_curves", n), Setting(layers, 0.05), 0)
        for n, layers in ((2, 1), (6, 5), (2, 10))
    ]
    assert longest_first(runs) == [runs[1], runs[2], runs[0]]
