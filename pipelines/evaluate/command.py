"""``qfleet evaluate`` as a command: its options, and what it prints."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from pipelines.display.formatting import format_count, format_usd, from_here, qfleet_command
from pipelines.evaluate.pipeline import Asked, backend_label, prepare, run_evaluation
from pipelines.evaluate.report import headline, sections
from pipelines.evaluate.result import Evaluation
from pipelines.saved_run import Request
from pipelines.spending import SpendingNotAllowedError


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate as the command line says. Returns what ``--json`` prints."""
    settings = [*options.set, *([] if options.noise is None else [f"backend.noise={options.noise}"])]
    asked = prepare(
        options.run,
        Request(options.backend, tuple(settings), options.shots, options.actors, options.address),
        data=options.data,
        split=options.split,
        target_column=options.target_column,
        against=options.against,
        output=options.output,
        with_baselines=options.baselines,
        directory=options.directory,
        tracking_uri=options.tracking_uri,
    )
    if options.dry_run:
        from pipelines.report import print_sections

        title = f"{asked.subject.name} on {asked.choice.label}: nothing was run"
        print_sections(title, {"Would take": _forecast(asked)}, to_stdout=not options.json)
        return {"dry_run": True, "backend": backend_label(asked.subject.config), **asdict(asked.expected)}
    try:
        found = run_evaluation(asked, options.yes_spend, track=not options.no_tracking)
    except SpendingNotAllowedError as error:
        error.add_note(f"This evaluation would cost {format_usd(asked.expected.usd)}.")
        raise
    show(found, to_stdout=not options.json)
    return found.to_json()


def show(found: Evaluation, *, to_stdout: bool) -> None:
    """Print the evaluation, on stdout (or stderr where stdout is for machines)."""
    from pipelines.report import print_sections

    print_sections(headline(found), sections(found), _footer(found), to_stdout=to_stdout)


def _forecast(asked: Asked) -> dict[str, str]:
    expected = asked.expected
    return {
        "samples": str(len(asked.choice.features)),
        "backend": backend_label(asked.subject.config),
        "circuits": format_count(expected.circuits),
        "shots": format_count(expected.shots) if expected.shots else "none (exact)",
        "cost": format_usd(expected.usd),
    }


def _footer(found: Evaluation) -> list[str]:
    lines = [f"{path.suffix[1:]:8} {from_here(path)}" for path in found.files]
    if found.run_id is not None and found.subject.prepared is not None:
        lines.append(f"MLflow   {qfleet_command('ui', found.subject.folder.handle)}")
    return lines if found.note is None else [*lines, found.note]
