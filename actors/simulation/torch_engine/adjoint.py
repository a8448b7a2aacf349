"""Derivatives by the adjoint method: a forward sweep, and one back with the states that the observables make of its end.

T. Jones and J. Gacon, "Efficient calculation of gradients in classical simulations of variational quantum algorithms",
arXiv:2009.02823: ``d<P>/da = -2 Im <lambda|G|psi>`` with psi the state just after the gate, lambda that of ``P psi`` carried back there,
and G the gate's generator. No state is kept but these two, whatever the depth. Gates come in runs, seen from whose end the generators of
the earlier gates are turned by the later ones; operations of a stage share no qubit, so their derivatives are all taken at its end.
"""

from __future__ import annotations

import numpy as np
import torch

from actors.simulation.torch_engine.coefficients import Base, product
from actors.simulation.torch_engine.forward import advance
from actors.simulation.torch_engine.observables import PauliStrings
from actors.simulation.torch_engine.states import apply_inverse, local, zero_states
from actors.simulation.torch_engine.tables import DirectSum, Operation, Permutation, Tables, Turn
from orchestrator.jobs import Job


def derivatives(
    tables: Tables, strings: PauliStrings, job: Job, n_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values [S, M] and derivatives by ``job.jacobian_angles``, [S, M, Kj] or with cotangents [S, 1, Kj].

    Args:
        n_states: at least 2; so many are carried back at a time, of samples and of what the observables make of them.
    """
    assert job.jacobian_angles is not None
    n_paulis = tables.program.n_paulis
    n_sweeps = n_paulis if job.cotangents is None else 1
    together = min(n_sweeps, n_states - 1)
    width = max(n_states // (1 + together), 1)
    values = np.empty((job.n_samples, n_paulis))
    found = np.zeros((job.n_samples, n_sweeps, len(job.jacobian_angles)))
    for first in range(0, job.n_samples, width):
        samples = slice(first, min(first + width, job.n_samples))
        base = Base(tables, job, samples)
        end = advance(tables, base, zero_states(tables, base.width), 0, len(tables.operations))
        values[samples] = strings.values(end)[:, 0].T.cpu().numpy()
        reverse = _Reverse(tables, base, job.jacobian_angles)
        for begin in range(0, n_sweeps, together):
            sweeps = range(begin, min(begin + together, n_sweeps))
            if job.cotangents is None:
                carried = strings.applied(end, sweeps)
            else:
                weights = tables.double(job.cotangents[samples].T).to(tables.real)
                carried = strings.weighted(end, weights)
            sums = reverse.run(torch.cat([end, carried], dim=2))
            found[samples, begin : sweeps.stop] = sums.permute(2, 0, 1).cpu().numpy()
    return values, found


class _Reverse:
    """Sweeps back over the undisplaced circuits of a base. wanted: int64 [Kj], angles."""

    def __init__(self, tables: Tables, base: Base, wanted: np.ndarray) -> None:
        self._tables = tables
        self._base = base
        self._n_wanted = len(wanted)
        place_of_angle = np.full(tables.program.n_angles + 1, -1)
        place_of_angle[wanted] = np.arange(len(wanted))
        self._place = place_of_angle[tables.angle_of_row]
        self._is_wanted = [self._wants(op) for op in range(len(tables.operations))]
        self._axes = _turned_axes(tables, base)

    def _wants(self, op: int) -> bool:
        operation = self._tables.operations[op]
        if isinstance(operation, Permutation):
            return False
        return bool((self._place[operation.angle_rows.start : operation.angle_rows.stop] >= 0).any())

    def run(self, states: torch.Tensor) -> torch.Tensor:
        """float64 [V, Kj, W] from the final states and the V that are carried back, [2, 2**n, 1 + V, W], destroyed."""
        tables = self._tables
        shape = (states.shape[2] - 1, self._n_wanted, states.shape[3])
        found = torch.zeros(shape, dtype=torch.float64, device=states.device)
        first_wanted = next(
            (op for op, wanted in enumerate(self._is_wanted) if wanted), len(tables.operations)
        )
        stage = tables.program.instructions.stage
        for k in range(len(stage) - 2, -1, -1):
            operations = range(int(stage[k]), int(stage[k + 1]))
            self._differentiate([op for op in operations if self._is_wanted[op]], states, found)
            if operations.start <= first_wanted:
                break
            for op in reversed(operations):
                operation = tables.operations[op]
                matrix = [] if isinstance(operation, Permutation) else self._base.matrix(op)
                states = apply_inverse(operation, matrix, states)
        return found

    def _differentiate(self, wanted: list[int], states: torch.Tensor, found: torch.Tensor) -> None:
        """Fill in the derivatives by the angles of operations of one stage, from the states at its end."""
        parts = [_products(self._tables.operations[op], states) for op in wanted]
        sums = iter(_totals([part for of_op in parts for part in of_op if part is not None]))
        for op, of_op in zip(wanted, parts, strict=True):
            own = [0.0 if part is None else next(sums) for part in of_op]
            operation = self._tables.operations[op]
            if isinstance(operation, DirectSum):
                found[:, self._place[operation.angle_rows.start]] = -2.0 * own[0]
                continue
            assert isinstance(operation, Turn)
            for level, row in enumerate(operation.angle_rows):
                if self._place[row] >= 0:
                    x, y, z = self._axes[level, :, operation.place]
                    found[:, self._place[row]] = -2.0 * (x * own[0] + y * own[1] + z * own[2])


def _turned_axes(tables: Tables, base: Base) -> torch.Tensor:
    """float64 [L, 3, turns, W]: the axes of all rotations as seen at the end of their runs."""
    rotations = tables.rotations
    x, y, z = rotations.axis.expand(-1, -1, -1, base.width).unbind(1)
    axes = torch.stack([torch.zeros_like(x), z, -y, x], 1)
    after = None  # the product of the later rotations
    found = []
    for level in range(len(rotations.trig) - 1, -1, -1):
        own = base.rotation(level)
        turned = axes[level] if after is None else product(product(after, axes[level]), _conjugate(after))
        found.append(torch.stack([turned[3], -turned[2], turned[1]]))
        after = own if after is None else product(after, own)
    return torch.stack(found[::-1])


def _conjugate(quaternion: torch.Tensor) -> torch.Tensor:
    return torch.cat([quaternion[:1], -quaternion[1:]])


def _products(operation: Operation, states: torch.Tensor) -> list[torch.Tensor | None]:
    """[rows, V, W] each, to be added up over the rows: of a direct sum Im <lambda|G|psi>; of a turn Im <lambda|X|psi>, the same with Y and
    with Z, None where none of its axes has that component."""
    if isinstance(operation, DirectSum):
        return [_generator_products(operation, states)]
    assert isinstance(operation, Turn)
    low, high = (local(states, (operation.bit,), (value,)) for value in (0, 1))
    x, y, u, v = low[..., :1, :], high[..., :1, :], low[..., 1:, :], high[..., 1:, :]
    along = (
        lambda: _imaginary(u, y) + _imaginary(v, x),
        lambda: _real(v, x) - _real(u, y),
        lambda: _imaginary(u, x) - _imaginary(v, y),
    )
    return [_folded(one()) if needed else None for one, needed in zip(along, operation.axes, strict=True)]


def _generator_products(operation: DirectSum, states: torch.Tensor) -> torch.Tensor | None:
    total = None
    for row, column, entry in operation.generator:
        left = local(states, operation.bits, row)[..., 1:, :]
        right = local(states, operation.bits, column)[..., :1, :]
        for factor, part in ((entry.real, _imaginary), (entry.imag, _real)):
            if factor:
                term = part(left, right) * factor
                total = term if total is None else total + term
    return None if total is None else _folded(total)


def _real(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Of ``conj(left) right``, both [2, ...]."""
    return left[0] * right[0] + left[1] * right[1]


def _imaginary(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left[0] * right[1] - left[1] * right[0]


def _folded(values: torch.Tensor) -> torch.Tensor:
    """At most `_FEW` rows [rows, V, W] with the sum of all rows [..., V, W], by halving."""
    values = values.flatten(0, -3)
    while len(values) > _FEW:
        low, high = values.chunk(2)
        values = low + high
    return values


_FEW = 64
"""Rows that are little beside a state; what is left of all sums of a stage is halved together, in fewer and larger operations."""


def _totals(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """float64 [V, W]: the sums of the rows of each part, by halving."""
    found: dict[int, torch.Tensor] = {}
    for n_rows in {len(part) for part in parts}:
        places = [i for i, part in enumerate(parts) if len(part) == n_rows]
        values = torch.stack([parts[i] for i in places])
        while values.shape[1] > 1:
            low, high = values.chunk(2, dim=1)
            values = low + high
        found.update(zip(places, values[:, 0].to(torch.float64), strict=True))
    return [found[i] for i in range(len(parts))]
