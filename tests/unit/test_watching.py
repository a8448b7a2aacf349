"""The live status of a run, what readers make of it, and the commands that show it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import FleetError, InputError
from orchestrator.protocols import DispatcherStats, FleetEvent, JobSpan, WorkerStatus
from orchestrator.training.reports import EpochReport, StepReport, Totals
from pipelines import status, top
from pipelines.spending import Spending
from pipelines.watching import live_status, runs, status_file
from pipelines.watching.live_status import LiveStatus, Tick
from pipelines.watching.watch import check_log_file, redactor

NOW = 1.8e9


def step_report(step: int, **changes: Any) -> StepReport:
    figures: dict[str, Any] = {
        "step": step, "n_steps": 20, "epoch": 1 + (step - 1) // 10, "n_epochs": 2, "loss": 0.5 / step, "gradient_norm": 0.125,
        "learning_rate": 0.05, "totals": Totals(100 * step, 7 * step, 0.25 * step),
    }  # fmt: skip
    return StepReport(**(figures | changes))


def epoch_report(epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch, n_epochs=2, step=10 * epoch, metrics={"train/epoch_loss": 0.4, "val/loss": 0.3}, monitored="val/loss",
        is_best=True, best_epoch=epoch, best_value=0.3, learning_rate=0.05, totals=Totals(1050), seconds=1.0,
    )  # fmt: skip


class Fleet:
    """A dispatcher of which only the counts are asked."""

    def __init__(self, n: int = 2) -> None:
        self.rows = [
            WorkerStatus(f"actor-{i}", "ready", "node", 10 + i, 1, 5, 50, 0.5, 4, 5) for i in range(n)
        ]
        self.spans = [JobSpan("actor-0", "a", 1.0, 2.0)]
        self.happened = [FleetEvent(NOW, "joined", f"actor-{i}") for i in range(n)]
        self.is_closed = False

    def workers(self) -> Sequence[WorkerStatus]:
        return [] if self.is_closed else list(self.rows)

    def timeline(self) -> Sequence[JobSpan]:
        return list(self.spans)

    def events(self) -> Sequence[FleetEvent]:
        return list(self.happened)

    def stats(self) -> DispatcherStats:
        if self.is_closed:
            raise FleetError("the fleet is closed")
        return DispatcherStats(len(self.rows), 10, 1, 0, 1.0, 8, 10)


def written(folder: Path) -> dict[str, Any]:
    found = status_file.read_status(folder)
    assert found is not None
    return found


class TestJudgement:
    @pytest.mark.parametrize(
        ("state", "age", "host", "is_alive", "expected"),
        [
            ("training", 1.0, "here", True, "training"),
            ("training", 60.0, "here", False, "dead"),
            ("training", 60.0, "here", True, "silent"),  # stopped, or another process with its number
            ("training", 60.0, "there", False, "silent"),  # no process of ours says anything about that machine
            ("training", 1.0, "here", False, "training"),  # in another container
            ("training", -3600.0, "here", False, "training"),  # the clock was put back
            ("finished", 1e6, "here", False, "finished"),
            ("failed", 1e6, "there", False, "failed"),
        ],
    )  # fmt: skip
    def test_an_old_heartbeat(self, state: str, age: float, host: str, is_alive: bool, expected: str) -> None:
        told = {"state": state, "heartbeat_at": NOW - age, "host": host, "pid": 1}
        assert status_file.judged_state(told, NOW, "here", lambda pid: is_alive) == expected

    def test_processes(self) -> None:
        assert status_file.is_alive(os.getpid())
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert status_file.is_alive(child.pid)
        child.kill()
        for _ in range(200):
            if not status_file.is_alive(child.pid):
                break
            time.sleep(0.01)
        assert not status_file.is_alive(child.pid), "a zombie, not waited for yet, has ended"
        child.communicate()
        assert not status_file.is_alive(child.pid)

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"state": "training"}', b"\xff\xfe"])
    def test_what_is_no_status(self, content: bytes, tmp_path: Path) -> None:
        assert status_file.read_status(tmp_path) is None
        (tmp_path / "status.json").write_bytes(content)
        assert status_file.read_status(tmp_path) is None


class TestLiveStatus:
    def test_a_run_waits_for_actors_only_while_it_has_none(self, tmp_path: Path) -> None:
        """With ``max_actors`` beyond the cluster's room the newest event may be one of waiting for as long as the run lasts."""
        live = LiveStatus(tmp_path, {"run": "r"}, seconds=1e6)
        live.start("a run")
        fleet = Fleet()
        fleet.happened.append(FleetEvent(NOW, "waiting", "", "waiting for 2 more actors"))
        live.watch(fleet)  # type: ignore[arg-type]
        live._tick()
        assert (written(tmp_path)["state"], written(tmp_path)["reason"]) == ("training", "")
        fleet.rows = [row._replace(state="starting") for row in fleet.rows]
        live._tick()
        assert written(tmp_path)["state"] == "waiting for resources"
        assert written(tmp_path)["reason"] == "waiting for 2 more actors"
        live.close()

    def test_a_run_from_its_start_to_its_end(self, tmp_path: Path) -> None:
        ticks: list[Tick] = []
        live = LiveStatus(tmp_path, {"run": "r"}, n_batches=10, seconds=1e6, listeners=[ticks.append])
        live.start("a run")
        assert written(tmp_path)["state"] == "starting"
        assert written(tmp_path)["pid"] == os.getpid()
        live.waits("2 actors with 1 qpu")
        live._tick()
        assert (written(tmp_path)["state"], written(tmp_path)["reason"]) == (
            "waiting for resources",
            "2 actors with 1 qpu",
        )
        fleet = Fleet()
        live.watch(fleet)  # type: ignore[arg-type]
        live.on_step(step_report(9))
        live.on_spending(Spending(1.5, 0.5, 0.0, 10.0, 2))
        live._tick()
        now = written(tmp_path)
        assert (now["state"], now["reason"], now["step"], now["n_steps"], now["circuits"]) == (
            "training",
            "",
            9,
            20,
            900,
        )
        assert now["spending"] == {"spent": 1.5, "reserved": 0.5, "saved": 0.0, "cap": 10.0, "n_under_way": 2}
        assert [worker["worker"] for worker in now["workers"]] == ["actor-0", "actor-1"]
        assert now["cache_hit_rate"] == 0.8
        live.on_step(step_report(10))
        live._tick()
        assert written(tmp_path)["state"] == "validating"
        live.on_epoch(epoch_report(1))
        live._tick()
        assert written(tmp_path)["state"] == "training"
        assert written(tmp_path)["best"] == {"metric": "val/loss", "value": 0.3, "epoch": 1}
        live.phase("drawing plots")
        live._tick()
        assert (written(tmp_path)["state"], written(tmp_path)["activity"]) == ("finishing", "drawing plots")
        fleet.is_closed = True
        live._tick()  # between the closing of the fleet and the end of the run
        live.end("finished", totals=Totals(1234))
        last = written(tmp_path)
        assert (last["state"], last["circuits"], last["activity"]) == ("finished", 1234, "")
        assert len(last["workers"]) == 2, "those that it had, although the fleet is closed"
        live.end("failed", "too late")
        assert written(tmp_path)["state"] == "finished"
        assert [path.name for path in tmp_path.iterdir()] == ["status.json"], "nothing is left aside"
        assert sum(len(tick.spans) for tick in ticks) == 1, "every span is told once"
        assert sum(len(tick.events) for tick in ticks) == 2

    def test_rates_are_of_the_last_seconds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [1000.0]
        monkeypatch.setattr(live_status.time, "monotonic", lambda: clock[0])
        live, fleet = LiveStatus(tmp_path, {"run": "r"}), Fleet()
        live.watch(fleet)  # type: ignore[arg-type]
        for second in range(40):
            rate = 100 if second < 20 else 300
            fleet.rows[0] = fleet.rows[0]._replace(
                circuits_done=fleet.rows[0].circuits_done + rate,
                busy_seconds=fleet.rows[0].busy_seconds + 0.5,
            )
            live._tick()
            clock[0] += 1.0
        now = written(tmp_path)
        assert [worker["circuits_per_second"] for worker in now["workers"]] == [300.0, 0.0]
        assert now["circuits_per_second"] == 300.0
        assert now["utilisation"] == pytest.approx(0.25)  # one of two, half of the time

    def test_the_heartbeat_goes_on_during_a_long_step(self, tmp_path: Path) -> None:
        live = LiveStatus(tmp_path, {"run": "r"}, seconds=0.01)
        live.start("a run")
        first = written(tmp_path)["heartbeat_at"]
        deadline = time.monotonic() + 20
        while written(tmp_path)["heartbeat_at"] == first and time.monotonic() < deadline:
            time.sleep(0.01)
        live.close()
        assert written(tmp_path)["heartbeat_at"] > first

    def test_what_cannot_be_told_stops_nothing(self, tmp_path: Path) -> None:
        class Broken(Fleet):
            def workers(self) -> Sequence[WorkerStatus]:
                raise RuntimeError("changed size during iteration")

        def fails(tick: Tick) -> None:
            raise ValueError("a listener")

        live = LiveStatus(tmp_path / "gone", {"run": "r"}, listeners=[fails], seconds=1e6)
        live.watch(Broken())  # type: ignore[arg-type]
        live.start("a run")
        live.end("failed", "x")
        assert not (tmp_path / "gone").exists()

    def test_a_reader_that_meets_a_change_asks_again(self) -> None:
        answers = iter([RuntimeError("deque mutated during iteration"), RuntimeError("again")])

        def ask() -> list[int]:
            for error in answers:
                raise error
            return [1]

        assert live_status._read(ask) == [1]

    def test_secrets_are_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IONQ_API_KEY", "sesame-open-1234")
        live = LiveStatus(tmp_path, {"run": "r"}, redact=redactor("https://ann:hunter2@host/x"), seconds=1e6)
        fleet = Fleet(1)
        fleet.rows[0] = fleet.rows[0]._replace(failures=1, last_error="401 for apiKey sesame-open-1234")
        fleet.happened.append(FleetEvent(NOW, "lost", "actor-0", "https://ann:hunter2@host/x is away"))
        live.watch(fleet)  # type: ignore[arg-type]
        live.message("hunter2")
        live.end("failed", "hunter2 and sesame-open-1234")
        text = (tmp_path / "status.json").read_text(encoding="utf-8")
        assert "sesame" not in text
        assert "hunter2" not in text
        assert text.count("***") >= 4


