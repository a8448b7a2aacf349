"""The rule and the shots of each step by what they are worth: expected descent per circuit, or per dollar where circuits cost any.

Candidates are parameter shift, SPSA and guided SPSA, each with several numbers of shots. What decides is the signal-to-noise ratio of the
gradient, from measured variances (see `gradients.choices`), never the number of the step. A rule that has not been used for a while is
used once to measure it again. After the thought of gCANS (arXiv 2108.10434), which asks for the shots of one rule in this way.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from orchestrator.config import GradientConfig
from orchestrator.errors import ConfigError
from orchestrator.gradients.base import GradientEstimate, Rule, Steps, predict
from orchestrator.gradients.choices import Candidate, Knowledge
from orchestrator.gradients.guided_spsa import GuidedSPSA
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.spsa import SPSA
from orchestrator.planning.plan import Evaluation, EvaluationPlan

_GUIDED = 2
_BEST, _NEW, _OLD = 0, 1, 2


class Choice(NamedTuple):
    """Number of a candidate, why (`_BEST`, `_NEW` or `_OLD`), and the gains of all, float64 [C]."""

    candidate: int
    why: int
    gains: np.ndarray


class Adaptive(Rule):
    """Chooses between exact and cheap gradients, and their shots, step by step."""

    name = "adaptive"

    def __init__(self, config: GradientConfig | None = None) -> None:
        config = config or GradientConfig()
        self._levels, self._overhead = config.shot_levels, config.circuit_overhead
        self._explore_every = config.explore_every
        self._perturbations, self._guides = config.perturbations, config.guide_fraction
        self._rules = (ParameterShift(config), SPSA(config), GuidedSPSA(config))
        self._circuits: dict[tuple[str, bytes, int, bool], list[int]] = {}

    def check(self, problem: GradientProblem) -> None:
        """Numbers of shots are for backends that draw them.

        Raises:
            ConfigError: they are given without.
        """
        if self._levels and problem.shots is None:
            raise ConfigError(
                "gradient.shot_levels",
                self._levels,
                "the backend gives exact values: leave it out, or set backend.shots",
                "()",
            )
        for rule in self._rules:
            rule.check(problem)

    def advice(self, shots: int | None) -> str | None:
        """That what is predicted is the first step."""
        return (
            "gradient.rule = 'adaptive' chooses anew in every step: circuits and shots predicted beforehand are those of the first, "
            "which is by parameter_shift"
        )

    def estimate(self, problem: GradientProblem) -> Steps:
        """Choose from what earlier steps have shown, run the choice, and learn from it."""
        known = Knowledge.of(problem.state, len(self._rules))
        candidates = self.candidates(problem)
        choice = self._choose(known, candidates)
        used = candidates[choice.candidate]
        answers: list[Evaluation] = []
        at = replace(problem, shots=used.shots, state={})
        estimate = yield from _noting(self._rules[used.rule].estimate(at), answers)
        own = slice(0, problem.model.n_circuit_params)
        learned = known.after(
            used,
            float(np.sum(estimate.gradient[own] ** 2)),
            float(np.sum(estimate.variance[own])),
            sum(answer.n_shots for answer in answers),
            sum(answer.cost_usd for answer in answers),
        )
        notes = self._notes(known, candidates, choice)
        return replace(
            estimate,
            state=learned.state(),
            notes={**notes, "rule": self._rules[used.rule].name, "reason": self.explain(notes)},
        )

    def candidates(self, problem: GradientProblem) -> list[Candidate]:
        """What this step may be done with; by rule, then by shots."""
        if problem.shots is None:
            shots: Sequence[int | None] = [None]
        else:
            shots = sorted(self._levels or {max(2, problem.shots // part) for part in (16, 4, 1)})
        n_params, n = int(problem.trainable.sum()), problem.n_samples
        of_all = max(n_params - 1, 0) / self._perturbations
        guides = min(max(1, math.ceil(self._guides * n)), n) / n  # of the samples, as guided_spsa splits them
        # a guess for guided_spsa: that the gradient of its rest is as long as the batch's
        directions = (0.0, of_all, (1 - guides) ** 2 * of_all)
        return [
            Candidate(i, level, n_circuits, directions[i], guides if i == _GUIDED else None)
            for i, n_circuits in enumerate(self._n_circuits(problem))
            for level in shots
        ]

    def _n_circuits(self, problem: GradientProblem) -> list[int]:
        """Of a step by each rule; the same for any number of shots."""
        is_exact = problem.shots is None
        key = problem.model.measured.key, problem.trainable.tobytes(), problem.n_samples, is_exact
        if key not in self._circuits:
            at = replace(problem, state={})
            self._circuits[key] = [predict(rule, at).n_circuits for rule in self._rules]
        return self._circuits[key]

    def _choose(self, known: Knowledge, candidates: list[Candidate]) -> Choice:
        """The best, unless a rule is to be measured: one never used, or the one not used for longest."""
        gains = known.gains(candidates, self._overhead)
        oldest = int(np.argmax(known.age))
        never = np.flatnonzero(known.age < 0)
        if len(never):
            of_rule = [i for i, c in enumerate(candidates) if c.rule == never[0]]
            # the first of all measures the gradient, the others their own noise, which few shots show as well
            return Choice(of_rule[-1 if len(never) == len(self._rules) else 0], _NEW, gains)
        if known.age[oldest] >= self._explore_every:
            of_rule = [i for i, c in enumerate(candidates) if c.rule == oldest]
            return Choice(of_rule[known.best([candidates[i] for i in of_rule], self._overhead)], _OLD, gains)
        return Choice(known.best(candidates, self._overhead), _BEST, gains)

    def _notes(self, known: Knowledge, candidates: list[Candidate], choice: Choice) -> dict[str, Any]:
        """The numbers that the choice was made of, all there is to explain it."""
        used, noise = candidates[choice.candidate], known.variance(candidates[choice.candidate])
        notes: dict[str, Any] = {
            "choice": choice.candidate,
            "why": choice.why,
            "age": float(known.age[used.rule]),
            "shots": used.shots or 0,
            "per_dollar": int(known.is_paid),
            "squared_norm": known.squared_norm,
        }
        if noise > 0:
            notes["signal_to_noise"] = max(known.squared_norm, 0.0) / noise
        for candidate, gain in zip(candidates, choice.gains.tolist(), strict=True):
            notes[f"gain/{self._rules[candidate.rule].name}/{candidate.shots or 'exact'}"] = gain
        return notes

    def explain(self, notes: Mapping[str, Any]) -> str:
        """The reason for a step's choice in words, from the numbers of its notes."""
        gains = {key.removeprefix("gain/"): value for key, value in notes.items() if key.startswith("gain/")}
        used = list(gains)[int(notes["choice"])]
        unit = "dollar" if notes["per_dollar"] else "shot" if notes["shots"] else "circuit"
        if notes["why"] == _NEW:
            return f"{_named(used)}: not measured before"
        if notes["why"] == _OLD:
            return f"{_named(used)}: measured {int(notes['age'])} steps ago, to be measured again"
        others = {key: value for key, value in gains.items() if key != used}
        if not others:
            return f"{_named(used)}: the only candidate"
        if not notes["squared_norm"] > 0:
            return f"{_named(used)}: no signal is seen, and it has the least noise per {unit}"
        second = max(others, key=others.__getitem__)
        return (
            f"{_named(used)}: expected descent per {unit} {gains[used]:.3g}, "
            f"next {_named(second)} with {gains[second]:.3g}"
        )


def _named(key: str) -> str:
    """``spsa with 100 shots`` from ``spsa/100``."""
    rule, _, shots = key.partition("/")
    return f"{rule} with exact values" if shots == "exact" else f"{rule} with {shots} shots"


def _noting(
    steps: Steps, answers: list[Evaluation]
) -> Generator[EvaluationPlan, Evaluation, GradientEstimate]:
    """`steps`, their answers kept."""
    try:
        plan = next(steps)
        while True:
            answer = yield plan
            answers.append(answer)
            plan = steps.send(answer)
    except StopIteration as end:
        estimate: GradientEstimate = end.value
        return estimate
