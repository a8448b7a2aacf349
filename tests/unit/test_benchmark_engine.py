"""``qfleet benchmark engine``: what it prints, what it refuses, peers that are missing or wrong. No figure is asserted: they are times."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipelines import cli
from pipelines.benchmark import comparison, machine, report, scaling
from pipelines.benchmark.cases import build
from pipelines.benchmark.children import run_child
from pipelines.benchmark.engine import chosen_execution, measure
from pipelines.benchmark.peers import run as peer_run
from pipelines.benchmark.peers.cirq import Peer as CirqPeer
from pipelines.benchmark.peers.problem import Problem
from pipelines.benchmark.timing import AT_LEAST, Timing, repeat
from pipelines.benchmark.worker import WorkerTask
from pipelines.benchmark.worker import measure as work
from pipelines.benchmark.workloads import WORKLOADS, Workload
from pipelines.plots.scaling import engine_scaling

TINY = Workload("tiny", n_qubits=2, n_layers=1, n_samples=2)
NUMBERS = (
    "circuits_per_second", "us_per_circuit", "us_per_circuit_median", "us_per_circuit_cpu", "first_call_seconds", "peak_rss_mib",
)  # fmt: skip


def values_of(problem: Problem) -> np.ndarray:
    return CirqPeer(problem, np.complex128).values(problem.features, problem.params)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Tiny, with the right answers."""
    case = build(TINY)
    return case.problem(values_of(case.problem(np.zeros(0))))


# --- The command ---------------------------------------------------------------------------------------------------------------


def test_one_workload_as_json(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["benchmark", "engine", "--workload", "W2", "--seconds", "0.01", "--json"]) == 0
    printed = capsys.readouterr()
    outcome = json.loads(printed.out)
    assert outcome["machine"]["cores"] >= 1
    [figures] = outcome["workloads"]
    assert (figures["workload"], figures["precision"], figures["circuits"]) == ("W2", "double", 1568)
    assert all(figures[name] > 0 for name in NUMBERS)
    assert figures["repeats"] >= AT_LEAST
    # some sixty gates of eigenvalue one, each rounding by 1.1e-16
    assert figures["max_abs_error"] < 60 * 1.1e-16
    assert figures["values_checked"] == 24 * 4
    assert "W2: n=4" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "W1", "w6"], "did you mean 'W6'"),
        (["--seconds", "0"], "--seconds = 0.0: should be greater than 0"),
        (["--seconds", "nan"], "--seconds = nan"),
        (["--markdown"], "both want stdout"),
        (["--peers-python", "no-such-python"], "--peers-python = 'no-such-python': is not a program"),
        (["--plot", "x.jpeg"], "did you mean 'x.png'"),
    ],
)
def test_refusals_come_before_any_measurement(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["benchmark", "engine", "--json", *arguments]) == 2
    assert message in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_precision_that_nobody_has_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["benchmark", "engine", "--precision", "half"])
    assert stopped.value.code == 2


def test_a_refused_workload_is_a_row_with_the_reason() -> None:
    measured = measure(WORKLOADS["W2"], "half", 0.01)
    assert measured.problem is None
    assert measured.figures["workload"] == "W2"
    assert "backend.precision" in measured.figures["error"]


# --- The worker ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["values", "gradient"])
def test_the_worker_returns_what_cirq_finds(task: Any) -> None:
    case = build(replace(TINY, task=task))
    figures, arrays = work(WorkerTask(case.backend, case.circuit, case.job, 0.0))
    json.dumps(figures)
    assert figures["repeats"] == AT_LEAST
    right = values_of(case.problem(np.zeros(0) if task == "values" else np.zeros((2, 6))))
    np.testing.assert_allclose(arrays["values"], right, atol=1e-14)
    if task == "gradient":
        assert arrays["jacobian"].shape == (2, 1, 6)
        assert figures["us_per_sample"] == figures["us_per_circuit"]
        assert figures["us_per_sample_forward"] > 0


def test_repeats_have_parameters_of_their_own() -> None:
    seen = []

    def prepare(i: int) -> Any:
        seen.append(i)
        return lambda: None

    timing = repeat(prepare, budget=0.0)
    assert seen == list(range(AT_LEAST))
    assert len(timing.wall) == len(timing.cpu) == AT_LEAST


