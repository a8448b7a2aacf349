"""The circuit log of any run: its rows against the evaluations they are of, what a kill leaves of it, and the reader's answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.backends.ideal import IdealBackend
from actors.serial import SerialDispatcher
from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, InputError, StorageError
from orchestrator.models.model import Model
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.planning.shift_rule import shift_derivative
from orchestrator.training.loop import epoch_order
from orchestrator.training.reports import StepReport
from orchestrator.training.state import TrainState
from pipelines import Callback, CircuitLog, Trainer
from pipelines.cli import main
from pipelines.data import circuit_log, circuit_rows
from pipelines.data.circuit_rows import schema
from pipelines.data.circuit_writer import CircuitWriter, parts_of, tail_batches, tails_of
from pipelines.run_folder import RunFolder

SEED = 5


def config(tmp_path: Path, **sections: Any) -> TrainingConfig:
    values: dict[str, dict[str, Any]] = {
        "data": {"name": "iris", "classes": [0, 1], "n_components": 2, "max_samples": 40},
        "model": {"n_qubits": 2, "n_layers": 1, "observables": ["Z0", "X1"]},
        "run": {
            "directory": str(tmp_path / "runs"),
            "epochs": 3,
            "batch_size": 9,
            "seed": SEED,
            "name": "logged",
        },
        "backend": {"shots": 50},
        "fleet": {"dispatcher": "serial"},
        "tracking": {"enabled": False, "circuit_log": True},
    }
    for name, keys in sections.items():
        values[name] = values[name] | keys
    return TrainingConfig.from_dict(values)


def rows_of(log: CircuitLog, where: str | None = None) -> pa.Table:
    return pa.concat_tables(log.batches(None, where)).combine_chunks()


@pytest.fixture(scope="module", autouse=True)
def no_plots() -> Iterator[None]:
    """What a run leaves at its end but for the log: half of the time of one so small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
        yield


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Trainer(config(tmp_path_factory.mktemp("logged")), progress=False).fit()


# ---- rows ------------------------------------------------------------------------------------------------------------------


def plan_of(model: Model, n_samples: int, shots: int | None, step: int = 4) -> EvaluationPlan:
    """Values and shifted values of some samples."""
    rng = np.random.default_rng(step)
    angles = model.angles(model.initial_params(1), rng.normal(size=(n_samples, model.n_features)))
    return EvaluationPlan(
        circuit=model.measured,
        angles=angles,
        shots=shots,
        step=step,
        noise_keys=noise_keys(SEED, "train", model.measured),
        derivative=shift_derivative(model.template, np.arange(3)),
        wanted=np.arange(3),
    )


@pytest.mark.parametrize("shots", [None, 20])
@pytest.mark.parametrize("most", [7, 65_536])
def test_rows_are_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shots: int | None, most: int
) -> None:
    monkeypatch.setattr(circuit_rows, "ROWS", most)
    model = Model.from_config(ModelConfig(n_qubits=2, n_layers=1, observables=("Z0", "X1", "Z0 Z1")))
    backend = IdealBackend()
    coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities, job_seconds=1e-9)
    writer = CircuitWriter(tmp_path, SEED)
    coordinator.observe = writer.add
    plan = plan_of(model, 5, shots)
    answer = coordinator.evaluate(plan)
    writer.close()
    (part,) = parts_of(tmp_path)
    table = pq.read_table(part)
    groups = [tuple(range(3))] if shots is None else [group.members for group in model.measured.groups]
    n_moved = answer.rows.shape[1]
    assert len(table) == 5 * n_moved * len(groups) == answer.n_circuits
    assert pa.compute.sum(table["circuits"]).as_py() == answer.n_circuits
    seen = set()
    for row in table.to_pylist():
        group = 0 if row["group"] is None else row["group"]
        at = (row["sample"], row["displacement"], group)
        seen.add(at)
        members = list(groups[group])
        assert row["values"] == answer.rows[row["sample"], row["displacement"]][members].tolist()
        assert (row["variances"] is None) == (shots is None)
        assert (row["step"], row["purpose"], row["shots"]) == (4, "train", shots)
    assert len(seen) == len(table)


