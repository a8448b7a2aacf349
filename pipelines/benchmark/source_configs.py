"""``qfleet benchmark source``: the source documents' own configurations, really trained, beside what the documents say of them.

The documents time a library that submits circuits to a service, or to stand-ins for one; here the same sizes are simulated exactly on this
machine. The times are therefore no measure of one against the other, but of what the configurations take here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, nearest
from pipelines.benchmark import source_configs_report as report
from pipelines.benchmark.source_configs_claims import (
    IONQ_CLAIMS,
    SOURCE_CONFIGURATIONS,
    SourceConfiguration,
)
from pipelines.benchmark.source_configs_data import BUILT_IN, GENERATED, configuration
from pipelines.benchmark.source_configs_operations import operations
from pipelines.benchmark.source_configs_runs import TimedMember, Timings, cold, warm, warm_up
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study

KIND = "benchmark-source"
_FREE = ("tracking", "checkpoint")
"""Sections that a user may set."""
EMULATED_SHOTS = 1000
"""As in the examples of document 4, e.g. 4:42."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, write, print. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been trained.
    """
    asks: dict[str, Any] = {
        "configurations": _chosen(options.configuration),
        "latencies": _latencies(options.emulator_latency or ()),
        "cold": not options.no_cold,
        "output": options.output and str(Path(options.output).absolute()),
    }
    _check_output(options.output)
    _check_free(options.set)
    config = TrainingConfig().with_overrides(["data.name=breast_cancer", *options.set])
    folder = StudyFolder.create(KIND, config, asks, directory=options.directory, name=options.name)
    return _shown(carry_out(folder), asks["output"], is_json=options.json)


def resume(folder: StudyFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Go on with a benchmark: what has ended is read, the rest is trained. Returns what ``--json`` prints."""
    return _shown(carry_out(folder), folder.asks.get("output"), is_json=options.json)


def carry_out(folder: StudyFolder) -> dict[str, Any]:
    """Train what has not ended, and make the tables. Returns the outcome, whose ``files`` are Markdown, JSON and the plot."""
    from pipelines.benchmark import machine

    asks = folder.asks
    chosen = [SOURCE_CONFIGURATIONS[name] for name in asks["configurations"]]
    params = {key: value for key, value in asks.items() if key != "output"}
    with Study(folder, params=params, description=report.DESCRIPTION) as study:
        timings = Timings(folder)
        described = machine.describe()
        for line in filter(None, [machine.warning(described)]):
            study.say(line)
        rows = _rows(study, timings, chosen, is_cold=bool(asks["cold"]))
        rows += [_emulated(study, timings, latency) for latency in asks["latencies"]]
        outcome = {
            "benchmark": "source",
            "machine": described,
            "rows": rows,
            "operations": operations(_config(study, SOURCE_CONFIGURATIONS["4q-2l"], GENERATED)),
        }
        files = _write(outcome, folder.artifacts)
        return study.finish(report.markdown(outcome), outcome, report.metrics(rows), files) | {
            "files": [str(file) for file in files]
        }


def _rows(
    study: Study, timings: Timings, chosen: Sequence[SourceConfiguration], *, is_cold: bool
) -> list[dict[str, Any]]:
    rows = []
    for n, one in enumerate(chosen, start=1):
        runs: dict[str, dict[str, TimedMember]] = {}
        for data in (GENERATED,) if one.is_slow else (GENERATED, BUILT_IN):
            config = _config(study, one, data)
            if not _has_ended(study, f"{one.name}-{data}-warm"):
                warm_up(config)
            tags = {"source.configuration": one.name, "source.data": data}
            runs[data] = {
                "warm": warm(
                    study, timings, f"{one.name}-{data}-warm", config, tags | {"source.start": "warm"}
                )
            }
            if is_cold and data == GENERATED and not one.is_slow:
                name = f"{one.name}-{data}-cold"
                runs[data]["cold"] = cold(study, timings, name, config, tags | {"source.start": "cold"})
        study.told(runs[GENERATED]["warm"].member, n, len(chosen))
        rows.append(report.row(one, runs, _charge(one, _config(study, one, GENERATED))))
    return rows


