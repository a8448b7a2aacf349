"""The table of a run's actors that ``qfleet top`` draws, from the run's status file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.display.formatting import (
    format_count,
    format_elapsed,
    format_percent,
    format_rate,
    format_usd,
    format_value,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {"ready": "green", "resting": "yellow", "leaving": "yellow", "starting": "cyan"}
_STATES = {"dead": "red", "failed": "red", "silent": "yellow", "waiting for resources": "yellow"}
_COLUMNS = ("actor", "state", "backend", "node", "in flight", "jobs", "circuits/s", "cache hits", "failed", "last error")  # fmt: skip


def print_actors(status: Mapping[str, Any], words: str) -> None:
    """Print the table once, to stdout.

    Args:
        status: of the run. words: its state.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(_view(status, words, console.height if console.is_terminal else None))


def show_actors(read: Callable[[], tuple[Mapping[str, Any], str, bool]], seconds: float = 1.0) -> None:
    """Draw the table in place on stdout, until the run ends or the user interrupts.

    Args:
        read: gives the run's status, its state in words, and whether it is over. seconds: between two drawings.
    """
    import time

    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    status, words, is_over = read()
    with Live(_view(status, words, console.height), console=console, auto_refresh=False) as live:
        while not is_over:
            time.sleep(seconds)
            status, words, is_over = read()
            live.update(_view(status, words, console.height), refresh=True)


def _view(status: Mapping[str, Any], words: str, height: int | None) -> RenderableType:
    """Head, table and newest events; as many actors as fit in `height` lines, all if that is None."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    workers = list(status.get("workers") or ())
    events = list(status.get("events") or ())[-4:]
    most = len(workers) if height is None else max(height - len(events) - 9, 3)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        is_number = name in ("in flight", "jobs", "circuits/s", "cache hits", "failed")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    target = status.get("target") or status.get("backend") or "–"
    for worker in workers[:most]:
        state = worker["state"]
        rest = [Text(cell) for cell in (target, *_cells(worker))]
        table.add_row(Text(worker["worker"]), Text(state, style=_STYLES.get(state, "")), *rest)
    parts: list[RenderableType] = [_head(status, words)]
    parts.append(table if workers else Text("no actors yet", style="dim"))
    if len(workers) > most:
        parts.append(Text(f"... and {len(workers) - most} more", style="dim"))
    now = float(status.get("heartbeat_at", 0.0))
    for event in events:
        why = f", {event['text']}" if event["text"] else ""
        ago = format_elapsed(max(now - event["at"], 0.0))
        line = f"{ago:>12} before: {event['worker'] or 'the fleet'} {event['kind']}{why}"
        parts.append(Text(line, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _cells(worker: Mapping[str, Any]) -> tuple[str, ...]:
    """Of an actor, all from the node on; each with its unit, or with that of its column."""
    lookups = worker["cache_lookups"]
    rate = worker.get("circuits_per_second")
    return (
        worker["node"][:12] or "–",
        str(worker["jobs_in_flight"]),
        f"{worker['jobs_done']:,}",
        "–" if rate is None else format_count(rate),
        format_percent(worker["cache_hits"] / lookups) if lookups else "–",
        str(worker["failures"]),
        " ".join(worker["last_error"].split()),
    )


def _head(status: Mapping[str, Any], words: str) -> RenderableType:
    """The run, and how far it is."""
    from rich.text import Text

    text = Text(str(status["run"]), style="bold")
    text.append("  ")
    text.append(words, style=_STATES.get(str(status["state"]), "green"))
    parts = []
    if "step" in status:
        parts.append(f"step {status['step']:,}/{status['n_steps']:,}")
        parts.append(f"loss {format_value(status['loss'])}")
    if status.get("circuits_per_second") is not None:
        parts.append(format_rate(status["circuits_per_second"], 1.0, "circuits"))
    if status.get("utilisation") is not None:
        parts.append(f"actors busy {format_percent(status['utilisation'])}")
    spending = status.get("spending")
    if spending or status.get("cost_usd"):
        parts.append(f"{format_usd(spending['spent'] if spending else status['cost_usd'])} spent")
    if status.get("seconds_left") is not None:
        parts.append(f"about {format_elapsed(status['seconds_left'])} left")
    parts += [str(status[key]) for key in ("reason", "activity") if status.get(key)]
    text.append("\n" + " · ".join(parts), style="not bold")
    return text