def test_variances_are_those_of_the_answer(tmp_path: Path) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2, n_layers=1, observables=("Z0", "X1")))
    backend = IdealBackend()
    coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities)
    writer = CircuitWriter(tmp_path, SEED)
    coordinator.observe = writer.add
    plan = plan_of(model, 4, 30)
    answer = coordinator.evaluate(plan)
    writer.close()
    table = pq.read_table(parts_of(tmp_path)[0])
    undisplaced = table.filter(pa.compute.equal(table["displacement"], 0))
    assert answer.variances is not None
    groups = model.measured.groups
    for row in undisplaced.to_pylist():
        members = list(groups[row["group"]].members)
        assert row["variances"] == answer.variances[row["sample"]][members].tolist()


def test_the_log_counts_what_the_run_counts(logged: Any) -> None:
    log = CircuitLog(logged.folder)
    assert not tails_of(logged.folder.path / "circuits")
    groups = log.by("purpose")
    assert {each.key for each in groups} == {"train", "val", "test"}
    assert sum(each.circuits for each in groups) == logged.totals.n_circuits
    assert sum(each.shots for each in groups) == logged.totals.n_shots
    steps = log.by("step", "purpose == 'train'")
    assert [each.key for each in steps] == list(range(logged.n_steps))
    assert sum(each.circuits for each in log.by("job")) == logged.totals.n_circuits
    assert all(each.jobs == 1 and each.job_seconds is not None for each in log.by("job"))


def test_off_is_the_default_and_changes_nothing(logged: Any, tmp_path: Path) -> None:
    plain = Trainer(config(tmp_path, tracking={"circuit_log": False}), progress=False).fit()
    assert not (plain.folder.path / "circuits").exists()
    assert np.array_equal(plain.params, logged.params)
    with pytest.raises(InputError, match=r"tracking\.circuit_log"):
        CircuitLog.open("logged", str(tmp_path / "runs"))


def test_an_exact_run_is_logged_too(tmp_path: Path) -> None:
    made = config(tmp_path, run={"epochs": 1})
    made = made.with_overrides(["backend.shots=none"])
    result = Trainer(made, progress=False).fit()
    table = rows_of(CircuitLog(result.folder))
    assert pa.compute.sum(table["circuits"]).as_py() == result.totals.n_circuits
    train = table.filter(pa.compute.equal(table["purpose"], "train"))
    n_gates = len(result.run.task.model.template.gates)
    assert all(0 < n <= n_gates for n in train["derivatives"].to_pylist())  # adjoint: with every value
    assert set(table.filter(pa.compute.equal(table["purpose"], "val"))["derivatives"].to_pylist()) == {0}
    assert table["variances"].null_count == len(table)
    log = CircuitLog(result.folder)
    assert log.noisiest() == []
    assert log.precision() == []
    assert log.sample(0)[0].standard_error is None


# ---- kills -----------------------------------------------------------------------------------------------------------------


def in_order(table: pa.Table) -> list[dict[str, Any]]:
    """Rows without what differs from run to run: times, and how measured speed cuts a step into jobs."""
    order = ("step", "purpose", "place", "displacement", "group")
    names = [name for name in table.column_names if not name.endswith("seconds") and name != "job"]
    return table.select(names).sort_by([(name, "ascending") for name in order]).to_pylist()


def assert_resumes_to(logged: Any, runs: Path) -> None:
    """The log of the run there, killed and resumed, is that of an undisturbed one, but for times."""
    assert CircuitLog.open("logged", str(runs)).by("step")  # while it is torn
    (tail,) = tails_of(runs / "logged" / "circuits")
    with tail.open("ab") as file:  # what a torn write leaves
        file.write(tail.read_bytes()[-300:-17])
    result = Trainer.resume("logged", directory=str(runs), progress=False).fit()
    found, wanted = rows_of(CircuitLog(result.folder)), rows_of(CircuitLog(logged.folder))
    assert np.array_equal(result.params, logged.params)
    assert in_order(found) == in_order(wanted)


class CopyAt(Callback):
    """Copies what the run has handed to the system after a step, not what waits in this process: what SIGKILL there leaves."""

    def __init__(self, steps: tuple[int, ...], source: Path, target: Path) -> None:
        self._steps, self._source, self._target = steps, source, target

    def on_step(self, report: StepReport, state: TrainState) -> None:
        if report.step in self._steps:
            shutil.copytree(self._source, self._target / str(report.step) / "logged")


