"""The decisions of a search: what is tried, what it may spend, when it is stopped; from trial numbers alone, and the same after a kill."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from ray import cloudpickle

from actors.ray_fleet import tune as over_ray
from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, ConfigError, ExecutionError
from pipelines.tune.journal import Journal
from pipelines.tune.rungs import Report, Rungs, StopRule, Verdict, goes_on
from pipelines.tune.sampling import METHODS, N_STARTUP, Known, draw, importances
from pipelines.tune.search import Cost, Outcome, Search, Terms, Trial, best_so_far
from pipelines.tune.space import Space, Values, slug

BASE = TrainingConfig()
TABLES = {
    "optimizer": {"learning_rate": {"low": 0.001, "high": 1.0, "log": True}},
    "model": {
        "n_layers": {"low": 1, "high": 4},
        "ansatz": {"choices": ["three_rotation", "strongly_entangling"]},
        "entanglement": {
            "choices": ["linear", [[0, 1], [1, 2]]],
            "when": {"model.ansatz": ["three_rotation"]},
        },
    },
}
SPACE = Space.from_dict(TABLES, BASE)
N_EPOCHS = 9


def cost(values: Values) -> Cost:
    per_epoch = 10 * values["model.n_layers"]
    return Cost(N_EPOCHS * per_epoch, per_epoch)


def value(values: Values, epoch: int) -> float:
    """A smooth loss, lowest at a rate of 0.1 with three layers."""
    rate, layers = values["optimizer.learning_rate"], values["model.n_layers"]
    return (math.log10(rate) + 1) ** 2 + 0.3 * (layers - 3) ** 2 + 2.0 / epoch


class Machine:
    """Runs the trials of a search, an epoch of one of them at a time, in an order of its own."""

    def __init__(self, search: Search, seed: int, journal: Journal | None = None) -> None:
        self.search, self.rng, self.journal = search, np.random.default_rng(seed), journal
        self.epochs: dict[int, int] = {}

    def turn(self) -> bool:
        """One thing happens; False where nothing is left."""
        trial = self.search.ask()
        if trial is not None and self.journal is not None:
            self.journal.asked(trial)
        under_way = self.search.under_way
        if not under_way:
            assert self.search.is_finished
            return False
        self.step(under_way[self.rng.integers(len(under_way))])
        return True

    def step(self, trial: Trial) -> None:
        epoch = len(self.search.trials[trial.number].reports) + 1
        per_epoch = cost(trial.values).least
        report = Report(epoch, epoch * per_epoch, value(trial.values, epoch), epoch == N_EPOCHS)
        if self.journal is not None:
            self.journal.told(trial.number, report)
        verdict = self.search.report(trial.number, report)
        if verdict is None and epoch < N_EPOCHS:
            return
        kind = "done" if verdict is None else verdict.kind
        outcome = Outcome(kind, report.spent, report.value, None if verdict is None else verdict.rung)
        if self.journal is not None:
            self.journal.ended(trial.number, outcome)
        self.search.ended(trial.number, outcome)


def terms(**changes: object) -> Terms:
    return Terms(
        **{"method": "tpe", "seed": 3, "maximise": False, "budget": 4000, "rungs": Rungs(60, 3), **changes}
    )  # type: ignore[arg-type]


def told(search: Search) -> list[tuple[Values, Outcome | None, int | None]]:
    return [(trial.values, trial.outcome, trial.rule.allotment) for trial in search.trials]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at_once", [1, 3])
def test_the_order_in_which_trials_end_decides_nothing(method: str, at_once: int) -> None:
    found = []
    for order in (0, 1):
        search = Search(SPACE, terms(method=method, at_once=at_once), cost)
        machine = Machine(search, order)
        while machine.turn():
            assert len(search.under_way) <= at_once
        found.append(told(search))
    assert found[0] == found[1]
    assert search.spent <= 4000
    assert search.spent > 4000 - 40, "what is left does not pay for an epoch"
    kinds = {trial.outcome.kind for trial in search.trials if trial.outcome}
    assert "stopped" in kinds
    assert "done" in kinds


def test_a_search_goes_on_from_every_line_of_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    whole = Search(SPACE, terms(at_once=2, budget=1500), cost)
    machine = Machine(whole, 5, Journal(path))
    while machine.turn():
        pass
    lines = path.read_bytes().splitlines(keepends=True)
    for n_lines in range(0, len(lines), 3):
        torn = tmp_path / "torn.jsonl"
        torn.write_bytes(b"".join(lines[:n_lines]) + lines[n_lines][: len(lines[n_lines]) // 2])
        again = Search(SPACE, terms(at_once=2, budget=1500), cost)
        journal = Journal(torn)
        journal.read_into(again)
        assert torn.read_bytes() == b"".join(lines[:n_lines]), "the torn line is gone"
        machine = Machine(again, 6, journal)
        for trial in again.under_way:  # one whose last report had been the end of it
            if trial.rule.verdict(trial.reports) or (trial.reports and trial.reports[-1].is_last):
                verdict = trial.rule.verdict(trial.reports)
                last = trial.reports[-1]
                kind = "done" if verdict is None else verdict.kind
                again.ended(
                    trial.number,
                    Outcome(kind, last.spent, last.value, None if verdict is None else verdict.rung),
                )
        while machine.turn():
            pass
        assert told(again) == told(whole), n_lines
    path.write_bytes(b"".join([*lines[:2], b"{\n", *lines[2:]]))
    with pytest.raises(CheckpointError, match="line 3"):
        Journal(path).read_into(Search(SPACE, terms(), cost))


def test_rungs_decide_as_optuna_does_one_trial_at_a_time() -> None:
    rng = np.random.default_rng(0)
    for direction, reduction in itertools.product(("minimize", "maximize"), (2, 3, 4)):
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=5, reduction_factor=reduction)
        study = optuna.create_study(direction=direction, pruner=pruner)
        search = Search(
            SPACE, terms(rungs=Rungs(5, reduction), budget=None, maximise=direction == "maximize"), cost
        )
        n_stopped = 0
        for number in range(60):
            theirs = study.ask()
            ours = Trial(number, {}, search.rule(number, None), number)
            search.take_up(ours)
            spent, reports = 0, []
            for epoch in range(1, 12):
                spent += int(rng.integers(1, 30))  # epochs differ, and may come to several rungs at once
                reports.append(Report(epoch, spent, float(rng.integers(0, 12))))
                theirs.report(reports[-1].value, spent)
                verdict = search.report(number, reports[-1])
                assert (verdict is not None) == theirs.should_prune(), (direction, reduction, number, epoch)
                if verdict is not None:
                    n_stopped += 1
                    break
            study.tell(theirs, reports[-1].value)
            rung = None if verdict is None else verdict.rung
            search.ended(
                number, Outcome("done" if rung is None else "stopped", spent, reports[-1].value, rung)
            )
        assert n_stopped > 20


def test_a_trial_is_cut_before_it_spends_more_than_it_may() -> None:
    rule = StopRule(None, (), 100, maximise=False)
    reports = [Report(1, 40, 1.0), Report(2, 80, 0.5)]
    assert rule.verdict(reports[:1]) is None
    assert rule.verdict(reports) == Verdict("cut")
    assert rule.verdict([*reports[:1], Report(2, 80, 0.5, is_last=True)]) is None
    assert Verdict("cut").text == "stopped by the budget"
    assert Verdict("stopped", 2).text == "stopped at rung 2"
    assert not goes_on(math.nan, (), 3, maximise=False)
    assert goes_on(2.0, (1.0, math.nan, 3.0), 2, maximise=True) is False


def test_what_cannot_be_trained_costs_nothing_and_is_not_drawn_again() -> None:
    def price(values: Values) -> Cost:
        if values["model.n_layers"] > 1:
            raise ConfigError("model.n_layers", values["model.n_layers"], "too deep", "1")
        return cost(values)

    search = Search(SPACE, terms(n_trials=5, budget=None, rungs=None), price)
    machine = Machine(search, 0)
    while machine.turn():
        pass
    assert {trial.values["model.n_layers"] for trial in search.trials} == {1}
    refused = [one for trial in search.trials for one in trial.refused]
    assert refused
    assert all("too deep" in one.why for one in refused)
    assert search.ended_because == "all 5 trials are done"


def test_a_small_space_is_tried_out_and_then_over() -> None:
    space = Space.from_dict({"model": {"n_layers": {"choices": [1, 2, 3]}}}, BASE)
    search = Search(space, terms(rungs=None, budget=None), lambda values: Cost(1, 1))
    while (trial := search.ask()) is not None:
        search.ended(trial.number, Outcome("done", 1, float(trial.values["model.n_layers"])))
    assert sorted(trial.values["model.n_layers"] for trial in search.trials) == [1, 2, 3]
    assert "nothing new" in str(search.ended_because)
    assert search.best is not None
    assert search.best.values == {"model.n_layers": 1}


def test_the_best_is_one_that_was_not_stopped_and_has_a_number() -> None:
    search = Search(SPACE, terms(), cost)
    rule = StopRule(None, (), None, maximise=False)
    ends = [
        Outcome("failed", 5),
        Outcome("stopped", 7, 0.1, 0),
        Outcome("done", 9, math.nan),
        Outcome("cut", 3, 0.4),
        Outcome("done", 3, 0.4),
    ]
    for number, outcome in enumerate(ends):
        search.take_up(Trial(number, {}, rule, 0))
        search.ended(number, outcome)
    assert search.best is not None
    assert search.best.number == 3
    assert search.spent == 27
    assert best_so_far(search.trials, maximise=False) == [(24, 0.4), (27, 0.4)]


# --- What is drawn -------------------------------------------------------------------------------------------------------------


def test_all_methods_begin_with_the_same_random_trials() -> None:
    first = {}
    for method in METHODS:
        known: list[Known] = []
        for _ in range(N_STARTUP):
            values = draw(SPACE, method, known, seed=11, attempt=0, maximise=False)
            known.append(Known(values, "done", value(values, 9)))
        first[method] = [one.values for one in known]
    assert all(values == first["random"] for values in first.values())
    other = draw(SPACE, "random", [], seed=12, attempt=0, maximise=False)
    assert other != first["random"][0]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "random"])
@pytest.mark.parametrize("maximise", [False, True])
def test_a_method_draws_within_the_space_and_nearer_to_what_was_good(method: str, maximise: bool) -> None:
    sign = -1.0 if maximise else 1.0
    rng = np.random.default_rng(4)

    def loss(values: Values) -> float:
        return sign * value(values, 9)

    late: list[float] = []
    for seed in range(6):
        known: list[Known] = []
        for number in range(30):
            values = draw(SPACE, method, known, seed=seed, attempt=0, maximise=maximise)
            assert 0.001 <= values["optimizer.learning_rate"] <= 1.0
            assert values["model.n_layers"] in (1, 2, 3, 4)
            assert ("model.entanglement" in values) == (values["model.ansatz"] == "three_rotation")
            state = "running" if number == 29 else "stopped" if rng.random() < 0.2 else "done"
            known.append(
                Known(
                    values,
                    state,
                    None if state == "running" else loss(values),
                    0 if state == "stopped" else None,
                )
            )  # type: ignore[arg-type]
        late += [sign * loss(one.values) for one in known[15:]]
    random = [
        value(draw(SPACE, "random", [Known({}, "failed")] * n, seed=seed, attempt=0, maximise=False), 9)
        for seed in range(6)
        for n in range(15, 30)
    ]
    deviation = math.sqrt((np.var(late) + np.var(random)) / len(late))
    assert np.mean(random) - np.mean(late) > 2 * deviation, "it learns from what it is told"


def test_importance_names_the_key_that_matters() -> None:
    known = []
    for number in range(40):
        values = draw(SPACE, "random", [Known({}, "failed")] * number, seed=0, attempt=0, maximise=False)
        known.append(Known(values, "done", (math.log10(values["optimizer.learning_rate"]) + 1) ** 2))
    found = importances(SPACE, known, maximise=False)
    assert next(iter(found)) == "optimizer.learning_rate"
    assert "model.entanglement" not in found, "not every trial has it"
    assert sum(found.values()) == pytest.approx(1.0)
    assert importances(SPACE, known[:2], maximise=False) == {}


# --- The space -----------------------------------------------------------------------------------------------------------------


def test_a_space_is_what_its_tables_say() -> None:
    again = Space.from_dict(json.loads(json.dumps(SPACE.to_dict())), BASE)
    assert again == SPACE
    assert SPACE.size == math.inf
    values: Values = {
        "model.n_layers": 2,
        "model.ansatz": "three_rotation",
        "model.entanglement": [[0, 1], [1, 2]],
    }
    config = SPACE.config(BASE, values)
    assert (config.model.n_layers, config.model.entanglement) == (2, ((0, 1), (1, 2)))
    assert config.data == BASE.data
    assert slug(values, 80) == "n_layers-2.ansatz-three_rotation.entanglement-0-1-1-2"
    none = Space.from_dict({"run": {"early_stopping_patience": {"choices": ["none", 3]}}}, BASE)
    assert none.dimensions[0].choices == (None, 3)
    assert none.config(BASE, {"run.early_stopping_patience": None}).run.early_stopping_patience is None


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"optimzer": {"learning_rate": {"low": 1, "high": 2}}}, "did you mean 'optimizer'"),
        ({"optimizer": {"learning_rat": {"low": 1, "high": 2}}}, "did you mean 'learning_rate'"),
        ({"optimizer": {"learning_rate": 0.1}}, r"did you mean '\{choices = \[0.1\]\}'"),
        ({"optimizer": {"learning_rate": {"low": 0.0, "high": 1.0}}}, "greater than 0"),
        ({"optimizer": {"learning_rate": {"low": 0.0, "high": 1.0, "log": True}}}, "begins above 0"),
        ({"optimizer": {"learning_rate": {"low": 2, "high": 1}}}, "below high"),
        ({"optimizer": {"learning_rate": {"lo": 1, "high": 2}}}, "did you mean 'low'"),
        (
            {"optimizer": {"learning_rate": {"low": 1, "high": 2, "choices": [1]}}},
            "either choices or low and high",
        ),
        ({"optimizer": {"learning_rate": {"low": 0.1, "high": 0.2, "step": 0.5}}}, "at most high - low"),
        ({"model": {"n_layers": {"low": 1, "high": 2.5}}}, r"did you mean '\{low = 1, high = 2\}'"),
        ({"model": {"n_layers": {"choices": [1, 1]}}}, "stands there twice"),
        ({"model": {"n_layers": {"choices": [0]}}}, "greater than or equal to 1"),
        ({"model": {"ansatz": {"choices": ["three_rotatio"]}}}, "did you mean 'three_rotation'"),
        (
            {"model": {"n_layers": {"choices": [1], "when": {"model.ansatz": ["x"]}}}},
            "is not searched itself",
        ),
        ({"run": {"seed": {"choices": [1]}}}, "compared by luck"),
        ({"data": {"max_samples": {"low": 8, "high": 80}}}, "their values do not compare"),
        ({"fleet": {"n_actors": {"choices": [1, 2]}}}, "changes no number"),
        ({"backend": {"target": {"choices": ["simulator", "qpu.aria-1"]}}}, "what they cost"),
        ({"data": {"filter": {"choices": ["a > 1"]}}}, "their values do not compare"),
        ({}, "names no key to search"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(tables: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.from_dict(tables, BASE)


def test_conditions_are_put_in_order_and_circles_refused() -> None:
    tables = {
        "model": {
            "entanglement": {"choices": ["linear", "full"], "when": {"model.ansatz": ["three_rotation"]}},
            "ansatz": {"choices": ["three_rotation", "strongly_entangling"]},
        }
    }
    assert [one.key for one in Space.from_dict(tables, BASE).dimensions] == [
        "model.ansatz",
        "model.entanglement",
    ]
    tables["model"]["ansatz"]["when"] = {"model.entanglement": ["full"]}
    with pytest.raises(ConfigError, match="in a circle"):
        Space.from_dict(tables, BASE)


@pytest.mark.parametrize("name", ["architecture.toml", "learning.toml"])
def test_the_spaces_that_come_with_qfleet_can_be_searched(name: str) -> None:
    folder = Path(__file__).parents[2] / "pipelines" / "configs"
    base = TrainingConfig.from_toml(folder / "breast_cancer.toml")
    space = Space.from_toml(folder / "spaces" / name, base)
    values = draw(space, "tpe", [], seed=0, attempt=0, maximise=False)
    assert space.config(base, values) != base


# --- What Ray Tune hands on ----------------------------------------------------------------------------------------------------


class Driver:
    """Decides nothing, and cannot note what it is told."""

    is_finished = False

    def ask(self) -> tuple[int, str] | None:
        return 7, "the order"

    def told(self, number: int, report: dict[str, Any]) -> None:
        raise ExecutionError(f"cannot note {report} of {number}")

    def ended(self, number: int, result: dict[str, Any]) -> None:
        self.result = number, result


@pytest.mark.parametrize(("kind", "message"), [("raised", "no good"), ("told", "cannot note {'a': 1} of 7")])
def test_an_error_of_a_trial_or_of_what_decides_ends_all_trials(kind: str, message: str) -> None:
    driver = Driver()
    searcher = over_ray._Asking(driver, print, ".")
    listening = over_ray._Listening(driver, searcher)
    stopper = over_ray._OnError(listening)
    assert cloudpickle.loads(searcher.suggest("x")["work"]) == (print, "the order")
    trial = SimpleNamespace(trial_id="x")
    listening.on_trial_result(None, trial, {"ended": cloudpickle.dumps({"value": 0.5})})
    assert driver.result == (7, {"value": 0.5})
    assert not stopper.stop_all()
    sent: Any = ExecutionError("no good") if kind == "raised" else {"a": 1}
    listening.on_trial_result(None, trial, {kind: cloudpickle.dumps(sent)})
    assert stopper.stop_all()
    assert isinstance(listening.error, ExecutionError)
    assert message in str(listening.error)
