"""``qfleet fleet``: fleets that live in a Ray cluster by a name, and that several runs share. See docs/fleet.md."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.config import FleetConfig, TrainingConfig, actor_overrides
from orchestrator.errors import ConfigError, FleetError
from orchestrator.protocols import Backend
from pipelines.display.formatting import format_count, format_duration
from pipelines.run_folder import FLEET_CONFIG, RunFolder


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start, show or stop. Returns what ``--json`` prints.

    Raises:
        ConfigError: no cluster is named, a name that is taken or cannot be one, or a configuration that cannot work.
        FleetError: the cluster cannot be reached, has no room, or no such fleet.
    """
    return {"start": _start, "status": _status, "stop": _stop}[options.action](options)


def _start(options: argparse.Namespace) -> dict[str, Any]:
    from actors.ray_fleet.shared_start import NamedFleets
    from pipelines.compose import build_backend, ray_fleet_options
    from pipelines.spending import check_allowed

    if not 0 <= options.cache < float("inf"):
        raise ConfigError("--cache", options.cache, "MiB of answers to keep; 0 keeps none", "256")
    config = _fleet_config(options)
    is_paid = build_backend(config).capabilities.is_paid
    check_allowed(config, build_backend(config), options.yes_spend)
    folder = Path(options.folder or Path("runs") / f"fleet-{options.name}").absolute()
    if is_paid:
        folder.mkdir(parents=True, exist_ok=True)
    with NamedFleets(config.fleet.address) as fleets:
        welcome = fleets.start(
            options.name,
            partial(_backend_of_fleet, config, str(folder), options.yes_spend),
            ray_fleet_options(config.fleet),
            cache_bytes=int(options.cache * 2**20),
            stays_here=is_paid,
        )
    if not options.json:
        print(f"fleet {options.name} is ready: {welcome.n_workers} actors, backend {config.backend.name}.")
        print(
            f"Runs use it with --set fleet.name={options.name}. To end it: qfleet fleet stop {options.name}"
        )
    return {
        "name": options.name,
        "actors": welcome.n_workers,
        "backend": config.backend.name,
        "folder": str(folder) if is_paid else None,
    }


def _fleet_config(options: argparse.Namespace) -> TrainingConfig:
    """The configuration that the fleet is started with: a fleet of its own, whatever the file says of fleets by name."""
    FleetConfig(name=options.name)
    overrides = [*options.set, "fleet.dispatcher=ray", "fleet.name=none"]
    if options.actors is not None:
        overrides += actor_overrides(options.actors)
    if options.address is not None:
        overrides.append(f"fleet.address={options.address}")
    return TrainingConfig.from_toml(options.config, overrides)


def _backend_of_fleet(
    config: TrainingConfig, folder: str, yes_spend_usd: float | None, stack: ExitStack
) -> Backend:
    """The backend, made in the server's process; with the fleet's book, and beside it what it was opened for, if it costs money."""
    from pipelines.compose import build_backend
    from pipelines.spending import with_book

    home = RunFolder(Path(folder))
    backend = with_book(config, build_backend(config), home, yes_spend_usd, stack)
    if backend.capabilities.is_paid:
        home.write_config(config, FLEET_CONFIG)
    return backend


def _stop(options: argparse.Namespace) -> dict[str, Any]:
    from actors.ray_fleet.shared_start import NamedFleets

    with NamedFleets(options.address) as fleets:
        fleets.stop(options.name)
    if not options.json:
        print(f"fleet {options.name} is stopped")
    return {"name": options.name, "state": "stopped"}


def _status(options: argparse.Namespace) -> dict[str, Any]:
    from actors.ray_fleet.shared_start import NamedFleets
    from pipelines.report import print_sections

    with NamedFleets(options.address) as fleets:
        names = fleets.names() if options.name is None else [options.name]
        found = []
        for name in names:
            try:
                found.append(fleets.status(name))
            except FleetError:
                if options.name is not None:
                    raise
    if options.name is None:
        print_sections("fleets", {"in this cluster": _overview(found)}, to_stdout=not options.json)
        return {"fleets": found}
    print_sections(f"fleet {options.name}", _sections(found[0]), to_stdout=not options.json)
    return found[0]


def _overview(found: list[dict[str, Any]]) -> Mapping[str, Any]:
    if not found:
        return {"none": "start one: qfleet fleet start NAME CONFIG"}
    return {one["name"]: _one_line(one) for one in found}


def _one_line(one: dict[str, Any]) -> str:
    if "actors" not in one:
        return str(one["state"])
    clients = format_count(len(one["clients"]), "clients")
    return f"{one['state']}, {format_count(len(one['actors']), 'actors')}, {clients}, {format_count(one['jobs_done'], 'jobs')} done"


def _sections(one: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if "actors" not in one:
        return {"": {"state": f"{one['state']} ({one['error']})"}}
    sections: dict[str, dict[str, Any]] = {
        "fleet": {
            "state": one["state"] if one["error"] is None else f"{one['state']}: {one['error']}",
            "backend": str(one["backend"]),
            "up": format_duration(one["up_seconds"]),
            "jobs done": format_count(one["jobs_done"], "jobs"),
            "run once for several": format_count(one["joined"], "jobs"),
            "answered before": format_count(one["cached"], "jobs"),
            "given up": format_count(one["failed"], "jobs"),
            "in flight": format_count(one["jobs_in_flight"], "jobs"),
            "kept answers": f"{one['cached_answers']:,} ({one['cached_bytes'] / 2**20:.1f} MiB)",
            "clients gone": f"{one['clients_left']:,} ({one['clients_expired']:,} fell silent)",
        }
    }
    for client in one["clients"]:
        clients = sections.setdefault("clients", {})
        title = client["title"]  # of a process, which may have several
        clients[title if title not in clients else f"{title} ({len(clients) + 1})"] = {
            "waiting": f"{client['jobs_waiting']:,} jobs",
            "done": f"{client['jobs_done']:,} jobs",
            "joined": f"{client['joined']:,} jobs",
            "cached": f"{client['cached']:,} jobs",
            "heard of": f"{client['silent_seconds']:.0f} s ago",
        }
    for actor in one["actors"]:
        sections.setdefault("actors", {})[actor["worker"]] = {
            "state": actor["state"],
            "done": f"{actor['jobs_done']:,} jobs",
            "in flight": f"{actor['jobs_in_flight']:,} jobs",
            "circuits": f"{actor['circuits_done']:,}",
            "failures": f"{actor['failures']:,}",
        }
    return sections
