"""An autoencoder as users train one: families of states in a smaller subspace are compressed, by `Trainer` and by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cirq
import numpy as np
import pytest

from orchestrator import TrainingConfig
from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.blocks import blocks_of
from orchestrator.models.feature_maps.amplitude import AmplitudeFeatureMap
from pipelines import Trainer
from pipelines.cli import main
from pipelines.compose import build_backend, build_coordinator
from pipelines.reconstruct import Reconstruction, reconstruct
from pipelines.result import TrainingResult


def family(n_qubits: int, dimension: int, n_samples: int = 120) -> np.ndarray:
    """Real vectors [S, 2**n] in a random subspace of that dimension."""
    rng = np.random.default_rng(n_qubits)
    basis = np.linalg.qr(rng.normal(size=(2**n_qubits, dimension)))[0].T
    return rng.normal(size=(n_samples, dimension)) @ basis


def configured(folder: Path, **sections: dict[str, Any]) -> TrainingConfig:
    base: dict[str, dict[str, Any]] = {
        "run": {"directory": str(folder / "runs"), "name": "family", "epochs": 40, "batch_size": 16},
        "model": {"feature_map": "amplitude", "ansatz": "strongly_entangling"},
        "data": {"name": "arrays", "standardize": False},
        "loss": {"name": "trash_fidelity"},
        "optimizer": {"learning_rate": 0.1, "schedule": "cosine"},
        "fleet": {"dispatcher": "serial"},
        "tracking": {"enabled": False},
    }
    return TrainingConfig.from_dict(
        {name: base.get(name, {}) | sections.get(name, {}) for name in base | sections}
    )


def reconstructed(result: TrainingResult, split: str = "test", *overrides: str) -> Reconstruction:
    config = result.config.with_overrides(overrides)
    coordinator = build_coordinator(config.fleet, build_backend(config))
    try:
        return reconstruct(result.run, config, result.best_params, coordinator, split)
    finally:
        coordinator.dispatcher.close()


def by_cirq(config: ModelConfig, params: np.ndarray, features: np.ndarray) -> tuple[float, float]:
    """(trash, reconstruction fidelity) of a sample: cirq's density matrix simulator, the trash reset, its own inverse encoder."""
    qubits, blocks = cirq.LineQubit.range(config.n_qubits), blocks_of(config)
    inputs = AmplitudeFeatureMap(config).transform(features[None])[0]
    point = dict(zip(blocks.params, params, strict=True)) | dict(zip(blocks.inputs, inputs, strict=True))
    whole = cirq.unitary(cirq.resolve_parameters(blocks.circuit, point))
    encoding = cirq.Circuit(AmplitudeFeatureMap(config).operations(qubits, blocks.inputs))
    encoder = whole @ cirq.unitary(cirq.resolve_parameters(encoding, point)).conj().T
    state = features / np.linalg.norm(features)
    trash = qubits[config.latent_qubits :]
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    encode = cirq.MatrixGate(encoder).on(*qubits)
    encoded = simulator.simulate(
        cirq.Circuit(encode), initial_state=state.astype(np.complex128), qubit_order=qubits
    )
    kept = cirq.partial_trace(
        encoded.final_density_matrix.reshape((2,) * (2 * config.n_qubits)), [q.x for q in trash]
    )
    decoded = simulator.simulate(
        cirq.Circuit(encode, cirq.reset_each(*trash), cirq.inverse(encode)),
        initial_state=state.astype(np.complex128), qubit_order=qubits,
    ).final_density_matrix  # fmt: skip
    return float(np.real(kept.ravel()[0])), float(np.real(state @ decoded @ state))


