"""``qfleet doctor``: its counts equal a real step's, its proofs hold in cirq, its variances are those of theory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.cirq_simulator import CirqBackend
from actors.backends.ideal import IdealBackend
from actors.serial import SerialDispatcher
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.light_cone import felt_angles
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import ModelConfig, TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.models.model import Model
from orchestrator.protocols import Capabilities
from orchestrator.registry import GRADIENT_RULES
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.reports import Samples
from pipelines import cli
from pipelines.doctor.circuit import depth, examine_circuit
from pipelines.doctor.command import examine
from pipelines.doctor.derivatives import Differentiator
from pipelines.doctor.ensembles import spreads
from pipelines.doctor.family import resized
from pipelines.doctor.gradient import examine_gradient, sizes_up_to
from pipelines.doctor.memory import answer_bytes
from pipelines.doctor.pace import CircuitPace
from pipelines.doctor.parameters import examine_parameters, in_words, unfelt_parameters
from pipelines.doctor.plateau import STEEP, fall, shots_to_see, verdict
from pipelines.doctor.report import sections
from pipelines.doctor.rules import examine_rules, first_step, plans_of, with_rule
from pipelines.run_setup import PreparedRun, prepare_run

EXAMPLE = Path(__file__).parents[2] / "pipelines" / "configs" / "breast_cancer.toml"
IDEAL = IdealBackend.capabilities


def prepared(*overrides: str) -> PreparedRun:
    """Four qubits, two layers, 40 training rows at most."""
    small = ["model.n_qubits=4", "data.n_components=4", "data.max_samples=60", "run.epochs=2", *overrides]
    return prepare_run(TrainingConfig.from_toml(EXAMPLE, small))


def model_of(*operations: cirq.Operation, observables: Any = "first", **more: Any) -> Model:
    """No features."""
    return Model.from_circuit(cirq.Circuit(operations), features=[], observables=observables, **more)


Q = cirq.LineQubit.range(4)
P = sympy.symbols("p0:9")
NO_FEATURES = np.zeros((1, 0))


# --- Circuit ------------------------------


def test_depth_and_gates_are_those_of_cirq() -> None:
    model = prepared().task.model
    about, circuit = examine_circuit(model), model.template.circuit()
    packed = cirq.Circuit(circuit.all_operations())
    assert about["depth"] == depth(model.template) == len(packed)
    by_size = [len(op.qubits) for op in circuit.all_operations()]
    assert about["gates_by_size"] == {
        "1 qubit": by_size.count(1),
        "2 qubits": by_size.count(2),
        "3 or more": 0,
    }
    assert about["gates"] == len(by_size)
    n_cnots = sum(op.gate == cirq.CNOT for op in circuit.all_operations())
    assert about["gates_by_name"]["CX"] == {"2 qubits": n_cnots}
    assert about["measurement_groups"] == ["ZIII"]


# --- Work ------------------------------


@pytest.mark.parametrize(
    ("rule", "shots"),
    [("parameter_shift", "none"), ("adjoint", "none"), ("parameter_shift", "50"), ("spsa", "50")],
)
def test_circuits_and_shots_are_those_of_a_real_step(rule: str, shots: str) -> None:
    run = prepared(f"backend.shots={shots}", "model.observables=['Z0 + 0.5*X1']")
    row = next(row for row in examine_rules(run, IDEAL, None) if row["rule"] == rule)
    task = with_rule(run, rule, IDEAL).task
    dispatcher = SerialDispatcher(IdealBackend())
    batch = Samples(task.train.features[:32], task.train.targets[:32])
    params = task.model.initial_params(1)
    done = batch_gradient(task, params, batch, Coordinator(dispatcher, IDEAL), step=0).evaluations
    dispatcher.close()
    assert row["step"]["circuits"] == sum(e.n_circuits for e in done)
    assert row["step"]["shots"] == sum(e.n_shots for e in done)


def test_parameter_shift_takes_two_circuits_an_angle_and_validation_one() -> None:
    run = prepared("run.batch_size=10")
    rows = {row["rule"]: row for row in examine_rules(run, IDEAL, None)}
    n_train, n_validation, n_test = (
        len(getattr(run.data, name).targets) for name in ("train", "validation", "test")
    )
    n_felt = len(run.task.model.differentiated_angles)
    assert 12 < n_felt < 24
    assert rows["parameter_shift"]["step"]["circuits"] == 10 * (1 + 2 * n_felt)
    expected = 2 * (n_train * (1 + 2 * n_felt) + n_validation) + n_test
    assert rows["parameter_shift"]["run"]["circuits"] == expected
    assert set(rows) == set(GRADIENT_RULES)
    assert [name for name, row in rows.items() if row["is_configured"]] == ["adjoint"]


def test_rules_that_do_not_apply_say_why_and_a_paid_backend_has_no_price() -> None:
    rows = {row["rule"]: row for row in examine_rules(prepared("backend.shots=10"), IDEAL, None)}
    assert "differentiates exactly" in rows["adjoint"]["refused"]
    assert rows["parameter_shift"]["is_configured"]
    assert rows["parameter_shift"]["step"]["cost_usd"] == 0.0
    paid = replace(IDEAL, is_paid=True)
    rows = {row["rule"]: row for row in examine_rules(prepared(), paid, None)}
    assert rows["parameter_shift"]["run"]["cost_usd"] is None


def test_times_are_circuits_times_the_pace_of_their_kind() -> None:
    run = prepared("run.batch_size=10")
    rows = {
        row["rule"]: row for row in examine_rules(run, IDEAL, lambda plan: 1.0 if plan.wanted.size else 1e-3)
    }
    shift = rows["parameter_shift"]
    assert shift["step"]["seconds"] == shift["step"]["circuits"]
    n_scored = 2 * len(run.data.validation.targets) + len(run.data.test.targets)
    n_trained = shift["run"]["circuits"] - n_scored
    assert shift["run"]["seconds"] == pytest.approx(n_trained + 1e-3 * n_scored, rel=1e-12)


class _Counted(CirqBackend):
    """Says that every circuit took `seconds`."""

    def __init__(self, seconds: float) -> None:
        object.__setattr__(self, "seconds", seconds)
        object.__setattr__(self, "jobs", [])

    def open_session(self) -> Any:
        session = super().open_session()
        answer = session.run

        def run(compiled: Any, job: Any) -> Any:
            result = answer(compiled, job)
            self.jobs.append(result.n_circuits)
            return replace(result, compute_seconds=self.seconds * result.n_circuits)

        session.run = run
        return session


@pytest.mark.parametrize("seconds", [1e-3, 2.0])
def test_the_pace_is_measured_once_and_a_slow_circuit_is_run_once(seconds: float) -> None:
    run = prepared("model.n_qubits=2", "data.n_components=2")
    backend = _Counted(seconds)
    pace = CircuitPace(backend)
    plan = plans_of(with_rule(run, "parameter_shift", IDEAL).task.rule, first_step(run))[0]
    assert pace(plan) == pytest.approx(seconds, rel=1e-12)
    n_jobs, spent = len(backend.jobs), seconds * sum(backend.jobs)
    assert pace(plan) == pytest.approx(seconds, rel=1e-12)
    pace.close()
    assert len(backend.jobs) == n_jobs
    assert backend.jobs == [1] if seconds > 1 else spent < 1.0


# --- Light cone ------------------------------


def test_dead_parameters_of_a_circuit_made_by_hand() -> None:
    """Z0 measured: p3 and p5 turn what it does not see, p4 commutes with it, p0 is a phase on |0>."""
    model = model_of(
        cirq.rz(P[0])(Q[0]),
        cirq.ry(P[1])(Q[0]),
        cirq.ry(P[2])(Q[1]),
        cirq.CNOT(Q[1], Q[0]),
        cirq.ry(P[3])(Q[1]),
        cirq.rz(P[4])(Q[0]),
        cirq.rx(P[5])(Q[2]),
        cirq.CZ(Q[0], Q[1]) ** P[6],
    )
    assert unfelt_parameters(model).tolist() == [0, 3, 4, 5, 6]
    frozen = model.with_frozen([3, 5])
    assert unfelt_parameters(frozen).tolist() == [0, 4, 6]


def test_a_parameter_is_dead_only_where_all_its_gates_are() -> None:
    model = model_of(cirq.ry(P[0])(Q[0]), cirq.rz(P[0])(Q[0]), cirq.rz(P[1])(Q[0]), cirq.rz(2 * P[1])(Q[1]))
    assert unfelt_parameters(model).tolist() == [1]


def test_another_observable_feels_what_the_first_does_not() -> None:
    gates = [cirq.ry(P[0])(Q[0]), cirq.rz(P[1])(Q[0]), cirq.rx(P[2])(Q[1])]
    assert unfelt_parameters(model_of(*gates)).tolist() == [1, 2]
    assert unfelt_parameters(model_of(*gates, observables=["Z0", "X0"], head="linear")).tolist() == [2]
    assert unfelt_parameters(model_of(*gates, observables=["X0*Z1"])).tolist() == []


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 6, 9])
def test_angles_called_dead_move_nothing_in_cirq(
    seed: int, random_circuit: Callable[..., cirq.Circuit], cirq_expectations: Callable[..., np.ndarray]
) -> None:
    """Random circuits of all kinds of gates: at random angles an unfelt one changes no expectation value, by cirq's simulator."""
    rng = np.random.default_rng(seed)
    made: list[sympy.Symbol] = []

    def angle() -> sympy.Symbol:
        made.append(sympy.Symbol(f"s{len(made)}"))
        return made[-1]

    drawn = random_circuit(rng, 4, 9, angle)
    template, _ = template_from_circuit(drawn, Q)
    measured = MeasuredCircuit(template, ("ZIII", "IXII"))
    felt = felt_angles(measured)
    symbols = sympy.symbols(f"a0:{template.n_angles}") if template.n_angles else ()
    observables = [cirq.PauliSum.wrap(cirq.Z(Q[0])), cirq.PauliSum.wrap(cirq.X(Q[1]))]
    base = rng.uniform(0, 2 * np.pi, template.n_angles)
    dead = np.flatnonzero(~felt)
    assert len(dead), "choose a seed whose circuit has some"
    moved = np.repeat(base[None], 1 + len(dead), axis=0)
    moved[np.arange(1, len(moved)), dead] += rng.uniform(0.5, 2.5, len(dead))
    values = cirq_expectations(template.circuit(), symbols, moved, observables, 4)
    np.testing.assert_allclose(values, np.repeat(values[:1], len(values), axis=0), atol=1e-12)


