"""Number formats, the three displays and the final table, drawn to strings with a clock of our own."""

from __future__ import annotations

import io
import logging
import math
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console

from orchestrator.protocols import DispatcherStats
from orchestrator.training.reports import EpochReport, StepReport, Totals
from pipelines.display.board import Trace
from pipelines.display.formatting import (
    format_count,
    format_duration,
    format_metric,
    format_percent,
    format_rate,
    format_usd,
    format_value,
    sparkline,
)
from pipelines.display.live import LiveProgress
from pipelines.display.progress import PlainProgress, QuietProgress, make_progress
from pipelines.display.tables import result_table


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def step_report(
    step: int, n_steps: int = 40, cost: float = 0.0, n_shots: int = 0, loss: float | None = None
) -> StepReport:
    return StepReport(
        step=step,
        n_steps=n_steps,
        epoch=1 + (step - 1) // 10,
        n_epochs=4,
        loss=0.5 / step if loss is None else loss,
        gradient_norm=0.125,
        learning_rate=0.05,
        totals=Totals(100 * step, n_shots * step, cost * step),
    )


def epoch_report(epoch: int = 1, stop_reason: str | None = None, **metrics: float) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        n_epochs=4,
        step=10 * epoch,
        metrics={"train/epoch_loss": 0.4, "val/loss": 0.3, "val/accuracy": 0.941} | metrics,
        monitored="val/loss",
        is_best=True,
        best_epoch=epoch,
        best_value=0.3,
        learning_rate=0.05,
        totals=Totals(1000 * epoch + 50),
        seconds=1.0,
        stop_reason=stop_reason,
    )


def fleet(n_workers: int = 2, retried: int = 0, lost: int = 0) -> DispatcherStats:
    return DispatcherStats(n_workers, 10, retried, lost, 1.0, 0, 0)


class TestFormats:
    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0"), (7, "7"), (0.5, "0.5"), (999, "999"), (999.7, "1.00 k"), (1000, "1.00 k"), (12_345, "12.3 k"),
            (999_600, "1.00 M"), (3_100_000, "3.10 M"), (2.5e9, "2.50 G"), (7e15, "7000 T"), (-1500, "-1.50 k"),
        ],
    )  # fmt: skip
    def test_count(self, count: float, text: str) -> None:
        assert format_count(count) == text

    def test_units_follow(self) -> None:
        assert format_count(3_100_000, "circuits") == "3.10 M circuits"
        assert format_rate(24_600, 2.0, "circuits") == "12.3 k circuits/s"
        assert format_rate(50, 1.0) == "50 /s"
        assert format_rate(5, 0.0) == "–"
        assert format_percent(0.9412) == "94.1 %"
        assert format_metric("test/accuracy", 0.5) == "50.0 %"
        assert format_metric("test/loss", 0.25) == "0.2500"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.0, "0 ms"), (0.038, "38 ms"), (0.9996, "1.0 s"), (4.21, "4.2 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
            (72, "1 min 12 s"), (3599.9, "1 h"), (3 * 3600 + 300, "3 h 5 min"), (2 * 86400 + 4 * 3600 + 59, "2 d 4 h"),
            (math.inf, "–"), (math.nan, "–"), (-1, "0 ms"),
        ],
    )  # fmt: skip
    def test_duration(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text

    @pytest.mark.parametrize(
        ("dollars", "text"),
        [
            (0.0, "$0.00"),
            (12.5, "$12.50"),
            (1204, "$1,204.00"),
            (0.00034, "$0.00034"),
            (0.009, "$0.0090"),
            (0.01, "$0.01"),
        ],
    )
    def test_usd_never_shows_little_as_nothing(self, dollars: float, text: str) -> None:
        assert format_usd(dollars) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.25, "0.2500"), (12.345, "12.35"), (1234.4, "1234"), (1.234e-5, "1.234e-05"), (math.nan, "nan")],
    )
    def test_value(self, value: float, text: str) -> None:
        assert format_value(value) == text


class TestSparkline:
    def test_follows_the_values(self) -> None:
        assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
        assert sparkline([7, 7, 0, 0], 2) == "█▁"

    def test_bounds(self) -> None:
        assert sparkline([], 8) == ""
        assert sparkline([1.0], 0) == ""
        assert sparkline([3.0, 3.0], 5) == "▁▁"
        assert len(sparkline(list(range(1000)), 37)) == 37

    def test_blank_where_not_finite(self) -> None:
        assert sparkline([0.0, math.nan, 1.0], 3) == "▁ █"
        assert sparkline([math.inf, math.nan], 2) == "  "

    def test_a_long_run_is_held_in_bounded_memory(self) -> None:
        trace = Trace(capacity=8)
        for k in range(10_000):
            trace.append(float(k))
        points = trace.points()
        assert len(points) <= 8
        assert points == sorted(points)
        assert points[0] < 2000
        assert points[-1] > 8000  # the newest values are seen, if not yet in full


