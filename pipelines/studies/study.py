"""Study: drives the trainings of a study, and keeps the parent run at MLflow that they stand below."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import FleetConfig, TrainingConfig
from orchestrator.costs.money import in_usd
from orchestrator.errors import InputError, QfleetError
from orchestrator.models.model import Model
from pipelines.checkpoints import write_atomically
from pipelines.display.formatting import format_duration, format_metric, format_usd, qfleet_command
from pipelines.interrupts import Interrupts
from pipelines.run_folder import RunFolder
from pipelines.spending import has_book
from pipelines.studies.folder import StudyFolder
from pipelines.tracking.provenance import provenance_tags
from pipelines.tracking.tracker import RunStatus, Tracker, ship_pending

if TYPE_CHECKING:
    from pipelines.callbacks import Callback

STUDY_TAG, KIND_TAG = "qfleet.study", "qfleet.kind"


class StudyInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during a study; what is finished of it stays, and the training under way has been saved."""

    def __init__(self, handle: str) -> None:
        super().__init__(handle)
        self.handle = handle

    def __str__(self) -> str:
        return f"interrupted; continue the study with: {qfleet_command('resume', self.handle)}"


@dataclass(frozen=True)
class Member:
    """A training of a study that has come to its end.

    Attributes:
        name: within the study. folder: of its run.
        result: what `TrainingResult.to_json` said: ``metrics``, ``circuits``, ``shots``, ``cost_usd``, ``seconds``, ``run_id`` ...
    """

    name: str
    folder: RunFolder
    result: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """Final figures by tracking name, ``test/accuracy`` among them."""
        return dict(self.result["metrics"])

    @property
    def n_circuits(self) -> int:
        """Run for it, validation and test included."""
        return int(self.result["circuits"])

    @property
    def cost_usd(self) -> float:
        """Paid for it, dollars."""
        return float(self.result["cost_usd"])