@pytest.mark.parametrize(("every", "steps"), [(100, (2, 6)), (3, (4, 9))])
def test_wherever_it_is_killed(logged: Any, tmp_path: Path, every: int, steps: tuple[int, ...]) -> None:
    made = config(tmp_path).with_overrides([f"checkpoint.every_steps={every}"])
    copied = CopyAt(steps, tmp_path / "runs" / "logged", tmp_path / "killed")
    Trainer(made, callbacks=[copied], progress=False).fit()
    for step in steps:
        assert_resumes_to(logged, tmp_path / "killed" / str(step))


def test_a_damaged_part_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "part-000000.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StorageError, match="cannot be continued"):
        CircuitWriter(tmp_path, SEED)


@pytest.mark.parametrize("n_bytes", [0, 1, 9, 200, 1000])
def test_a_torn_tail_gives_its_whole_batches(tmp_path: Path, n_bytes: int) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2, n_layers=1))
    backend = IdealBackend()
    coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities)
    writer = CircuitWriter(tmp_path, SEED)
    coordinator.observe = writer.add
    for step in range(4):
        coordinator.evaluate(plan_of(model, 3, 10, step))
    writer.flush()
    (tail,) = tails_of(tmp_path)
    whole = list(tail_batches(tail))
    assert len(whole) == 4
    content = tail.read_bytes()
    tail.write_bytes(content[: len(content) - n_bytes])
    found = list(tail_batches(tail))
    assert found == whole[: len(found)]
    assert len(found) == (4 if n_bytes == 0 else 3 if n_bytes < 1000 else len(found))
    tail.write_bytes(content[:5])
    assert list(tail_batches(tail)) == []


def test_parts_are_rolled_and_cut_back(tmp_path: Path) -> None:
    """Many small parts; a resume from an earlier step cuts them, one from none empties them."""
    model = Model.from_config(ModelConfig(n_qubits=2, n_layers=1))
    backend = IdealBackend()

    def write(steps: range, **state: int) -> None:
        coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities)
        writer = CircuitWriter(tmp_path, SEED, part_rows=40, **state)
        coordinator.observe = writer.add
        for step in steps:
            coordinator.evaluate(plan_of(model, 3, 10, step))
        writer.flush()  # and no more: killed

    def steps() -> list[int]:
        tables = [pq.read_table(path) for path in parts_of(tmp_path)]
        tables += [
            pa.Table.from_batches([batch]) for path in tails_of(tmp_path) for batch in tail_batches(path)
        ]
        return [step for table in tables for step in table["step"].to_pylist()]

    write(range(9))
    assert len(parts_of(tmp_path)) > 1
    n = len(steps()) // 9
    assert steps() == list(np.repeat(range(9), n))
    write(range(5, 11), step=5)
    assert steps() == list(np.repeat(range(11), n))
    (tmp_path / ".part-000099.parquet.aside").write_bytes(b"half")
    write(range(2))
    assert steps() == list(np.repeat(range(2), n))
    assert not list(tmp_path.glob(".part*"))


# ---- questions -------------------------------------------------------------------------------------------------------------


def test_the_noisiest_values_are_those_of_largest_variance(logged: Any) -> None:
    log = CircuitLog(logged.folder)
    table = rows_of(log)
    variances = sorted((v for row in table["variances"].to_pylist() for v in row), reverse=True)
    found = log.noisiest(7)
    assert [each.standard_error for each in found] == [v**0.5 for v in variances[:7]]
    assert all(len(each.observable) == 2 for each in found)
    only = log.noisiest(3, "step == 2 and purpose == 'train'")
    assert {each.step for each in only} == {2}


def test_precision_is_the_mean_variance(logged: Any) -> None:
    table = rows_of(CircuitLog(logged.folder), "purpose == 'val'")
    flat = np.array([v for row in table["variances"].to_pylist() for v in row])
    (found,) = CircuitLog(logged.folder).precision("purpose == 'val'")
    assert found.values == len(flat)
    assert found.shots == 50
    assert found.standard_error == pytest.approx(np.sqrt(flat.mean()), rel=1e-12)
    assert found.shots_for_one_percent == pytest.approx(50 * flat.mean() / 1e-4, abs=1)


