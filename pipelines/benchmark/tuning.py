"""``qfleet benchmark tune``: search methods at equal circuits on two data sets, paired over seeds.

Whole searches, in processes of this machine, without folders or tracking. The figure of merit is the test score of the configuration that
validation chose; how well validation itself went is reported beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, nearest
from pipelines.benchmark import machine
from pipelines.display.formatting import format_count, format_duration
from pipelines.tune.comparison import Comparison, Pair, Repeat, compare, in_words, repeat_of
from pipelines.tune.report import comparison_table
from pipelines.tune.settings import Settings, checked
from pipelines.tune.space import Space
from pipelines.tune.study import base_of

_COMMON = ["run.epochs=8", "run.batch_size=32", "model.n_qubits=4", "tracking.enabled=false"]
DATA_SETS = {
    "breast_cancer": [*_COMMON, "data.name=breast_cancer", "data.n_components=4", "data.angle_scale=0.7"],
    "two_curves": [*_COMMON, "data.name=two_curves", "data.dimension=4", "data.n_components=none"],
}
"""A real data set, its 30 features reduced to 4, whose split is drawn by the seed; and a generated one of 4 features with its own split."""
SPACE: dict[str, Any] = {
    "optimizer": {"learning_rate": {"low": 0.003, "high": 0.5, "log": True}},
    "model": {
        "ansatz": {"choices": ["three_rotation", "hardware_efficient", "strongly_entangling"]},
        "n_layers": {"low": 1, "high": 4},
        "reuploading": {"choices": [False, True]},
        "initial_scale": {"low": 0.01, "high": 1.0, "log": True},
    },
    "run": {"batch_size": {"choices": [16, 32, 64]}},
}
N_WHOLE_TRIALS = 15
"""Whole trials that the budget pays for."""


class _Task(NamedTuple):
    """One search."""

    data: str
    repeat: Repeat
    settings: Settings


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Search, compare, write, print. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been started.
    """
    names = options.data or list(DATA_SETS)
    for name in names:
        if name not in DATA_SETS:
            raise ConfigError("--data", name, f"known: {', '.join(DATA_SETS)}", nearest(name, DATA_SETS))
    if options.processes is not None and options.processes < 1:
        raise ConfigError("--processes", options.processes, "should be greater than or equal to 1", "1")
    settings = {name: _settings(name, options) for name in names}
    started = time.perf_counter()
    tasks = [
        _Task(name, Repeat(method, seed), settings[name])
        for seed in range(options.seeds)
        for name in names
        for method in (options.method, *options.against)
    ]
    found = _searched(tasks, options.processes or machine.describe()["cores"], options)
    comparisons = [
        compare(options.method, rival, found[name], settings[name].metric, options.seeds)
        for name in names
        for rival in options.against
    ]
    outcome = _outcome(names, comparisons, settings, options)
    outcome["seconds"] = time.perf_counter() - started
    outcome["machine"] = machine.describe()
    outcome["files"] = _write(outcome, Path(options.output))
    if not options.json:
        print(outcome["markdown"])
    return outcome


def _settings(name: str, options: argparse.Namespace) -> Settings:
    """The terms of all searches on a data set: a budget of `N_WHOLE_TRIALS` unless another is given."""
    config = TrainingConfig().with_overrides(DATA_SETS[name])
    asked = Settings(
        SPACE,
        method=options.method,
        against=tuple(options.against),
        repeats=options.seeds,
        max_circuits=options.max_circuits,
    )
    found, _ = checked(asked, base_of(config, asked))
    if found.max_circuits is None:
        whole = round(9 * (found.first_rung or 0.0))
        asked = Settings.from_json(asked.to_json() | {"max_circuits": N_WHOLE_TRIALS * whole})
        found, _ = checked(asked, base_of(config, asked))
    return found


def _searched(
    tasks: Sequence[_Task], n_processes: int, options: argparse.Namespace
) -> Mapping[str, dict[Repeat, Pair]]:
    """What every search came to, by data set."""
    found: dict[str, dict[Repeat, Pair]] = {task.data: {} for task in tasks}
    started = time.perf_counter()
    with ProcessPoolExecutor(min(n_processes, len(tasks)), mp_context=get_context("spawn")) as pool:
        for done, (task, pair) in enumerate(zip(tasks, pool.map(_search, tasks), strict=True), start=1):
            found[task.data][task.repeat] = pair
            left = (time.perf_counter() - started) / done * (len(tasks) - done)
            print(
                f"[{done}/{len(tasks)}] {task.data}, {task.repeat.method}, seed {task.repeat.seed}: "
                f"{pair.text(task.settings.metric)}, about {format_duration(left)} left",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    return found


def _search(task: _Task) -> Pair:
    """One search, in a process of the pool."""
    config = base_of(TrainingConfig().with_overrides(DATA_SETS[task.data]), task.settings)
    return repeat_of(task.repeat, config, Space.from_dict(task.settings.space, config), task.settings)


def _outcome(
    names: Sequence[str],
    comparisons: Sequence[Comparison],
    settings: Mapping[str, Settings],
    options: argparse.Namespace,
) -> dict[str, Any]:
    plain = []
    titles = [name for name in names for _ in options.against]
    for title, comparison in zip(titles, comparisons, strict=True):
        plain.append(comparison.to_json() | {"title": title, "in_words": in_words(comparison)})
    outcome: dict[str, Any] = {
        "benchmark": "tune",
        "method": options.method,
        "seeds": options.seeds,
        "budget": {name: settings[name].max_circuits for name in names},
        "first_rung": {name: settings[name].first_rung for name in names},
        "metric": settings[names[0]].metric,
        "comparisons": plain,
    }
    return outcome | {"markdown": markdown(outcome)}


def markdown(outcome: Mapping[str, Any]) -> str:
    """The answer, then the table."""
    lines = [f"{comparison['title']}: {comparison['in_words']}" for comparison in outcome["comparisons"]]
    budgets = ", ".join(
        f"{name} {format_count(budget, 'circuits')}" for name, budget in outcome["budget"].items()
    )
    lines = [
        "\n".join(f"- {line}" for line in lines),
        "",
        f"Budget of each search: {budgets}; {outcome['seeds']} seeds.",
        "",
    ]
    return "\n".join([*lines, *comparison_table(outcome["comparisons"])]).rstrip()


def _write(outcome: Mapping[str, Any], folder: Path) -> list[str]:
    """Markdown, JSON and the plot."""
    from pipelines.plots.tuning import comparison_plot

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tune.md").write_text(outcome["markdown"] + "\n", encoding="utf-8")
    (folder / "tune.json").write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    comparison_plot(outcome["comparisons"], folder / "tune.png", metric=outcome["metric"])
    return [str(folder / name) for name in ("tune.md", "tune.json", "tune.png")]