def test_gates_on_many_qubits_are_followed_coarsely_but_soundly() -> None:
    quadruple = cirq.ry(P[0]).controlled(3)(*Q)
    assert unfelt_parameters(model_of(*cirq.H.on_each(*Q), quadruple, cirq.rx(P[1])(Q[1]))).tolist() == [1]
    behind = [
        *cirq.H.on_each(*Q[:3]),
        cirq.rx(P[0])(Q[3]),
        cirq.X.controlled(3)(*Q[::-1]),
        cirq.rz(P[1])(Q[0]),
    ]
    assert unfelt_parameters(model_of(*behind)).tolist() == [1]


def test_what_is_not_felt_is_left_out_and_the_saving_is_said() -> None:
    run = prepared("gradient.rule=parameter_shift")
    found = examine_parameters(run, measure=True)
    assert found["indices"]
    assert found["confirmed"] is True
    assert found["largest_derivative"] < 1e-12
    assert found["zero_but_not_proved"] == []
    # one angle a parameter, two circuits an angle, 32 samples
    assert found["saved_circuits_a_step"] == 64 * len(found["indices"])
    step = sum(plan.n_circuits for plan in plans_of(run.task.rule, first_step(run)))
    assert step + found["saved_circuits_a_step"] == 32 * (1 + 2 * run.task.model.n_circuit_params)
    frozen = prepared("gradient.rule=parameter_shift", f"model.frozen={found['indices']}")
    assert sum(plan.n_circuits for plan in plans_of(frozen.task.rule, first_step(frozen))) == step
    none = examine_parameters(frozen, measure=False)
    assert (none["unfelt"], none["saved_circuits_a_step"]) == ([], 0)