@pytest.mark.parametrize(("n_qubits", "n_latent", "n_layers"), [(3, 1, 4), (4, 2, 12)])
def test_states_of_a_small_subspace_are_compressed(
    n_qubits: int, n_latent: int, n_layers: int, tmp_path: Path
) -> None:
    model = {"n_qubits": n_qubits, "latent_qubits": n_latent, "n_layers": n_layers}
    config = configured(tmp_path, model=model, run={"epochs": 60})
    result = Trainer(config, data=(family(n_qubits, 2**n_latent), None), progress=False).fit()
    found = reconstructed(result)
    assert result.metrics["test/trash_fidelity"] > 0.98
    assert found.trash_fidelity.mean() == result.metrics["test/trash_fidelity"]
    assert found.fidelity.mean() > 0.98
    assert found.fidelity.min() > 0.9
    assert found.most == pytest.approx(1.0, abs=1e-12), (
        "the family fills no more dimensions than the latent qubits have"
    )
    assert result.best["metric"] == "val/loss"
    assert result.metrics["val/loss"] == pytest.approx(1 - result.metrics["val/trash_fidelity"], abs=1e-12)
    features = result.run.data.test.features
    for sample in range(5):
        trash, fidelity = by_cirq(config.model, result.best_params, features[sample])
        assert found.trash_fidelity[sample] == pytest.approx(trash, abs=1e-10)
        assert found.fidelity[sample] == pytest.approx(fidelity, abs=1e-10)
    assert found.features is not None
    sizes = np.abs(features) / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_array_equal(found.features.original, sizes)
    # fidelity F leaves 2 (1 - sqrt F) between two real unit vectors, and mixed states no more between their sizes
    distance = np.sum((found.features.reconstructed - sizes) ** 2, axis=1)
    assert np.all(distance <= 2 * (1 - np.sqrt(found.fidelity)) + 1e-9)


def test_shots_and_the_other_backends_agree(tmp_path: Path) -> None:
    """Exact values of cirq's simulator are ours; shots are within five standard errors; noise lowers the fidelity."""
    model = {"n_qubits": 3, "latent_qubits": 1, "n_layers": 2}
    config = configured(tmp_path, model=model, run={"epochs": 4})
    result = Trainer(config, data=(family(3, 2, 60), None), progress=False).fit()
    exact = reconstructed(result)
    cirqs = reconstructed(result, "test", "backend.name=cirq")
    np.testing.assert_allclose(cirqs.fidelity, exact.fidelity, rtol=0, atol=1e-6)
    np.testing.assert_allclose(cirqs.codes, exact.codes, rtol=0, atol=1e-6)
    sampled = reconstructed(result, "test", "backend.shots=4000")
    error = np.sqrt(exact.fidelity * (1 - exact.fidelity) / 4000)
    assert np.all(np.abs(sampled.fidelity - exact.fidelity) <= 5 * error)
    assert sampled.used.n_shots == 4000 * sampled.used.n_circuits
    np.testing.assert_array_equal(sampled.subspace, exact.subspace)
    noisy = reconstructed(result, "test", "backend.name=noisy")
    assert noisy.fidelity.mean() < exact.fidelity.mean()


@pytest.mark.parametrize("overrides", [["gradient.rule=rotosolve"], ["backend.shots=200"]], ids=str)
def test_it_learns_by_other_rules(overrides: list[str], tmp_path: Path) -> None:
    model = {"n_qubits": 3, "latent_qubits": 1, "n_layers": 2}
    config = configured(tmp_path, model=model, run={"epochs": 8}).with_overrides(overrides)
    result = Trainer(config, data=(family(3, 2, 60), None), progress=False).fit()
    losses = [report.metrics["train/epoch_loss"] for report in result.history]
    assert losses[-1] < 0.8 * losses[0]


