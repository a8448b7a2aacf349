"""Observables: real combinations of Pauli strings, parsed from the configuration or taken from cirq.

The circuit measures each distinct Pauli string once; a read-out matrix combines their expectation values into the observables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cirq
import numpy as np

from orchestrator.circuits.zero_outcome import MAX_QUBITS, zero_strings
from orchestrator.errors import CircuitError, nearest

PRESETS = ("each", "first", "mean", "parity")
_ZERO = re.compile(r"zero\((\d+)\.\.(\d+)\)")
_TERM = re.compile(
    r"([+-]?)((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)?(?:(?<=[\d.])\*(?=[XYZI]))?((?:[XYZI]\d+(?:\*(?=[XYZI]))?)*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Readout:
    """From expectation values of Pauli strings to observables: ``observables = values @ matrix.T + offset``.

    Attributes:
        paulis: M_p distinct strings, one letter per qubit.
        matrix: float64 [M, M_p].
        offset: float64 [M], the identity parts.
        names: M names, for people.
    """

    paulis: tuple[str, ...]
    matrix: np.ndarray
    offset: np.ndarray
    names: tuple[str, ...]


def readout(
    observables: str | Sequence[Any],
    n_qubits: int,
    qubits: Sequence[cirq.Qid] | None = None,
    places: Sequence[int] | None = None,
) -> Readout:
    """The read-out of a preset's name, of texts such as ``"0.5*Z0*Z1 - X2"``, or of cirq Pauli strings and sums.

    The text ``"zero(2..3)"`` is the projector on |0...0> of the qubits 2 to 3, whose expectation value is the probability of that outcome.

    Args:
        qubits: which cirq qubit is number 0, 1, ...; LineQubits if absent.
        places: the qubits that are left to be measured; all if absent.

    Raises:
        CircuitError: an observable is malformed, not Hermitian, constant, or on a qubit that is not there.
    """
    left = range(n_qubits) if places is None else places
    entries = _preset(observables, left) if isinstance(observables, str) else list(observables)
    if not entries:
        raise CircuitError("the list of observables is empty; add one, e.g. 'Z0'")
    place = {q: i for i, q in enumerate(qubits or cirq.LineQubit.range(n_qubits))}
    sums = [_parse(e, n_qubits) if isinstance(e, str) else _from_cirq(e, place, n_qubits) for e in entries]
    identity = "I" * n_qubits
    paulis: dict[str, int] = {}
    for terms, entry in zip(sums, entries, strict=True):
        if not any(c for p, c in terms.items() if p != identity):
            raise CircuitError(f"the observable {entry} is constant: no circuit can change it")
        for pauli in terms:
            _check_left(pauli, left, entry)
            if pauli != identity:
                paulis.setdefault(pauli, len(paulis))
    matrix = np.zeros((len(sums), len(paulis)))
    offset = np.array([terms.get(identity, 0.0) for terms in sums])
    for row, terms in enumerate(sums):
        for pauli, coefficient in terms.items():
            if pauli != identity:
                matrix[row, paulis[pauli]] = coefficient
    return Readout(tuple(paulis), matrix, offset, tuple(str(e) for e in entries))


def _check_left(pauli: str, left: Sequence[int], entry: Any) -> None:
    """Refuse to measure a qubit that was pooled away."""
    for qubit, letter in enumerate(pauli):
        if letter != "I" and qubit not in left:
            known = ", ".join(map(str, left))
            raise CircuitError(
                f"the observable {entry} is on qubit {qubit}, which a layer has pooled away; left: {known}"
            )


def _preset(name: str, left: Sequence[int]) -> list[str]:
    if name == "each":
        return [f"Z{i}" for i in left]
    if name == "first":
        return [f"Z{left[0]}"]
    if name == "mean":
        return [" + ".join(f"{1 / len(left)!r}*Z{i}" for i in left)]
    if name == "parity":
        return ["*".join(f"Z{i}" for i in left)]
    if re.search(r"\d", name):
        return [name]
    close = nearest(name, PRESETS)
    hint = f"did you mean {close!r}? " if close else ""
    raise CircuitError(
        f"unknown observables {name!r}; {hint}presets: {', '.join(PRESETS)}; or a list such as ['Z0', 'Z0*Z1']"
    )


def _parse(text: str, n_qubits: int) -> dict[str, float]:
    """{Pauli string: coefficient} of e.g. ``"0.5*Z0*Z1 - X2 + 0.1"``."""
    compact = re.sub(r"\s+", "", text)
    if found := _ZERO.fullmatch(compact):
        return _zero_projector(text, int(found[1]), int(found[2]), n_qubits)
    terms: dict[str, float] = {}
    position = 0
    while position < len(compact):
        match = _TERM.match(compact, position)
        if (
            match is None
            or match.end() == position
            or (position and not match[1])
            or not (match[2] or match[3])
        ):
            raise CircuitError(
                f"cannot read the observable {text!r} at {compact[position:]!r}; write e.g. '0.5*Z0*Z1 - X2'"
            )
        letters = ["I"] * n_qubits
        for letter, index in re.findall(r"([XYZI])(\d+)", match[3].upper()):
            if int(index) >= n_qubits:
                raise CircuitError(
                    f"the observable {text!r} names qubit {index}; the last one is {n_qubits - 1}"
                )
            if letters[int(index)] != "I":
                raise CircuitError(f"the observable {text!r} names qubit {index} twice in one product")
            letters[int(index)] = letter
        value = float(match[2] or 1.0) * (-1.0 if match[1] == "-" else 1.0)
        pauli = "".join(letters)
        terms[pauli] = terms.get(pauli, 0.0) + value
        position = match.end()
    return terms


def _zero_projector(text: str, first: int, last: int, n_qubits: int) -> dict[str, float]:
    """{Pauli string: coefficient} of |0...0><0...0| on the qubits first to last."""
    n = last - first + 1
    if not (0 < n <= MAX_QUBITS and last < n_qubits):
        raise CircuitError(
            f"the observable {text!r}: wanted are 1 to {MAX_QUBITS} qubits in a row, the last one {n_qubits - 1} at most"
        )
    before, after = "I" * first, "I" * (n_qubits - 1 - last)
    return {before + string + after: 2.0**-n for string in ("I" * n, *zero_strings(n))}


def _from_cirq(observable: Any, place: dict[Any, int], n_qubits: int) -> dict[str, float]:
    try:
        terms = cirq.PauliSum.wrap(observable) if not isinstance(observable, cirq.PauliSum) else observable
    except (TypeError, ValueError):
        raise CircuitError(
            f"{observable!r} is not an observable; give a text such as 'Z0*Z1' or a cirq.PauliString"
        ) from None
    result: dict[str, float] = {}
    for term in terms:
        if abs(complex(term.coefficient).imag) > 1e-12:
            raise CircuitError(
                f"the observable {observable} is not Hermitian: coefficient {term.coefficient}"
            )
        letters = ["I"] * n_qubits
        for qubit, pauli in term.items():
            if qubit not in place:
                raise CircuitError(
                    f"the observable {observable} is on {qubit}, which the circuit does not have"
                )
            letters[place[qubit]] = str(pauli)
        key = "".join(letters)
        result[key] = result.get(key, 0.0) + complex(term.coefficient).real
    return result
