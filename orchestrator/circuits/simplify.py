"""Circuits with fewer gates that give the same expectation values; every step is checked, and what cannot be checked is not done.

Gates that no observable feels are taken out (see `light_cone`), and so are gates that do nothing to ``|0...0>``; rotations about the same
axis that meet become one, whose angle is the sum; gates that undo each other go; a gate whose angle turns out to be a number becomes a
fixed gate, and goes where it is a phase. The rewritings are those of peephole optimisers (Y. Nam et al., npj Quantum Information 4
(2018) 23, arXiv 1710.07345), restricted to what keeps one angle a gate, so that shift rules stay right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.simplify_checks import Difference, Values, cirq_values, differences
from orchestrator.circuits.simplify_passes import PASSES, Pass, Pieces
from orchestrator.circuits.simplify_pieces import AssembledCircuit, Terms, put_together, taken_apart
from orchestrator.errors import CapabilityError


@dataclass(frozen=True)
class Step:
    """A pass that made the circuit smaller.

    Attributes:
        name: of the pass.
        gates, angles: saved by it.
        checked: what was compared before and after.
    """

    name: str
    gates: int
    angles: int
    checked: tuple[Difference, ...]


@dataclass(frozen=True)
class Simplified:
    """A circuit made smaller.

    Attributes:
        circuit: with the Pauli strings of the original one.
        terms: what each of its angles is a sum of.
        steps: what was done, in order; empty where nothing was, and `circuit` is then the original one.
        left_out: what was not done because it could not be checked, or failed its check, in words.
    """

    circuit: MeasuredCircuit
    terms: tuple[Terms, ...]
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]


def simplify(
    circuit: MeasuredCircuit, terms: Sequence[Terms] | None = None, values: Values = cirq_values
) -> Simplified:
    """`circuit` with fewer gates and angles, on the same qubits.

    Args:
        terms: what each angle is a sum of, so that angles can be added, and seen to be numbers; if absent, angle k is the one term k.
        values: what expectation values are computed with to check each pass; cirq's simulator if absent, up to 12 qubits.
    """
    own: list[Terms] = [{k: 1.0} for k in range(circuit.template.n_angles)]
    given = tuple(own if terms is None else terms)
    current = AssembledCircuit(circuit.template, given)
    pieces = taken_apart(circuit.template, given)
    steps: list[Step] = []
    left_out: dict[str, str] = {}
    is_changed = True
    while is_changed:
        is_changed = False
        for one in PASSES:
            if one.name in left_out:
                continue
            smaller = one.run(pieces, circuit.template.n_qubits, circuit.paulis)
            if _is_same(pieces, smaller):
                continue
            made = put_together(smaller, circuit.template.n_qubits)
            if made.template.key == current.template.key:  # the identity of an idle qubit is no saving
                pieces = smaller
                continue
            checked = _checked(one, current, made, circuit.paulis, values)
            if isinstance(checked, str):
                left_out[one.name] = checked
                continue
            steps.append(_step(one, current, made, checked))
            pieces, current, is_changed = smaller, made, True
    result = MeasuredCircuit(current.template, circuit.paulis) if steps else circuit
    return Simplified(result, current.terms, tuple(steps), tuple(left_out.values()))


def _checked(
    one: Pass, before: AssembledCircuit, after: AssembledCircuit, paulis: tuple[str, ...], values: Values
) -> tuple[Difference, ...] | str:
    """What was compared; or why the pass must be left out."""
    try:
        found = differences(before, after, paulis, values, keeps_unitary=one.keeps_unitary)
    except CapabilityError as error:
        return f"{one.name}: cannot be checked, {error}"
    for difference in found:
        if not difference.is_rounding:
            return (
                f"{one.name}: {difference.compared} differ by {difference.largest:.2g}, more than rounding "
                f"({difference.tolerance:.2g}): a defect of the pass, please report it"
            )
    return tuple(found)


def _step(
    one: Pass, before: AssembledCircuit, after: AssembledCircuit, checked: tuple[Difference, ...]
) -> Step:
    gates, angles = (
        len(before.template.gates) - len(after.template.gates),
        len(before.terms) - len(after.terms),
    )
    return Step(one.name, gates, angles, checked)


def _is_same(before: Pieces, after: Pieces) -> bool:
    return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))
