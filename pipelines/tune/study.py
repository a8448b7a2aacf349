"""A search as a study: every trial a run below one parent at MLflow, a journal to go on from, and a report in the end.

::

    from orchestrator import TrainingConfig
    from pipelines.tune.settings import Settings
    from pipelines.tune.study import tune

    space = {"optimizer": {"learning_rate": {"low": 0.003, "high": 0.3, "log": True}}}
    found = tune(TrainingConfig(), Settings(space, max_circuits=50_000))
    print(found["best"]["values"], found["best_config"])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from pipelines.compose import build_backend
from pipelines.display.formatting import format_usd
from pipelines.run_folder import RunFolder
from pipelines.spending import check_allowed
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study, StudyInterrupted
from pipelines.tune.comparison import Comparison, Pair, Repeat, compare, repeat_of
from pipelines.tune.following import Following, Order
from pipelines.tune.journal import Journal
from pipelines.tune.prices import Prices
from pipelines.tune.report import figures, report_text, trial_line
from pipelines.tune.rungs import Report
from pipelines.tune.search import Outcome, Search, Trial, best_so_far
from pipelines.tune.settings import Settings, checked
from pipelines.tune.space import Space, slug
from pipelines.tune.trials import Result, carried_out, last_state, train_in_own_process

KIND = "tune"
BEST = "best.toml"
_NAME_LENGTH = 80
Say = Callable[[str], None]


def tune(
    config: TrainingConfig,
    settings: Settings,
    *,
    name: str | None = None,
    yes_spend_usd: float | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Search from the beginning to the end. Returns the figures of the report.

    Args:
        config: what is not searched; the study is made in its ``run.directory``.
        name: of the study. yes_spend_usd: dollars that all trials together may cost. say: told in a line what happens; None: stderr.

    Raises:
        InputError: something cannot work; nothing has been started.
        QfleetError: the search cannot go on; StudyInterrupted: Ctrl-C or SIGTERM. `carry_on` continues it.
    """
    return carry_on(
        begin(config, settings, name=name, yes_spend_usd=yes_spend_usd), yes_spend_usd=yes_spend_usd, say=say
    )


def begin(
    config: TrainingConfig, settings: Settings, *, name: str | None = None, yes_spend_usd: float | None = None
) -> StudyFolder:
    """The folder of a new study; nothing of it has been started.

    Raises:
        InputError: something cannot work.
    """
    base = base_of(config, settings)
    settings, _ = checked(replace(settings, log_model=config.tracking.log_model), base, yes_spend_usd)
    return StudyFolder.create(KIND, base, settings.to_json(), directory=config.run.directory, name=name)


def base_of(config: TrainingConfig, settings: Settings) -> TrainingConfig:
    """The configuration of all trials: their circuits in this process or on the fleet that they share, and no model at MLflow."""
    overrides = ["run.name=none", "tracking.log_model=false", "fleet.name=none"]
    if settings.n_actors is None:
        overrides += ["fleet.dispatcher=serial"]
    else:
        overrides += [
            "fleet.dispatcher=ray",
            f"fleet.n_actors={settings.n_actors}",
            "fleet.min_actors=none",
            "fleet.max_actors=none",
        ]
    if settings.address is not None:
        overrides += [f"fleet.address={settings.address}"]
    return config.with_overrides(overrides)


def carry_on(
    folder: StudyFolder, *, yes_spend_usd: float | None = None, say: Say | None = None
) -> dict[str, Any]:
    """Do what is left of a study. Returns the figures of its report.

    Raises:
        QfleetError: it cannot go on. StudyInterrupted: Ctrl-C or SIGTERM.
    """
    ended = folder.report()
    if ended is not None:
        return ended
    settings = Settings.from_json(folder.asks)
    base = folder.config
    _check_spending(settings, base, yes_spend_usd)
    space = Space.from_dict(settings.space, base)
    params = {
        "method": settings.method,
        "seed": settings.seed,
        "metric": settings.metric,
        "at_once": settings.at_once,
    }
    params |= {f"space.{one.key}": one.text for one in space.dimensions}
    with ExitStack() as stack:
        study = stack.enter_context(
            Study(
                folder,
                params=params,
                description=f"search by {settings.method}",
                yes_spend_usd=settings.max_usd,  # no more than that, whatever an epoch takes
                say=say,
            )
        )
        search = Search(space, settings.terms(), Prices(space, base, settings.unit))
        driving = Driving(study, search, settings)
        driving.journal.read_into(search)
        if driving.has_more():
            fleet = stack.enter_context(_shared_fleet(folder, base, settings))
            driving.fleet = fleet
            if settings.at_once > 1:
                driving.side_by_side()
            else:
                driving.one_by_one()
        comparisons = _comparisons(driving) if settings.against else []
        return _finish(driving, comparisons)


def _check_spending(settings: Settings, base: TrainingConfig, yes_spend_usd: float | None) -> None:
    """Refuse to go on with what costs money and may not, or may not all of it, be paid; trials would fail one after the other."""
    check_allowed(base, build_backend(base), yes_spend_usd)
    if settings.max_usd is not None and yes_spend_usd is not None and yes_spend_usd < settings.max_usd:
        problem = f"the search was begun with a budget of {format_usd(settings.max_usd)}, what has been spent included; allow that"
        raise ConfigError("--yes-spend", yes_spend_usd, problem, f"{settings.max_usd:g}")