def test_figures_of_times() -> None:
    figures = Timing((0.2, 0.1, 0.4), (0.05, 0.06, 0.07)).figures(1000)
    assert figures["circuits_per_second"] == pytest.approx(1e4)
    assert figures["us_per_circuit"] == pytest.approx(100)
    assert figures["us_per_circuit_median"] == pytest.approx(200)
    assert figures["us_per_circuit_cpu"] == pytest.approx(50)
    assert figures["spread"] == pytest.approx(0.75)  # quartiles 0.15 and 0.3
    assert Timing((0.2,), (0.1,)).figures(1)["spread"] == 0.0


def test_children_answer_or_say_why_not(tmp_path: Path) -> None:
    (tmp_path / "broken_child.py").write_text("print('so far')\nraise ValueError('no such thing')\n")
    (tmp_path / "slow_child.py").write_text("import time\ntime.sleep(60)\n")
    path = pytest.MonkeyPatch()
    path.setenv("PYTHONPATH", str(tmp_path))
    try:
        assert run_child(sys.executable, "broken_child", [], 30) == {"error": "ValueError: no such thing"}
        assert run_child(sys.executable, "slow_child", [], 0.5) == {"error": "took longer than 0 s"}
        assert "cannot be run" in run_child(str(tmp_path / "none"), "x", [], 1)["error"]
    finally:
        path.undo()


def test_the_machine_and_its_load() -> None:
    described = machine.describe()
    assert described["numpy"] == np.__version__
    assert machine.peak_rss_mib() > 10
    assert machine.warning(described | {"load_average": 1.9, "cores": 2}) is not None
    assert machine.warning(described | {"load_average": 0.4, "cores": 2}) is None
    assert machine.warning(described | {"load_average": None}) is None


# --- Peers ---------------------------------------------------------------------------------------------------------------------


class Wrong(CirqPeer):
    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        return super().values(features, params) + 0.01


class Batched(CirqPeer):
    is_batched = True
    sizes: ClassVar[list[int]] = []

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        self.sizes.append(len(features) * len(params))
        return super().values(features, params)


def test_a_peer_is_compared_and_timed(problem: Problem) -> None:
    figures = peer_run.measure(CirqPeer, problem, 0.01)
    assert 0 < figures["max_difference"] < peer_run.TOLERANCE["single"]  # it computes in single precision
    assert 1 <= figures["circuits"] <= TINY.n_circuits
    assert figures["us_per_circuit_cpu"] > 0
    Batched.sizes.clear()
    assert peer_run.measure(Batched, problem, 0.01)["circuits"] == TINY.n_circuits
    assert set(Batched.sizes) == {TINY.n_circuits}


def test_a_wrong_peer_is_not_timed(problem: Problem) -> None:
    outcome = peer_run.measure(Wrong, problem, 0.01)
    assert outcome.keys() == {"error"}
    assert "differ from qfleet's by 1.0e-02" in outcome["error"]
    nan = replace(problem, expected=np.full_like(problem.expected, np.nan))
    assert "error" in peer_run.measure(CirqPeer, nan, 0.01)


def test_what_a_peer_cannot_do_is_said(problem: Problem) -> None:
    gradient = replace(problem, task="gradient")
    assert peer_run.measure(CirqPeer, gradient, 0.01) == {"unsupported": "no gradient"}
    assert peer_run.measure(CirqPeer, replace(problem, n_qubits=40), 0.01) == {"unsupported": "40 qubits"}


def test_peers_in_processes_of_their_own(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "PEERS", {"cirq": "cirq", "nobody": "no_such_peer"})
    ours = {"us_per_circuit_cpu": 2.0}
    with_cirq, nobody = comparison.compare(problem, ours, 0.01, sys.executable)
    assert with_cirq["ratio"] == pytest.approx(with_cirq["us_per_circuit_cpu"] / 2.0)
    assert (with_cirq["workload"], with_cirq["peer"]) == ("tiny", "cirq")
    assert "no_such_peer" in nobody["missing"]
    assert "ratio" not in nobody


def test_every_peer_has_a_file() -> None:
    folder = Path(peer_run.__file__).parent
    assert all((folder / f"{module}.py").is_file() for module in comparison.PEERS.values())


# --- What is printed -----------------------------------------------------------------------------------------------------------

