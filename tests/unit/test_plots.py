"""Pictures: they hold the figures they were given, nothing is cut off or on top of something else, and they come quickly."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import cirq
import matplotlib.image
import numpy as np
import pytest
import sympy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from orchestrator.config import ModelConfig
from orchestrator.models.model import Model
from orchestrator.protocols import JobSpan
from orchestrator.training.reports import EpochReport, Totals
from pipelines.plots import (
    DrawnGate,
    circuit_diagram,
    circuit_text,
    confusion_matrix,
    drawn_gates,
    fleet_timeline,
    labelled_circuit,
    latency,
    predictions,
    training_curves,
)
from pipelines.plots.circuit import columns_of

RUN = "breast-cancer-20261105-143201"


def training(
    n_epochs: int, n_batches: int = 12, kind: str = "accuracy"
) -> tuple[list[EpochReport], list[float], list[float]]:
    """A plausible run: reports, step losses, gradient norms."""
    rng = np.random.default_rng(3)
    steps = np.arange(1, n_epochs * n_batches + 1)
    losses = 0.15 + 0.6 * np.exp(-steps / 60) + 0.03 * rng.normal(size=len(steps))
    norms = (0.3 * np.exp(-steps / 80) + 0.03) * np.exp(0.3 * rng.normal(size=len(steps)))
    validation = (
        0.17 + 0.58 * np.exp(-steps[n_batches - 1 :: n_batches] / 60) + 0.01 * rng.normal(size=n_epochs)
    )
    reports = []
    for i in range(n_epochs):
        best = int(np.argmin(validation[: i + 1]))
        loss = float(validation[i])
        merits = (
            {"val/accuracy": 1 - 0.55 * loss}
            if kind == "accuracy"
            else {"val/rmse": loss**0.5, "val/r2": 1 - 3 * loss}
        )
        reports.append(
            EpochReport(
                epoch=i + 1,
                n_epochs=n_epochs,
                step=(i + 1) * n_batches,
                metrics={
                    "train/epoch_loss": float(losses[i * n_batches : (i + 1) * n_batches].mean()),
                    "val/loss": loss,
                    **merits,
                },
                monitored="val/loss",
                is_best=best == i,
                best_epoch=best + 1,
                best_value=float(validation[best]),
                learning_rate=0.05 * 0.9**i,
                totals=Totals(),
                seconds=1.0,
            )
        )
    return reports, losses.tolist(), norms.tolist()


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def labelled(axes: Axes) -> dict[str, Any]:
    """{label: line} of what the legend names."""
    return {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}


def visible_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    figure.draw_without_rendering()
    found = []
    for text in figure.findobj(Text):
        ticks = [
            t
            for ax in figure.axes
            for axis in (ax.xaxis, ax.yaxis)
            for t in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        ]
        is_unused_tick = any(text in (t.label1, t.label2) for t in ticks) and not _is_in_view(figure, text)
        if text.get_visible() and text.get_text().strip() and not is_unused_tick:
            found.append((text.get_text(), text.get_window_extent()))
    return found


def _is_in_view(figure: Figure, label: Text) -> bool:
    """A tick's label is drawn only where the tick is within its axis."""
    for axes in figure.axes:
        for axis, (low, high) in (
            (axes.xaxis, sorted(axes.get_xlim())),
            (axes.yaxis, sorted(axes.get_ylim())),
        ):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if label is tick.label1:
                    return bool(low <= tick.get_loc() <= high) and tick.label1.get_visible() and axes.axison
    return False


def check_picture(figure: Figure, path: Path, *, may_touch: bool = False) -> np.ndarray:
    """The file is a picture with something on it; all text is within it, and no two texts overlap."""
    image = matplotlib.image.imread(path)
    width, height = figure.get_size_inches() * figure.dpi
    assert abs(image.shape[1] - width) <= 1
    assert abs(image.shape[0] - height) <= 1
    assert image[..., :3].std() > 0.01, "blank"
    boxes = visible_texts(figure)
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} is cut off: {box} in {width} x {height}"
    for (one, a), (two, b) in [] if may_touch else combinations(boxes, 2):
        overlap_x, overlap_y = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert overlap_x <= 1 or overlap_y <= 3, f"{one!r} and {two!r} overlap"
    return np.asarray(image)


