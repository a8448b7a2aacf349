"""What ``qfleet hybrid`` does: read the options, train and compare, print; and the same for a study that is resumed."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.errors import ConfigError
from pipelines.display.formatting import format_usd
from pipelines.frontends.extras import import_home
from pipelines.hybrid.settings import KIND, HybridSettings
from pipelines.studies.folder import StudyFolder

_OPEN = ("backend", "fleet", "gradient", "tracking", "data.memory_limit_gb")
"""What ``--set`` may set; nothing else of a configuration is used here."""
_OF_MLFLOW = ("backend.", "fleet.", "gradient.rule", "run.epochs", "run.batch_size", "run.seed")
_EPOCHS = {"images": 5, "digits": 30}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the command line says. Returns what ``--json`` prints.

    Raises:
        MissingExtraError: torch is not installed. InputError: refused before anything is written.
    """
    began = time.perf_counter()
    given = vars(options)
    names = ("workload", "folder", "samples", "test_samples", "size", "qubits", "depth", "seeds", "threads", "skip_damaged")  # fmt: skip
    settings = HybridSettings(**{name: given[name] for name in names if name in given})
    config = _config(options)
    import_home("pipelines.frontends.pytorch.layer")
    if settings.workload == "images":
        from pipelines.hybrid.image_splits import check_images

        check_images(settings, config.data.memory_limit_gb)
    if options.dry_run:
        return _beforehand(settings, config, to_stdout=not options.json)
    _check_allowed(settings, config, options.yes_spend)
    if settings.folder is not None:  # resumed from anywhere
        settings = replace(settings, folder=str(Path(settings.folder).expanduser().absolute()))
    folder = StudyFolder.create(
        KIND, config, settings.to_json(), directory=options.directory, name=options.name
    )
    found = _finished(folder, settings, config, options.yes_spend, began)
    _show(folder, found, to_stdout=not options.json)
    return found


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Continue a study after its last epoch, to the same bits; one that has ended is printed again.

    Raises:
        CheckpointError: its data have changed, or what it saved cannot be read.
    """
    from pipelines.studies.reporting import resumed

    began = time.perf_counter()
    settings = HybridSettings(**folder.asks)
    import_home("pipelines.frontends.pytorch.layer")
    found = resumed(
        folder, options, lambda config: _finished(folder, settings, config, options.yes_spend, began)
    )
    _show(folder, found, to_stdout=not options.json)
    return found


def _config(options: argparse.Namespace) -> TrainingConfig:
    """The backend, the fleet, the pace of training, and where things are logged.

    Raises:
        ConfigError: a key that means nothing here.
    """
    for entry in options.set:
        key = entry.partition("=")[0].strip()
        if not any(key == one or key.startswith(f"{one}.") for one in _OPEN):
            raise ConfigError(
                "--set", entry, f"means nothing to this command, which takes {', '.join(_OPEN)}"
            )
    if options.batch_size < 2:
        raise ConfigError(
            "--batch-size", options.batch_size, "one sample has no variance to normalise by; give", "2"
        )
    epochs = _EPOCHS[options.workload] if options.epochs is None else options.epochs
    overrides = [
        f"run.epochs={epochs}",
        f"run.batch_size={options.batch_size}",
        f"run.seed={options.seed}",
        f"tracking.enabled={str(not options.no_tracking).lower()}",
        *([] if options.backend is None else [f"backend.name={options.backend}"]),
        *([] if options.shots is None else [f"backend.shots={options.shots}"]),
        *(["fleet.dispatcher=serial"] if options.actors is None else actor_overrides(options.actors)),
    ]
    return TrainingConfig().with_overrides([*overrides, *options.set])


def _check_allowed(settings: HybridSettings, config: TrainingConfig, yes_spend_usd: float | None) -> None:
    """Refuse a backend that costs money where nobody allowed that, or not enough to come to the end, before anything is written.

    Raises:
        InputError: see there.
    """
    from pipelines.compose import build_backend
    from pipelines.spending import check_allowed

    backend = build_backend(config)
    if not backend.capabilities.is_paid or config.fleet.is_shared:
        return check_allowed(config, backend, yes_spend_usd)
    cost = _about(settings, config)["cost_usd"]
    near = f"{math.ceil(100 * cost) / 100:.2f}"
    if yes_spend_usd is None:
        problem = f"circuits of {config.backend.name!r} cost money: allow it"
        raise ConfigError("--yes-spend", None, problem, near)
    check_allowed(config, backend, yes_spend_usd)
    if yes_spend_usd < cost:
        problem = f"would be spent before the end: the whole costs {format_usd(cost)}, see --dry-run"
        raise ConfigError("--yes-spend", yes_spend_usd, problem, near)
    return None


def _finished(
    folder: StudyFolder,
    settings: HybridSettings,
    config: TrainingConfig,
    yes_spend_usd: float | None,
    began: float,
) -> dict[str, Any]:
    """Train what is left, on the fleet of `config`, and report."""
    from pipelines.hybrid.report import figures, final_metrics, markdown
    from pipelines.hybrid.study import HybridStudy
    from pipelines.plots.hybrid import hybrid_study
    from pipelines.studies.study import Study

    logged = {key: value for key, value in config.flattened().items() if key.startswith(_OF_MLFLOW)}
    params = {f"hybrid.{name}": value for name, value in settings.to_json().items()} | logged
    about = f"{settings.workload}: a hybrid network beside its classical twin"
    with Study(folder, params=params, description=about) as study:
        study.config = study.config.model_copy(update={"fleet": config.fleet})
        outcome = HybridStudy(study, settings, yes_spend_usd).run()
        found = figures(settings, study.config, outcome, time.perf_counter() - began)
        plot = folder.artifacts / "hybrid.png"
        hybrid_study(found, outcome.examples, outcome.example_classes, plot, title=folder.name)
        report = markdown(folder.name, found, folder.handle)
        return study.finish(
            report, found, final_metrics(found), [plot, *sorted(folder.artifacts.glob("*.npz"))]
        )


def _beforehand(settings: HybridSettings, config: TrainingConfig, *, to_stdout: bool) -> dict[str, Any]:
    """What would run. Nothing is read but the names of files, and nothing written."""
    from pipelines.hybrid.report import beforehand
    from pipelines.report import print_sections

    about = _about(settings, config)
    print_sections("qfleet hybrid: dry run", beforehand(about), to_stdout=to_stdout)
    return about


def _about(settings: HybridSettings, config: TrainingConfig) -> dict[str, Any]:
    """Parameters of the networks; circuits and dollars of the hybrid one, as if no image were missing."""
    from pipelines.hybrid.networks import ARMS
    from pipelines.hybrid.workloads import expected_sizes, network_of

    n_classes, sizes, source = expected_sizes(settings)
    run = config.run
    # quoting needs no book, and a backend that costs money takes no executor without a place for one
    networks = {
        arm: network_of(arm, settings, config, n_classes, run.seed, folder="quote-only") for arm in ARMS
    }
    circuit = networks["hybrid"].circuit
    assert circuit is not None
    rest = sizes["train"] % run.batch_size
    quotes = [circuit.quote(n, input_gradients=True) for n in (run.batch_size, rest)]
    counts = (sizes["train"] // run.batch_size, 1 if rest > 1 else 0)  # a batch of one is left out
    watched = [circuit.quote(sizes[part]).forward for part in ("validation", "test")]
    looks = (run.epochs, 1)
    n_circuits = sum(
        run.epochs * n * (one.forward.circuits + one.backward.circuits)
        for n, one in zip(counts, quotes, strict=True)
    )
    micro = sum(
        run.epochs * n * (one.forward.micro + one.backward.micro)
        for n, one in zip(counts, quotes, strict=True)
    )
    n_circuits += sum(n * one.circuits for n, one in zip(looks, watched, strict=True))
    micro += sum(n * one.micro for n, one in zip(looks, watched, strict=True))
    return {
        "dry_run": True,
        "workload": settings.workload,
        "data": source,
        "samples": sizes,
        "seeds": settings.seeds,
        "params": {arm: network.sizes() for arm, network in networks.items()},
        "circuits": settings.seeds * n_circuits,
        "circuits_per_step": quotes[0].forward.circuits + quotes[0].backward.circuits,
        "steps": run.epochs * math.ceil(sizes["train"] / run.batch_size),
        "cost_usd": settings.seeds * micro / 1e6,
    }


def _show(folder: StudyFolder, found: dict[str, Any], *, to_stdout: bool) -> None:
    from pipelines.display.formatting import from_here
    from pipelines.hybrid.report import sections
    from pipelines.report import print_sections

    workload = found["settings"]["workload"]
    footer = [f"report, picture and networks: {from_here(folder.path)}"]
    print_sections(
        f"{folder.name}: {workload}, hybrid and classical", sections(found), footer, to_stdout=to_stdout
    )