FIGURES = {
    "workload": "W2", "precision": "double", "circuits_per_second": 6_466_000.0, "us_per_circuit": 0.15463, "us_per_circuit_median": 0.16,
    "first_call_seconds": 0.31, "peak_rss_mib": 167.6, "max_abs_error": 7.8e-16, "execution": "contraction",
}  # fmt: skip
WAYS = [
    {
        "execution": "contraction", "applies": True, "reason": "bond 4", "microseconds_per_circuit": 0.1, "mebibytes": 2.0,
        "is_chosen": True,
    },
    {
        "execution": "density_matrix", "applies": False, "reason": "no noise", "microseconds_per_circuit": None, "mebibytes": 0.0,
        "is_chosen": False,
    },
]  # fmt: skip
OUTCOME = {
    "machine": {
        "cpu": "Z80", "cores": 1, "system": "CP/M", "python": "3", "numpy": "2", "numba": "0", "cirq-core": "1", "load_average": 0.1,
    },
    "workloads": [FIGURES | {"explain": WAYS}, {"workload": "W40", "precision": "double", "error": "CapabilityError: too many qubits"}],
    "peers": [
        {"workload": "W2", "peer": "qulacs", "ratio": 294.2, "precision": "double"},
        {"workload": "W2", "peer": "qsimcirq", "ratio": 5.812, "precision": "single"},
        {"workload": "W2", "peer": "default.qubit", "missing": "ModuleNotFoundError: No module named 'pennylane'"},
    ],
}  # fmt: skip


def test_markdown() -> None:
    lines = report.markdown(OUTCOME).splitlines()
    assert lines[0].startswith("Z80, 1 cores, CP/M; ")
    assert (
        "| W2 | n=4, L=2, 32 samples, every ⟨Z⟩, 1568 circuits | 0.155 | 6,466,000 | 0.31 | 168 | 8e-16 | contraction |"
        in lines
    )
    assert "- W40: CapabilityError: too many qubits" in lines
    assert "| workload | qulacs | qsimcirq |" in lines
    assert "| W2 | 294 | 5.81 s |" in lines
    assert "- default.qubit: ModuleNotFoundError: No module named 'pennylane' (W2)" in lines
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {9, 4}


def test_the_table_for_the_terminal(capsys: pytest.CaptureFixture) -> None:
    report.show(OUTCOME)
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "0.155",
        "294",
        "0.100 µs a circuit, 2.00 MiB; chosen for values; bond 4",
        "does not apply: no noise",
    ):
        assert words in text


def test_the_chosen_execution() -> None:
    ways = [way | {"is_chosen_for_gradients": not way["is_chosen"]} for way in WAYS]
    assert chosen_execution(ways) == "contraction"
    assert chosen_execution(ways, "gradient") == "density matrix"
    assert chosen_execution(ways, "samples") is None
    assert chosen_execution(None) is None


# --- Scaling -------------------------------------------------------------------------------------------------------------------


def points(name: str, xs: list[int], execution: list[str | None]) -> list[dict[str, Any]]:
    base: dict[str, Any] = {"n_qubits": 8, "n_samples": 1, "circuits": 97}
    return [
        {**base, name: x, "us_per_circuit": 0.1 * x, "execution": way}
        for x, way in zip(xs, execution, strict=True)
    ]


def test_the_picture_holds_the_figures(tmp_path: Path) -> None:
    ways = ["state vector", "state vector", "contraction", "contraction"]
    figures = {
        "precision": "double",
        "machine": OUTCOME["machine"],
        "qubits": [*points("n_qubits", [2, 4, 10, 20], list(ways)), {"n_qubits": 24, "error": "too large"}],
        "batch": points("n_samples", [1, 32, 1024], [None, "state vector", "state vector"]),
    }
    for point in figures["qubits"][:2]:
        point["estimates"] = scaling.estimates(
            [{"execution": "state_vector", "applies": True, "microseconds_per_circuit": 7.0}, WAYS[1]]
        )
    figure = engine_scaling(figures, tmp_path / "s.png")
    by_qubits, by_batch = figure.axes
    lines = {line.get_label(): line for line in by_qubits.lines}
    assert lines["state vector"].get_xydata().tolist() == [[2, 0.2], [4, 0.4]]
    assert lines["contraction"].get_xydata().tolist() == [[10, 1.0], [20, 2.0]]
    assert lines["state vector, cost model"].get_xydata().tolist() == [[2, 7.0], [4, 7.0]]
    [batch] = by_batch.lines  # a point that names no way belongs to the only one there was
    assert batch.get_xdata().tolist() == [1, 32, 1024]
    assert by_batch.get_xlabel() == "samples in the batch (8 qubits, 97 circuits each)"
    width, height = figure.get_size_inches() * figure.dpi
    labels = [axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    for text in (*figure.texts, *labels, *by_qubits.get_legend().get_texts()):
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text

    names = scaling.write(figures, tmp_path / "docs")
    assert [Path(name).suffix for name in names] == [".png", ".svg", ".json"]
    assert json.loads(Path(names[2]).read_text())["qubits"][3]["us_per_circuit"] == 2.0
    assert all(Path(name).stat().st_size > 0 for name in names)
