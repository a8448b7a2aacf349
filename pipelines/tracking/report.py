"""How tracking stands: what MLflow has, what it does not have yet, and what it refused."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.tracking.journal import MetricJournal, Spool, SpoolState
from pipelines.tracking.writer import TrackingWriter


@dataclass(frozen=True)
class TrackingReport:
    """How tracking stands, or ended.

    Attributes:
        state: ``off`` (disabled), ``starting``, ``connected``, ``unreachable`` or ``refused``.
        run_id, experiment_id: at MLflow; None while there is none.
        tracking_uri: without credentials; None if tracking is off.
        n_points: points in the journal; n_points_pending: those MLflow does not have yet.
        n_items_pending: files, data sets, tags, the model, its registrations or the final status still to be sent.
        refused: what MLflow refused for good, in words.
        message: one line for people; it says how to ship the rest if there is any.
    """

    state: str
    run_id: str | None
    experiment_id: str | None
    tracking_uri: str | None
    n_points: int
    n_points_pending: int
    n_items_pending: int
    refused: tuple[str, ...]
    message: str

    @property
    def is_complete(self) -> bool:
        """MLflow has everything, or was not asked to."""
        return self.state == "off" or not (self.n_points_pending or self.n_items_pending or self.refused)


def tracking_report(spool: Spool, journal: MetricJournal, writer: TrackingWriter | None) -> TrackingReport:
    """The report as of now; without a writer tracking is off."""
    with spool.lock:
        state = spool.state
        if writer is None:
            return TrackingReport("off", None, None, None, journal.n_points, 0, 0, (), "tracking is off")
        n_points = max(journal.n_points - state.n_shipped_points, 0)
        n_points = n_points if state.shipped_bytes < journal.size else 0
        n_items = _n_items(state, writer)
        refused = tuple(f"{what}: {reason}" for what, reason in state.refused.items())
        return TrackingReport(
            writer.state, state.run_id, state.experiment_id, state.uri, journal.n_points, n_points, n_items, refused,
            _message(spool, writer, n_points, n_items),
        )  # fmt: skip


def _n_items(state: SpoolState, writer: TrackingWriter) -> int:
    return (
        len(writer.files)
        + len(writer.raw_datasets)
        + sum(not each["shipped"] for each in state.datasets)
        + (state.model is not None and state.model_id is None and "model" not in state.refused)
        + len(state.pending_registrations)
        + sum(state.shipped_tags.get(key) != value for key, value in state.tags.items())
        + (state.status != "RUNNING" and state.shipped_status != state.status)
    )


def _message(spool: Spool, writer: TrackingWriter, n_points: int, n_items: int) -> str:
    state = spool.state
    if not n_points and not n_items:
        rest = f"; MLflow refused {', '.join(state.refused)}" if state.refused else ""
        return f"logged to MLflow at {state.uri}, run {state.run_id}{rest}"
    kept = f"{n_points} metric points and {n_items} other items are kept in {spool.run_dir}"
    how = f"'qfleet resume {state.run_name}' sends them"
    if writer.state == "refused":
        return f"MLflow at {state.uri} refused: {writer.reason}; {kept}; once that is mended, {how}"
    if writer.state == "unreachable":
        return f"MLflow at {state.uri} cannot be reached ({writer.reason}); {kept}; {how}"
    return f"MLflow at {state.uri} has not got everything yet; {kept}; {how}"
