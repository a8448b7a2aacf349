"""What a contraction costs, counted from its program: row operations (one multiply-add on every lane) and rows of memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.simulation.contraction.engine import compile_contraction
from actors.simulation.contraction.heisenberg import GateNoise
from actors.simulation.contraction.program import ChainCode, ChainProgram
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError


@dataclass(frozen=True)
class ChainCost:
    """Row operations of one undisplaced circuit, and of one displaced one on average over the angles; rows of memory a circuit."""

    base: float
    displaced: float
    rows: int


def chain_cost(program: ChainProgram) -> ChainCost:
    """Count the operations of `program`."""
    code = program.code
    maps = _map_costs(code)
    joins = np.array(
        [code.entries[stop] - code.entries[start] for start, stop in _ranges(code.slots["entry"])]
    )
    nonzeros = np.diff(code.slots["entry"])
    sites = code.sites
    vectors, seen = np.zeros(len(sites) - 1), np.zeros(len(sites) - 1)
    for site in range(len(sites) - 1):
        branches = 1
        for index in range(sites["forward"][site], sites["backward"][site]):
            vectors[site] += branches * maps[index]
            branches *= code.maps["n_bond"][index]
        seen[site] = maps[sites["backward"][site] : sites["forward"][site + 1]].sum()
    both = [0.0, 0.0]
    for side, name, steps in ((0, "left_step", code.left_steps), (1, "right_step", code.right_steps)):
        for site in range(len(sites) - 1):
            part = steps[sites[name][site] : sites[name][site + 1]]
            slots = np.unique(part["slot"])
            both[side] += vectors[site] + (seen[site] + joins[slots]).sum()
            both[side] += (nonzeros[part["slot"]] * sites["n_passing"][site]).sum()
    weights = np.bincount(program.angle_segment[program.angle_segment >= 0], minlength=len(code.segments) - 1)
    costs = np.zeros(len(code.segments) - 1)
    for index, (start, stop) in enumerate(_ranges(code.segments["product"])):
        part, site = code.products[start:stop], code.segments["site"][index]
        slots = np.unique(part["slot"])
        reads = np.diff(np.append(part["read"], code.products["read"][stop]))
        costs[index] = vectors[site] + (seen[site] + joins[slots]).sum() + (reads * part["n_target"]).sum()
        costs[index] += (nonzeros[part["slot"]] * sites["n_passing"][site]).sum() + len(code.final)
    n_angles = max(len(program.angle_segment), 1)
    displaced = float((weights * costs).sum()) / n_angles + (both[0] + both[1]) / (2 * n_angles)
    return ChainCost(float(both[0]), displaced, code.n_left + code.n_right + 2 * code.n_matrix)


def _ranges(starts: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))


def _map_costs(code: ChainCode) -> np.ndarray:
    """Row operations of each map on one branch: four for a turn, else its terms."""
    outputs = code.maps["output"]
    terms = code.outputs[outputs[1:]] - code.outputs[outputs[:-1]]
    return np.where(code.maps["is_turn"][:-1] == 1, 4, terms)


def contraction_microseconds(circuit: MeasuredCircuit, noise: GateNoise | None = None) -> float:
    """Estimated time of one displaced circuit on one core; infinite where contraction does not apply."""
    try:
        return displaced_microseconds(chain_cost(compile_contraction(circuit, noise)))
    except CapabilityError:
        return float("inf")


def displaced_microseconds(cost: ChainCost) -> float:
    """The time of one displaced circuit on average: 20 ns for everything about it and 0.4 ns a row operation."""
    return 0.02 + 0.0004 * float(cost.displaced)