def test_names_in_a_row_are_shortened() -> None:
    names = [f"p{i}" for i in (3, 7, 8, 45, 46, 47)]
    assert in_words(names, [3, 7, 8, 45, 46, 47]) == "p3, p7, p8, p45 .. p47"
    assert in_words(["w"], [0]) == "w"


# --- Gradient at initialisation ------------------------------


def test_derivatives_are_those_of_cirq(cirq_expectations: Callable[..., np.ndarray]) -> None:
    x, a, b = sympy.symbols("x a b")
    circuit = cirq.Circuit(
        cirq.ry(a * x + b)(Q[0]), cirq.CNOT(Q[0], Q[1]), cirq.rx(2 * b)(Q[1]), cirq.rz(a)(Q[0])
    )
    model = Model.from_circuit(
        circuit, features=["x"], params=["a", "b"], observables=["Z0 - 0.5*X1", "Z1"], head="linear"
    )
    rng = np.random.default_rng(3)
    params, features, h = rng.uniform(0, 2 * np.pi, (4, 2)), rng.uniform(-1, 1, (4, 1)), 1e-5
    found = Differentiator(model).at(params, features)
    observables = [1.0 * cirq.Z(Q[0]) - 0.5 * cirq.X(Q[1]), cirq.PauliSum.wrap(cirq.Z(Q[1]))]
    for p in range(2):
        step = h * np.eye(2)[p]
        up, down = (
            cirq_expectations(circuit, (a, b, x), np.hstack([params + s * step, features]), observables, 2)
            for s in (1, -1)
        )
        # central differences: wrong by h**2 f''' / 6 and by rounding / h
        np.testing.assert_allclose(found[:, :, p], (up - down) / (2 * h), atol=1e-8)


