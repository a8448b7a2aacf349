"""Search: which trials there are, what each may spend and when it is stopped. It decides; whoever drives it runs them.

Every decision follows from trial numbers alone. With ``at_once`` L, trial i is asked for when the trials 0 to i-L have ended, and knows
these and no others, so the same trials come of the same seed whichever of those under way ends first. Where the budget becomes tight it
waits for further ones, again by number. A search goes on from its journal (`journal`) as if it had not been interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from orchestrator.errors import InputError
from pipelines.tune.rungs import Report, Rungs, StopRule, Verdict
from pipelines.tune.sampling import Known, draw
from pipelines.tune.space import Space, Values

MAX_DRAWS = 100
"""Of one trial, before the search gives up: what is refused or was tried before is drawn again."""
_RANDOM_AFTER = 30
"""Draws of a method that keeps to what is refused; then random ones."""
MAX_FAILURES = 5
"""Trials in a row without a value, before the search gives up: what they lack is then hardly theirs, and a failure may cost nothing."""

End = Literal["done", "stopped", "cut", "failed"]


class Cost(NamedTuple):
    """What a trial takes, circuits or micro-dollars: to its end, and to the end of its first epoch."""

    full: int
    least: int


@dataclass(frozen=True)
class Terms:
    """What is searched for, and on which terms.

    Attributes:
        method: of `sampling.METHODS`. seed: of the draws. maximise: larger values are better.
        n_trials: at most so many. budget: most that all trials together may spend, circuits or micro-dollars. None: no limit.
        rungs: where trials are compared and stopped; None: all come to their end.
        at_once: trials under way at the same time, at most.
    """

    method: str
    seed: int
    maximise: bool
    n_trials: int | None = None
    budget: int | None = None
    rungs: Rungs | None = None
    at_once: int = 1


class Refused(NamedTuple):
    """Values that cannot be trained with, and why; they cost nothing and are no trial."""

    values: Values
    why: str


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        kind: done: its training came to its end; cut: the budget did not pay for all of it; both count. stopped: at rung `rung`.
            failed: see `why`.
        value: the metric at its best epoch; None: there is none. spent: circuits or micro-dollars.
    """

    kind: End
    spent: int
    value: float | None = None
    rung: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0. values: what it tries. rule: when it ends before its training does.
        n_known: trials that it knew of when it was asked for, those before that number.
        reports: what it has told. outcome: None while it is under way.
        refused: drawn before it.
    """

    number: int
    values: Values
    rule: StopRule
    n_known: int
    reports: tuple[Report, ...] = ()
    outcome: Outcome | None = None
    refused: tuple[Refused, ...] = field(default=(), repr=False)

    @property
    def rung_values(self) -> tuple[float, ...]:
        """Its value at each rung that it came to, and no further than where it was stopped."""
        if self.rule.rungs is None:
            return ()
        values = self.rule.rungs.reached(self.reports)
        lost = self.outcome.rung if self.outcome is not None else None
        return values if lost is None else values[: lost + 1]

    @property
    def counts(self) -> bool:
        """Whether it may be chosen: it has a value and was not stopped for being worse than others."""
        return (
            self.outcome is not None
            and self.outcome.kind in ("done", "cut")
            and self.outcome.value is not None
        )


class Search:
    """A search in progress; no processes, no clock, no files.

    Args:
        cost_of: what a trial with these values takes; raises InputError where they cannot be trained with.
    """

    def __init__(self, space: Space, terms: Terms, cost_of: Callable[[Values], Cost]) -> None:
        self.space, self.terms = space, terms
        self.trials: list[Trial] = []
        self.ended_because: str | None = None
        self._cost_of = cost_of
        self._next: tuple[Values, Cost, tuple[Refused, ...]] | None = None

    @property
    def is_finished(self) -> bool:
        """No trial is under way, and none will be."""
        return self.ended_because is not None and not self.under_way

    @property
    def under_way(self) -> tuple[Trial, ...]:
        """Trials that have not ended."""
        return tuple(trial for trial in self.trials if trial.outcome is None)

    @property
    def spent(self) -> int:
        """By all trials that have ended."""
        return sum(trial.outcome.spent for trial in self.trials if trial.outcome is not None)

    @property
    def best(self) -> Trial | None:
        """Of those that may be chosen the best, of equals the first; of those stopped, where there is no other."""
        with_value = [one for one in self.trials if one.outcome is not None and one.outcome.value is not None]
        finite = [one for one in with_value if math.isfinite(_value(one))]
        candidates = [one for one in finite if one.counts] or finite
        sign = -1.0 if self.terms.maximise else 1.0
        return min(candidates, key=lambda one: sign * _value(one), default=None)

    def ask(self) -> Trial | None:
        """The next trial; None: wait until one ends, or there is none any more (`ended_because`)."""
        number, terms = len(self.trials), self.terms
        if self.ended_because is not None or len(self.under_way) >= terms.at_once:
            return None
        if terms.n_trials is not None and number >= terms.n_trials:
            self.ended_because = f"all {terms.n_trials} trials are done"
            return None
        n_known = max(number - terms.at_once + 1, 0)
        if not self._have_ended(n_known):
            return None
        self.ended_because = self._in_vain(n_known)
        if self.ended_because is not None:
            return None
        if self._next is None:
            in_vain: list[Refused] = []
            self._next = self._drawn(n_known, in_vain)
            if self._next is None:
                self.ended_because = _exhausted(in_vain)
                return None
        values, cost, refused = self._next
        while self._left(n_known) < cost.full and n_known < number:
            n_known += 1
            if not self._have_ended(n_known):
                return None
        left = self._left(n_known)
        if left < cost.least:
            self.ended_because = "what is left of the budget does not pay for an epoch of the next trial"
            return None
        self._next = None
        allotment = None if terms.budget is None else int(min(cost.full, left))
        trial = Trial(number, values, self.rule(n_known, allotment), n_known, refused=refused)
        self.trials.append(trial)
        return trial

    def rule(self, n_known: int, allotment: int | None) -> StopRule:
        """When a trial is stopped that knows the trials before number `n_known`."""
        reached = [trial.rung_values for trial in self.trials[:n_known]]
        n_rungs = max(map(len, reached), default=0)
        rivals = tuple(
            tuple(v[k] for v in reached if len(v) > k and not math.isnan(v[k])) for k in range(n_rungs)
        )
        return StopRule(self.terms.rungs, rivals, allotment, self.terms.maximise)

    def report(self, number: int, report: Report) -> Verdict | None:
        """Note what a trial tells after an epoch; None: it goes on. What it has told before changes nothing."""
        trial = self.trials[number]
        if not trial.reports or report.epoch > trial.reports[-1].epoch:
            trial = self.trials[number] = replace(trial, reports=(*trial.reports, report))
        return trial.rule.verdict(trial.reports)

    def ended(self, number: int, outcome: Outcome) -> None:
        """Note how a trial ended."""
        self.trials[number] = replace(self.trials[number], outcome=outcome)

    def take_up(self, trial: Trial) -> None:
        """Add a trial that was asked for before an interrupt."""
        assert trial.number == len(self.trials)
        self.trials.append(trial)

    def known(self, n_known: int) -> list[Known]:
        """All trials so far, of those from number `n_known` on only what they try."""
        return [_known(trial, has_ended=trial.number < n_known) for trial in self.trials]

    def _have_ended(self, n_known: int) -> bool:
        return all(trial.outcome is not None for trial in self.trials[:n_known])

    def _in_vain(self, n_known: int) -> str | None:
        """Why there is no use in going on, where the last trials before `n_known` came to nothing; else None."""
        last = [one.outcome for one in self.trials[:n_known][-MAX_FAILURES:] if one.outcome is not None]
        if len(last) < MAX_FAILURES or any(one.value is not None for one in last):
            return None
        return f"the last {MAX_FAILURES} trials came to no value; the last of them: {last[-1].why or last[-1].kind}"

    def _left(self, n_known: int) -> float:
        """Of the budget, when those before `n_known` have been paid and the others take all they may."""
        if self.terms.budget is None:
            return math.inf
        paid = sum(one.outcome.spent for one in self.trials[:n_known] if one.outcome is not None)
        return self.terms.budget - paid - sum(one.rule.allotment or 0 for one in self.trials[n_known:])

    def _drawn(self, n_known: int, refused: list[Refused]) -> tuple[Values, Cost, tuple[Refused, ...]] | None:
        """Values that can be trained with and were not tried before, None where none were found; what cannot is added to `refused`."""
        known, terms = self.known(n_known), self.terms
        tried = [trial.values for trial in self.trials]
        if len(tried) >= self.space.size:
            return None
        for attempt in range(MAX_DRAWS):
            method = terms.method if attempt < _RANDOM_AFTER else "random"
            values = draw(
                self.space, method, known, seed=terms.seed, attempt=attempt, maximise=terms.maximise
            )
            if values in tried or any(values == one.values for one in refused):
                continue
            try:
                return values, self._cost_of(values), tuple(refused)
            except InputError as error:
                refused.append(Refused(values, str(error)))
        return None


def _exhausted(refused: Sequence[Refused]) -> str:
    text = "nothing new that can be trained was found"
    return f"{text}; the last that was refused: {refused[-1].why}" if refused else text


def _known(trial: Trial, *, has_ended: bool) -> Known:
    outcome = trial.outcome
    if not has_ended or outcome is None:
        return Known(trial.values, "running")
    if outcome.value is None or not math.isfinite(outcome.value):
        return Known(trial.values, "failed")
    return Known(
        trial.values, "stopped" if outcome.kind == "stopped" else "done", outcome.value, outcome.rung
    )


def _value(trial: Trial) -> float:
    assert trial.outcome is not None
    assert trial.outcome.value is not None
    return trial.outcome.value


def best_so_far(trials: Sequence[Trial], *, maximise: bool) -> list[tuple[int, float]]:
    """(spent, best value) after each trial with a value, by number; spent includes those stopped and failed."""
    found: list[tuple[int, float]] = []
    spent = 0
    pick = max if maximise else min
    for trial in trials:
        if trial.outcome is None:
            break
        spent += trial.outcome.spent
        if trial.counts and math.isfinite(_value(trial)):
            found.append((spent, pick(_value(trial), found[-1][1]) if found else _value(trial)))
    return found


def as_plain(values: Mapping[str, Any]) -> Values:
    """Values as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