def _emulated(study: Study, timings: Timings, latency: float) -> dict[str, Any]:
    """The quick start through IonQ's emulator, whose jobs take `latency` seconds each: its free target, so nothing is charged."""
    from pipelines.benchmark.ionq import emulator

    which = min(IONQ_CLAIMS, key=lambda name: abs(math.log(latency / IONQ_CLAIMS[name].circuit_seconds)))
    claims = IONQ_CLAIMS[which]
    one = replace(
        SOURCE_CONFIGURATIONS["4q-2l"], name=f"4q-2l-ionq-{latency:g}s",
        words=f"IonQ {which}, emulated, {latency:g} s a job", backend="ionq",
        times=(claims.time,), dollars=(claims.dollars,), losses=(), circuits=None,
        assumed=("the size of the quick start", "shots as in 4:42"),
    )  # fmt: skip
    name = f"{one.name}-warm"
    if not _has_ended(study, name):  # an emulator that has gone cannot be asked again: anew
        shutil.rmtree(study.folder.members / name, ignore_errors=True)
        timings.forget(name)
    os.environ.setdefault("IONQ_API_KEY", "any")  # the emulator takes any
    with emulator(latency) as url:
        plain = _config(study, SOURCE_CONFIGURATIONS["4q-2l"], GENERATED)
        config = plain.with_overrides(
            ["backend.name=ionq", "backend.target=simulator", f"backend.host={url}", f"backend.shots={EMULATED_SHOTS}"]
        )  # fmt: skip
        timed = warm(study, timings, name, config, {"source.configuration": one.name, "source.start": "warm"})
    return report.row(one, {GENERATED: {"warm": timed}}, _charge(one, plain))


def _config(study: Study, one: SourceConfiguration, data: str) -> TrainingConfig:
    return configuration(one, data, study.folder.path / "data", study.config)


def _charge(one: SourceConfiguration, config: TrainingConfig) -> dict[str, Any] | None:
    """What IonQ's Aria would charge for the training on the generated data, without its own error mitigation."""
    from pipelines.quote_exact import charged_as
    from pipelines.run_setup import prepare_run

    run = prepare_run(config.with_overrides(["backend.name=ideal", "backend.noise=none"]))
    row = charged_as(run, report.TARGET, one.rule, EMULATED_SHOTS, is_mitigated=False)
    if row is None:
        return None
    training = row["training"].get("most", row["training"])
    return {
        "target": report.TARGET,
        "shots": EMULATED_SHOTS,
        "circuits": training["circuits"],
        "usd": training["usd"],
    }


def _has_ended(study: Study, name: str) -> bool:
    from pipelines.run_folder import RunFolder

    return RunFolder(study.folder.members / name).recorded_result() is not None


def _write(outcome: dict[str, Any], folder: Path) -> list[Path]:
    """Markdown, JSON and the plot."""
    from pipelines.plots.source_configs import source_configurations

    files = [
        folder / name for name in ("source-benchmark.md", "source-benchmark.json", "source-benchmark.png")
    ]
    files[0].write_text(report.markdown(outcome), encoding="utf-8")
    files[1].write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    source_configurations(outcome["rows"], files[2])
    return files


def _shown(outcome: dict[str, Any], output: str | None, *, is_json: bool) -> dict[str, Any]:
    """The outcome as tables, and its files copied to `output`."""
    from pipelines.report import print_sections

    if output:
        Path(output).mkdir(parents=True, exist_ok=True)
        outcome["files"] = [shutil.copy(file, output) for file in outcome["files"]]
    lines = [*report.FOOTER, *(f"wrote {file}" for file in outcome["files"])]
    print_sections(
        "the source documents' configurations", report.sections(outcome), lines, to_stdout=not is_json
    )
    return outcome


def _chosen(names: Sequence[str] | None) -> list[str]:
    """In the table's order.

    Raises:
        ConfigError: there is no such configuration.
    """
    known = list(SOURCE_CONFIGURATIONS)
    for name in names or ():
        if name not in known:
            raise ConfigError("--configuration", name, f"known: {', '.join(known)}", nearest(name, known))
    return [name for name in known if not names or name in names]


def _latencies(asked: Sequence[float]) -> list[float]:
    for latency in asked:
        if not 0 < latency < math.inf:
            raise ConfigError("--emulator-latency", latency, "should be greater than 0", "0.1")
    return list(dict.fromkeys(asked))


def _check_free(overrides: Sequence[str]) -> None:
    """Refuse keys that the documents fix, or that their configurations would not be theirs with."""
    for override in overrides:
        section, _, key = override.partition("=")[0].partition(".")
        if section not in _FREE and f"{section}.{key}" != "run.seed":
            problem = f"the configurations are the documents'; free are run.seed and the sections {', '.join(_FREE)}"
            raise ConfigError("--set", override, problem, "run.seed=1")


def _check_output(folder: str | None) -> None:
    if folder and Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigError("--output", folder, "is a file; a folder is wanted", str(Path(folder).parent))


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["benchmark", "source", *sys.argv[1:]]))