@dataclass
class Driving:
    """A search, its study and its journal, kept in step.

    Args:
        study, search: both begun. settings: of the study.
    """

    study: Study
    search: Search
    settings: Settings
    fleet: str | None = None

    def __post_init__(self) -> None:
        self.journal = Journal(self.study.folder.path / "search.jsonl")
        self._waiting: list[Trial] | None = None

    @property
    def is_finished(self) -> bool:
        """No trial is under way, and none will be."""
        return self.search.is_finished

    def next(self) -> Trial | None:
        """A trial that an earlier process left behind, else a new one, noted in the journal; None: not now."""
        if self._waiting is None:
            self._waiting = list(self.search.under_way)
        if self._waiting:
            return self._waiting.pop(0)
        trial = self.search.ask()
        if trial is not None:
            self.journal.asked(trial)
            for one in trial.refused:
                self.study.say(f"not tried: {one.why}")
        return trial

    def has_more(self) -> bool:
        """Whether there is anything left to run; a trial that was asked for to find that out is the next."""
        trial = self.next()
        if trial is not None and self._waiting is not None:
            self._waiting.insert(0, trial)
        return trial is not None

    def order(self, trial: Trial) -> Order:
        """What whoever trains `trial` is told."""
        config = self.search.space.config(self.study.config, trial.values)
        if self.fleet is not None:
            config = config.with_overrides([f"fleet.name={self.fleet}"])
        name = name_of(trial)
        tags = {"trial": str(trial.number), "method": self.settings.method}
        member = self.study.member_config(name, config, tags)
        return Order(trial.number, name, member, tags, trial.rule, self.settings.metric, self.settings.unit)

    def heard(self, number: int, report: Report) -> None:
        """A trial has done an epoch."""
        known = self.search.trials[number].reports
        if not known or report.epoch > known[-1].epoch:
            self.journal.told(number, report)
        self.search.report(number, report)

    def over(self, number: int, outcome: Outcome, result: Result | None) -> None:
        """A trial has ended."""
        self.journal.ended(number, outcome)
        self.search.ended(number, outcome)
        trial = self.search.trials[number]
        if result is not None:
            self.study.trained_elsewhere(name_of(trial), result)
        curve = best_so_far(self.search.trials, maximise=self.search.terms.maximise)
        for spent, value in curve:  # what was logged before keeps its first value
            self.study.tracker.log_metrics({f"best/{self.settings.metric.replace('/', '_')}": value}, spent)
        self.study.say(trial_line(trial, self.search, self.settings))

    def one_by_one(self) -> None:
        """All trials in this process, one after the other."""
        while (trial := self.next()) is not None:
            order, number = self.order(trial), trial.number
            following = Following(
                order.rule,
                order.metric,
                order.unit,
                lambda report, n=number: self.heard(n, report),  # type: ignore[misc]
            )
            outcome, result = carried_out(
                order,
                following,
                lambda order=order, following=following: (
                    self.study.train(  # type: ignore[misc]
                        order.name, order.config, callbacks=[following], tags=order.tags
                    ).result
                ),
            )
            self.over(number, outcome, result)

    def side_by_side(self) -> None:
        """All trials as processes of the Ray cluster.

        Raises:
            StudyInterrupted: Ctrl-C or SIGTERM.
        """
        from actors.ray_fleet.tune import run_trials
        from pipelines.interrupts import Interrupts

        try:
            with Interrupts(is_safe=lambda: True):
                run_trials(_Handing(self), train_in_own_process, cpus_each=0.0 if self.fleet else 1.0)
        except KeyboardInterrupt as error:
            raise StudyInterrupted(self.study.folder.handle) from error


@dataclass
class _Handing:
    """What Ray Tune is given of a search."""

    driving: Driving

    @property
    def is_finished(self) -> bool:
        return self.driving.is_finished

    def ask(self) -> tuple[int, Order] | None:
        trial = self.driving.next()
        return None if trial is None else (trial.number, self.driving.order(trial))

    def told(self, number: int, report: dict[str, Any]) -> None:
        self.driving.heard(number, Report(**report))

    def ended(self, number: int, result: dict[str, Any]) -> None:
        self.driving.over(number, Outcome(**result["outcome"]), result["result"])


def name_of(trial: Trial) -> str:
    """Of its folder: its number and what it tries."""
    return f"{trial.number:03d}-{slug(trial.values, _NAME_LENGTH)}"


@contextmanager
def _shared_fleet(folder: StudyFolder, base: TrainingConfig, settings: Settings) -> Iterator[str | None]:
    """The fleet that all trials share, by its name, started and stopped; None where there is none. And the cluster, where one is used."""
    if settings.n_actors is None and settings.at_once == 1:
        yield None
        return
    from actors.ray_fleet.tune import cluster

    with cluster(base.fleet.address):
        if settings.n_actors is None:
            yield None
            return
        from actors.ray_fleet.shared_start import NamedFleets
        from pipelines.compose import ray_fleet_options

        name = f"tune-{folder.name}"[:64]
        with NamedFleets(base.fleet.address) as fleets:
            if name in fleets.names():
                fleets.stop(name)  # left over from before a kill
            fleets.start(name, _Backend(base), ray_fleet_options(base.fleet))
            try:
                yield name
            finally:
                fleets.stop(name)


