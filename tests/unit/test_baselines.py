"""``qfleet evaluate --baselines``: what the baselines learn from, and the interval of the paired difference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from orchestrator.config import TrainingConfig
from orchestrator.models.model import Model
from orchestrator.training.loop import evaluate_samples
from pipelines import cli
from pipelines.baselines import Baseline, baselines
from pipelines.compose import build_backend, build_coordinator
from pipelines.evaluate import Scores, score
from pipelines.merits import interval
from pipelines.run_setup import PreparedRun, prepare_run
from pipelines.trainer import Trainer

SMALL = [
    "data.name=iris", "data.classes=[1, 2]", "data.n_components=none", "model.n_qubits=4", "model.n_layers=1", "run.epochs=3",
    "data.test_fraction=0.4", "fleet.dispatcher=serial", "tracking.enabled=false",
]  # fmt: skip


def judged(*overrides: str) -> tuple[PreparedRun, Scores, list[Baseline]]:
    run = prepare_run(TrainingConfig().with_overrides([*SMALL, *overrides]))
    coordinator = build_coordinator(run.config.fleet, build_backend(run.config))
    params = run.task.model.initial_params(1)
    scores = score(run, run.config, params, coordinator, "test")
    return run, scores, baselines(run, scores, "test", coordinator)


def test_each_learns_from_the_training_split_and_answers_for_the_test_split() -> None:
    run, scores, found = judged()
    assert [one.name for one in found] == ["separable twin", "support vector machine", "neural network"]
    network = MLPClassifier(max_iter=5000, random_state=run.config.run.seed)
    network.fit(run.data.train.features, run.data.train.targets)
    assert found[2].score == network.score(run.data.test.features, run.data.test.targets)
    accuracy = scores.metrics["test/accuracy"]
    for one in found:
        assert one.difference == pytest.approx(accuracy - one.score, abs=1e-12)
        assert one.low <= one.difference <= one.high
    n_train, n_validation, n_test = (
        len(getattr(run.data, s).targets) for s in ("train", "validation", "test")
    )
    assert found[0].circuits == 3 * (n_train + n_validation) + n_test
    assert found[1].circuits == found[2].circuits == 0


def test_the_twin_is_the_model_without_entangling_gates_trained_alike() -> None:
    run, _, found = judged("run.name=twin")
    config = run.config.with_overrides(["model.ansatz=three_rotation_separable"])
    trained = prepare_run(config)
    assert isinstance(trained.task.model, Model)
    assert all(len(gate.qubits) == 1 for gate in trained.task.model.template.gates)
    from orchestrator.training.loop import initial_state, train

    coordinator = build_coordinator(config.fleet, build_backend(config))
    state = initial_state(trained.task)
    for _ in train(trained.task, state, coordinator):
        pass
    test = trained.data.test
    outputs, _ = evaluate_samples(
        trained.task.model, state.best_params, test.features, coordinator, shots=None, seed=7, purpose="x"
    )
    accuracy = np.mean(trained.task.loss.predict(outputs)["prediction"] == test.targets)
    assert found[0].score == accuracy


def test_without_a_twin_there_are_two() -> None:
    assert len(judged("model.ansatz=three_rotation_separable")[2]) == 2


def test_regression_compares_squared_errors() -> None:
    run, scores, found = judged("data.name=iris", "data.classes=none", "loss.name=mse")
    for one in found:
        assert one.difference == pytest.approx(one.score**2 - scores.metrics["test/rmse"] ** 2, abs=1e-12)
    assert run.data.class_names is None


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Of 400 draws of 60 paired differences, 95 % within four standard errors of a binomial, less some 1 % that a bootstrap lacks here."""
    rng = np.random.default_rng(0)
    truth, hits = 0.1, 0
    for i in range(400):
        gain = rng.choice([-1.0, 0.0, 1.0], 60, p=[0.1, 0.7, 0.2])
        low, high = interval(gain, i)
        hits += low <= truth <= high
    assert abs(hits / 400 - 0.94) < 4 * np.sqrt(0.95 * 0.05 / 400)
    assert interval(np.ones(5), 0) == (1.0, 1.0)
    assert interval(gain, 3) == interval(gain, 3)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.1, "better"), (-0.2, -0.01, "worse"), (-0.1, 0.1, "no difference seen")],
)
def test_verdict(low: float, high: float, words: str) -> None:
    assert words in Baseline("x", 0.9, (low + high) / 2, low, high, 0).verdict


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainingConfig().with_overrides([*SMALL, f"run.directory='{tmp_path}'", "run.name=one"])
    Trainer(config, progress=False).fit()
    capsys.readouterr()
    assert cli.main(["evaluate", "one", "--directory", str(tmp_path), "--baselines", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["baselines"]
    assert [one["name"] for one in found] == ["separable twin", "support vector machine", "neural network"]
    assert cli.main(["evaluate", "one", "--directory", str(tmp_path), "--baselines"]) == 0
    shown = capsys.readouterr().out
    assert "Against, 95 % interval" in shown
    assert found[0]["verdict"].split()[0] in shown


def test_beside_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        """
        data = {name = "iris", classes = [1, 2], test_fraction = 0.4}
        model = {n_qubits = 4, n_layers = 1}
        run = {epochs = 2, name = "two"}
        fleet = {dispatcher = "serial"}
        tracking = {enabled = false}
        """,
        encoding="utf-8",
    )
    arguments = ["train", str(path), "--baselines", "--json", "--set", f"run.directory={tmp_path}"]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    twin = found["baselines"][0]
    assert twin["name"] == "separable twin"
    assert twin["difference"] == pytest.approx(found["metrics"]["test/accuracy"] - twin["score"])
    assert cli.main([*arguments, "--set", "data.test_fraction=0", "--set", "run.name=three"]) == 2
    assert "--baselines are compared on the test split" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()
