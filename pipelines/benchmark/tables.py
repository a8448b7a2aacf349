"""``qfleet benchmark tables``: trains published models on published data sets and sets their accuracies beside the published ones."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, nearest
from pipelines.benchmark import tables_pool
from pipelines.benchmark import tables_report as report
from pipelines.benchmark.tables_runs import Fits, Run
from pipelines.benchmark.tables_settings import DATA_SETS, N_SEEDS, SETTINGS, TITLES, DataSet
from pipelines.benchmark.tables_tracking import TablesTracking
from pipelines.benchmark.tables_training import Fit
from pipelines.display.formatting import format_duration


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, write, print. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been trained.
    """
    models = _models(options.model)
    _check(options)
    data_sets = [data for data in DATA_SETS if not options.quick or data.n_features == 2]
    with _workers(options) as fits:
        if options.search:
            return _search(models, data_sets, fits, is_printed=not options.json)
        n_seeds = options.seeds or (1 if options.quick else N_SEEDS)
        runs = [
            Run(model, data, SETTINGS[model][data], seed)
            for model in models
            for data in data_sets
            for seed in range(n_seeds)
        ]
        outcome = _tables(runs, fits, Path(options.output), is_tracked=not options.no_tracking)
    outcome |= {"actors": options.actors} if options.actors else {"processes": _n_processes(options)}
    if not options.json:
        report.show(outcome)
    return outcome


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers and combinations that cannot work.

    Raises:
        ConfigError: naming the option, its value and the nearest valid one.
    """
    for name in ("seeds", "processes", "actors"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name}", value, "should be greater than or equal to 1", "1")
    if options.actors is not None and options.processes is not None:
        raise ConfigError(
            "--processes",
            options.processes,
            "trainings run on processes or on --actors, not on both; leave one out",
        )
    if options.address is not None and options.actors is None:
        raise ConfigError("--address", options.address, "is where Ray actors run; say how many: --actors 2")


@contextmanager
def _workers(options: argparse.Namespace) -> Iterator[Fits]:
    """What does the training runs: Ray actors if they are asked for, else processes."""
    if options.actors is None:
        yield partial(tables_pool.fits, n_processes=_n_processes(options))
        return
    from pipelines.benchmark import tables_fleet  # imports Ray

    with tables_fleet.started(options.actors, options.address) as fits:
        yield fits


def _n_processes(options: argparse.Namespace) -> int:
    """As many as asked for, else one for each core that this process may use."""
    if options.processes is not None:
        return int(options.processes)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _search(
    models: Sequence[str], data_sets: Sequence[DataSet], fits: Fits, *, is_printed: bool
) -> dict[str, Any]:
    """Search the hyperparameters of all models on all data sets."""
    from pipelines.benchmark.tables_search import search

    found = search(models, data_sets, fits, _say)
    if is_printed:
        print(json.dumps(found, indent=1))
    return {"benchmark": "tables", "search": found}


def _tables(runs: Sequence[Run], fits: Fits, folder: Path, *, is_tracked: bool) -> dict[str, Any]:
    """Train all of `runs`, and write the table into `folder`."""
    started = time.perf_counter()
    name = time.strftime("tables-%Y%m%d-%H%M%S")
    tracking = TablesTracking(folder / "tracking", name, is_enabled=is_tracked)
    try:
        by_row = _train(runs, fits)
        rows = []
        for key in dict.fromkeys(
            run._replace(seed=0) for run in runs
        ):  # in the order of the table, not of the clock
            rows.append(report.row(key.model, key.data, key.setting, by_row[key]))
            tracking.log_row(rows[-1], key, by_row[key])
        seconds = time.perf_counter() - started
        files = _write(rows, seconds, folder)
        figures = {
            "seconds": seconds,
            "reached": float(sum(r["reached"] for r in rows)),
            "rows": float(len(rows)),
        }
        tracked = tracking.finish(files, figures)
    finally:
        tracking.close()
    return {
        "benchmark": "tables",
        "rows": rows,
        "reached": report.summary(rows),
        "seconds": seconds,
        "files": [str(file) for file in files],
        "tracking": tracked,
    }


def _train(runs: Sequence[Run], fits: Fits) -> dict[Run, list[Fit]]:
    """The fits of every row, in the order of their seeds; the key is the row's run of seed 0."""
    started = time.perf_counter()
    n_seeds = len({run.seed for run in runs})
    by_row: defaultdict[Run, list[Fit]] = defaultdict(list)
    for n_done, (run, fit) in enumerate(fits(runs), start=1):
        own = by_row[run._replace(seed=0)]
        own.append(fit)
        if len(own) == n_seeds:
            own.sort(key=lambda each: each.seed)
            accuracy = sum(each.test_accuracy for each in own) / n_seeds
            left = (time.perf_counter() - started) / n_done * (len(runs) - n_done)
            _say(
                f"[{n_done}/{len(runs)}] {TITLES[run.model]}, {run.data.family} {run.data.n_features}: test accuracy "
                f"{accuracy:.3f}, about {format_duration(left)} left"
            )
    return by_row


def _write(rows: Sequence[report.Row], seconds: float, folder: Path) -> list[Path]:
    """Markdown, CSV, JSON and the plot."""
    from pipelines.plots.tables import published_accuracies

    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "tables.md": report.markdown(rows),
        "tables.csv": report.as_csv(rows),
        "tables.json": json.dumps({"seconds": seconds, "rows": rows}, indent=1) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    published_accuracies(rows, folder / "tables.png", titles=TITLES)
    return [folder / name for name in (*texts, "tables.png")]


def _models(names: Sequence[str] | None) -> list[str]:
    """The models asked for, in the table's order.

    Raises:
        ConfigError: there is no such model.
    """
    for name in names or ():
        if name not in SETTINGS:
            raise ConfigError("--model", name, f"known: {', '.join(SETTINGS)}", nearest(name, list(SETTINGS)))
    return [name for name in SETTINGS if not names or name in names]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