@dataclass(frozen=True)
class _Backend:
    """Makes the backend of the fleet, in its server's process."""

    config: TrainingConfig

    def __call__(self, stack: ExitStack) -> Any:
        from pipelines.compose import build_backend

        return build_backend(self.config)


def _comparisons(driving: Driving) -> list[Comparison]:
    """The search against other methods, repeat by repeat; those of an earlier process are read."""
    settings, search = driving.settings, driving.search
    path = driving.study.folder.path / "against.jsonl"
    known: dict[Repeat, Pair] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                repeat, pair = json.loads(line)
                known[Repeat(**repeat)] = Pair(**pair)
            except (TypeError, ValueError):
                break  # torn by a kill: done again
    base = driving.study.config
    total = (1 + len(settings.against)) * settings.repeats
    found: dict[Repeat, Pair] = {}
    for i, repeat in enumerate(
        Repeat(method, seed)
        for seed in range(settings.repeats)
        for method in (settings.method, *settings.against)
    ):
        if repeat not in found:
            one = known.get(repeat) or repeat_of(repeat, base, search.space, settings)
            found[repeat] = one
        _write_pairs(path, found)
        driving.study.say(
            f"[{i + 1}/{total}] {repeat.method}, repeat {repeat.seed}: {found[repeat].text(settings.metric)}"
        )
    return [
        compare(settings.method, rival, found, settings.metric, settings.repeats)
        for rival in settings.against
    ]


def _write_pairs(path: Path, found: dict[Repeat, Pair]) -> None:
    from pipelines.checkpoints import write_atomically

    lines = [json.dumps([repeat._asdict(), pair._asdict()]) for repeat, pair in found.items()]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _finish(driving: Driving, comparisons: list[Comparison]) -> dict[str, Any]:
    """Best configuration, report and plots."""
    from pipelines.plots.tuning import comparison_plot, search_history, tried_values

    study, search, settings = driving.study, driving.search, driving.settings
    folder = study.folder
    _take_up_members(driving)
    found = figures(search, settings, comparisons)
    files: list[Path] = []
    best = search.best
    if best is not None:
        found["best"] |= _scored(driving, best)
        found["best_config"] = str(_write_best(folder, search, best, settings))
        (folder.artifacts / BEST).write_bytes((folder.path / BEST).read_bytes())
        files.append(folder.artifacts / BEST)
        for draw_plot, name in ((search_history, "history.png"), (tried_values, "values.png")):
            draw_plot(found, folder.artifacts / name)
            files.append(folder.artifacts / name)
    if comparisons:
        comparison_plot(found["comparisons"], folder.artifacts / "comparison.png", metric=settings.metric)
        files.append(folder.artifacts / "comparison.png")
    metrics = {"trials": float(len(search.trials)), "spent": float(search.spent)}
    if best is not None and best.outcome is not None and best.outcome.value is not None:
        metrics[f"best/{settings.metric.replace('/', '_')}_final"] = best.outcome.value
    return study.finish(report_text(found, folder.name), found, metrics, files)


def _scored(driving: Driving, best: Trial) -> dict[str, Any]:
    """Folder and final metrics of the best trial; where it was cut before its test, that is made up for, unless it costs money."""
    from pipelines.tune.direct import tested

    folder = RunFolder(driving.study.folder.members / name_of(best))
    recorded = next((m.metrics for m in driving.study.members if m.name == name_of(best)), {})
    about: dict[str, Any] = {"run": str(folder.path), "metrics": recorded, "test_circuits": 0}
    if any(name.startswith("test/") for name in recorded) or driving.settings.unit == "usd":
        return about
    run, state = last_state(folder)
    if state is not None:
        found = tested(run, state)
        about |= {"metrics": recorded | found.metrics, "test_circuits": found.n_circuits}
    return about


def _take_up_members(driving: Driving) -> None:
    """Trials that ended in an earlier process are members, too."""
    have = {member.name for member in driving.study.members}
    for trial in driving.search.trials:
        name = name_of(trial)
        path = driving.study.folder.members / name
        if name not in have and path.is_dir():
            result = RunFolder(path).recorded_result()
            if result is not None:
                driving.study.trained_elsewhere(name, result)


def _write_best(folder: StudyFolder, search: Search, best: Trial, settings: Settings) -> Path:
    """``best.toml``: trains as it is, to the bits of the trial."""
    config = search.space.config(folder.config, best.values)
    overrides = [f"tracking.log_model={str(settings.log_model).lower()}"]
    RunFolder(folder.path).write_config(config.with_overrides(overrides), BEST)
    return folder.path / BEST


__all__ = ["KIND", "Settings", "StudyInterrupted", "begin", "carry_on", "tune"]