def make_run(folder: Path, name: str, **content: Any) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    (made / "config.toml").write_text("", encoding="utf-8")
    if content:
        live = LiveStatus(made, {"run": name, "backend": "ideal"})
        live.watch(Fleet())  # type: ignore[arg-type]
        live.on_step(step_report(9))
        live._tick()
        # a heartbeat to come: these tests are not about its age
        status_file.write_status(made, written(made) | {"heartbeat_at": time.time() + 3600} | content)
    return made


def options(folder: Path, run: str | None = None, **more: Any) -> Namespace:
    return Namespace(run=run, directory=str(folder), **({"json": False, "once": False} | more))


class TestCommands:
    def test_all_runs_newest_first(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        make_run(tmp_path, "old")
        (tmp_path / "old" / "result.json").write_text(
            '{"metrics": {}, "circuits": 7, "shots": 0, "cost_usd": 0.0}'
        )
        for seconds, (name, state) in enumerate((("a", "training"), ("b", "finished"))):
            path = make_run(tmp_path, name, state=state)
            os.utime(path / "config.toml", (time.time() + 10 + seconds,) * 2)
        (tmp_path / "not-a-run").mkdir()
        found = status.run(options(tmp_path))
        assert [(each["run"], each["state"]) for each in found["runs"]] == [
            ("b", "finished"), ("a", "training"), ("old", "finished"),
        ]  # fmt: skip
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4
        assert lines[0].split() == ["run", "step", "loss", "circuits", "spent", "left", "state"]
        assert lines[2].split() == ["a", "9/20", "0.05556", "900", "$2.25", "–", "training"]
        json.dumps(found)

    def test_no_runs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert status.run(options(tmp_path / "none")) == {"runs": []}
        assert capsys.readouterr().out == f"no runs in {tmp_path / 'none'}\n"
        with pytest.raises(InputError, match="no run 'x'"):
            status.run(options(tmp_path, "x"))

    def test_one_run_in_detail(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        make_run(tmp_path, "a", state="stopped", reason="interrupted after step 9", seconds_left=75.0)
        found = status.run(options(tmp_path, "a"))
        text = capsys.readouterr().out
        for part in (
            "a: stopped",
            "interrupted after step 9",
            "qfleet resume",
            "9 of 20",
            "about 1 min 15 s",
            "actor-1",
            "joined",
        ):
            assert part in text
        assert found["resume"].endswith(f"resume {tmp_path / 'a'}")

    def test_a_killed_driver_is_dead_and_says_how_to_go_on(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make_run(tmp_path, "a")
        code = (
            "import sys, time; from pathlib import Path; from pipelines.watching.live_status import LiveStatus\n"
            "LiveStatus(Path(sys.argv[1]), {'run': 'a'}, seconds=0.05).start('a'); print('started', flush=True); time.sleep(60)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(made)], stdout=subprocess.PIPE, text=True
        ) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "started\n"
            assert status.run(options(tmp_path, "a", json=True))["state"] == "starting"
            driver.send_signal(signal.SIGKILL)
        monkeypatch.setattr(status_file, "OLD_SECONDS", 0.0)
        found = status.run(options(tmp_path))["runs"][0]
        assert found["state"] == "dead"
        assert f"dead (resume with {found['resume']})" in capsys.readouterr().out

    def test_top_prints_once_without_a_terminal(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make_run(tmp_path, "a", state="training")
        top.run(options(tmp_path, "latest"))
        text = capsys.readouterr().out
        for part in ("a  training", "actor-0", "ready", "ideal", "80.0 %", "circuits/s", "last error"):
            assert part in text
        assert top.run(options(tmp_path, "a", json=True))["workers"][1]["worker"] == "actor-1"
        assert capsys.readouterr().out == ""

    def test_an_error_with_brackets_in_it_is_shown_as_it_is(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = make_run(tmp_path, "a", state="training")
        workers = [
            worker | {"last_error": "[/tmp/x] is not a [bold] file"} for worker in written(made)["workers"]
        ]
        status_file.write_status(made, written(made) | {"workers": workers})
        top.run(options(tmp_path, "a"))
        status.run(options(tmp_path, "a"))
        assert capsys.readouterr().out.count("[/tmp/x] is not a [bold] file") >= 2

    def test_top_goes_on_until_the_run_ends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = make_run(tmp_path, "a", state="training")
        drawn: list[str] = []

        def show(read: Any) -> None:
            for state in ("training", "waiting for resources", "finished"):
                status_file.write_status(made, written(made) | {"state": state})
                _, words, is_over = read()
                drawn.append(f"{words} {is_over}")

        monkeypatch.setattr(top, "show_actors", show)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert top.run(options(tmp_path, "a"))["state"] == "finished"
        assert drawn == ["training False", "waiting for resources False", "finished True"]

    def test_ctrl_c_leaves_top_in_peace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_run(tmp_path, "a", state="training")

        def show(read: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(top, "show_actors", show)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert top.run(options(tmp_path, "a"))["state"] == "training"

    def test_a_fleet_larger_than_the_screen(self, tmp_path: Path) -> None:
        from rich.console import Console

        from pipelines.display.actors import _view

        made = make_run(tmp_path, "a", state="training")
        rows = [written(made)["workers"][0] | {"worker": f"actor-{i}"} for i in range(300)]
        console = Console(width=100, height=24, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(_view(written(made) | {"workers": rows}, "training", console.height))
        text = console.export_text()
        assert len(text.splitlines()) <= 24
        assert "more" in text

    def test_they_answer_at_once(self, tmp_path: Path) -> None:
        make_run(tmp_path, "a", state="training")
        code = (
            "import sys; from pipelines.cli import main; where = ['--directory', sys.argv[1]]\n"
            "codes = [main([*c, *where]) for c in (['status'], ['status', 'a'], ['top', 'a', '--once'])]; assert codes == [0, 0, 0]\n"
            "bad = {'ray', 'mlflow', 'cirq', 'numba', 'matplotlib', 'pandas', 'sklearn', 'scipy'} & set(sys.modules); assert not bad, bad"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("training") == 4  # the list, title and state of one, the head of the table


def test_a_log_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a file in a folder that can be written"):
        check_log_file(tmp_path)
    assert check_log_file(None) is None
    assert check_log_file(tmp_path / "new" / "log") == tmp_path / "new" / "log"


def test_states_in_words() -> None:
    silent = {"state": "silent", "heartbeat_age_seconds": 75.0, "host": "there", "pid": 7}
    assert runs.state_text(silent) == "silent for 1 min 15 s (on there, process 7)"
