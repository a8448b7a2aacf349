"""``qfleet reconstruct``: what a trained autoencoder gives back of every sample of a split.

Per sample: reconstruction and trash fidelity, the latent code, and the features read from the decoded state where the feature map lets
them be read. Beside it the best that a linear subspace of the same size does: that of the training states' leading singular vectors,
which is to an autoencoder of pure states what principal components are to a classical one. Everything is written into the run's folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, InputError
from orchestrator.gradients.overlap import full_angles
from orchestrator.models.autoencoder import Autoencoder, ReconstructedFeatures, StepCircuit
from orchestrator.models.subspace import best_subspace, weight_in
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.training.loop import evaluate_samples
from orchestrator.training.reports import Samples, Totals
from pipelines.checkpoints import write_atomically
from pipelines.compose import report_on_stderr
from pipelines.display.formatting import format_duration, format_usd, from_here
from pipelines.merits import interval
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun
from pipelines.saved_run import connected, saved_run

_OUTPUTS = (".parquet", ".csv")


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What came back of the samples of a split.

    Attributes:
        fidelity: float64 [S], of the decoded with the encoded state.
        trash_fidelity: float64 [S], probability of |0...0> on the trash qubits.
        codes: float64 [S, 3, k], X, Y and Z of each latent qubit.
        features: as read from the decoded states; None where the feature map lets none be read.
        subspace: float64 [S], fidelity of each state with its projection on the best subspace of the training states.
        most: mean weight of these very states in their own best subspace, which bounds the mean of both
            fidelities without noise.
        used: circuits, shots and dollars it took.
    """

    fidelity: np.ndarray
    trash_fidelity: np.ndarray
    codes: np.ndarray
    features: ReconstructedFeatures | None
    subspace: np.ndarray
    most: float
    used: Totals


def reconstruct(
    prepared: PreparedRun, config: TrainingConfig, params: np.ndarray, coordinator: Coordinator, split: str
) -> Reconstruction:
    """Run a split through encoder and decoder.

    Args:
        config: whose backend's shots, and seed, are used; params: float64 [P].
        split: ``train``, ``validation`` or ``test``.

    Raises:
        InputError: the run trained no autoencoder, the split is empty, or more qubits than can be read.
    """
    if prepared.data.task != "autoencoder":
        raise ConfigError("loss.name", config.loss.name, "the run trained no autoencoder", "trash_fidelity")
    samples: Samples = getattr(prepared.data, split)
    if not len(samples.targets):
        raise InputError(f"the {split} split is empty: this run was trained with data.{split}_fraction = 0")
    model, shots, seed = prepared.task.model, config.backend.shots, config.run.seed
    autoencoder = Autoencoder(model, config.model)
    angles = model.angles(params, samples.features)
    coordinator.check(autoencoder.fidelity_circuit.measured, shots, needs_jacobian=False)  # before any is run
    outputs, used = evaluate_samples(
        model, params, samples.features, coordinator, shots=shots, seed=seed, purpose=split
    )

    def values(circuit: StepCircuit, what: str) -> np.ndarray:
        nonlocal used
        keys = noise_keys(seed, f"reconstruct/{what}/{split}", circuit.measured)
        plan = EvaluationPlan(circuit.measured, circuit.angles(angles), shots=shots, noise_keys=keys)
        answer = coordinator.evaluate(plan)
        used = used.plus(answer.n_circuits, answer.n_shots, answer.cost_usd)
        return answer.values

    fidelity = autoencoder.fidelities(values(autoencoder.fidelity_circuit, "fidelity"))
    features = None
    if autoencoder.has_features:
        found = values(autoencoder.feature_circuit, "features")
        features = autoencoder.features(found, samples.features)
    codes = autoencoder.codes(values(autoencoder.code_circuit, "codes"))
    train = autoencoder.states(full_angles(model.angles(params, prepared.data.train.features)))
    states, dimension = autoencoder.states(full_angles(angles)), 2**autoencoder.n_latent
    return Reconstruction(
        fidelity=fidelity,
        trash_fidelity=outputs[:, 0],
        codes=codes,
        features=features,
        subspace=weight_in(best_subspace(train, dimension), states),
        most=float(weight_in(best_subspace(states, dimension), states).mean()),
        used=used,
    )


def figures_of(found: Reconstruction, seed: int) -> dict[str, Any]:
    """The means with their 95 % intervals over samples (bootstrap with `seed`), as plain values."""
    gain = found.fidelity - found.subspace
    return {
        "reconstruction_fidelity": _mean(found.fidelity, seed),
        "trash_fidelity": _mean(found.trash_fidelity, seed),
        "subspace_fidelity": _mean(found.subspace, seed),
        "difference": _mean(gain, seed),
        "most": found.most,
        "latent_qubits": found.codes.shape[2],
        "samples": len(found.fidelity),
        "circuits": found.used.n_circuits,
        "shots": found.used.n_shots,
        "cost_usd": found.used.cost_usd,
    }


def _mean(values: np.ndarray, seed: int) -> dict[str, float]:
    low, high = interval(values, seed)
    return {"mean": float(values.mean()), "low": low, "high": high, "min": float(values.min())}


