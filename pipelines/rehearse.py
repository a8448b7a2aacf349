"""``qfleet rehearse``: a run trained many times against the emulator, in virtual time, before it is paid: how long, how dear, how good."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.costs.money import in_usd
from orchestrator.errors import ConfigError, InputError
from pipelines.quote import quote
from pipelines.rehearsal_run import Conditions, Rehearsed, rehearse_once, rehearsed_backend, seed_of
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, prepare_run

if TYPE_CHECKING:
    from actors.ionq.emulator.timing import Recorded

QUANTILES = {"median": 0.5, "p10": 0.1, "p90": 0.9, "least": 0.0, "most": 1.0}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Rehearse the configuration that the command line names. Returns what ``--json`` prints.

    Raises:
        InputError: as ``qfleet train`` refuses it; a backend that is not IonQ's; conditions that mean nothing.
    """
    from pipelines.display.formatting import format_duration, from_here
    from pipelines.plots.rehearsal import rehearsal_distributions
    from pipelines.quote_report import in_dollars
    from pipelines.rehearsal_report import footer, sections
    from pipelines.report import print_sections

    conditions = conditions_of(options)
    config = TrainingConfig.from_toml(options.config, options.set)
    prepared = prepare_run(config)

    def tell(number: int, found: Rehearsed) -> None:
        ended = (
            ""
            if found.ended_by is None
            else f", ended by {found.ended_by} after {len(found.step_ends)} steps"
        )
        took = f"{format_duration(found.seconds)}, {in_dollars(in_usd(found.billed_micro))}"
        print(f"rehearsal {number} of {options.runs}: {took}{ended}", file=sys.stderr, flush=True)

    outcome = rehearse(prepared, conditions, options.runs, options.seed, tell)
    name = config.run.name or Path(options.config).stem
    folder = Path(config.run.directory) / f"{name}-rehearsal"
    folder.mkdir(parents=True, exist_ok=True)
    rehearsal_distributions(outcome, folder / "rehearsal.png", title=name)
    (folder / "rehearsal.json").write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    outcome["folder"] = str(folder.absolute())
    lines = footer(from_here(folder))
    print_sections(f"{name}: {options.runs} rehearsals", sections(outcome), lines, to_stdout=not options.json)
    return outcome


def conditions_of(options: argparse.Namespace) -> Conditions:
    """What the command line assumes of the service.

    Raises:
        ConfigError: a value or a file that cannot be used.
    """
    from actors.ionq.emulator.faults import FaultPlan
    from actors.ionq.emulator.timing import execution_from_text, queue_from_text

    recorded = options.queue_from
    return Conditions(
        queue=queue_from_text(options.queue)
        if recorded is None
        else recorded_queue(RunFolder.find(recorded, options.directory)),
        execution=execution_from_text(options.execution),
        latency_seconds=options.latency,
        failures=options.failures,
        faults=FaultPlan.load(options.faults) if options.faults else FaultPlan(),
    )


def recorded_queue(folder: RunFolder) -> Recorded:
    """The queue times of a run's jobs, by the service's clock.

    Raises:
        InputError: none are recorded there.
    """
    from actors.ionq.emulator.timing import Recorded

    path = folder.path / "artifacts" / "latency.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["is_served"] == "0"]
        seconds = tuple(float(row["queue"]) for row in rows)
    except (OSError, KeyError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(
            f"--queue-from {folder.name}: no queue times are recorded there ({problem})"
        ) from None
    return Recorded(seconds)


def rehearse(
    prepared: PreparedRun,
    conditions: Conditions,
    n_runs: int,
    seed: int = 0,
    tell: Callable[[int, Rehearsed], None] = lambda number, found: None,
) -> dict[str, Any]:
    """Distributions of time, cost and scores over `n_runs` rehearsals, as plain values.

    Args:
        seed: the same seed gives the same outcome to the bit.
        tell: called after each rehearsal with its number, from 1 on.

    Raises:
        ConfigError: `n_runs` is not positive; otherwise see `rehearsed_backend`.
    """
    from pipelines.rehearsal_report import assumptions

    if n_runs < 1:
        raise ConfigError("runs", n_runs, "must be at least 1", "1")
    backend = rehearsed_backend(prepared)
    found: list[Rehearsed] = []
    for number in range(n_runs):
        found.append(rehearse_once(prepared, backend, conditions, seed_of(seed, number)))
        tell(number + 1, found[-1])
    return {
        "rehearsal": True,
        "target": backend.target,
        "n_runs": n_runs,
        "seed": seed,
        "steps": prepared.task.n_steps,
        "budget_usd": prepared.config.budget.max_usd,
        "quote": _quoted(prepared),
        **summary(found),
        "assumed": assumptions(conditions, backend),
        "runs": [asdict(each) for each in found],
    }


def summary(found: Sequence[Rehearsed]) -> dict[str, Any]:
    """Distributions over rehearsals.

    Returns:
        ``seconds``, ``step_seconds`` (over all their steps), ``usd``, ``jobs``, ``failed``, ``resent``, ``duplicates``, ``skipped``,
        ``simulated``, ``metrics`` by name, ``budget_steps`` (steps done where the budget ended it), and ``endings`` by kind.
    """
    steps = [step for each in found for step in np.diff((0.0, *each.step_ends)).tolist()]
    ended = [len(each.step_ends) for each in found if each.ended_by == "budget"]
    names = dict.fromkeys(name for each in found for name in each.metrics)
    return {
        "seconds": distribution([each.seconds for each in found]),
        "step_seconds": distribution(steps),
        "usd": distribution([in_usd(each.billed_micro) for each in found]),
        **{
            name: distribution([getattr(each, name) for each in found])
            for name in ("jobs", "failed", "resent", "duplicates", "skipped", "simulated")
        },
        "metrics": {
            name: distribution([each.metrics[name] for each in found if name in each.metrics])
            for name in names
        },
        "budget_steps": distribution(ended),
        "endings": dict(Counter(each.ended_by or "done" for each in found)),
    }


def distribution(values: Sequence[float]) -> dict[str, float] | None:
    """Quantiles of `values`, each of them a value that occurred; None of nothing."""
    if not values:
        return None
    return {
        name: float(np.quantile(values, share, method="inverted_cdf")) for name, share in QUANTILES.items()
    }


def _quoted(prepared: PreparedRun) -> dict[str, Any]:
    """Dollars of the whole run by ``qfleet quote``, ``least`` and ``most``; or why there are none."""
    rule = prepared.config.gradient.rule
    name = prepared.task.rule.name if rule == "auto" else rule
    [row] = quote(prepared, [prepared.config.backend.target], [name])["targets"][0]["rules"]
    if "refused" in row:
        return {"refused": row["refused"]}
    whole = row["run"]
    return {end: whole.get(end, whole)["usd"] for end in ("least", "most")}


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["rehearse", *sys.argv[1:]]))
