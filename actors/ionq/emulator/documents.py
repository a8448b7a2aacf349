"""The JSON documents that API v0.4 answers with, nulls included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.ionq.emulator.clock import Calendar
from actors.ionq.emulator.jobs import Failure, Job, Place
from actors.ionq.emulator.submission import SINGLE
from actors.ionq.emulator.targets import TARGETS
from orchestrator.costs.catalogue import GateShot, PriceEntry
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.costs.money import in_usd

BASE = "/v0.4"


def job_document(place: Place, now: float, calendar: Calendar) -> dict[str, Any]:
    """A job, or a circuit of a batch as the job it is too."""
    return (
        _parent(place.job, now, calendar)
        if place.child is None
        else _child(place.job, place.child, now, calendar)
    )


def _parent(job: Job, now: float, calendar: Calendar) -> dict[str, Any]:
    asked, counts = job.submission, job.submission.circuits.counts
    status = job.status(now)
    tail = "/aggregated" if asked.is_batch else ""
    return {
        "id": job.id,
        "status": status,
        "type": asked.type,
        **_common(job, now, calendar),
        "parent_job_id": None,
        "metadata": asked.metadata,
        "name": asked.name,
        "failure": _failure(job.failure(now)),
        "stats": _stats(job, counts),
        "results": _results(job.id, tail) if status == "completed" and not asked.dry_run else None,
        "child_job_ids": list(job.child_ids) if asked.is_batch else None,
    }


def _child(job: Job, child: int, now: float, calendar: Calendar) -> dict[str, Any]:
    counts, job_id = job.submission.circuits.counts[child], job.child_ids[child]
    status = job.child_status(child, now)
    return {
        "id": job_id,
        "status": status,
        "type": SINGLE,
        **_common(job, now, calendar),
        "parent_job_id": job.id,
        "metadata": {},
        "name": None,
        "failure": _failure(job.child_failure(child, now)),
        "stats": _stats(job, [counts]),
        "results": _results(job_id, "") if status == "completed" and not job.submission.dry_run else None,
        "child_job_ids": None,
    }


def _common(job: Job, now: float, calendar: Calendar) -> dict[str, Any]:
    """What a job and its circuits share."""
    asked = job.submission
    has_ended = now >= job.ends_at and job.canceled_at is None
    return {
        "backend": asked.target.name,
        "dry_run": asked.dry_run,
        "submitter_id": "emulator",
        "project_id": None,
        "session_id": None,
        "submitted_at": calendar.text(job.submitted_at),
        "started_at": calendar.text(job.started_at)
        if now >= job.started_at and job.canceled_at is None
        else None,
        "completed_at": calendar.text(job.ends_at) if has_ended else None,
        "predicted_wait_time_ms": None,
        "predicted_execution_duration_ms": None,
        "execution_duration_ms": round(1000 * (job.ends_at - job.started_at)) if has_ended else None,
        "shots": asked.shots,
        "output": {},
        "settings": asked.settings,
    }


def _stats(job: Job, counts: Sequence[GateCounts]) -> dict[str, Any]:
    return {
        "qubits": job.submission.n_qubits,
        "circuits": len(counts),
        "gate_counts": {"1q": sum(c.n_1q for c in counts), "2q": sum(c.n_2q for c in counts)},
    }


def _results(job_id: str, tail: str) -> dict[str, Any]:
    return {"probabilities": {"url": f"{BASE}/jobs/{job_id}/results/probabilities{tail}"}}


def _failure(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else {"code": failure.code, "message": failure.message}


def cost_document(job: Job, billed: int, now: float) -> dict[str, Any]:
    """What a job is expected to cost, and has cost."""
    ended = job.status(now) in ("completed", "failed", "canceled")
    return {
        "dry_run": job.submission.dry_run,
        "estimated_cost": {"unit": "usd", "value": in_usd(job.price)},
        "cost": {"unit": "usd", "value": in_usd(billed)} if ended else None,
    }


def estimate_document(
    asked: dict[str, Any], entry: PriceEntry, micro: int, wait: float, at: str
) -> dict[str, Any]:
    """What a job of one circuit would cost. asked: the query; wait: seconds of the queue."""
    rates = {"cost_1q_gate": 0.0, "cost_2q_gate": 0.0, "job_cost_minimum": 0.0}
    if isinstance(entry, GateShot):
        minimum = entry.minimum_mitigated_usd if asked["error_mitigation"] else entry.minimum_usd
        prices = (entry.price_1q_usd, entry.price_2q_usd, minimum)
        rates = dict(zip(rates, map(float, prices), strict=True))
    return {
        "input_values": asked,
        "estimated_at": at,
        "cost_unit": "usd",
        "rate_information": {"organization": "emulator", **rates},
        "estimated_cost": in_usd(micro),
        "estimated_execution_time": 0,
        "current_predicted_queue_time": round(wait),
    }


def backend_documents(queue_seconds: float, at: str) -> list[dict[str, Any]]:
    """All targets."""
    return [
        {
            "backend": target.name,
            "status": "available",
            "qubits": target.qubits,
            "average_queue_time": round(1000 * queue_seconds),
            "last_updated": at,
            "degraded": False,
            "characterization_id": None,
            "noise_models": None if target.is_qpu else ["ideal", "aria-1", "aria-2", "forte-1"],
        }
        for target in TARGETS.values()
    ]