def test_variance_of_one_rotation_is_a_half() -> None:
    """<Z> = cos θ after RY(θ): the derivative -sin θ has variance 1/2 for uniform θ, and sin² has variance 1/8."""
    model = model_of(cirq.ry(P[0])(Q[0]), initial_scale=0.1)
    n = 2000
    found = spreads(Differentiator(model), NO_FEATURES, n, 5)
    five_sigma = 5 * np.sqrt(1 / 8 / n)
    assert found.uniform.variance == pytest.approx(0.5, abs=five_sigma)
    assert found.uniform.size**2 == pytest.approx(0.5, abs=five_sigma)
    # θ ~ N(0, s²): E sin²θ = (1 - exp(-2 s²)) / 2, and Var sin²θ <= E sin⁴θ <= 3 s⁴
    expected = (1 - np.exp(-2 * 0.01)) / 2
    assert found.initial.variance == pytest.approx(expected, abs=5 * np.sqrt(3e-4 / n))


def test_pairs_that_do_not_feel_each_other_are_not_averaged_over() -> None:
    gates = [cirq.ry(P[i])(Q[i]) for i in range(4)]
    n = 2000
    found = spreads(Differentiator(model_of(*gates, observables="each", head="linear")), NO_FEATURES, n, 5)
    assert found.uniform.variance == pytest.approx(0.5, abs=5 * np.sqrt(1 / 8 / n))


@pytest.mark.parametrize("n_qubits", [2, 3, 5])
def test_parity_of_rotations_halves_with_every_qubit(n_qubits: int) -> None:
    """Of <Z...Z> = prod cos θ_i the derivatives have variance 2**-n; their squares are at most 1, so they vary by at most that."""
    model = model_of(*(cirq.ry(P[i])(cirq.LineQubit(i)) for i in range(n_qubits)), observables="parity")
    n = 4000
    found = spreads(Differentiator(model), NO_FEATURES, n, 1)
    # E sin⁴ = E cos⁴ = 3/8
    sigma = np.sqrt((3 / 8) ** n_qubits - 4.0**-n_qubits) / np.sqrt(n)
    assert found.uniform.variance == pytest.approx(2.0**-n_qubits, abs=5 * sigma)


def test_the_fall_is_read_off_exact_powers() -> None:
    assert fall([(n, 0.3 * 2.0**-n) for n in range(2, 9)]) == pytest.approx(2.0, rel=1e-12)
    assert fall([(n, 1.0) for n in (2, 4, 8)]) == pytest.approx(1.0, rel=1e-12)


