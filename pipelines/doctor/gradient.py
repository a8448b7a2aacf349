"""The gradient at initialisation, against the number of qubits and against the number of layers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.errors import InputError
from pipelines.doctor.derivatives import Differentiator
from pipelines.doctor.ensembles import Spread, Spreads, spreads
from pipelines.doctor.family import Member, resized
from pipelines.doctor.plateau import Verdict, verdict
from pipelines.run_setup import PreparedRun

_SECONDS = 5.0
"""Of the engine, for all sizes together, by its own estimate."""
_PATIENCE = 10.0
"""Seconds after which nothing more is begun, should the estimate be too low for this machine."""
_DRAWS, _LEAST_DRAWS = 256, 8
_MOST_SIZES = 8

Place = tuple[int, int]
"""Qubits and layers."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A size that could be built, and what its derivatives at one point take."""

    member: Member
    differentiator: Differentiator
    seconds: float

    @property
    def place(self) -> Place:
        return self.member.n_qubits, self.member.n_layers


def examine_gradient(run: PreparedRun) -> dict[str, Any]:
    """Variances at several sizes, and what they say, as plain values."""
    if not run.task.model.n_circuit_params:
        return {"note": "the circuit has no parameters"}
    config, n_qubits = run.config.model, run.task.model.template.n_qubits
    is_of_one_size = config.circuit is not None or config.layers is not None or config.patch_shape is not None
    n_layers = 0 if is_of_one_size else config.n_layers
    by_qubits = [(n, n_layers) for n in sizes_up_to(n_qubits)] if n_layers else [(n_qubits, 0)]
    by_layers = [(n_qubits, layers) for layers in _depths(n_layers)]
    candidates, left_out = _built(run, sorted({*by_qubits, *by_layers}))
    found = _measured(candidates, run.config.run.seed, left_out)
    sized = [place for place in by_qubits if place in found]
    members = {c.place: c.member for c in candidates}
    return {
        "qubits": [_row(place, found[place]) for place in sized],
        "layers": [_row(place, found[place]) for place in by_layers if place in found],
        "left_out": [{"qubits": n, "layers": layers, "why": why} for (n, layers), why in left_out.items()],
        "initial_scale": run.task.model.initial_scale,
        "note": _note(is_of_one_size, sized, left_out),
        "verdicts": {
            name: _verdict(sized, found, members, kind)._asdict()
            for kind, name in enumerate(Spreads._fields)
            if sized
        },
    }


def sizes_up_to(n_qubits: int) -> list[int]:
    """From 2 (or 1) to `n_qubits`, so many at most, evenly spread."""
    first = min(2, n_qubits)
    count = min(n_qubits - first + 1, _MOST_SIZES)
    return sorted({round(n) for n in np.linspace(first, n_qubits, count)})


def _depths(n_layers: int) -> list[int]:
    return sorted({1, max(n_layers // 2, 1), n_layers, 2 * n_layers}) if n_layers else []


def _built(run: PreparedRun, places: Iterable[Place]) -> tuple[list[_Candidate], dict[Place, str]]:
    """The sizes that can be built, and why the others cannot."""
    candidates, left_out = [], {}
    for n_qubits, n_layers in places:
        try:
            if n_layers:
                member = resized(run.config.model, run.data.train.features, n_qubits, n_layers)
            else:
                member = Member(n_qubits, 0, run.task.model, run.data.train.features)
            differentiator = Differentiator(member.model)
            candidates.append(_Candidate(member, differentiator, 1e-6 * differentiator.microseconds))
        except InputError as error:
            left_out[n_qubits, n_layers] = str(error)
    return candidates, left_out


def _measured(
    candidates: list[_Candidate], seed: int, left_out: dict[Place, str]
) -> dict[Place, tuple[Spreads, int]]:
    """Spreads, and the draws behind them, of as many sizes as time allows, the cheap ones first; the others join `left_out`."""
    found: dict[Place, tuple[Spreads, int]] = {}
    budget, began = _SECONDS, time.perf_counter()
    waiting = sorted(candidates, key=lambda c: c.seconds)
    for position, candidate in enumerate(waiting):
        share = budget / (len(waiting) - position)
        n_draws = int(min(_DRAWS, max(share, 0.0) / (2 * candidate.seconds)))
        if n_draws < _LEAST_DRAWS or time.perf_counter() - began > _PATIENCE:
            left_out[candidate.place] = "its derivatives take too long to look at many"
            continue
        try:
            about = spreads(candidate.differentiator, candidate.member.features, n_draws, seed)
        except InputError as error:  # too little memory, or a row that cannot be encoded
            left_out[candidate.place] = str(error)
            continue
        found[candidate.place] = about, n_draws
        budget -= 2 * n_draws * candidate.seconds
    return found


def _verdict(
    sized: list[Place], found: dict[Place, tuple[Spreads, int]], members: dict[Place, Member], kind: int
) -> Verdict:
    each: list[Spread] = [found[place][0][kind] for place in sized]
    weight = float(np.abs(members[sized[-1]].model.readout.matrix).sum(axis=1).max())
    return verdict([n for n, _ in sized], [s.variance for s in each], each[-1].size, weight)


def _row(place: Place, found: tuple[Spreads, int]) -> dict[str, Any]:
    about, n_draws = found
    return {
        "qubits": place[0],
        "layers": place[1] or None,
        "draws": n_draws,
        **{name: spread._asdict() for name, spread in about._asdict().items()},
    }


def _note(is_own: bool, sized: list[Place], left_out: dict[Place, str]) -> str | None:
    """What was not looked at, in words."""
    if is_own:
        return "a circuit of your own, listed layers and patches have one size: nothing is said of how it goes on with n or with layers"
    if not left_out:
        return None
    layers = sorted({layers for _, layers in left_out})
    names = "; ".join(
        f"n = {', '.join(str(n) for n, of in left_out if of == layer)} with {layer} layers"
        for layer in layers
    )
    only = "" if len(sized) > 1 else "only the depth is looked at, not the number of qubits; "
    return f"{only}left out: {names} ({next(iter(left_out.values()))})"