class Study:
    """A study in progress; a context manager.

    Args:
        folder: new or to be resumed; locked until the study is closed.
        params: of the parent run at MLflow. description: its first lines, Markdown, until there is a report.
        yes_spend_usd: dollars that all trainings together may cost, what they have spent already included.
        say: told in a line what happens; None: stderr.
    """

    def __init__(
        self,
        folder: StudyFolder,
        *,
        params: Mapping[str, Any],
        description: str,
        yes_spend_usd: float | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.config = folder, folder.config
        self.say = say or _on_stderr
        self._yes_spend_usd = yes_spend_usd
        self._params, self._description = dict(params), description
        self._members: dict[str, Member] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Study:
        with ExitStack() as stack:
            self.folder.lock()
            stack.callback(self.folder.unlock)
            tags = provenance_tags(self.config.backend.name) | {KIND_TAG: self.folder.kind}
            self.tracker = Tracker(
                self.folder.path, self.config.tracking, self.folder.name, self._params, tags,
                description=self._description, on_warning=self.say,
            )  # fmt: skip
            self.tracker.start()
            stack.callback(self.tracker.close)
            # between two trainings and while the report is made; a training minds its own
            stack.enter_context(Interrupts(is_safe=lambda: True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._stack:
            if kind is not None:
                is_interrupt = issubclass(kind, KeyboardInterrupt)
                self.tracker.finish("KILLED" if is_interrupt else "FAILED", timeout_seconds=5.0)
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, StudyInterrupted):
            raise StudyInterrupted(self.folder.handle) from error
        if isinstance(error, QfleetError):
            error.add_note(f"Continue the study with: {qfleet_command('resume', self.folder.handle)}")

    @property
    def members(self) -> tuple[Member, ...]:
        """Those that have ended, in the order in which they did in this process."""
        return tuple(self._members.values())

    def train(
        self,
        name: str,
        config: TrainingConfig,
        *,
        model: Model | None = None,
        data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        tags: Mapping[str, str] | None = None,
        fleet: FleetConfig | None = None,
    ) -> Member:
        """Train a member to its end: from the start, from its last checkpoint, or not at all where it has ended before.

        Args:
            name: of its folder below ``members/``; at MLflow ``<study>/<name>``.
            config: with what run.name, run.directory and tracking say replaced by those of the study.
            model, data, callbacks, fleet: as of `Trainer`. tags: at MLflow, what tells the member from the others.

        Raises:
            QfleetError: the member failed, its state saved; StudyInterrupted: Ctrl-C or SIGTERM.
        """
        from pipelines.trainer import Trainer, TrainingInterrupted

        path = self.folder.members / name
        begun = (path / "config.toml").is_file()
        ended = RunFolder(path).recorded_result() if begun else None
        if ended is None:
            options: dict[str, Any] = {
                "callbacks": callbacks,
                "progress": False,
                "yes_spend_usd": self.allowed_usd(name),
                "fleet": fleet,
            }
            if begun:
                trainer = Trainer.resume(str(path), **options)
            else:
                trainer = Trainer(
                    self._as_member(name, config, tags or {}), model=model, data=data, **options
                )
            try:
                ended = trainer.fit().to_json()
            except TrainingInterrupted as error:
                raise StudyInterrupted(self.folder.handle) from error
        member = self._members[name] = Member(name, RunFolder(path), ended)
        return member

    def member_config(
        self, name: str, config: TrainingConfig, tags: Mapping[str, str] | None = None
    ) -> TrainingConfig:
        """The configuration that `train` would train member `name` with, for whoever trains it in another process."""
        return self._as_member(name, config, tags or {})

    def trained_elsewhere(self, name: str, result: Mapping[str, Any]) -> Member:
        """Note a member that came to its end in another process, or in an earlier one. `result`: as of `Member`."""
        member = self._members[name] = Member(name, RunFolder(self.folder.members / name), dict(result))
        return member

    def told(self, member: Member, n: int, of: int) -> None:
        """Say in a line how member `n` of `of` did."""
        scores = (
            f"{key} {format_metric(key, value)}"
            for key, value in member.metrics.items()
            if key.startswith("test/")
        )
        cost = f", {format_usd(member.cost_usd)}" if member.cost_usd else ""
        took = format_duration(member.result.get("seconds", {}).get("total", 0.0))
        self.say(f"[{n}/{of}] {member.name}: {', '.join(scores) or 'done'}, {took}{cost}")

    def finish(
        self,
        report: str,
        figures: Mapping[str, Any],
        metrics: Mapping[str, float],
        files: Sequence[Path] = (),
        *,
        status: RunStatus = "FINISHED",
    ) -> dict[str, Any]:
        """Write the report, make it the description of the parent run, and end that. Returns `figures` with where all of it is.

        Args:
            report: Markdown. figures: for machines, JSON-able. metrics: of the parent run.
            files: below `StudyFolder.artifacts`. status: of the parent run.
        """
        about: dict[str, Any] = {
            "study": self.folder.name,
            "study_folder": str(self.folder.path),
            "kind": self.folder.kind,
        }
        write_atomically(self.folder.path / "report.md", report.encode())
        # by trainings, since a step keeps the first value that it gets: a study that is resumed has ended more of them
        self.tracker.log_metrics(metrics, len(self._members))
        self.tracker.log_text(report, "report.md")
        self.tracker.set_tags({"mlflow.note.content": report})
        for file in files:
            self.tracker.log_artifact(file)
        tracked = self.tracker.finish(status)
        self._tell_members_their_parent()
        about |= {"run_id": tracked.run_id, "tracking_uri": tracked.tracking_uri}
        outcome = about | dict(figures)
        self.folder.write_json("report.json", outcome)
        if not tracked.is_complete:
            self.say(tracked.message)
        return outcome

    def _tell_members_their_parent(self) -> None:
        """Those that were logged before MLflow knew the parent stand below it from now on."""
        for member in self._members.values():
            if self.config.tracking.enabled and (member.folder.path / "tracking.json").is_file():
                ship_pending(member.folder.path, self.config.tracking)

    def _as_member(self, name: str, config: TrainingConfig, tags: Mapping[str, str]) -> TrainingConfig:
        tracking = self.config.tracking
        named = {STUDY_TAG: self.folder.name, **tags}
        return config.model_copy(
            update={
                "run": config.run.model_copy(update={"name": name, "directory": str(self.folder.members)}),
                "tracking": tracking.model_copy(update={"tags": {**tracking.tags, **named}}),
            }
        )

    def allowed_usd(self, name: str) -> float | None:
        """What member `name` may cost in all, dollars: what the others have left over; None: nothing was said.

        Raises:
            InputError: nothing is left.
        """
        if self._yes_spend_usd is None:
            return None
        others = (each for each in self.folder.members.iterdir() if each.name != name)
        left = self._yes_spend_usd - sum(spent_usd(RunFolder(each)) for each in others)
        if left <= 0:
            raise InputError(
                f"the study has spent the {format_usd(self._yes_spend_usd)} that --yes-spend allows; "
                f"allow more to train {name!r}: qfleet resume {self.folder.handle} --yes-spend USD"
            )
        return left


def spent_usd(folder: RunFolder) -> float:
    """Paid and reserved for a run, dollars."""
    if not has_book(folder):
        return 0.0
    from actors.ionq.book import SubmissionBook

    with SubmissionBook(folder.path) as book:
        totals = book.totals()
    return float(in_usd(totals.spent + totals.reserved))


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
