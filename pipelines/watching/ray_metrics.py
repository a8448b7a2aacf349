"""From the live status of a run to Ray's metrics."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.training.reports import Totals
from pipelines.watching.live_status import Tick


def ray_metrics(run: str, backend: str, before: Totals) -> Callable[[Tick], None]:
    """A listener of `LiveStatus` that tells Ray, from the time on when there is a fleet.

    Args:
        before: what the run had used when this process took it up; Prometheus had it from another one.
    """
    from actors.ray_fleet.metrics import FleetMetrics

    told: list[FleetMetrics] = []  # made by the first tick that has a fleet: only then is there a connection

    def tell(tick: Tick) -> None:
        if tick.stats is None:
            return
        if not told:
            told.append(FleetMetrics(run, backend))
        seconds = [span.finished_at - span.started_at for span in tick.spans]
        told[0].tell(totals_of(tick, before), gauges_of(tick), tick.workers, seconds)

    return tell


def totals_of(tick: Tick, before: Totals) -> dict[str, float]:
    """Counters of the run, since this process took it up."""
    found: dict[str, float] = {}
    if tick.stats is not None:
        found |= {
            "qfleet_jobs_total": tick.stats.jobs_done,
            "qfleet_jobs_retried_total": tick.stats.jobs_retried,
            "qfleet_workers_lost_total": tick.stats.workers_lost,
            "qfleet_cache_hits_total": tick.stats.cache_hits,
            "qfleet_cache_lookups_total": tick.stats.cache_lookups,
        }
    if (totals := tick.board.totals) is not None:
        found |= {
            "qfleet_circuits_total": totals.n_circuits - before.n_circuits,
            "qfleet_shots_total": totals.n_shots - before.n_shots,
            "qfleet_cost_dollars_total": totals.cost_usd - before.cost_usd,
            "qfleet_jobs_simulated_total": totals.jobs_simulated - before.jobs_simulated,
        }
    return found


def gauges_of(tick: Tick) -> dict[str, float]:
    """Gauges of the run, as far as they are known."""
    step, epoch, spending = tick.board.step, tick.board.epoch, tick.board.spending
    found: dict[str, float | None] = {
        "qfleet_workers": None if tick.stats is None else tick.stats.n_workers,
        "qfleet_utilisation_ratio": tick.status.get("utilisation"),
    }
    if step is not None:
        found |= {
            "qfleet_step": step.step,
            "qfleet_steps_planned": step.n_steps,
            "qfleet_step_seconds": sum(step.seconds.values()),
            "qfleet_loss": step.loss,
            "qfleet_gradient_norm": step.gradient_norm,
        }
    if epoch is not None:
        found["qfleet_validation_loss"] = epoch.metrics.get("val/loss")
    if spending is not None:
        found |= {"qfleet_reserved_dollars": spending.reserved, "qfleet_spending_cap_dollars": spending.cap}
    return {name: value for name, value in found.items() if value is not None}