class TestPlain:
    def make(self) -> tuple[PlainProgress, io.StringIO, Clock]:
        file, clock = io.StringIO(), Clock()
        return PlainProgress(file, clock), file, clock

    def test_one_line_per_epoch_and_few_within(self) -> None:
        progress, file, clock = self.make()
        with progress:
            progress.start("run-1", ["8 qubits", "2 actors"])
            progress.phase("starting 2 actors")
            progress.phase("starting 2 actors")
            for step in range(1, 41):
                clock.now += 1.0
                progress.on_step(step_report(step))
                if step % 10 == 0:
                    progress.on_epoch(epoch_report(step // 10))
        lines = file.getvalue().splitlines()
        assert lines[:4] == ["run-1", "  8 qubits", "  2 actors", "starting 2 actors ..."]
        ends = [line for line in lines if "val loss" in line]
        within = [line for line in lines if "gradient norm" in line]
        assert len(ends) == 4
        assert 4 <= len(within) <= 8  # 40 s, 5 s apart
        assert ends[0].startswith(
            "epoch 1/4 | step 10/40 | loss 0.4000 | val loss 0.3000 | val accuracy 94.1 % | best so far"
        )
        assert "| 1.05 k circuits | 100 /s | 10 s | about 30 s left" in ends[0]
        assert "left" not in ends[-1]
        assert "\x1b" not in file.getvalue()

    def test_trouble_money_and_shots_only_where_there_are_any(self) -> None:
        progress, file, clock = self.make()
        progress.on_step(step_report(1))
        progress.on_epoch(epoch_report())
        assert "$" not in file.getvalue()
        assert "shots" not in file.getvalue()
        progress.start("paid", is_paid=True)
        progress.on_fleet(fleet(retried=3, lost=1))
        progress.on_step(step_report(1, n_shots=1000))
        clock.now += 10
        progress.on_step(step_report(2, n_shots=1000))
        last = file.getvalue().splitlines()[-1]
        assert "2.00 k shots | $0.00 | 1 actor lost | 3 jobs retried" in last

    def test_says_why_training_ends_early(self) -> None:
        progress, file, _ = self.make()
        progress.on_epoch(epoch_report(2, stop_reason="no better val/loss for 1 epochs"))
        assert (
            file.getvalue().splitlines()[-1] == "training ends after epoch 2: no better val/loss for 1 epochs"
        )

    def test_a_closed_file_does_not_stop_the_run(self) -> None:
        progress, file, _ = self.make()
        file.close()
        progress.start("run")
        progress.on_epoch(epoch_report())
        progress.message("hello")
        progress.stop()

    def test_regression_metrics(self) -> None:
        progress, file, _ = self.make()
        report = epoch_report()
        report.metrics.pop("val/accuracy")
        report.metrics.update({"val/r2": 0.8, "val/rmse": 1.5})
        progress.on_epoch(report)
        assert "val loss 0.3000 | val R² 0.8000 | val RMSE 1.500" in file.getvalue()


class TestLive:
    def make(self, width: int = 80) -> tuple[LiveProgress, io.StringIO, Clock]:
        file, clock = io.StringIO(), Clock()
        console = Console(
            file=file,
            force_terminal=True,
            width=width,
            height=24,
            color_system=None,
            legacy_windows=False,
            _environ={},
        )
        return LiveProgress(console, clock, draws_per_second=None), file, clock

    def drawn(self, progress: LiveProgress, file: io.StringIO) -> list[str]:
        file.seek(0)
        file.truncate()
        progress.draw()
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "").splitlines()

    def test_shows_the_run(self) -> None:
        progress, file, clock = self.make()
        with progress:
            progress.start("run-1", ["8 qubits × 2 layers · 48 parameters"])
            for step in range(1, 21):
                progress.on_step(step_report(step))
                clock.now += 0.5
                progress.draw()
            progress.on_epoch(epoch_report(2))
            progress.on_fleet(fleet(retried=1))
            lines = self.drawn(progress, file)
        text = "\n".join(lines)
        assert max(map(len, lines)) <= 80
        assert "run-1" in lines[0]
        for part in (
            "8 qubits × 2 layers · 48 parameters",
            "20/40 steps   50 %",
            "2/4 · 10 s elapsed · about 10 s left",
            "loss        0.02500",
            "loss 0.3000 · accuracy 94.1 % · best: epoch 2",
            "norm 0.1250 · learning rate 0.05",
            "circuits    2.05 k · 200 /s",
            "2 alive · 1 job retried",
        ):
            assert part in text, f"{part!r} is missing from\n{text}"
        assert "█" in text  # the first losses are the highest bars
        assert "$" not in text

    def test_money_from_the_beginning_where_the_backend_is_paid(self) -> None:
        progress, file, _ = self.make()
        with progress:
            progress.start("paid", is_paid=True)
            progress.on_step(step_report(1))
            assert "$0.00" in "\n".join(self.drawn(progress, file))
            progress.on_step(step_report(2, cost=0.25))
            assert "$0.50" in "\n".join(self.drawn(progress, file))

    def test_a_phase_lasts_until_the_next_step(self) -> None:
        progress, file, clock = self.make()
        with progress:
            progress.start("run")
            progress.phase("compiling kernels, once per machine")
            clock.now += 7
            assert "compiling kernels, once per machine ...  7 s" in "\n".join(self.drawn(progress, file))
            progress.on_step(step_report(1))
            assert "compiling" not in "\n".join(self.drawn(progress, file))

    def test_the_time_left_runs_down_between_long_steps(self) -> None:
        progress, file, clock = self.make()
        with progress:
            progress.start("run")
            progress.on_step(step_report(1, n_steps=4))
            clock.now += 60
            assert "estimating" in "\n".join(self.drawn(progress, file))
            progress.on_step(step_report(2, n_steps=4))
            assert "about 2 min left" in "\n".join(self.drawn(progress, file))
            clock.now += 30
            assert "about 1 min 30 s left" in "\n".join(self.drawn(progress, file))
            clock.now += 3000
            assert "about 0 s left" in "\n".join(self.drawn(progress, file))

    @pytest.mark.parametrize("width", [20, 40, 80, 200])
    def test_any_width(self, width: int) -> None:
        progress, file, _ = self.make(width)
        with progress:
            progress.start("a-rather-long-name-of-a-run-20261105-143201", ["details " * 20])
            progress.on_step(step_report(1, loss=math.nan))
            progress.on_epoch(epoch_report())
            assert max(map(len, self.drawn(progress, file))) <= min(width, 100)

    def test_what_others_print_and_log_stays_whole_above_the_panel(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        progress, file, _ = self.make()
        terminal = io.StringIO()
        monkeypatch.setattr(sys, "stderr", terminal)
        handler = logging.StreamHandler()  # made before the display, as logging.basicConfig does
        logger = logging.getLogger("test_progress.above")
        logger.addHandler(handler)
        try:
            with progress:
                progress.start("run")
                logger.warning("careful [not markup]")
                print("printed", file=sys.stderr)
                progress.message("saved [bold]x[/bold]")
                assert terminal.getvalue() == ""
            logger.warning("afterwards")
        finally:
            logger.removeHandler(handler)
        for line in ("careful [not markup]\n", "printed\n", "saved [bold]x[/bold]\n"):
            assert line in file.getvalue()
        assert terminal.getvalue() == "afterwards\n"
        assert sys.stderr is terminal

    def test_stdout_that_is_piped_away_is_left_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        progress, _, _ = self.make()
        with progress:
            progress.start("run")
            print('{"json": true}')
        assert capsys.readouterr().out == '{"json": true}\n'

    def test_stops_in_any_order_and_more_than_once(self) -> None:
        progress, file, _ = self.make()
        progress.stop()
        progress.on_step(step_report(1))
        progress.on_epoch(epoch_report())
        progress.phase("early")
        progress.message("hello")
        progress.start("one")
        progress.start("two")
        progress.stop()
        progress.stop()
        progress.on_step(step_report(2))
        progress.draw()
        assert "hello" in file.getvalue()
        assert (
            file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 2
        )  # the cursor comes back

    def test_an_exception_takes_it_down(self) -> None:
        progress, file, _ = self.make()
        with pytest.raises(KeyboardInterrupt), progress:  # noqa: PT012
            progress.start("run")
            progress.on_step(step_report(3))
            raise KeyboardInterrupt
        assert file.getvalue().rstrip().endswith("\x1b[?25h")
        assert "3/40 steps" in file.getvalue()

    def test_a_terminal_that_went_away_does_not_stop_the_run(self) -> None:
        progress, file, _ = self.make()
        progress.start("run")
        file.close()
        progress.message("hello")
        progress.draw()
        progress.stop()

    def test_a_step_costs_microseconds(self) -> None:
        progress, _, _ = self.make()
        report = step_report(1)
        with progress:
            progress.start("run")
            started = time.perf_counter()
            for _ in range(20_000):
                progress.on_step(report)
            assert (time.perf_counter() - started) / 20_000 < 20e-6  # 0.2 µs on a quiet machine

    def test_its_own_thread_draws(self) -> None:
        file = io.StringIO()
        console = Console(
            file=file, force_terminal=True, width=80, height=24, legacy_windows=False, _environ={}
        )
        with LiveProgress(console, draws_per_second=200.0) as progress:
            progress.start("run")
            for step in range(1, 40):
                progress.on_step(step_report(step))
            deadline = time.monotonic() + 20
            while "39/40 steps" not in file.getvalue() and time.monotonic() < deadline:
                time.sleep(0.005)
            assert "39/40 steps" in file.getvalue()


class TestChoice:
    def test_by_terminal_and_quiet(self) -> None:
        assert isinstance(make_progress(True), LiveProgress)
        assert isinstance(make_progress(False), PlainProgress)
        assert type(make_progress(True, quiet=True)) is QuietProgress
        assert isinstance(make_progress(), PlainProgress)  # under pytest stderr is no terminal

    def test_quiet_shows_messages_only(self, capsys: pytest.CaptureFixture[str]) -> None:
        with make_progress(quiet=True) as progress:
            progress.start("run", ["details"])
            progress.phase("starting")
            progress.on_step(step_report(1))
            progress.on_epoch(epoch_report())
            progress.on_fleet(fleet())
            progress.message("saved")
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "saved\n")

    def test_stdout_stays_clean(self, capsys: pytest.CaptureFixture[str]) -> None:
        for is_terminal in (True, False):
            with make_progress(is_terminal) as progress:
                progress.start("run")
                progress.on_step(step_report(1))
                progress.message("hello")
        result_table("run", {"a": {"b": "c"}})
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "hello" in captured.err

    def test_importing_is_quick(self) -> None:
        code = "import sys, pipelines.display.progress; print([m for m in ('rich', 'numpy', 'matplotlib', 'cirq') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


SECTIONS: dict[str, dict[str, str | dict[str, str]]] = {
    "model": {
        "circuit": "8 qubits, 2 layers, three_rotation ansatz, linear entanglement, parity observables",
        "parameters": "48",
    },
    "quality (best epoch 17 of 20)": {
        "loss": {"train": "0.1512", "validation": "0.1710", "test": "0.1432"},
        "accuracy": {"train": "96.1 %", "test": "95.6 %"},
    },
    "use": {"circuits": "12.3 k circuits", "cost": "$0.00"},
    "files": {"run": "/home/someone/projects/" + "very-long-name/" * 6 + "run"},
}


class TestResultTable:
    def shown(self, **options: int) -> str:
        file = io.StringIO()
        result_table(
            "run-1 · test accuracy 95.6 %",
            SECTIONS,
            ["Open in MLflow: mlflow ui --x"],
            file=file,
            **options,
        )
        return file.getvalue()

    def test_is_plain_text_of_80_columns(self) -> None:
        text = self.shown()
        assert "\x1b" not in text
        lines = text.splitlines()
        assert all(len(line) <= 80 for line in lines if "/home" not in line)
        assert all(line == line.rstrip() for line in lines)
        assert lines[1] == "run-1 · test accuracy 95.6 %"
        assert lines[-1] == "Open in MLflow: mlflow ui --x"

    def test_a_path_stays_whole(self) -> None:
        path = SECTIONS["files"]["run"]
        assert isinstance(path, str)
        assert path in self.shown()

    def test_columns_stand_below_their_heads(self) -> None:
        lines = {line.split()[0]: line for line in self.shown().splitlines() if line.strip()}
        for head, loss in (("train", "0.1512"), ("validation", "0.1710"), ("test", "0.1432")):
            assert lines["quality"].index(head) + len(head) == lines["loss"].index(loss) + len(loss)
        assert lines["accuracy"].split()[1:] == ["96.1", "%", "–", "95.6", "%"]

    def test_long_values_go_on_below_themselves(self) -> None:
        lines = self.shown().splitlines()
        first = next(i for i, line in enumerate(lines) if "circuit  " in line)
        start = lines[first].index("8 qubits")
        assert lines[first + 1][:start].strip() == ""
        assert lines[first + 1][start] != " "

    def test_any_width_and_nothing_to_show(self) -> None:
        assert "circuits" in self.shown(width=40)
        file = io.StringIO()
        result_table("run", {}, file=file)
        assert "run" in file.getvalue()
