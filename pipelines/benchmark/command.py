"""What ``qfleet benchmark engine``, ``overhead``, ``gradients`` and ``ionq`` do: read options, measure, print."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.benchmark.workloads import Workload


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark the command line names. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been measured.
    """
    if options.what == "overhead":
        from pipelines.benchmark import overhead

        return overhead.run(options)
    if options.what == "gradients":
        from pipelines.benchmark import gradients

        return gradients.run(options)
    if options.what == "staleness":
        from pipelines.benchmark import staleness

        return staleness.run(options)
    if options.what == "ionq":
        from pipelines.benchmark import ionq

        return ionq.run(options)
    return _engine(options)


def _engine(options: argparse.Namespace) -> dict[str, Any]:
    from pipelines.benchmark.workloads import select

    _check(options)
    names = options.workload or ([] if options.plot and not options.output else ["all"])
    workloads = select(names)
    from pipelines.benchmark import machine, report, scaling
    from pipelines.benchmark.engine import warm_up

    described = machine.describe()
    for line in filter(None, [report.machine_line(described), machine.warning(described)]):
        print(line, file=sys.stderr)
    _say("compiling the kernels, unless they are kept from last time")
    warm_up()
    outcome: dict[str, Any] = {"benchmark": "engine", "machine": described, "workloads": [], "peers": []}
    for i, workload in enumerate(workloads):
        _say(f"[{i + 1}/{len(workloads)}] {workload.name}: {workload.summary}")
        _measure(workload, options, outcome)
    if options.plot:
        outcome["scaling"] = scaling.measure(options.precision, options.seconds, _say) | {
            "machine": described
        }
        outcome["files"] = scaling.write(outcome["scaling"], Path(options.plot))
    if options.output:
        outcome["files"] = [*outcome.get("files", []), *_write(outcome, Path(options.output))]
    if options.markdown:
        print(report.markdown(outcome))
    elif not options.json:
        report.show(outcome)
    return outcome


def _write(outcome: dict[str, Any], folder: Path) -> list[str]:
    """All workloads as Markdown, JSON and a plot."""
    from pipelines.benchmark import report
    from pipelines.plots.workloads import engine_workloads

    folder.mkdir(parents=True, exist_ok=True)
    files = [
        folder / name for name in ("engine-workloads.md", "engine-workloads.json", "engine-workloads.png")
    ]
    files[0].write_text(report.markdown(outcome) + "\n", encoding="utf-8")
    files[1].write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    engine_workloads(outcome["workloads"], outcome["peers"], files[2])
    return [str(file) for file in files]


def _measure(workload: Workload, options: argparse.Namespace, outcome: dict[str, Any]) -> None:
    """One workload, and its peers, into `outcome`."""
    from pipelines.benchmark.comparison import compare
    from pipelines.benchmark.engine import measure

    measured = measure(workload, options.precision, options.seconds)
    explain = measured.figures.pop("explain", None)
    outcome["workloads"].append(measured.figures | ({"explain": explain} if options.explain else {}))
    if measured.problem is None or not (options.peers or options.peers_python):
        return
    for found in compare(measured.problem, measured.figures, options.seconds, options.peers_python):
        _say(
            f"    {found['peer']}: "
            + (f"{found['ratio']:.1f} x our time" if "ratio" in found else why_not(found))
        )
        outcome["peers"].append(found)


def why_not(found: dict[str, Any]) -> str:
    """Why a peer has no figures."""
    if "missing" in found:
        return f"not installed ({found['missing']})"
    return str(found.get("unsupported") or found["error"])


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work before minutes are spent.

    Raises:
        ConfigError: naming the option, its value and the nearest valid one.
    """
    if not 0 < options.seconds < float("inf"):
        raise ConfigError("--seconds", options.seconds, "should be greater than 0", "3")
    if options.json and options.markdown:
        raise ConfigError("--markdown", True, "--json and --markdown both want stdout; leave one out")
    if options.peers_python and shutil.which(options.peers_python) is None:
        raise ConfigError("--peers-python", options.peers_python, "is not a program", sys.executable)
    if options.output and Path(options.output).exists() and not Path(options.output).is_dir():
        raise ConfigError(
            "--output", options.output, "is a file; a folder is wanted", str(Path(options.output).parent)
        )
    if options.plot:
        suffix = Path(options.plot).suffix.lower()
        if suffix not in ("", ".png", ".svg", ".pdf"):
            raise ConfigError(
                "--plot",
                options.plot,
                "a folder, or a .png, .svg or .pdf file",
                str(Path(options.plot).with_suffix(".png")),
            )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