def columns_of(found: Reconstruction, rows: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The table that is written: a row for each sample.

    Args:
        rows: int64 [S], row numbers of the data set, from 0. names: of the F features.
    """
    columns: dict[str, np.ndarray] = {
        "row": rows,
        "reconstruction_fidelity": found.fidelity,
        "trash_fidelity": found.trash_fidelity,
        "subspace_fidelity": found.subspace,
    }
    for b, basis in enumerate("xyz"):
        columns |= {f"latent_{basis}{q}": found.codes[:, b, q] for q in range(found.codes.shape[2])}
    if found.features is not None:
        parts = {"original": found.features.original, "reconstructed": found.features.reconstructed}
        if found.features.certainty is not None:
            parts["certainty"] = found.features.certainty
        for part, values in parts.items():
            columns |= {f"{part}/{name}": values[:, i] for i, name in enumerate(names)}
    return columns


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Reconstruct a run's split as the command line says. Returns what ``--json`` prints."""
    from pipelines.report import print_sections

    output = _checked_output(options.output)
    saved = saved_run(options)
    folder, prepared, config, params, epoch = saved
    started = time.perf_counter()
    with connected(saved, options.yes_spend) as coordinator:
        found = reconstruct(prepared, config, params, coordinator, options.split)
    about = {
        "run_name": folder.name,
        "split": options.split,
        "backend": config.backend.name,
        "best_epoch": epoch,
    }
    figures = about | figures_of(found, config.run.seed)
    files = _write(folder, prepared, found, figures, output)
    _ship(folder, prepared.config)
    figures |= {
        "files": [str(path) for path in files],
        "seconds": {"total": time.perf_counter() - started},
    }
    print_sections(
        f"{folder.name}: reconstruction of the {options.split} split",
        _sections(figures, found),
        [f"{path.suffix[1:]:8} {from_here(path)}" for path in files],
        to_stdout=not options.json,
    )
    return figures


def _checked_output(output: str | None) -> Path | None:
    """Where the table goes, refused before anything is computed if it cannot be written.

    Raises:
        ConfigError: another kind of file than Parquet or CSV, or no such folder.
    """
    if output is None:
        return None
    path = Path(output).expanduser().absolute()
    if path.suffix.lower() not in _OUTPUTS:
        near = str(Path(output).with_suffix(_OUTPUTS[0]))
        raise ConfigError("--output", output, f"the table is written as {' or '.join(_OUTPUTS)}", near)
    if not path.parent.is_dir():
        raise ConfigError("--output", output, f"no such folder: {path.parent}")
    return path


def _write(
    folder: RunFolder,
    prepared: PreparedRun,
    found: Reconstruction,
    figures: Mapping[str, Any],
    output: Path | None,
) -> list[Path]:
    """Table, figures and pictures; returns their paths."""
    from pipelines import plots
    from pipelines.data.files import table_bytes

    split, place, data = figures["split"], folder.artifacts, prepared.data
    names = data.feature_names
    if data.preprocessing.components is not None:
        names = tuple(f"component_{i}" for i in range(data.n_features))
    table = output or place / f"reconstruction_{split}.parquet"
    columns = columns_of(found, getattr(data.rows, split), names)
    write_atomically(table, table_bytes(columns, table.suffix.lower()))
    written = [table, folder.write_json(f"artifacts/reconstruction_{split}.json", figures)]
    written.append(place / f"fidelities_{split}.png")
    plots.fidelities(
        {"reconstruction": found.fidelity, "trash": found.trash_fidelity, "subspace": found.subspace},
        written[-1], title=folder.name, split=split,
    )  # fmt: skip
    side = _image_side(prepared)
    if side is not None and found.features is not None:
        written.append(place / f"reconstruction_{split}.png")
        shape = (-1, side, side)
        plots.reconstructed_images(
            found.features.original.reshape(shape), found.features.reconstructed.reshape(shape), found.fidelity,
            written[-1], title=folder.name, split=split,
        )  # fmt: skip
    return written


def _image_side(prepared: PreparedRun) -> int | None:
    """Pixels a side of what may be square images: amplitudes not mixed by PCA, an even number of qubits, at least 4 x 4."""
    config, preprocessing = prepared.config.model, prepared.data.preprocessing
    is_image = config.feature_map == "amplitude" and preprocessing.components is None and config.n_qubits >= 4
    return int(2 ** (config.n_qubits // 2)) if is_image and config.n_qubits % 2 == 0 else None


def _ship(folder: RunFolder, config: TrainingConfig) -> None:
    """Send what lies among the artifacts to MLflow, if the run is tracked."""
    if not config.tracking.enabled or not (folder.path / "tracking.json").is_file():
        return
    from pipelines.tracking.tracker import ship_pending

    try:
        report = ship_pending(folder.path, config.tracking)
    except InputError:  # it is in training still, and takes all artifacts along when that ends
        return
    if not report.is_complete:
        report_on_stderr(report.message)


def _sections(figures: Mapping[str, Any], found: Reconstruction) -> dict[str, dict[str, Any]]:
    size = f"{2 ** figures['latent_qubits']} dimensions"
    gain = figures["difference"]
    rows = {
        "reconstruction": figures["reconstruction_fidelity"],
        "trash |0...0>": figures["trash_fidelity"],
        f"best subspace of {size}": figures["subspace_fidelity"],
    }
    sections: dict[str, dict[str, Any]] = {
        "Fidelity": {
            label: {
                "mean": f"{one['mean']:.4f}",
                "95 % interval": f"{one['low']:.4f} to {one['high']:.4f}",
                "least": f"{one['min']:.4f}",
            }
            for label, one in rows.items()
        },
        "In words": {
            "reconstruction less subspace": f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})",
            "no unitary exceeds": f"{figures['most']:.4f} on average here, in either fidelity",
        },
        "Work": {
            "samples": figures["samples"],
            "circuits": figures["circuits"],
            "shots": figures["shots"] or "none (exact)",
            "cost": format_usd(figures["cost_usd"]),
            "time": format_duration(figures["seconds"]["total"]),
            "parameters of epoch": figures["best_epoch"],
        },
    }
    if found.features is not None:
        sections["In words"]["features"] = f"read from the decoded states: {found.features.unit}"
    return sections


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["reconstruct", *sys.argv[1:]]))