def test_resumed_run_ends_on_the_same_bits(tmp_path: Path) -> None:
    model = {"n_qubits": 3, "latent_qubits": 2, "n_layers": 2}
    config = configured(tmp_path, model=model, run={"epochs": 4})
    data = (family(3, 4, 60), None)
    whole = Trainer(config, data=data, progress=False).fit()

    class Stop(Exception):
        pass

    from pipelines import Callback

    class StopAfterTwo(Callback):
        def on_epoch(self, report: Any, state: Any) -> None:
            if report.epoch == 2:
                raise Stop

    other = config.with_overrides(["run.name=stopped"])
    with pytest.raises(Stop):
        Trainer(other, data=data, progress=False, callbacks=[StopAfterTwo()]).fit()
    resumed = Trainer.resume("stopped", directory=str(tmp_path / "runs"), progress=False).fit()
    assert resumed.params.tobytes() == whole.params.tobytes()
    assert resumed.metrics == whole.metrics


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train from a file without a target, with MLflow; reconstruct; what is written is what is said."""
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    values = family(4, 4, 80)
    header = ",".join(f"f{i}" for i in range(16))
    np.savetxt("states.csv", values, delimiter=",", header=header, comments="", fmt="%.17g")
    Path("config.toml").write_text(
        '[run]\nname = "states"\nepochs = 3\n[data]\npath = "states.csv"\nstandardize = false\n'
        '[model]\nn_qubits = 4\nlatent_qubits = 2\nfeature_map = "amplitude"\n[loss]\nname = "trash_fidelity"\n'
        '[fleet]\ndispatcher = "serial"\n'
    )
    assert main(["train", "config.toml", "--dry-run"]) == 0
    assert "zero(2..3)" in capsys.readouterr().out
    assert main(["train", "config.toml", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert set(trained["metrics"]) >= {"test/trash_fidelity", "val/trash_fidelity", "test/loss"}
    assert not [name for name in trained["metrics"] if "accuracy" in name]
    assert main(["evaluate", "states", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["metrics"]["test/trash_fidelity"] == trained["metrics"]["test/trash_fidelity"]
    assert main(["reconstruct", "states", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["trash_fidelity"]["mean"] == pytest.approx(
        trained["metrics"]["test/trash_fidelity"], abs=1e-12
    )
    fidelity = figures["reconstruction_fidelity"]
    assert (
        fidelity["min"] <= fidelity["low"] <= fidelity["mean"] <= fidelity["high"] <= figures["most"] + 1e-12
    )
    table = pq.read_table("runs/states/artifacts/reconstruction_test.parquet")
    assert table.num_rows == figures["samples"] == 16
    assert float(np.mean(table["reconstruction_fidelity"])) == pytest.approx(fidelity["mean"], abs=1e-12)
    rows = values[np.array(table["row"])]
    sizes = np.abs(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    written = np.stack([np.array(table[f"original/f{i}"]) for i in range(16)], axis=1)
    np.testing.assert_allclose(written, sizes, rtol=0, atol=1e-15)
    codes = [name for name in table.column_names if name.startswith("latent_")]
    assert codes == [f"latent_{basis}{q}" for basis in "xyz" for q in range(2)]
    from mlflow import MlflowClient

    client = MlflowClient(trained["tracking_uri"])
    files = {file.path for file in client.list_artifacts(trained["run_id"])}
    assert {"reconstruction_test.parquet", "reconstruction_test.json", "reconstruction_test.png"} <= files
    assert {"fidelities_test.png", "trash_fidelity.png", "training.png"} <= files
    (tmp_path / "out").mkdir()
    assert (
        main(["reconstruct", "states", "--split", "train", "--shots", "100", "--output", "out/train.csv"])
        == 0
    )
    lines = (tmp_path / "out" / "train.csv").read_text().splitlines()
    assert len(lines) == 1 + trained_samples(tmp_path)
    assert "best subspace of 4 dimensions" in capsys.readouterr().out


def trained_samples(folder: Path) -> int:
    with np.load(folder / "runs" / "states" / "data" / "splits.npz") as arrays:
        return len(arrays["train/targets"])


def test_what_cannot_be_done_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(
        '[run]\nname = "iris"\nmax_steps = 1\n[data]\nname = "iris"\n[model]\nn_qubits = 4\n[loss]\nname = "cross_entropy"\n'
        '[fleet]\ndispatcher = "serial"\n[tracking]\nenabled = false\n'
    )
    assert main(["train", "config.toml"]) == 0
    assert main(["reconstruct", "iris"]) == 2
    assert main(["reconstruct", "iris", "--output", "table.xlsx"]) == 2
    autoencoder = ["--set", "model.latent_qubits=2", "--set", "loss.name=trash_fidelity"]
    for command in (["train", "--baselines"], ["kernel"]):
        assert main([command[0], "config.toml", *command[1:], *autoencoder]) == 2
    result = Trainer.resume("iris", progress=False).fit()
    with pytest.raises(ConfigError, match="trained no autoencoder"):
        reconstructed(result)