def test_the_words_of_a_plateau_and_of_none() -> None:
    sizes = list(range(2, 9))
    bad = verdict(sizes, [2.0**-n for n in sizes], 0.01, 1.0)
    assert bad.is_plateau
    assert bad.sentence == (
        "falls by a factor of 2.0 per qubit up to n = 8: a barren plateau; at n = 8 a gradient of size 0.01 needs about 20.0 k shots "
        "a circuit to be seen"
    )
    good = verdict(sizes, [0.5] * 7, 0.7, 1.0)
    assert good.is_plateau is False
    assert good.sentence.startswith("no sign of a barren plateau up to n = 8 (variance times 1.00 per qubit)")
    # falls while the light cone fills, and then no more
    assert verdict(sizes, [2.0 ** -min(n, 5) for n in sizes], 0.2, 1.0).is_plateau is False
    # a power law is none
    assert verdict(sizes, [float(n) ** -2 for n in sizes], 0.1, 1.0).is_plateau is False
    assert verdict([2, 3], [0.1, 0.01], 0.1, 1.0).is_plateau is None
    assert "the gradient is zero" in verdict(sizes, [0.0] * 7, 0.0, 1.0).sentence
    assert STEEP < 2.0


def test_shots_make_a_gradient_twice_its_noise() -> None:
    """At <O> = 0 a shifted pair of N shots of ±1 differs with variance 2/N; half of it has 1/(2N)."""
    shots = shots_to_see(0.02, 1.0)
    assert np.sqrt(1 / (2 * shots)) == pytest.approx(0.01, rel=1e-3)
    assert shots_to_see(0.02, 3.0) == pytest.approx(9 * shots, rel=1e-3)


def plateau_of(*overrides: str) -> dict[str, Any]:
    return examine_gradient(prepared("model.n_qubits=7", "data.n_components=7", *overrides))


def test_a_strongly_entangling_circuit_with_parity_is_a_plateau() -> None:
    found = plateau_of("model.ansatz=strongly_entangling", "model.n_layers=6", "model.observables=parity")
    uniform = found["verdicts"]["uniform"]
    assert uniform["is_plateau"]
    assert uniform["factor"] > STEEP
    assert "a barren plateau" in uniform["sentence"]
    assert [row["layers"] for row in found["layers"]] == [1, 3, 6, 12]
    assert [row["qubits"] for row in found["qubits"]] == [2, 3, 4, 5, 6, 7]


def test_a_separable_layer_with_a_local_observable_is_none() -> None:
    found = plateau_of("model.ansatz=three_rotation_separable", "model.n_layers=1")
    for verdict_of in found["verdicts"].values():
        assert verdict_of["is_plateau"] is False
        assert verdict_of["sentence"].startswith("no sign of a barren plateau up to n = 7")
    # Z0 sees qubit 0 alone, whatever n: the same numbers but for the draws
    assert found["verdicts"]["uniform"]["factor"] == pytest.approx(1.0, abs=0.1)


def test_observables_that_smaller_circuits_lack_leave_the_depth() -> None:
    found = examine_gradient(prepared("model.observables=['Z0*Z3']"))
    assert [row["qubits"] for row in found["qubits"]] == [4]
    assert [row["layers"] for row in found["layers"]] == [1, 2, 4]
    assert found["note"].startswith("only the depth is looked at")
    assert "names qubit 3" in found["note"]
    assert found["verdicts"]["uniform"]["is_plateau"] is None


def test_a_circuit_of_ones_own_has_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_circuit_of_doctor.py").write_text(
        "import cirq, sympy\nfrom orchestrator.models.model import Model\n\n\ndef make():\n"
        "    a, b, x, y = sympy.symbols('a b x y')\n    q = cirq.LineQubit.range(2)\n"
        "    c = cirq.Circuit(cirq.ry(x)(q[0]), cirq.ry(y + a)(q[1]), cirq.CNOT(*q), cirq.rz(b)(q[1]))\n"
        "    return Model.from_circuit(c, features=['x', 'y'], observables=['Z1'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = prepared("model.circuit=own_circuit_of_doctor:make", "data.n_components=2")
    outcome = examine(run)
    assert [row["qubits"] for row in outcome["gradient"]["qubits"]] == [2]
    assert outcome["gradient"]["layers"] == []
    assert "circuit of your own" in outcome["gradient"]["note"]
    assert outcome["parameters"]["unfelt"] == ["b"]
    assert sections(outcome)["Unfelt parameters"]["1 of 2"] == "b"