class TestTrainingCurves:
    def test_holds_the_run(self, tmp_path: Path) -> None:
        history, losses, norms = training(20)
        path = tmp_path / "plots" / "curves.png"
        figure = training_curves(
            history,
            path,
            step_losses=losses,
            gradient_norms=norms,
            test_metrics={"test/loss": 0.1432, "test/accuracy": 0.956},
            title=RUN,
            subtitle="8 qubits",
        )
        image = check_picture(figure, path)
        assert image.shape[1] >= 1200
        loss, accuracy, norm, rate = figure.axes
        lines = labelled(loss)
        np.testing.assert_allclose(lines["train, per step"].get_ydata(), losses)
        np.testing.assert_allclose(lines["train, per step"].get_xdata(), np.arange(1, 241) / 12)
        np.testing.assert_allclose(lines["validation"].get_ydata(), [r.metrics["val/loss"] for r in history])
        np.testing.assert_allclose(lines["validation"].get_xdata(), np.arange(1, 21))
        best = next(line for name, line in lines.items() if name.startswith("best"))
        assert (best.get_xdata()[0], best.get_ydata()[0]) == (history[-1].best_epoch, history[-1].best_value)
        np.testing.assert_allclose(
            labelled(accuracy)["validation"].get_ydata(), [r.metrics["val/accuracy"] for r in history]
        )
        np.testing.assert_allclose(labelled(accuracy)["test 95.6 %"].get_ydata(), 0.956)
        np.testing.assert_allclose(labelled(norm)["per step"].get_ydata(), norms)
        assert [a.get_ylabel() for a in figure.axes] == ["loss", "accuracy", "gradient norm", "learning rate"]
        assert loss.get_xlabel() == rate.get_xlabel() == "epoch (12 steps each)"
        assert f"{RUN} – test accuracy 95.6 %" in texts(figure)
        assert "8 qubits   |   test: accuracy 95.6 %, loss 0.1432" in texts(figure)

    @pytest.mark.parametrize("n_epochs", [1, 2, 3, 50])
    def test_short_and_long_runs(self, n_epochs: int, tmp_path: Path) -> None:
        history, losses, norms = training(n_epochs)
        path = tmp_path / "c.png"
        figure = training_curves(history, path, step_losses=losses, gradient_norms=norms, title=RUN)
        check_picture(figure, path)
        assert any(t.startswith(f"{RUN} – best validation accuracy ") for t in texts(figure))
        assert figure.axes[0].get_xlim()[1] > n_epochs  # the last point is not on the edge

    def test_regression(self, tmp_path: Path) -> None:
        history, losses, _ = training(10, kind="r2")
        path = tmp_path / "c.png"
        test = {"test/loss": 0.2, "test/r2": 0.83, "test/rmse": 0.447}
        figure = training_curves(history, path, step_losses=losses, test_metrics=test)
        check_picture(figure, path)
        assert [a.get_ylabel() for a in figure.axes] == ["loss", "R²", "learning rate"]
        assert "Test R² 0.8300" in texts(figure)
        assert any("RMSE 0.4470" in t for t in texts(figure))

    def test_a_resumed_run_knows_only_its_last_norms(self, tmp_path: Path) -> None:
        history, losses, norms = training(4)
        figure = training_curves(history, tmp_path / "c.png", step_losses=losses, gradient_norms=norms[-10:])
        x = labelled(figure.axes[2])["per step"].get_xdata()
        np.testing.assert_allclose(x, np.arange(39, 49) / 12)

    def test_without_validation_and_without_anything(self, tmp_path: Path) -> None:
        history, losses, _ = training(3)
        bare = [
            EpochReport(
                **{
                    **r.__dict__,
                    "metrics": {"train/epoch_loss": r.metrics["train/epoch_loss"]},
                    "monitored": "train/epoch_loss",
                }
            )
            for r in history
        ]
        figure = training_curves(bare, tmp_path / "a.png", step_losses=losses)
        assert [a.get_ylabel() for a in figure.axes] == ["loss", "learning rate"]
        assert any(t.startswith("Best training loss") for t in texts(figure))
        interrupted = training_curves([], tmp_path / "b.png", step_losses=losses[:5], title=RUN)
        assert f"{RUN} – no epoch finished" in texts(interrupted)
        assert interrupted.axes[0].get_xlabel() == "step"
        check_picture(interrupted, tmp_path / "b.png")
        check_picture(training_curves([], tmp_path / "c.png"), tmp_path / "c.png")

    def test_a_wide_range_of_losses_is_logarithmic(self, tmp_path: Path) -> None:
        losses = np.geomspace(10, 1e-4, 60).tolist()
        figure = training_curves([], tmp_path / "c.png", step_losses=losses)
        assert figure.axes[0].get_yscale() == "log"
        check_picture(figure, tmp_path / "c.png")

    def test_a_million_steps_keep_their_extremes(self, tmp_path: Path) -> None:
        losses = np.random.default_rng(0).normal(1.0, 0.1, 1_000_000)
        losses[123_456] = 9.0
        started = time.perf_counter()
        figure = training_curves([], tmp_path / "c.png", step_losses=losses)
        assert time.perf_counter() - started < 10
        y = labelled(figure.axes[0])["train, per step"].get_ydata()
        assert len(y) <= 2100
        assert max(y) == 9.0
        assert min(y) == losses.min()

    def test_names_are_not_read_as_formulas(self, tmp_path: Path) -> None:
        figure = training_curves([], tmp_path / "c.png", title="run_$x^{$_a")
        assert any("run_$x^{$_a" in t for t in texts(figure))

    def test_suffix_decides_the_format(self, tmp_path: Path) -> None:
        history, losses, _ = training(2)
        for name in ("c.svg", "d.svg"):
            training_curves(history, tmp_path / name, step_losses=losses)
        assert (tmp_path / "c.svg").read_text(encoding="utf-8").startswith("<?xml")


