"""``qfleet simplify``: what ``model.simplify = true`` would save of a configuration, before and after. Nothing is trained or written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, QfleetError
from pipelines.display.formatting import format_count, format_usd
from pipelines.quote_exact import DEFAULT_SHOTS

if TYPE_CHECKING:
    from orchestrator.models.model import Model
    from orchestrator.models.simplified import SimplifiedModel
    from pipelines.run_setup import PreparedRun

TARGET = "qpu.aria-1"


class BothRuns(NamedTuple):
    """A configuration without and with simplification, and how the one became the other."""

    before: PreparedRun
    after: PreparedRun
    how: SimplifiedModel


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Simplify the circuit of the configuration that the command line names. Returns what ``--json`` prints.

    Raises:
        InputError: as ``qfleet train`` refuses it; an unknown target, a plot that is no picture.
    """
    config = TrainingConfig.from_toml(options.config, options.set)
    _check_plot(options.plot)
    from pipelines.quote import catalogue_of
    from pipelines.report import print_sections

    catalogue_of(config).entry(options.target)
    runs = both_runs(config)
    outcome = {"simplify": True} | examine_simplification(runs, options.target)
    if options.plot:
        outcome["files"] = draw(runs, Path(options.plot))
    print_sections(
        "simplify: nothing was trained", sections(outcome), footer(outcome), to_stdout=not options.json
    )
    if options.circuits:
        for name, prepared in (("before", runs.before), ("after", runs.after)):
            print(
                f"\n{name}\n{_diagram(prepared.task.model)}", file=sys.stderr if options.json else sys.stdout
            )
    return outcome


def both_runs(config: TrainingConfig) -> BothRuns:
    """`config` prepared without and with ``model.simplify``, whatever it says of it.

    Raises:
        InputError: as ``qfleet train`` refuses it.
    """
    from pipelines.run_setup import prepare_run

    plain = config.with_overrides(["model.simplify=false"])
    config.with_overrides(["model.simplify=true"])  # refused where the two cannot go together
    return both_of(prepare_run(plain))


def both_of(before: PreparedRun) -> BothRuns:
    """A run that is not simplified, and the same simplified."""
    from pipelines.simplified_model import simplified_model

    made = simplified_model(before.task.model)
    return BothRuns(before, replace(before, task=replace(before.task, model=made.model)), made)


def examine_simplification(runs: BothRuns, target: str | None = TARGET) -> dict[str, Any]:
    """What is saved, as plain values.

    Args:
        target: whose prices a step is given in, with 1,024 shots where the configuration has none; None: no prices.
    """
    how = runs.how.how
    return {
        "before": _figures(runs.before, target),
        "after": _figures(runs.after, target),
        "target": target,
        "shots": runs.before.config.backend.shots or DEFAULT_SHOTS,
        "steps": [{"pass": one.name, "gates": one.gates, "angles": one.angles} for one in how.steps],
        "checks": _checks(runs.how),
        "left_out": list(how.left_out),
    }