def test_smaller_members_of_the_family_take_the_first_features() -> None:
    features = np.arange(24.0).reshape(3, 8)
    config = ModelConfig(n_qubits=8, n_features=8, frozen=(40,), n_layers=2)
    member = resized(config, features, 3, 1)
    assert (member.model.template.n_qubits, member.model.n_circuit_params) == (3, 9)
    np.testing.assert_array_equal(member.features, features[:, :3])
    assert not member.model.frozen.any()


def test_sizes_end_at_the_configured_one() -> None:
    assert sizes_up_to(1) == [1]
    assert sizes_up_to(4) == [2, 3, 4]
    many = sizes_up_to(40)
    assert (many[0], many[-1]) == (2, 40)
    assert len(many) == 8


def test_the_same_seed_gives_the_same_variances() -> None:
    first, second = (examine_gradient(prepared("model.n_qubits=3", "data.n_components=3")) for _ in range(2))
    assert first == second


# --- Memory ------------------------------


@pytest.mark.parametrize("rule", ["parameter_shift", "adjoint"])
def test_the_drivers_answers_are_as_large_as_said(rule: str) -> None:
    run = with_rule(prepared("model.observables=each", "model.head=linear"), rule, IDEAL)
    plan = plans_of(run.task.rule, first_step(run))[0]
    answer = plan.blank()
    assert answer.jacobian is not None
    assert answer_bytes(plan) == answer.rows.nbytes + answer.jacobian.nbytes


@pytest.mark.parametrize("backend", ["ideal", "noisy", "cirq"])
def test_memory_grows_with_the_state(backend: str) -> None:
    found = examine(prepared(f"backend.name={backend}", "backend.shots=100"), measure=False)["memory"]
    # at least one state of 2**4 complex numbers
    assert found["actor_bytes"] >= 16 * 2**4
    assert found["driver_data_bytes"] > 0


# --- Command ------------------------------


def doctor(*arguments: str) -> int:
    small = ["model.n_qubits=3", "data.n_components=3", "data.max_samples=60"]
    return cli.main(["doctor", str(EXAMPLE), *(part for one in small for part in ("--set", one)), *arguments])


def test_everything_is_one_json_object(capsys: pytest.CaptureFixture) -> None:
    assert doctor("--json", "--actors", "3") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"circuit", "work", "gradient", "parameters", "memory"}
    assert found["actors"] == 3
    assert all(row["step"]["seconds"] > 0 for row in found["work"] if "refused" not in row)
    assert found["parameters"]["confirmed"] is True


def test_without_measuring_nothing_is_run(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IdealBackend, "open_session", lambda self: pytest.fail("a session was opened"))
    assert doctor("--no-measure") == 0
    printed = capsys.readouterr().out
    assert "doctor: nothing was trained" in printed
    assert "Work of the run" in printed
    assert "not checked at random points" in printed
    assert "Gradient" not in printed


def test_a_paid_backend_is_not_asked_to_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared()
    monkeypatch.setattr(
        "pipelines.compose.build_backend",
        lambda config: SimpleNamespace(
            name="paid",
            capabilities=Capabilities(True, True, True, 8, is_paid=True),
            open_session=pytest.fail,
        ),
    )
    steps = [row["step"] for row in examine(run)["work"] if "step" in row]  # the others do not apply
    assert steps
    assert all("seconds" not in step and step["cost_usd"] is None for step in steps)


def test_a_wrong_configuration_is_refused_as_train_refuses_it(capsys: pytest.CaptureFixture) -> None:
    wrong = ["--json", "--set", "model.ansatz=three_rotatoin"]
    assert doctor(*wrong) == 2
    said = json.loads(capsys.readouterr().out)["error"]
    assert cli.main(["train", str(EXAMPLE), *wrong]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == said
    assert "did you mean 'three_rotation'" in said["message"]