class TestFleetTimeline:
    def strips(self, figure: Figure) -> np.ndarray:
        """Busy shares [workers, slices] as drawn."""
        array = figure.axes[0].collections[0].get_array()
        assert array is not None
        return np.asarray(np.ma.filled(array, np.nan))[::2]

    def test_shows_who_was_busy_when(self, tmp_path: Path) -> None:
        t0 = 1.8e9
        records = [
            JobSpan("actor-1", "b", t0 + 5.0, t0 + 10.0),
            JobSpan("actor-0", "a", t0, t0 + 2.0),
            JobSpan("actor-0", "c", t0 + 2.0, t0 + 4.0),
            JobSpan("actor-0", "d", t0 + 8.0, t0 + 10.0),
        ]
        path = tmp_path / "t.png"
        figure = fleet_timeline(records, path, title=RUN)
        check_picture(figure, path)
        first, second = self.strips(figure)
        n = len(first)
        assert first[: int(0.39 * n)].min() == pytest.approx(1.0)
        assert first[int(0.41 * n) : int(0.79 * n)].max() == 0.0  # the gap is seen
        assert second[: int(0.49 * n)].max() == 0.0
        assert second[int(0.51 * n) :].min() == pytest.approx(1.0)
        labels = [t.get_text().split() for t in figure.axes[0].get_yticklabels()]
        assert labels == [["actor-0", "60.0", "%", "3", "jobs"], ["actor-1", "50.0", "%", "1", "job"]]
        assert figure.axes[1].get_xlabel().startswith("seconds since the first job")
        assert figure.axes[1].get_xlim() == pytest.approx((0.0, 10.0))
        assert f"{RUN} – 2 actors busy 55.0 % of 10 s" in texts(figure)

    def test_gaps_shorter_than_a_pixel_show_as_shade(self, tmp_path: Path) -> None:
        starts = np.arange(100_000) * 1e-3
        figure = fleet_timeline([("a", "", s, s + 0.6e-3) for s in starts], tmp_path / "t.png")
        assert self.strips(figure).mean() == pytest.approx(0.6, abs=1e-3)
        assert self.strips(figure).std() < 0.02

    def test_overlapping_jobs_count_once(self, tmp_path: Path) -> None:
        figure = fleet_timeline(
            [("a", "", 0, 6), ("a", "", 1, 2), ("a", "", 5, 7), ("a", "", 9, 10)], tmp_path / "t.png"
        )
        assert self.strips(figure).mean() == pytest.approx(0.8)

    def test_thirty_thousand_jobs_of_eight_actors(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        records = []
        for worker in range(8):
            ends = 1.8e9 + np.cumsum(rng.exponential(0.03, 3750))
            records += [(f"actor-{worker}", str(j), e - 0.01, e) for j, e in enumerate(ends)]
        path = tmp_path / "t.png"
        started = time.perf_counter()
        figure = fleet_timeline(records, path, title=RUN)
        assert time.perf_counter() - started < 10  # 0.2 s on a quiet machine
        check_picture(figure, path)
        assert path.stat().st_size < 1_000_000

    @pytest.mark.parametrize("n_workers", [1, 40, 300])
    def test_few_and_many_actors(self, n_workers: int, tmp_path: Path) -> None:
        records = [(f"actor-{w}", "x", float(w % 3), 5.0 + w % 4) for w in range(n_workers)]
        path = tmp_path / "t.png"
        figure = fleet_timeline(records, path)
        check_picture(figure, path)
        names = [t.get_text().split()[0] for t in figure.axes[0].get_yticklabels()]
        assert len(names) <= 40
        assert names == sorted(names, key=lambda name: int(name.split("-")[1]))

    @pytest.mark.parametrize(
        "records", [[], [("a", "x", 5.0, 5.0)], [("a", "x", 1.8e9, 1.8e9 - 3), ("b", "y", 1.8e9, 1.8e9)]]
    )
    def test_nothing_to_show(self, records: list[tuple[str, str, float, float]], tmp_path: Path) -> None:
        check_picture(fleet_timeline(records, tmp_path / "t.png", title=RUN), tmp_path / "t.png")


class TestLatency:
    PHASES: ClassVar = {
        "serialise": (0.001, 0.1, 0.001, 0.002),
        "submit": (0.099, 9.9, 0.05, 0.2),
        "queue": (0.55, 55.0, 0.5, 1.5),
        "execution": (0.25, 25.0, 0.25, 0.25),
        "fetch": (0.1, 10.0, 0.1, 0.1),
        "decode": (0.0, 0.0, 0.0, 0.0),
    }

    def test_shows_shares_seconds_and_scenarios(self, tmp_path: Path) -> None:
        scenarios = {"as it was": 100.0, "replayed": 97.0, "latency x 0": 25.0, "concurrency x 2": 51.0}
        figure = latency(self.PHASES, scenarios, tmp_path / "l.png", title=RUN, subtitle="400 jobs")
        check_picture(figure, tmp_path / "l.png")
        widths = [
            [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)] for axes in figure.axes
        ]
        rows = list(self.PHASES.values())
        assert widths[0] == pytest.approx([row[0] for row in rows])
        assert widths[1:] == [[row[2] for row in rows], list(scenarios.values())]
        shown = texts(figure)
        assert f"{RUN} – queue is 55.0 % of a job's latency" in shown
        assert {"55 %", "500 ms, 1.5 s", "51 s", "1 ms, 2 ms"} <= set(shown)
        assert "0 %" not in shown

    def test_nothing_took_any_time(self, tmp_path: Path) -> None:
        figure = latency({"queue": (0.0, 0.0, 0.0, 0.0)}, {"as it was": 0.0}, tmp_path / "l.png")
        check_picture(figure, tmp_path / "l.png")