def sections(outcome: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures for people."""
    before, after = outcome["before"], outcome["after"]
    shown: dict[str, Callable[[float], str]] = {"usd_a_step": format_usd}
    counts = {
        label: _row(before[key], after[key], shown.get(key, format_count))
        for key, label in _COUNTS.items()
        if before[key] is not None and after[key] is not None
    }
    done = {
        f"{i}. {one['pass']}": f"{one['gates']} gates, {one['angles']} angles"
        for i, one in enumerate(outcome["steps"], start=1)
    }
    checks = {
        one["compared"]: f"differ by {one['largest']:.1e} at most (rounding: {one['tolerance']:.1e})"
        for one in outcome["checks"]
    }
    left_out = {str(i): why for i, why in enumerate(outcome["left_out"], start=1)}
    found: dict[str, dict[str, Any]] = {
        "Circuit": counts,
        "Saved by": done or {"nothing": "no pass found anything to save"},
        "Checked before and after": checks,
        "Left out": left_out,
    }
    return {heading: rows for heading, rows in found.items() if rows}


def footer(outcome: Mapping[str, Any]) -> list[str]:
    """What the prices assume, and how to have it."""
    lines = [f"wrote {file}" for file in outcome.get("files", ())]
    if outcome["before"]["usd_a_step"] is not None:
        lines.append(f"prices: {outcome['target']}, {outcome['shots']} shots a circuit; see qfleet quote")
    return [*lines, "have it: model.simplify = true"]


def draw(runs: BothRuns, folder: Path) -> list[str]:
    """Both circuits as pictures in `folder`; where they are."""
    from pipelines import plots

    written = []
    for name, prepared in (("before", runs.before), ("after", runs.after)):
        model, path = prepared.task.model, folder / f"circuit-{name}.png"
        plots.circuit_diagram(plots.drawn_gates(model), path, n_qubits=model.template.n_qubits, title=name)
        written.append(str(path))
    return written


_COUNTS = {
    "gates": "gates", "two_qubit_gates": "on two or more qubits", "depth": "depth", "angles": "angles",
    "differentiated_angles": "differentiated", "felt_parameters": "parameters felt", "circuits_a_step": "circuits a step, this rule",
    "circuits_a_step_of_parameter_shift": "circuits a step, parameter shift", "usd_a_step": "dollars a step, parameter shift",
}  # fmt: skip


def _row(before: float, after: float, show: Callable[[float], str]) -> dict[str, str]:
    return {"before": show(before), "after": show(after), "saved": show(before - after)}


def _figures(prepared: PreparedRun, target: str | None) -> dict[str, Any]:
    from orchestrator.training.gradient import predicted_step
    from pipelines.doctor.circuit import depth

    model = prepared.task.model
    n_batch = min(prepared.config.run.batch_size, len(prepared.data.train.targets))
    return {
        "gates": len(model.template.gates),
        "two_qubit_gates": sum(len(gate.qubits) > 1 for gate in model.template.gates),
        "depth": depth(model.template),
        "angles": model.template.n_angles,
        "differentiated_angles": len(model.differentiated_angles),
        "parameters": model.n_params,
        "felt_parameters": int(model.trainable.sum()),
        "circuits_a_step": predicted_step(prepared.task, n_batch).n_circuits,
        "circuits_a_step_of_parameter_shift": _of_parameter_shift(prepared, n_batch),
        "usd_a_step": None if target is None else _dollars(prepared, target),
    }


def _of_parameter_shift(prepared: PreparedRun, n_batch: int) -> int | None:
    from orchestrator.training.gradient import predicted_step
    from pipelines.compose import build_backend
    from pipelines.doctor.rules import with_rule

    try:
        shifted = with_rule(prepared, "parameter_shift", build_backend(prepared.config).capabilities)
        return int(predicted_step(shifted.task, n_batch).n_circuits)
    except QfleetError:  # a gate without a shift rule
        return None


def _dollars(prepared: PreparedRun, target: str) -> float | None:
    from pipelines.quote_exact import charged_as

    row = charged_as(prepared, target, "parameter_shift")
    return None if row is None else float(row["step"]["usd"])


def _checks(made: SimplifiedModel) -> list[dict[str, Any]]:
    """The largest difference of each kind that was compared, with its tolerance."""
    found: dict[str, dict[str, Any]] = {}
    every = [each for one in made.how.steps for each in one.checked] + ([made.check] if made.check else [])
    for each in every:
        known = found.setdefault(each.compared, each._asdict())
        if each.largest > known["largest"]:
            found[each.compared] = each._asdict()
    return list(found.values())


def _check_plot(folder: str | None) -> None:
    if folder and Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigError(
            "--plot", folder, "is a file; two pictures go into a folder", str(Path(folder).parent)
        )


def _diagram(model: Model) -> str:
    from pipelines import plots

    return plots.circuit_text(plots.labelled_circuit(model))


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["simplify", *sys.argv[1:]]))
