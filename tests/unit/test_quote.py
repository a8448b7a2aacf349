"""``qfleet quote`` against trainings that really run: every circuit of every job is written as IonQ JSON and billed by hand."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.backends.ionq import IonQBackend
from actors.ionq.templates import JsonTemplate
from orchestrator.config import BackendConfig, TrainingConfig
from orchestrator.costs.catalogue import Flat, GateShot, PriceEntry, TaskShot
from orchestrator.errors import ConfigError, UnknownNameError
from orchestrator.jobs import Job
from orchestrator.phases import PhaseClock
from orchestrator.planning.batching import jobs_of_at_most
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.registry import GRADIENT_RULES
from orchestrator.training.loop import evaluate_samples, initial_state, train
from pipelines import cli
from pipelines.doctor.rules import examine_rules
from pipelines.quote import catalogue_of, quote, run_shape, settings_of
from pipelines.quote_report import sections
from pipelines.run_setup import PreparedRun, prepare_run

TARGETS = (
    "simulator",
    "qpu.aria-1",
    "floor-by-circuit",
    "floor-by-job",
    "added-by-job",
    "flat",
    "braket.aria-1",
)
OWN_PRICES = """
[targets.floor-by-circuit]
like = "qpu.aria-1"
minimum = "floor"
minimum_usd = 0.02
date = 2026-01-01
source = "test"

[targets.floor-by-job]
like = "floor-by-circuit"
minimum_per = "job"
date = 2026-01-01
source = "test"

[targets.added-by-job]
like = "qpu.aria-1"
minimum_per = "job"
min_shots_mitigated = 1
date = 2026-01-01
source = "test"