@pytest.mark.parametrize("split", ["validation", "train"])
def test_a_sample_is_followed_through_the_training(logged: Any, split: Any) -> None:
    log = CircuitLog(logged.folder)
    values = log.sample(3, split)
    n_epochs, n_batches = 3, logged.run.task.n_batches
    steps = sorted({each.step for each in values})
    assert len(steps) == n_epochs
    if split == "validation":
        assert steps == [n_batches * epoch for epoch in (1, 2, 3)]
        return
    n_train = len(logged.run.data.train.targets)
    for epoch, step in enumerate(steps):
        place = int(np.flatnonzero(epoch_order(SEED, epoch, n_train) == 3)[0])
        assert step == epoch * n_batches + place // 9
        assert {each.sample for each in values if each.step == step} == {place % 9}


@pytest.mark.parametrize(
    ("call", "kind", "word"),
    [
        (lambda log: log.by("steps"), ConfigError, "did you mean 'step'"),
        (lambda log: log.by("step", "stepp > 3"), ConfigError, "did you mean 'step'"),
        (lambda log: log.sample(99), InputError, "nearest valid: 4"),
        (lambda log: log.export(Path("x.txt")), InputError, "x.parquet"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(logged: Any, call: Any, kind: Any, word: str) -> None:
    with pytest.raises(kind, match=word.replace("(", r"\(")):
        call(CircuitLog(logged.folder))


def test_the_log_of_what_was_paid_answers_what_it_can(tmp_path: Path) -> None:
    made = config(tmp_path)
    folder = RunFolder.create(made)
    folder.write_config(made)
    n = 6
    when = [1_700_000_000_000_000] * n
    columns: dict[str, Any] = {
        "key": ["k"] * n, "circuit": ["c"] * n, "structure": ["s"] * n, "n_qubits": [2] * n, "group": [0] * n,
        "basis": ["ZZ"] * n, "angles": [[0.0]] * n, "purpose": ["train"] * 4 + ["val", None], "step": [0, 0, 1, 1, 2, 2],
        "sample": list(range(n)), "displacement": [0] * n, "noise_key": [1] * n, "shots": [100] * 5 + [None],
        "outcomes": [[0]] * n, "probabilities": [[1.0]] * n, "target": ["qpu.aria-1"] * n, "noise": [None] * n,
        "gateset": ["qis"] * n, "is_mitigated": [False] * n, "token": ["a", "a", "b", "b", "b", "b"],
        "provider_id": [None] * n, "number": list(range(n)), "micro_dollars": [1_000_000] * n,
        "reserved_at": when, "completed_at": [when[0] + 2_000_000] * 2 + [when[0] + 5_000_000] * 4,
    }  # fmt: skip
    paid = circuit_log.schema()
    arrays = [pa.array(columns[field.name], _undone(field.type)).cast(field.type) for field in paid]
    pq.write_table(pa.Table.from_arrays(arrays, schema=paid), folder.artifacts / "circuits.parquet")
    log = CircuitLog.open("logged", str(tmp_path / "runs"))
    assert [(each.key, each.circuits, each.shots, each.usd) for each in log.by("purpose")] == [
        (None, 1, 0, 1.0), ("train", 4, 400, 4.0), ("val", 1, 100, 1.0),
    ]  # fmt: skip
    assert [(each.key, each.job_seconds) for each in log.slowest_jobs(2)] == [("b", 5.0), ("a", 2.0)]
    assert log.by("target", "step < 2")[0].circuits == 4
    for question in (log.noisiest, log.precision, lambda: log.sample(0)):
        with pytest.raises(InputError, match="outcomes and no expectation values"):
            question()
    assert main(["circuits", str(folder.path)]) == 0


def _undone(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def test_the_command_answers_in_json_and_in_words(
    logged: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "circuits.parquet"
    arguments = ["circuits", str(logged.folder.path), "--by", "step", "--top", "3", "--sample", "1"]
    arguments += ["--where", "purpose == 'train'", "--output", str(output)]
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["groups"]) == logged.n_steps
    assert len(answer["noisiest"]) == len(answer["slowest_jobs"]) == 3
    assert pq.read_table(output).num_rows == answer["rows"]
    assert pq.read_table(output).column_names == schema().names
    arguments[-1] = str(tmp_path / "circuits.csv")
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for word in (
        "By step",
        "Slowest jobs",
        "Noisiest values",
        "Standard error reached",
        "Sample 1 of validation",
    ):
        assert word in text
    assert (tmp_path / "circuits.csv").read_text().startswith('"step","purpose"')
    assert main(["circuits", str(logged.folder.path), "--top", "0"]) == 2
