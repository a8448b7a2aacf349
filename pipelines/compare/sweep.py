"""A comparison from its settings to its report: checked as a whole, trained one after the other, told apart by statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import (
    ConfigError,
    ExecutionError,
    FleetError,
    InputError,
    QfleetError,
    StorageError,
    nearest,
)
from pipelines.compare.figures import Trained, figures_of
from pipelines.compare.report import answer, markdown, write_tables
from pipelines.compare.settings import SEED, Setting, check_number, seeds_of, settings_of
from pipelines.compose import build_backend, check_fallback
from pipelines.run_folder import RunFolder
from pipelines.run_setup import prepare_run
from pipelines.spending import check_allowed
from pipelines.studies.apart import apart, check_apart, trained_apart
from pipelines.studies.beforehand import Expected, expected, together
from pipelines.studies.fleet import StudyFleet
from pipelines.studies.folder import StudyFolder
from pipelines.studies.predictions import kind_of
from pipelines.studies.study import Member, Study
from pipelines.tracking.tracker import RunStatus
from pipelines.transfer import starting_params

DEFAULT_SEEDS = 5
KIND = "compare"


@dataclass(frozen=True)
class Training:
    """One setting with one seed; `setting` is its number."""

    setting: int
    seed: int
    name: str
    config: TrainingConfig
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        config: what all have in common. against: what the others are tested against: ``best``, ``first`` or a setting's name.
        expected: what one training of each setting will take.
    """

    config: TrainingConfig
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    against: str
    expected: tuple[Expected, ...]

    @property
    def n_members(self) -> int:
        """Trainings."""
        return len(self.settings) * len(self.seeds)

    @property
    def whole(self) -> Expected:
        """What all of them will take."""
        return together(each.times(len(self.seeds)) for each in self.expected)

    def trainings(self) -> Iterator[Training]:
        """Setting by setting, so that those of one backend follow one another."""
        for i, setting in enumerate(self.settings):
            for seed in self.seeds:
                yield Training(i, seed, setting.member(seed), setting.with_seed(seed), _tags(setting, seed))

    def check_allowed(self, yes_spend_usd: float | None, members: Path | None = None) -> None:
        """Refuse to spend what nobody has allowed.

        Args:
            members: folder of the trainings of a study that was begun; settings of which all have ended spend nothing.

        Raises:
            InputError: the text says what to do.
        """
        for setting in self.settings:
            folders = [] if members is None else [members / setting.member(seed) for seed in self.seeds]
            if not folders or not all(RunFolder(folder).is_finished for folder in folders):
                check_allowed(setting.config, build_backend(setting.config), yes_spend_usd)

    def to_json(self) -> dict[str, Any]:
        """As plain values, with what it will take."""
        rows = [
            {"name": setting.title, "label": setting.label, "values": setting.values, **each.to_json()}
            for setting, each in zip(self.settings, self.expected, strict=True)
        ]
        return {
            "settings": rows,
            "seeds": list(self.seeds),
            "trainings": self.n_members,
            "all": self.whole.to_json(),
        }


class _Outcome:
    """What has come of the trainings so far; says so in a line each."""

    def __init__(self, study: Study, plan: Plan) -> None:
        self.study, self.plan = study, plan
        self.trained: dict[str, Trained] = {}
        self.failed: dict[str, str] = {}

    def ended(self, training: Training, member: Member) -> None:
        """One is over: to its end, or stopped before that, as by a budget."""
        if not member.folder.is_finished:
            self.failed_by(training, str(member.result.get("stop_reason") or "did not come to its end"))
            return
        self.trained[training.name] = Trained.of(training.setting, training.seed, member)
        self.study.told(member, self._n, self.plan.n_members)

    def failed_by(self, training: Training, why: str) -> None:
        """One failed."""
        self.failed[training.name] = why
        self.study.say(f"[{self._n}/{self.plan.n_members}] {training.name} failed: {why}")

    def in_order(self) -> list[Trained]:
        """Those that came to their end, as they were planned, whichever was done first."""
        return [self.trained[each.name] for each in self.plan.trainings() if each.name in self.trained]

    @property
    def _n(self) -> int:
        return len(self.trained) + len(self.failed)


