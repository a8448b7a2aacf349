"""What the gates of a model's circuit are, in words: a list for the drawing, and cirq's own diagram as text."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import cirq

    from orchestrator.models.model import Model

GateKind = Literal["data", "trainable", "frozen", "fixed"]


class DrawnGate(NamedTuple):
    """A gate as it is drawn.

    Attributes:
        name: ``RX``, ``CX``, ``CZ``, ``SWAP`` ...; leading C's of a known gate stand for control qubits, which come first.
        qubits: indices from 0.
        kind: what its angle depends on; a ``fixed`` gate has none.
        label: the angle, such as ``x3``.
    """

    name: str
    qubits: tuple[int, ...]
    kind: GateKind
    label: str = ""


def drawn_gates(model: Model) -> list[DrawnGate]:
    """The gates of a model's circuit, each labelled with what its angle is."""
    terms = _terms_by_angle(model)
    gates = []
    for gate in model.template.gates:
        if gate.angle is None:
            gates.append(DrawnGate(gate.name, gate.qubits, "fixed"))
        else:
            kind, label = _describe_angle(model, terms[gate.angle])
            gates.append(DrawnGate(gate.name, gate.qubits, kind, label))
    return gates


def labelled_circuit(model: Model) -> cirq.Circuit:
    """The model's circuit with parameters and features written in for its angles, for `circuit_text`."""
    import cirq

    labels = {
        f"a{angle}": _describe_angle(model, terms)[1] for angle, terms in _terms_by_angle(model).items()
    }

    def renamed(node: dict[str, Any]) -> dict[str, Any]:
        is_symbol = node.get("cirq_type") == "sympy.Symbol"
        return node | {"name": labels.get(node["name"], node["name"])} if is_symbol else node

    # in the JSON, because cirq's own substitution leaves factors of pi in the diagram
    text = json.dumps(json.loads(model.template.circuit_json, object_hook=renamed))
    circuit = cirq.read_json(json_text=text)
    assert isinstance(circuit, cirq.Circuit)
    return circuit


def circuit_text(circuit: cirq.Circuit, path: str | Path | None = None, *, width: int = 100) -> str:
    """cirq's text diagram, cut between moments where it would be wider than `width`; written to `path` (UTF-8) if given."""
    import cirq

    qubits = sorted(circuit.all_qubits())
    order = cirq.QubitOrder.explicit(qubits)

    def diagram(first: int, last: int) -> str:
        return circuit[first:last].to_text_diagram(qubit_order=order)

    blocks, first = [], 0
    while first < len(circuit):
        last = first + 1
        text = diagram(first, last)
        while last < len(circuit):
            wider = diagram(first, last + 1)
            if _text_width(wider) > width:
                break
            text, last = wider, last + 1
        blocks.append(text if first == 0 else f"... continued, moment {first}\n\n{text}")
        first = last
    text = "\n\n".join(blocks) + "\n" if blocks else "(empty circuit)\n"
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    return text


def _text_width(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _terms_by_angle(model: Model) -> dict[int, list[int]]:
    terms: dict[int, list[int]] = defaultdict(list)
    for term, angle in enumerate(model.angle_map.angle.tolist()):
        terms[angle].append(term)
    return terms


def _describe_angle(model: Model, terms: Sequence[int]) -> tuple[GateKind, str]:
    """Kind and label of an angle that is the sum of these terms."""
    mapping = model.angle_map
    params = [int(mapping.param[t]) for t in terms if mapping.param[t] >= 0]
    has_data = any(mapping.monomial[t] >= 0 for t in terms)
    label = " + ".join(_describe_term(model, t) for t in terms)
    if any(not model.frozen[p] for p in params):
        return "trainable", label
    return ("data" if has_data else "frozen" if params else "fixed"), label


def _describe_term(model: Model, term: int) -> str:
    mapping = model.angle_map
    factors = []
    if mapping.param[term] >= 0:
        factors.append(model.circuit_param_names[mapping.param[term]])
    if mapping.monomial[term] >= 0:
        powers = mapping.exponents[mapping.monomial[term]]
        letter = "x" if model.transform is None else "t"  # t: what the feature map computes of the features
        factors += [
            f"{letter}{f}" + (f"^{powers[f]}" if powers[f] > 1 else "") for f in np.flatnonzero(powers)
        ]
    coefficient = float(mapping.coefficient[term])
    if coefficient != 1.0 or not factors:
        factors.insert(0, f"{coefficient:.3g}")
    return "·".join(factors)
