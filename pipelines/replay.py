"""``qfleet replay``: train again on what a run has paid for, at no cost; or write its circuits to a Parquet file.

The replay is a run of its own beside the recorded one, which is only read. Its backend holds no client: nothing can be sent.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import BackendConfig, TrainingConfig
from orchestrator.costs.money import in_usd
from orchestrator.errors import ConfigError, InputError

if TYPE_CHECKING:
    from actors.ionq.record import Record
    from pipelines.result import TrainingResult
    from pipelines.run_folder import RunFolder

RECORDED = "recorded"
_SECTIONS_KEPT = ("model", "data", "fleet")
"""What a replay cannot change."""
_SECTIONS_OF_STEPS = ("run", "loss", "optimizer")
"""What decides the steps of a run, beside what is measured."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Replay a run, or export its circuits, as the command line says. Returns what ``--json`` prints.

    Raises:
        InputError: the run has no record, or what is asked for cannot be replayed.
    """
    from pipelines.run_folder import RunFolder

    folder = RunFolder.find(options.run, options.directory)
    if options.export is not None:
        if options.set or options.shots is not None or options.then is not None or options.along:
            raise InputError(
                "--export writes what was recorded and trains nothing: leave --set, --shots, --then and --along out"
            )
        return export(folder, Path(options.export), to_stdout=not options.json)
    if options.along:
        if options.then is not None:
            raise InputError("--along stays at the recorded points: leave --then out")
        return along(folder, options.set, options.shots, to_stdout=not options.json)
    return replay(folder, options.set, options.shots, options.then, to_stdout=not options.json)


def export(folder: RunFolder, path: Path, *, to_stdout: bool = True) -> dict[str, Any]:
    """Write the circuits of a run to a Parquet file.

    Raises:
        InputError: the run has no record, or the file cannot be written.
    """
    from pipelines.data.circuit_log import write_circuit_log
    from pipelines.report import print_sections

    record = _record(folder)
    figures: dict[str, Any] = {
        "run_name": folder.name,
        "export": str(path),
        "circuits": write_circuit_log(path, record.submissions(), folder.read_config().run.seed),
        "answers_lost": record.n_lost,
        "answers_without_circuits": record.n_untold,
    }
    shown = {name.replace("_", " "): str(value) for name, value in figures.items()}
    print_sections(f"{folder.name}: recorded circuits", {"Export": shown}, to_stdout=to_stdout)
    return figures


def replay(
    folder: RunFolder,
    overrides: Sequence[str] = (),
    shots: int | None = None,
    then: str | None = None,
    *,
    progress: bool | None = None,
    to_stdout: bool = True,
) -> dict[str, Any]:
    """Train on the record of a run, from its beginning, as far as the record goes.

    Args:
        folder: of the run.
        overrides: ``section.key=value``, as for ``qfleet train``.
        shots: of each circuit, at most what is recorded.
        then: backend that answers what is not recorded; None: the replay stops there.

    Raises:
        InputError: the run has no record, or what is asked for cannot be replayed.
    """
    from pipelines.report import print_result, print_sections
    from pipelines.trainer import Trainer

    record = _record(folder)
    config = replayed_config(folder, overrides, shots, then)
    made = _made(folder, config)
    result = Trainer.resume(str(made.path), progress=progress).fit()
    print_result(result, to_stdout=to_stdout)
    about = _about(folder, record, result)
    print_sections(f"replay of {folder.name}", {"Replay": _shown(about)}, to_stdout=to_stdout)
    return result.to_json() | {"replay": about}


def along(
    folder: RunFolder, overrides: Sequence[str] = (), shots: int | None = None, *, to_stdout: bool = True
) -> dict[str, Any]:
    """What other shots, mitigation or gradient rule would have measured at the steps of a run. Nothing is trained or written.

    Raises:
        InputError: the run has no record, or what is asked for would take other steps.
    """
    from pipelines.reanalysis import reanalyse, sections
    from pipelines.report import print_sections

    _record(folder)
    first, second = replayed_config(folder, (), None, None), replayed_config(folder, overrides, shots, None)
    for section in _SECTIONS_OF_STEPS:
        if _but_place(getattr(first, section)) != _but_place(getattr(second, section)):
            problem = "with --along the steps are the recorded ones; change backend.* or gradient.*, or leave --along out"
            raise ConfigError(section, "changed by --set", problem)
    found = reanalyse(folder, first, second)
    print_sections(f"along {folder.name}", sections(found), to_stdout=to_stdout)
    return {"replay_of": folder.name} | found.to_json()


def replayed_config(
    folder: RunFolder, overrides: Sequence[str], shots: int | None, then: str | None
) -> TrainingConfig:
    """The configuration of a replay: that of the run, on its record, in this process, under a name of its own.

    Raises:
        ConfigError: it changes the circuits, or asks for more shots than are recorded.
    """
    from pipelines.compose import on_backend

    recorded = folder.read_config()
    changed = recorded.with_overrides([*overrides, *([] if shots is None else [f"backend.shots={shots}"])])
    for section in _SECTIONS_KEPT:
        if getattr(changed, section) != getattr(recorded, section):
            problem = "a replay has the model and the data of the recorded run, and one process; leave it out"
            raise ConfigError(section, "changed by --set", problem)
    _check_backend(recorded.backend, changed.backend)
    name = changed.run.name
    if name == recorded.run.name:
        name = _free_name(folder)
    place = {"name": name, "directory": str(folder.path.parent)}
    return changed.model_copy(
        update={
            "run": changed.run.model_copy(update=place),
            "fleet": changed.fleet.model_copy(update={"dispatcher": "serial"}),
            "backend": on_backend(changed, RECORDED).backend.model_copy(
                update={"record": str(folder.path), "then": then}
            ),
        }
    )


def _but_place(section: Any) -> dict[str, Any]:
    """The values of a section, without the name and the folder of the run."""
    return {
        key: value
        for key, value in section.model_dump().items()
        if key not in ("name", "directory") or section.section_name != "run"
    }


def _check_backend(recorded: BackendConfig, changed: BackendConfig) -> None:
    if changed.name != recorded.name:
        problem = "a replay runs on the record; to go on elsewhere where it ends, use --then"
        raise ConfigError("backend.name", changed.name, problem, recorded.name)
    if changed.shots == recorded.shots or (recorded.target == "simulator" and recorded.noise is None):
        return
    if recorded.shots is not None and (changed.shots is None or changed.shots > recorded.shots):
        problem = f"{recorded.shots} shots of each circuit are recorded"
        raise ConfigError("backend.shots", changed.shots, problem, str(recorded.shots))


def _free_name(folder: RunFolder) -> str:
    stem = f"{folder.name[:70]}-replay-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
    return next(name for name in names if not (folder.path.parent / name).exists())


def _record(folder: RunFolder) -> Record:
    """The record of a run that has one."""
    from actors.ionq.record import Record
    from pipelines.spending import has_book

    if not has_book(folder):
        raise InputError(
            f"run {folder.name} has no record: only circuits that cost money are recorded; train it again, it is free"
        )
    return Record(folder.path)


def _made(source: RunFolder, config: TrainingConfig) -> RunFolder:
    """A new run folder with the model and the data of `source`; none where the run could not be set up."""
    from pipelines.given_up import copy_given_up
    from pipelines.run_folder import RunFolder
    from pipelines.run_setup import load_run

    made = RunFolder.create(config)
    try:
        made.copy_inputs(source)
        copy_given_up(source.path, made.path)
        made.write_config(config)
        load_run(made)
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    return made


def _about(folder: RunFolder, record: Record, result: TrainingResult) -> dict[str, Any]:
    """How the replay stands to what it repeats."""
    from pipelines.result import params_sha256

    before = folder.recorded_result() or {}
    same = before.get("params_sha256") == params_sha256(result.params) if "params_sha256" in before else None
    return {
        "replay_of": folder.name,
        "recorded_usd": in_usd(record.spent),
        "steps": result.n_steps,
        "recorded_steps": before.get("steps"),
        "same_parameters": same,
        "then": result.config.backend.then,
    }


def _shown(about: dict[str, Any]) -> dict[str, str]:
    from pipelines.display.formatting import format_usd

    same = {True: "the same, to the bit", False: "others", None: "unknown: the run has not ended"}
    rows = {
        "of": about["replay_of"],
        "paid then": format_usd(about["recorded_usd"]),
        "paid now": format_usd(0.0),
        "steps": f"{about['steps']} (recorded run: {about['recorded_steps'] or 'not ended'})",
        "parameters": same[about["same_parameters"]],
    }
    return rows if about["then"] is None else rows | {"not recorded": f"simulated by {about['then']}"}


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["replay", *sys.argv[1:]]))