def planned(
    config: TrainingConfig,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    *,
    against: str = "best",
) -> Plan:
    """Prepare every setting, so that what cannot work is refused before anything runs. Writes nothing.

    Raises:
        InputError: there are too many; one cannot work, the text says which; or they predict different kinds of things.
    """
    check_number(len(settings), len(seeds))
    names = ["best", "first", *(setting.title for setting in settings)]
    if against not in names:
        raise ConfigError("--against", against, "is no setting of this comparison", nearest(against, names))
    found: list[Expected] = []
    kinds: dict[str, Setting] = {}
    for setting in settings:
        try:
            run = prepare_run(setting.with_seed(seeds[0]))
            starting_params(run)
            check_fallback(run.config)
            if not len(run.data.test.targets):
                share, problem = run.config.data.test_fraction, "settings are compared on the test split"
                raise ConfigError("data.test_fraction", share, problem, "0.2")
            found.append(expected(run))
        except QfleetError as error:
            error.add_note(f"This is the setting {setting.label!r}; nothing was started.")
            raise
        kinds.setdefault(kind_of(run), setting)
    if len(kinds) > 1:
        one, other = list(kinds.items())[:2]
        raise InputError(
            f"{one[1].label!r} predicts {one[0]} and {other[1].label!r} {other[0]}: there is no score that both have; compare them apart"
        )
    return Plan(config, tuple(settings), tuple(seeds), against, tuple(found))