class TestCircuit:
    def model(self, **changes: Any) -> Model:
        return Model.from_config(ModelConfig(**({"observables": "first"} | changes)))

    def test_gates_of_a_model(self) -> None:
        gates = drawn_gates(self.model(n_qubits=3, n_layers=1, frozen=(0, 4)))
        kinds = {(g.name.upper(), g.label): g.kind for g in gates}
        assert kinds["RY", "x1"] == "data"
        assert kinds["RX", "p0"] == kinds["RY", "p4"] == "frozen"
        assert kinds["RZ", "p8"] == "trainable"
        assert [g.kind for g in gates].count("fixed") == 2

    def test_labels_of_mixed_angles(self) -> None:
        a, b, x, y = sympy.symbols("a b x y")
        q = cirq.LineQubit.range(2)
        circuit = cirq.Circuit(
            cirq.rx(2 * a * x)(q[0]),
            cirq.ry(a + b)(q[1]),
            cirq.rz(x**2 + 0.5)(q[0]),
            cirq.rz(b * y)(q[1]),
            cirq.CNOT(*q),
        )
        model = Model.from_circuit(circuit, features=[x, y], observables=["Z0"], frozen=[1])
        found = {g.label: g.kind for g in drawn_gates(model)}
        assert found.pop("") == "fixed"
        kinds = {frozenset(label.split(" + ")): kind for label, kind in found.items()}
        assert kinds == {
            frozenset({"2·a·x0"}): "trainable",
            frozenset({"a", "b"}): "trainable",
            frozenset({"x0^2", "0.5"}): "data",
            frozenset({"b·x1"}): "data",
        }

    @pytest.mark.parametrize("suffix", ["png", "svg"])
    def test_draws_every_gate_in_its_colour(self, suffix: str, tmp_path: Path) -> None:
        model = self.model(frozen=(0, 1, 2))
        path = tmp_path / f"circuit.{suffix}"
        figure = circuit_diagram(drawn_gates(model), path, title=RUN)
        axes = figure.axes[0]
        faces = [tuple(np.round(np.array(p.get_facecolor()), 3)) for p in axes.patches]
        assert sorted(faces.count(face) for face in set(faces)) == [3, 8, 45]
        labels = [t.get_text() for t in axes.texts]
        assert {f"q{i}" for i in range(8)} | {f"x{i}" for i in range(8)} | {
            f"p{i}" for i in range(48)
        } <= set(labels)
        assert len([line for line in axes.lines if line.get_marker() == "+"]) == 14  # targets of the CNOTs
        legend = [t.get_text() for t in figure.legends[0].get_texts()]
        assert legend == ["data-dependent (8)", "trainable (45)", "frozen (3)", "fixed (14)"]
        assert f"{RUN} – 8 qubits, 70 gates, depth 16" in texts(figure)
        if suffix == "png":
            check_picture(figure, path)

    def test_every_kind_of_gate(self, tmp_path: Path) -> None:
        gates = [
            DrawnGate("H", (0,), "fixed"),
            DrawnGate("CRx", (0, 2), "trainable", "a_long_name_of_a_parameter"),
            DrawnGate("ZZ", (0, 1), "trainable", "p1·x0"),
            DrawnGate("Swap", (1, 2), "fixed"),
            DrawnGate("CCX", (2, 0, 1), "fixed"),
            DrawnGate("CZ", (0, 1), "fixed"),
            DrawnGate("SomethingLong", (1, 2), "frozen"),
            DrawnGate("C", (0,), "data", "$x"),
        ]
        path = tmp_path / "c.png"
        figure = circuit_diagram(gates, path)
        check_picture(figure, path)
        assert "3 qubits, 8 gates, depth 7" in texts(figure)

    def test_gates_do_not_cover_each_other(self) -> None:
        rng = np.random.default_rng(1)
        gates = [
            DrawnGate("U", tuple(rng.choice(6, rng.integers(1, 4), replace=False).tolist()), "fixed")
            for _ in range(80)
        ]
        taken: set[tuple[int, int]] = set()
        for gate, column in zip(gates, columns_of(gates, 6), strict=True):
            cells = {(column, row) for row in range(min(gate.qubits), max(gate.qubits) + 1)}
            assert not cells & taken
            taken |= cells

    def test_a_deep_circuit_is_wrapped_and_a_huge_one_cut(self, tmp_path: Path) -> None:
        deep = circuit_diagram([DrawnGate("H", (0,), "fixed")] * 60, tmp_path / "a.png")
        assert [t.get_text() for t in deep.axes[0].texts].count("q0") == 3
        started = time.perf_counter()
        huge = circuit_diagram(
            [DrawnGate("CX", (i % 20, (i + 1) % 20), "fixed") for i in range(5000)], tmp_path / "b.png"
        )
        assert time.perf_counter() - started < 20
        assert any("the first 48 of" in t for t in texts(huge))
        check_picture(circuit_diagram([], tmp_path / "c.png"), tmp_path / "c.png", may_touch=True)

    def test_text_diagram(self, tmp_path: Path) -> None:
        model = self.model()
        path = tmp_path / "circuit.txt"
        text = circuit_text(labelled_circuit(model), path, width=80)
        assert path.read_text(encoding="utf-8") == text
        assert max(map(len, text.splitlines())) <= 80
        for part in ("0: ───Ry(x0)───Rx(p0)", "Rz(p47)", "... continued, moment"):
            assert part in text
        for qubit in range(8):
            assert text.count(f"\n{qubit}: ") + text.startswith(f"{qubit}: ") == text.count("continued") + 1
        assert circuit_text(cirq.Circuit()) == "(empty circuit)\n"

    def test_the_labelled_circuit_is_the_models_own(self) -> None:
        model = self.model(n_qubits=2, n_layers=1)
        circuit = labelled_circuit(model)
        assert cirq.parameter_names(circuit) == {"x0", "x1", *(f"p{i}" for i in range(6))}
        assert len(list(circuit.all_operations())) == len(model.template.gates)