[targets.flat]
model = "flat"
price_usd = 0.0031
per = "circuit"
date = 2026-01-01
source = "test"
""".replace('like = "floor-by-circuit"', 'like = "qpu.aria-1"\nminimum = "floor"\nminimum_usd = 0.05')
CIRCUITS_PER_JOB = 100
ANSWER_FREE = [name for name in GRADIENT_RULES if name not in ("adjoint", "adaptive")]


def config_of(tmp_path: Path, *overrides: str) -> TrainingConfig:
    """Two qubits, one layer, two measurement groups, 14 training samples in batches of 5."""
    path = tmp_path / "prices.toml"
    path.write_text(OWN_PRICES, encoding="utf-8")
    return TrainingConfig().with_overrides(
        [
            "data.name=iris",  "data.n_components=2", "data.max_samples=22",
            "model.n_qubits=2", "model.n_layers=1", "model.ansatz=hardware_efficient", "loss.name=mse", "model.head=none",
            "model.observables=['Z0 + 0.5*X0*X1']", "run.epochs=2", "run.batch_size=5", "backend.name=ionq", "backend.shots=600",
            f"budget.prices='{path}'", *overrides,
        ]
    )  # fmt: skip


def prepared(tmp_path: Path, *overrides: str) -> PreparedRun:
    return prepare_run(config_of(tmp_path, *overrides))


class Till:
    """Stands for the coordinator: cuts plans into jobs as the backend is sent them, runs them, and bills every one by hand."""

    def __init__(self, backend: Any, entries: list[PriceEntry], gateset: str, is_mitigated: bool) -> None:
        self.backend, self.entries, self.gateset, self.is_mitigated = backend, entries, gateset, is_mitigated
        self.micro = dict.fromkeys((entry.target for entry in entries), 0)
        self.circuits = self.shots = self.jobs = 0

    def evaluate(
        self, plan: EvaluationPlan, clock: PhaseClock | None = None, lost: np.ndarray | None = None
    ) -> Evaluation:
        jobs = jobs_of_at_most(plan, CIRCUITS_PER_JOB)
        for job in jobs:
            self._bill(plan, job)
        return plan.assemble((job, self.backend.run(plan.circuit, job)) for job in jobs)

    def submit(
        self, plan: EvaluationPlan, clock: PhaseClock | None = None, lost: np.ndarray | None = None
    ) -> SimpleNamespace:
        evaluation = self.evaluate(plan, clock, lost)
        return SimpleNamespace(result=lambda clock: evaluation)

    def _bill(self, plan: EvaluationPlan, job: Job) -> None:
        texts = [
            JsonTemplate(plan.circuit.template, group.basis, self.gateset).circuits_json(angles_of(job))
            for group in plan.circuit.groups
        ]
        circuits = [json.loads(text) for at_point in zip(*texts, strict=True) for text in at_point]
        n_parts = math.ceil(len(circuits) / CIRCUITS_PER_JOB)
        assert n_parts == 1
        self.circuits += len(circuits)
        self.shots += len(circuits) * (job.shots or 0)
        self.jobs += 1
        for entry in self.entries:
            self.micro[entry.target] += price_by_hand(entry, circuits, job.shots or 0, self.is_mitigated)


def angles_of(job: Job) -> np.ndarray:
    """float64 [S·D, K] of every circuit."""
    rows = []
    for sample in job.data_angles:
        for d in range(job.n_displacements):
            angles = np.array(job.shared_angles, np.float64)
            angles[job.data_columns] = sample
            row = job.displacements.rows(d, d + 1)
            angles[row.angles] += row.deltas
            rows.append(angles)
    return np.array(rows)


def price_by_hand(
    entry: PriceEntry, circuits: list[list[dict[str, Any]]], shots: int, is_mitigated: bool
) -> int:
    """Micro-dollars of a job, in decimals, from the gates as they are sent; no circuit here has more than two operands a gate."""

    def up(dollars: Decimal) -> int:
        return math.ceil(dollars * 1_000_000)

    if isinstance(entry, Flat):
        return up(entry.price_usd) * (len(circuits) if entry.per == "circuit" else 1)
    if isinstance(entry, TaskShot):
        return len(circuits) * up(entry.price_task_usd + shots * entry.price_shot_usd)
    assert isinstance(entry, GateShot)
    minimum = up(entry.minimum_mitigated_usd if is_mitigated else entry.minimum_usd)
    used = []
    for gates in circuits:
        two = sum("control" in gate or len(gate.get("targets", [0])) == 2 for gate in gates)
        used.append(up(shots * (entry.price_1q_usd * (len(gates) - two) + entry.price_2q_usd * two)))
    programs = used if entry.minimum_per == "circuit" else [sum(used)]
    return sum(price + minimum if entry.minimum == "added" else max(price, minimum) for price in programs)


def trained(run: PreparedRun, till: Till) -> None:
    """As ``qfleet train`` does: all steps with the validations, and the final test."""
    state = initial_state(run.task)
    for _ in train(run.task, state, till):  # type: ignore[arg-type]
        pass
    evaluate_samples(
        run.task.model, state.best_params, run.data.test.features, till, shots=run.task.shots, seed=1, purpose="test",
    )  # type: ignore[arg-type]  # fmt: skip


def billed(run: PreparedRun, backend: Any, gateset: str = "qis", is_mitigated: bool = True) -> Till:
    catalogue = catalogue_of(run.config)
    till = Till(backend, [catalogue.entry(target) for target in TARGETS], gateset, is_mitigated)
    trained(run, till)
    return till


def rows_of(outcome: dict[str, Any], rule: str) -> dict[str, dict[str, Any]]:
    return {
        target["target"]: row
        for target in outcome["targets"]
        for row in target["rules"]
        if row["rule"] == rule
    }


@pytest.mark.parametrize("rule", ANSWER_FREE)
def test_quote_is_the_bill(tmp_path: Path, dense: SimpleNamespace, rule: str) -> None:
    run = prepared(
        tmp_path,
        f"gradient.rule={rule}",
        "gradient.fraction=0.4",
        "gradient.coordinates=3",
        "model.frozen=['head']",
    )
    till = billed(run, dense.Backend())
    rows = rows_of(quote(run, TARGETS, [rule]), rule)
    for target in TARGETS:
        whole = rows[target]["run"]
        assert whole["micro"] == till.micro[target], target
        assert (whole["circuits"], whole["shots"]) == (till.circuits, till.shots)
        assert whole["jobs"] == (till.circuits if target == "braket.aria-1" else till.jobs)
        parts = [rows[target][part]["micro"] for part in ("training", "validation", "test")]
        assert sum(parts) == whole["micro"]
    assert till.micro["simulator"] == 0 < till.micro["flat"]


@pytest.mark.parametrize("gateset", ["qis", "native"])
@pytest.mark.parametrize("is_mitigated", [False, None])
def test_quote_is_the_bill_in_either_gate_set_and_with_or_without_mitigation(
    tmp_path: Path, dense: SimpleNamespace, gateset: str, is_mitigated: bool | None
) -> None:
    run = prepared(
        tmp_path, "gradient.rule=parameter_shift", "run.max_steps=4", f"backend.gateset={gateset}",
        f"backend.error_mitigation={'none' if is_mitigated is None else 'false'}",
    )  # fmt: skip
    till = billed(run, dense.Backend(), gateset, is_mitigated is None)
    rows = rows_of(quote(run, TARGETS, ["parameter_shift"]), "parameter_shift")
    assert {target: rows[target]["run"]["micro"] for target in TARGETS} == till.micro


@pytest.mark.parametrize("target", ["simulator", "qpu.aria-1"])
@pytest.mark.parametrize("mitigation", [None, False])
def test_how_circuits_are_sent_is_what_the_backend_does(target: str, mitigation: bool | None) -> None:
    config = BackendConfig(name="ionq", target=target, error_mitigation=mitigation, circuits_per_job=7)
    settings = settings_of(config)
    backend = IonQBackend(target=target, error_mitigation=mitigation, circuits_per_job=7)
    assert settings.is_mitigated == backend.is_mitigated
    assert settings.circuits_per_job == backend.capabilities.circuits_per_job == 7
    assert (settings.target, settings.gateset) == (backend.target, backend.gateset)
    default, of_backend = settings_of(BackendConfig()), IonQBackend()
    assert default.circuits_per_job == of_backend.circuits_per_job
    assert (default.target, default.gateset) == (of_backend.target, of_backend.gateset)


@pytest.mark.parametrize(
    ("rule", "overrides"),
    [
        ("adaptive", ["gradient.explore_every=2", "backend.shots=8000"]),
        ("parameter_shift", ["backend.error_mitigation=false", "gradient.shots_per_step=90000"]),
        (
            "parameter_shift",
            [
                "backend.error_mitigation=false",
                "gradient.shots_per_step=90000",
                "gradient.shot_allocation='gradient'",
            ],
        ),
    ],
)
def test_bounds_hold_where_answers_decide(
    tmp_path: Path, dense: SimpleNamespace, rule: str, overrides: list[str]
) -> None:
    run = prepared(tmp_path, f"gradient.rule={rule}", *overrides)
    till = billed(run, dense.Backend(), is_mitigated=rule == "adaptive")
    outcome = quote(run, TARGETS, [rule])
    for target, row in rows_of(outcome, rule).items():
        least, most = row["run"].get("least", row["run"]), row["run"].get("most", row["run"])
        assert least["micro"] <= till.micro[target] <= most["micro"], target
        assert least["circuits"] <= till.circuits <= most["circuits"]
        assert least["shots"] <= till.shots <= most["shots"]
        assert row["note"]
        if "least" in row["run"] and overrides[-1] == "gradient.shots_per_step=90000":
            assert least["shots"] > 0.9 * most["shots"], "all of the budget is used, so little is unknown"


def test_the_step_of_the_worked_example() -> None:
    """48 rotations and 16 CNOT, and 8 rotations of the data besides: $26.79 + 1.80 a circuit, and the minimum on top.

    No observable feels the last RZ of a qubit, so the 97 circuits of the example are 81.
    """
    config = TrainingConfig().with_overrides(
        ["backend.name=ionq", "backend.shots=1024", "backend.error_mitigation=false", "run.batch_size=1", "run.max_steps=1",
         "model.entanglement=circular", "gradient.rule=parameter_shift"]
    )  # fmt: skip
    outcome = quote(prepare_run(config), ["qpu.aria-1", "braket.aria-1"], ["parameter_shift"])
    (group,) = outcome["targets"][0]["gates_by_measurement_group"]
    assert (group["n_1q"], group["n_2q"]) == (48 + 8, 16)
    aria, braket = (row["step"] for row in rows_of(outcome, "parameter_shift").values())
    assert (aria["circuits"], aria["jobs"], braket["jobs"]) == (81, 1, 81)
    assert aria["micro"] == 81 * (26_787_840 + 8 * 1024 * 220 + 12_416_600)
    assert braket["micro"] == 81 * 31_020_000


def test_equal_shares_of_a_budget_of_shots_are_known(tmp_path: Path, dense: SimpleNamespace) -> None:
    run = prepared(
        tmp_path,
        "gradient.rule=parameter_shift",
        "gradient.shots_per_step=90000",
        "gradient.shot_allocation=uniform",
    )
    till = billed(run, dense.Backend())
    rows = rows_of(quote(run, TARGETS, ["parameter_shift"]), "parameter_shift")
    assert {target: rows[target]["run"]["micro"] for target in TARGETS} == till.micro


def test_early_stopping_leaves_the_most_as_it_is(tmp_path: Path) -> None:
    whole = quote(prepared(tmp_path, "run.epochs=6"), ["qpu.aria-1"], ["spsa"])
    run = prepared(tmp_path, "run.epochs=6", "run.early_stopping_patience=2")
    row, exact = (rows_of(o, "spsa")["qpu.aria-1"] for o in (quote(run, ["qpu.aria-1"], ["spsa"]), whole))
    shorter = quote(prepared(tmp_path, "run.epochs=3"), ["qpu.aria-1"], ["spsa"])
    assert row["run"]["most"] == exact["run"]
    assert row["run"]["least"] == rows_of(shorter, "spsa")["qpu.aria-1"]["run"]


def test_shape_of_a_run_that_ends_within_an_epoch(tmp_path: Path) -> None:
    run = prepared(tmp_path, "run.max_steps=4")
    shape = run_shape(run)
    n_train = len(run.task.train.targets)
    assert shape.batch_sizes == [5, 5, n_train - 10, 5]
    assert (shape.n_epochs, shape.steps_an_epoch) == (2, 3)


def test_budget_says_how_many_steps_it_holds(tmp_path: Path) -> None:
    """What is spent after each step is found from quotes of runs that end there."""
    held = []
    for n_steps in range(1, 6):
        outcome = quote(prepared(tmp_path, f"run.max_steps={n_steps}"), ["qpu.aria-1"], ["spsa"])
        row = rows_of(outcome, "spsa")["qpu.aria-1"]
        validation = row["validation"]["micro"] // outcome["epochs"]
        spent = row["training"]["micro"] + n_steps // 3 * validation
        for cap, expected in ((spent, n_steps), (spent - 1, n_steps - 1)):
            run = prepared(tmp_path, f"budget.max_usd={cap / 1e6!r}")
            found = rows_of(quote(run, ["qpu.aria-1"], ["spsa"]), "spsa")["qpu.aria-1"]
            held.append(found["steps_within_budget"] == expected)
    assert all(held)
    none = quote(prepared(tmp_path), ["qpu.aria-1"], ["spsa"])
    assert rows_of(none, "spsa")["qpu.aria-1"]["steps_within_budget"] is None


def test_what_a_target_does_not_take_is_said_and_the_others_are_priced(tmp_path: Path) -> None:
    outcome = quote(prepared(tmp_path, "backend.shots=100"), ["qpu.aria-1", "simulator"], ["spsa", "adjoint"])
    refused, free = rows_of(outcome, "spsa").values()
    assert "needs 500 shots a circuit, not 100" in refused["refused"]
    assert free["run"]["micro"] == 0
    assert "differentiates exactly" in rows_of(outcome, "adjoint")["simulator"]["refused"]
    exact = quote(prepared(tmp_path, "backend.shots=none"), ["qpu.aria-1", "simulator"], ["parameter_shift"])
    refused, free = rows_of(exact, "parameter_shift").values()
    assert "set backend.shots" in refused["refused"]
    assert (
        free["step"]["circuits"]
        == 2 * rows_of(exact, "parameter_shift")["simulator"]["step"]["circuits"] // 2
    )
    assert free["step"]["shots"] == 0
    too_many = quote(prepared(tmp_path, "backend.shots=20000"), ["qpu.aria-1"], ["spsa"])
    assert "at most 10000 shots" in rows_of(too_many, "spsa")["qpu.aria-1"]["refused"]


def test_exact_values_take_a_circuit_for_every_measurement_group_too(tmp_path: Path) -> None:
    rows = [
        rows_of(quote(prepared(tmp_path, f"backend.shots={shots}"), ["simulator"], ["spsa"]), "spsa")[
            "simulator"
        ]
        for shots in ("none", "600")
    ]
    assert rows[0]["run"]["circuits"] == rows[1]["run"]["circuits"]


def test_native_gates_on_a_forte_are_refused(tmp_path: Path) -> None:
    outcome = quote(prepared(tmp_path, "backend.gateset=native"), ["qpu.forte-1"], ["spsa"])
    assert "backend.gateset" in rows_of(outcome, "spsa")["qpu.forte-1"]["refused"]
    assert sections(outcome)["Not taken by"]


def test_doctor_shows_these_prices(tmp_path: Path) -> None:
    run = prepared(tmp_path, "backend.target=qpu.aria-1")
    paid = IonQBackend(target="qpu.aria-1").capabilities
    assert paid.is_paid
    shown = {row["rule"]: row for row in examine_rules(run, paid, None)}
    quoted = rows_of(quote(run, ["qpu.aria-1"]), "spsa")["qpu.aria-1"]
    assert shown["spsa"]["step"]["cost_usd"] == quoted["step"]["usd"] > 0
    assert shown["spsa"]["run"]["cost_usd"] == quoted["run"]["usd"]


def test_the_rule_auto_is_parameter_shift_where_nothing_differentiates(tmp_path: Path) -> None:
    run = prepared(tmp_path, "backend.name=ideal", "backend.shots=none", "gradient.rule=auto")
    assert run.task.rule.name == "adjoint"
    outcome = quote(run, ["simulator"])
    assert outcome["rule"] == "parameter_shift"
    rules = [row["rule"] for row in outcome["targets"][0]["rules"]]
    assert rules == list(GRADIENT_RULES)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tomli_w

    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config_of(tmp_path).to_dict()), encoding="utf-8")
    command = ["quote", str(path), "--target", "qpu.aria-1", "simulator", "--rule", "parameter_shift", "spsa"]
    assert cli.main([*command, "--set", "budget.max_usd=3"]) == 0
    text = capsys.readouterr().out
    for part in ("qpu.aria-1: a step", "simulator: the run", "2025-09-17", "error mitigation", "gates read in", "The same steps by",
                 "budget.max_usd", "validation alone", "test alone"):  # fmt: skip
        assert part in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert cli.main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [target["target"] for target in printed["targets"]] == ["qpu.aria-1", "simulator"]
    assert cli.main(["quote", str(path), "--target", "qpu.aria1"]) == 2
    assert "did you mean 'qpu.aria-1'" in capsys.readouterr().err
    assert cli.main(["quote", str(path), "--rule", "spsaa"]) == 2
    assert "did you mean 'spsa'" in capsys.readouterr().err


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    run = prepared(tmp_path)
    with pytest.raises(ConfigError):
        quote(run, ["qpu.aria-9"], ["spsa"])
    with pytest.raises(UnknownNameError):
        quote(run, ["simulator"], ["spssa"])