def compare(
    config: TrainingConfig,
    settings: Sequence[Setting],
    *,
    n_seeds: int = DEFAULT_SEEDS,
    against: str = "best",
    directory: str | Path | None = None,
    name: str | None = None,
    yes_spend_usd: float | None = None,
    at_once: int = 1,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train every setting with every seed, and compare them.

    Args:
        settings: see `settings_of`.
        n_seeds: from ``run.seed`` on; every setting gets the same ones, and with a seed the same samples.
        directory: that the study's folder is made in; None: ``run.directory``. name: of the study; None: made from the time.
        yes_spend_usd: dollars that all of it may cost. at_once: trainings side by side, each in a process of its own.
        say: told in a line what happens; None: stderr.

    Returns:
        ``answer`` in words, ``settings``, ``comparisons``, ``members``, ``failed``, ``best`` and where the report is, as plain values.

    Raises:
        InputError: before anything starts. ExecutionError: every training failed. StudyInterrupted: Ctrl-C or SIGTERM.
    """
    plan = planned(config, settings, seeds_of(config, n_seeds, None, DEFAULT_SEEDS), against=against)
    return begin(plan, directory=directory, name=name, yes_spend_usd=yes_spend_usd, at_once=at_once, say=say)


def begin(
    plan: Plan,
    *,
    directory: str | Path | None = None,
    name: str | None = None,
    yes_spend_usd: float | None = None,
    at_once: int = 1,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """As `compare`, of what has been planned."""
    plan.check_allowed(yes_spend_usd)
    check_apart([setting.config for setting in plan.settings], at_once)
    asks = {
        "settings": [
            {"name": s.name, "label": s.label, "overrides": list(s.overrides)} for s in plan.settings
        ],
        "seeds": list(plan.seeds),
        "against": plan.against,
        "at_once": at_once,
    }
    folder = StudyFolder.create(
        KIND, plan.config, asks, directory=directory or plan.config.run.directory, name=name
    )
    return carry_out(folder, plan, yes_spend_usd=yes_spend_usd, at_once=at_once, say=say)


def plan_in(folder: StudyFolder, overrides: Sequence[str] = ()) -> Plan:
    """The plan of a study that was begun.

    Args:
        overrides: of the fleet, for what is still to be trained.
    """
    from pipelines.compare.settings import changed

    asks, config = folder.asks, folder.config.with_overrides(overrides)
    settings = tuple(
        Setting(each["name"], each["label"], tuple(each["overrides"]), changed(config, each["overrides"]))
        for each in asks["settings"]
    )
    return planned(config, settings, asks["seeds"], against=asks["against"])


def carry_out(
    folder: StudyFolder,
    plan: Plan,
    *,
    yes_spend_usd: float | None = None,
    at_once: int = 1,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train what has not been trained yet, and report.

    Raises:
        ExecutionError: every training failed; the report is written all the same.
    """
    params = {"settings": len(plan.settings), "seeds": len(plan.seeds)} | _varied(plan.settings)
    description = f"{plan.n_members} trainings, {plan.whole.text}"
    with Study(folder, params=params, description=description, yes_spend_usd=yes_spend_usd, say=say) as study:
        study.say(f"{folder.name}: {description}")
        found = _train_all(study, plan, at_once)
        outcome = _reported(study, plan, found.in_order(), found.failed)
    if not found.trained:
        first = next(iter(found.failed.values()))
        raise ExecutionError(f"all {plan.n_members} trainings failed; the first: {first}")
    return outcome


def _train_all(study: Study, plan: Plan, at_once: int) -> _Outcome:
    """Every setting with every seed. One that fails does not keep the others from being trained."""
    found = _Outcome(study, plan)
    if at_once > 1:
        _side_by_side(found, at_once)
        return found
    with StudyFleet(study.folder.path, study.say) as fleet:
        for training in plan.trainings():
            has_ended = RunFolder(study.folder.members / training.name).is_finished
            where = None if has_ended else fleet.of(training.config)
            try:
                member = study.train(training.name, training.config, tags=training.tags, fleet=where)
            except StorageError:  # a full disk: the next one would fail as well
                raise
            except QfleetError as error:
                found.failed_by(training, str(error))
                if isinstance(error, FleetError):
                    fleet.stop()  # the next one gets new actors
                continue
            found.ended(training, member)
    return found


def _side_by_side(found: _Outcome, at_once: int) -> None:
    """In processes of their own; those that have ended are read."""
    study, left = found.study, []
    for training in found.plan.trainings():
        folder = RunFolder(study.folder.members / training.name)
        result = folder.recorded_result()
        if result is None:
            left.append((training, folder.path))
        else:
            found.ended(training, study.trained_elsewhere(training.name, result))
    orders = [
        apart(study.member_config(training.name, training.config, training.tags), path)
        for training, path in left
    ]
    for number, ended in trained_apart(orders, at_once, found.plan.config.fleet.address):
        training = left[number][0]
        if ended.result is None:
            found.failed_by(training, ended.error)
        else:
            found.ended(training, study.trained_elsewhere(training.name, ended.result))


def _reported(
    study: Study, plan: Plan, trained: Sequence[Trained], failed: Mapping[str, str]
) -> dict[str, Any]:
    figures = figures_of(plan.settings, trained, failed, plan.against)
    figures["answer"] = answer(figures)
    artifacts = study.folder.artifacts
    files = write_tables(artifacts, figures)
    if trained:
        files += _drawn(figures, artifacts, study.folder.name)
    study.tracker.set_tags(_outcome_tags(figures))
    report = markdown(study.folder.name, figures, study.folder.handle)
    asked = {"seeds": list(plan.seeds), "expected": plan.whole.to_json()}
    status: RunStatus = "FINISHED" if trained else "FAILED"
    return study.finish(report, figures | asked, _metrics(figures), files, status=status)


def _drawn(figures: Mapping[str, Any], folder: Path, title: str) -> list[Path]:
    """Pictures, and pages to hover."""
    from pipelines.plots import comparison

    files = []
    for name, draw, draw_page in (
        ("score_and_cost", comparison.score_and_cost, comparison.score_and_cost_page),
        ("curves", comparison.comparison_curves, comparison.curves_page),
    ):
        draw(figures, folder / f"{name}.png", title=title)
        files += [folder / f"{name}.png", draw_page(figures, folder / f"{name}.html", title=title)]
    return files


def _metrics(figures: Mapping[str, Any]) -> dict[str, float]:
    """Of the parent run: the best setting's figures, and what all of it took."""
    found = {
        "trainings/ended": float(len(figures["members"])),
        "trainings/failed": float(len(figures["failed"])),
    }
    for total in ("circuits", "shots", "cost_usd"):
        found[f"total/{total}"] = float(sum(one[total] for one in figures["members"]))
    for row in figures["settings"]:
        if row["name"] == figures["best"]:
            found |= {f"best/{name}": spread["mean"] for name, spread in row["scores"].items()}
            found |= {f"best/{name}": row[name]["mean"] for name in ("circuits", "shots", "cost_usd")}
            if row["merit"]["error"] is not None:
                found[f"best/{figures['merit']}_error"] = row["merit"]["error"]
    return found


def _outcome_tags(figures: Mapping[str, Any]) -> dict[str, str]:
    if figures["best"] is None:
        return {}
    pairs = figures["comparisons"]
    verdict = (
        "not tested" if not pairs else f"differs from {sum(p['differs'] for p in pairs)} of {len(pairs)}"
    )
    return {"compare.best": figures["best"], "compare.verdict": verdict}


def _tags(setting: Setting, seed: int) -> dict[str, str]:
    """What tells a training from the others."""
    return {"setting": setting.title, "seed": str(seed)} | {
        key: value for key, value in setting.values.items() if key != SEED
    }


def _varied(settings: Sequence[Setting]) -> dict[str, str]:
    """What varies, by key, as parameters of the parent run."""
    values: dict[str, dict[str, None]] = {}
    for setting in settings:
        for key, value in setting.values.items():
            values.setdefault(key, {})[value] = None
    return {key: ", ".join(each) for key, each in values.items()}


__all__ = ["Plan", "begin", "carry_out", "compare", "plan_in", "planned", "settings_of"]