class TestAnswers:
    def test_confusion_matrix(self, tmp_path: Path) -> None:
        path = tmp_path / "m.png"
        matrix = np.array([[35, 0, 1, 0], [0, 30, 3, 3], [1, 2, 33, 0], [0, 4, 0, 32]])
        figure = confusion_matrix(matrix, ["0", "1", "2", "3"], path, title="digits")
        check_picture(figure, path)
        axes = figure.axes[0]
        np.testing.assert_allclose(
            np.asarray(axes.images[0].get_array()), matrix / matrix.sum(axis=1, keepdims=True)
        )
        cells = {t.get_position(): t.get_text() for t in axes.texts}
        assert cells[0, 0] == "35\n97 %"
        assert cells[1, 3] == "4\n11 %"  # row 3 is actual, column 1 predicted
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
        assert "digits – test accuracy 90.3 %" in texts(figure)

    @pytest.mark.parametrize("n", [1, 2, 10, 26])
    def test_any_number_of_classes(self, n: int, tmp_path: Path) -> None:
        path = tmp_path / "m.png"
        matrix = np.diag(np.full(n, 1234)) + np.arange(n * n).reshape(n, n) % 7
        figure = confusion_matrix(matrix, [f"class number {i} of them" for i in range(n)], path)
        check_picture(figure, path, may_touch=n > 2)  # boxes of slanted names overlap, the names do not

    def test_a_class_that_never_occurs(self, tmp_path: Path) -> None:
        path = tmp_path / "m.png"
        check_picture(confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], path), path)
        assert "No samples" in texts(confusion_matrix(np.zeros((2, 2), int), ["a", "b"], path))

    def test_predictions(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        actual = rng.normal(2, 1, 300)
        predicted = actual + rng.normal(0, 0.3, 300)
        path = tmp_path / "p.png"
        figure = predictions(predicted, actual, path, title="housing", target="price (100 kUSD)")
        check_picture(figure, path)
        scatter, errors = figure.axes
        np.testing.assert_allclose(np.asarray(scatter.lines[1].get_xdata(), float), actual)
        np.testing.assert_allclose(np.asarray(scatter.lines[1].get_ydata(), float), predicted)
        assert sum(p.get_height() for p in errors.patches) == 300  # type: ignore[attr-defined]
        assert scatter.get_xlabel() == "actual price (100 kUSD)"
        rmse = np.sqrt(np.mean((predicted - actual) ** 2))
        assert any(f"RMSE {rmse:.4f}" in t for t in texts(figure))

    @pytest.mark.parametrize("n", [0, 1])
    def test_hardly_any_predictions(self, n: int, tmp_path: Path) -> None:
        path = tmp_path / "p.png"
        check_picture(predictions(np.ones(n), np.ones(n), path), path)


class TestManners:
    def test_importing_draws_in_no_library(self) -> None:
        code = "import sys, pipelines.plots; print([m for m in ('matplotlib', 'cirq', 'rich') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_no_global_state(self, tmp_path: Path) -> None:
        code = (
            "import sys, matplotlib; before = dict(matplotlib.rcParams)\n"
            "from pipelines.plots import *\n"
            f"fleet_timeline([('a', 'x', 0.0, 1.0)], {str(tmp_path / 't.png')!r}); training_curves([], {str(tmp_path / 'c.png')!r})\n"
            "print('matplotlib.pyplot' in sys.modules, before == dict(matplotlib.rcParams))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False True"
