"""The tables of ``qfleet benchmark staleness``, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.display.formatting import format_duration

Rows = Sequence[Mapping[str, Any]]


def tables(outcome: Mapping[str, Any]) -> str:
    """Steps to the loss, times as fast and dollars by condition, and what draining at the end of an epoch costs."""
    ages = list(dict.fromkeys(row["staleness"] for row in outcome["steps"]))
    conditions, epochs = outcome["conditions"], outcome["epochs"]
    about = f"loss {outcome['target_loss']:g}, {outcome['seeds']} seeds, {outcome['steps_an_epoch']} steps an epoch"
    drained = f"{epochs[0]['steps']} steps, queue {epochs[0]['queue']}, {epochs[0]['jobs_in_flight']} jobs in flight"
    return "\n\n".join(
        [
            f"Steps to the loss, mean and 95 % interval: {about}",
            _table(outcome["steps"], ["learning_rate"], ages, lambda row: _steps(row, outcome["seeds"])),
            "Times as fast as synchronous",
            _table(conditions, ["rates", "queue", "jobs_in_flight"], ages, _time),
            "Dollars",
            _table(conditions, ["rates", "queue", "jobs_in_flight"], ages, _dollars),
            f"Time of {drained}",
            _table(epochs, ["steps_an_epoch"], ages, lambda row: _spread(row["seconds"], format_duration)),
        ]
    )


def _table(
    rows: Rows, keys: Sequence[str], ages: Sequence[int], text: Callable[[Mapping[str, Any]], str]
) -> str:
    """A line for each combination of `keys`, a column for each staleness."""
    cells: dict[tuple[str, ...], dict[int, str]] = {}
    for row in rows:
        cells.setdefault(tuple(str(row[key]) for key in keys), {})[row["staleness"]] = text(row)
    heads = [*(key.replace("_", " ") for key in keys), *(f"staleness {age}" for age in ages)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    lines += [_line([*key, *(found.get(age, "–") for age in ages)]) for key, found in cells.items()]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _steps(row: Mapping[str, Any], n_seeds: int) -> str:
    if not row["reached"]:
        return "never"
    lacking = n_seeds - row["reached"]
    return _spread(row["steps"], "{:.0f}".format) + (f", {lacking} never" if lacking else "")


def _time(row: Mapping[str, Any]) -> str:
    """Of the synchronous runs how long they take, of the others how many times as fast they are."""
    if not row["staleness"]:
        return format_duration(row["seconds"]["mean"])
    return _spread(row["speed_up"], "{:.2f}".format)


def _dollars(row: Mapping[str, Any]) -> str:
    """Of the synchronous runs what they cost, of the others how many times as much."""
    if not row["staleness"]:
        return f"${row['usd']['mean']:,.0f}"
    return _spread(row["usd_ratio"], "{:.2f} x".format)


def _spread(interval: Mapping[str, float], text: Callable[[float], str]) -> str:
    return f"{text(interval['mean'])} ({text(interval['low'])} to {text(interval['high'])})"
