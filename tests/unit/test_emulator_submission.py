"""What the emulator reads from a POST: the fast way through a large body against the plain one, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import cirq
import cirq_ionq
import numpy as np
import pytest

from actors.ionq.emulator import body as body_module
from actors.ionq.emulator import circuits as circuits_module
from actors.ionq.emulator.body import read_body
from actors.ionq.emulator.circuits import CircuitReader
from actors.ionq.emulator.refusal import Refusal
from actors.ionq.emulator.submission import Submission, read_submission
from orchestrator.costs.gate_counts import GateCounts

QUBITS = cirq.LineQubit.range(3)


def circuit(rng: np.random.Generator) -> cirq.Circuit:
    angles = rng.normal(size=3)
    return cirq.Circuit(
        [cirq.ry(a)(q) for a, q in zip(angles, QUBITS, strict=True)],
        cirq.CNOT(QUBITS[0], QUBITS[2]),
        cirq.PauliStringPhasor(cirq.X(QUBITS[0]) * cirq.Y(QUBITS[1]), exponent_neg=abs(angles[0]) / 4),
        cirq.measure(*QUBITS, key="m"),
    )


def batch(n_circuits: int = 4, **changes: Any) -> dict[str, Any]:
    """A multi-circuit body as the real client serialises it."""
    rng = np.random.default_rng(0)
    program = cirq_ionq.Serializer().serialize_many_circuits([circuit(rng) for _ in range(n_circuits)])
    return {
        "backend": "simulator",
        "type": "ionq.multi-circuit.v1",
        "lang": "json",
        "input": program.input,
        "metadata": program.metadata | {"shots": "50"},
        "shots": "50",
    } | changes


def single(gates: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "backend": "simulator",
        "type": "ionq.circuit.v1",
        "input": {
            "gateset": "qis",
            "qubits": 3,
            "circuit": [{"gate": "h", "target": 0}] if gates is None else gates,
        },
        "shots": 100,
    } | changes


def read(document: dict[str, Any]) -> Submission:
    return read_submission(json.dumps(document), CircuitReader())


# --- Both ways through a body --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), (" , ", " :  ")])
def test_the_fast_way_gives_what_the_plain_one_gives(separators: tuple[str, str]) -> None:
    text = json.dumps(batch(), separators=separators)
    cut, parsed = body_module._cut(text), body_module._parsed(text)
    assert cut is not None
    assert cut[0] == parsed[0]
    assert [json.loads(part) for part in cut[1]] == [json.loads(part) for part in parsed[1]]


@pytest.mark.parametrize(
    "strange",
    [
        {
            "name": 'x "circuits": [{"circuit": [{}]}]',
            "input": {"gateset": "qis", "qubits": 1, "circuits": []},
        },
        batch(name='"circuits": [{"circuit": []}]'),
        batch(metadata={"circuits": '[{"circuit": [{"gate": "h"}]}]', "circuit": "x"}),
        batch(input={"qubits": 2, "circuits": [{"circuit": []}, {"circuit": [{"gate": "h", "target": 1}]}]}),
        batch(input={"qubits": 2, "circuits": [{"name": "a", "circuit": [{"gate": "h", "target": 1}]}] * 2}),
        batch(
            input={
                "qubits": 2,
                "circuits": [{"circuit": [{"gate": "h", "target": 1}], "name": "circuit"}] * 2,
            }
        ),
        batch(
            input={"qubits": 2, "circuits": [{"circuit": [{"gate": "h", "target": 1}], "name": "}]}, {"}] * 2}
        ),
    ],
)
def test_strange_bodies_are_read_all_the_same(strange: dict[str, Any]) -> None:
    """Texts that look like circuits, circuits with other keys: whatever way is taken, the circuits are those of the JSON parser."""
    text = json.dumps(strange)
    document, circuits = read_body(text)
    wanted = json.loads(text)
    assert [json.loads(part) for part in circuits] == wanted["input"]["circuits"]
    assert document == wanted | {"input": wanted["input"] | {"circuits": []}}


def test_numbers_are_read_exactly_and_structures_once() -> None:
    reader = CircuitReader()
    found = read_submission(json.dumps(batch(6)), reader).circuits
    assert len(found.groups) == 1
    structure, parameters, places = found.groups[0]
    assert places.tolist() == list(range(6))
    wanted = []
    for gates in batch(6)["input"]["circuits"]:
        numbers = [
            g.get("rotation", g.get("time", 0.0) * g.get("coefficients", [1.0])[0]) for g in gates["circuit"]
        ]
        wanted.append(
            [number for gate, number in zip(gates["circuit"], numbers, strict=True) if gate["gate"] != "cnot"]
        )
    assert parameters.tolist() == wanted  # bit for bit
    again = read_submission(json.dumps(batch(2)), reader).circuits.groups[0][0]
    assert again is structure


def test_whole_numbers_and_exponents_are_numbers_too() -> None:
    gates = [
        {"gate": "rx", "target": 0, "rotation": 2},
        {"gate": "ry", "target": 1, "rotation": -1.5e-07},
        {"gate": "rz", "target": 0, "rotation": 1e20},
        {"gate": "rz", "target": 0, "rotation": 0.25},
    ]
    [(structure, parameters, _)] = read(single(gates)).circuits.groups
    assert parameters.tolist() == [[2.0, -1.5e-07, 1e20, 0.25]]
    assert structure.n_qubits == 2


NUMBERS = [0.25, 0.5, -0.25, 1e-05, -9.79e-05, 1.5e20, 0.0, -0.0, 3, -1, 0.1 + 0.2, 5e-324]


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_all_at_once_and_one_by_one_are_the_same(
    gateset: str, separators: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read after all kinds of circuits were met, so that what is known of one might be taken for another."""
    rng = np.random.default_rng(1)

    def gate() -> dict[str, Any]:
        kind, number = rng.integers(3), NUMBERS[rng.integers(len(NUMBERS))]
        if gateset == "qis":
            times = {"time": number, "coefficients": [0.5 if rng.integers(2) else 0.75], "terms": ["Z"]}
            return [
                {"gate": "rx", "target": 0, "rotation": number},
                {"gate": "h", "target": int(rng.integers(2))},
                {"gate": "pauliexp", "targets": [0], **times},
            ][kind]
        phase = number if abs(number) <= 1 else 0.75
        return [
            {"gate": "gpi", "target": int(rng.integers(2)), "phase": phase},
            {
                "gate": "ms",
                "targets": [0, 1],
                "phases": [phase, 0.1],
                "angle": 0.25 if rng.integers(2) else 0.2,
            },
            {"gate": "zz", "targets": [0, 1], "angle": phase},
        ][kind]

    lengths = rng.integers(1, 4, 300)
    texts = [
        json.dumps({"circuit": [gate() for _ in range(length)]}, separators=separators) for length in lengths
    ]
    assert circuits_module.cut(texts) is not None
    reader = CircuitReader()
    reader.read(texts, gateset, 2)
    found = reader.read(texts, gateset, 2)
    monkeypatch.setattr(circuits_module, "cut", lambda texts: None)
    wanted = CircuitReader().read(texts, gateset, 2)
    assert found.counts == wanted.counts
    assert [places.tolist() for *_, places in found.groups] == [
        places.tolist() for *_, places in wanted.groups
    ]
    for (one, here, _), (other, there, _) in zip(found.groups, wanted.groups, strict=True):
        assert one.text == other.text
        assert here.tobytes() == there.tobytes()


@pytest.mark.parametrize(
    "number", ["01.5", "1.", ".5", "--1.5", "1.5.2", "1-.5", "1.5-", "1.5e", "1.5ea2", "-.5"]
)
def test_what_is_no_number_is_refused_also_in_a_known_circuit(number: str) -> None:
    reader = CircuitReader()

    def text(written: str) -> str:
        return json.dumps({"circuit": [{"gate": "rx", "target": 0, "rotation": "?"}]}).replace('"?"', written)

    for _ in range(2):
        reader.read([text("1.5")], "qis", 1)
    with pytest.raises(Refusal, match="JSON"):
        reader.read([text("2.5"), text(number)], "qis", 1)


def test_a_number_in_a_name_is_no_parameter() -> None:
    named = [
        {"name": f'run": {i}.5', "circuit": [{"gate": "rx", "target": 0, "rotation": i + 0.25}]}
        for i in range(3)
    ]
    document = batch(input={"gateset": "qis", "qubits": 1, "circuits": named})
    found = read(document).circuits
    values = {int(place): parameters[0, 0] for _, parameters, places in found.groups for place in places}
    assert values == {0: 0.25, 1: 1.25, 2: 2.25}


def test_what_is_billed_is_counted() -> None:
    gates = [
        {"gate": "rx", "target": 0, "rotation": 0.5},
        {"gate": "cnot", "controls": [0, 1], "target": 2},
        {"gate": "swap", "targets": [0, 1]},
    ]
    assert read(single(gates)).circuits.counts == (GateCounts(1, 7),)  # Toffoli: 6 (3 - 2)


# --- What is refused -----------------------------------------------------------------------------------------------------------


def native(*gates: dict[str, Any]) -> dict[str, Any]:
    return single(input={"gateset": "native", "qubits": 3, "circuit": list(gates)})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (single([{"gate": "rxx", "target": 0}]), "'rxx' is no qis gate; nearest valid: 'xx'"),
        (single([{"gate": "gpi", "target": 0, "phase": 0.1}]), "belongs to the gate set 'native'"),
        (native({"gate": "h", "target": 0}), "belongs to the gate set 'qis'"),
        (native({"gate": "gpi", "target": 0, "phase": 1.5}), "1.5 is out of range.*nearest valid: 1.0"),
        (native({"gate": "ms", "targets": [0, 1], "phases": [0.1, -2.0]}), "-2.0 is out of range"),
        (native({"gate": "ms", "targets": [0, 1], "phases": [0.1]}), "a list of two"),
        (native({"gate": "ms", "targets": [0], "phases": [0.1, 0.2]}), "1 targets; nearest valid: 2"),
        (native({"gate": "gpi", "target": 0, "control": 1, "phase": 0.1}), "takes no controls"),
        (single([{"gate": "rx", "target": 0}]), "rotation = None; nearest valid: a number"),
        (single([{"gate": "rx", "target": 0, "rotation": "1"}]), "rotation = '1'"),
        (single([{"gate": "rx", "target": 0, "rotation": 1e999}]), "Infinity is not JSON"),
        (single([{"gate": "rx", "target": 0, "rotation": float("nan")}]), "NaN is not JSON"),
        (single([{"gate": "cnot", "target": 0}]), "has no control"),
        (single([{"gate": "cnot", "control": 0, "target": 0}]), "name one twice"),
        (single([{"gate": "x", "target": -1}]), "nearest valid: qubits from 0 on"),
        (single([{"gate": "x", "target": 3}]), "acts on qubit 3, but input.qubits = 3; nearest valid: 4"),
        (single([{"gate": "x", "target": 0, "targets": [0]}]), "has both"),
        (single(["x"]), "is no qis gate"),
        (
            single(
                [{"gate": "pauliexp", "targets": [0], "terms": ["X", "Z"], "coefficients": [1], "time": 1}]
            ),
            "a list of one",
        ),
        (single(backend="qpu.aria1"), "nearest valid: 'qpu.aria-1'"),
        (single(type="ionq.circuit.v2"), "nearest valid: 'ionq.circuit.v1'"),
        (single(shots=0), "nearest valid: 1"),
        (single(shots=1_000_001), "nearest valid: 1000000"),
        (single(shots="many"), "shots = 'many'"),
        (single(shots="None"), "shots = 'None'"),
        (single(backend="qpu.aria-1", shots=10_001), "nearest valid: 10000"),
        (single(input={"gateset": "qis", "qubits": 30, "circuit": []}), "nearest valid: 29"),
        (
            single(input={"gateset": "qis", "qubits": 26, "circuit": []}, noise={"model": "aria-1"}),
            "nearest valid: 25",
        ),
        (
            single(backend="qpu.aria-1", input={"gateset": "qis", "qubits": 26, "circuit": []}),
            "nearest valid: 25",
        ),
        (single(input={"gateset": "cirq", "qubits": 1, "circuit": []}), "input.gateset = 'cirq'"),
        (single(input={"gateset": "qis", "qubits": 1}), "input.circuit = None"),
        (batch(input={"gateset": "qis", "qubits": 1, "circuits": []}), "input.circuits = "),
        (batch(input={"gateset": "qis", "qubits": 1, "circuits": [[]]}), "a circuit is an object"),
        (single(noise={"model": "aria-3"}), "nearest valid: 'aria-2'"),
        (single(noise={"model": "aria-1", "seed": -1}), "noise.seed = -1"),
        (single(backend="qpu.aria-1", noise={"model": "aria-1"}), "has noise of its own"),
        (
            single(backend="qpu.aria-1", shots=499, settings={"error_mitigation": {"debiasing": True}}),
            "needs 500 shots, not 499; nearest valid: 500",
        ),
        (single(settings={"error_mitigation": {"debiasing": "yes"}}), "nearest valid: True"),
        (single(metadata={f"k{i}": "" for i in range(11)}), "nearest valid: 10"),
        (single(metadata={"k" * 41: ""}), "nearest valid: 40"),
        (single(metadata={"k": "v" * 40_001}), "nearest valid: 40000"),
        (single(metadata={"k": 1}), "nearest valid: '1'"),
        (single(name=3), "nearest valid: '3'"),
        (single(dry_run="yes"), "nearest valid: True"),
    ],
)
def test_refusals_name_the_value_and_the_nearest_valid_one(document: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        read(document)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', '{"input": {"circuits": [{"circuit": [{"gate": "h"}]}]}']
)
def test_a_body_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="the body is"):
        read_submission(text, CircuitReader())


def test_limits_themselves_are_accepted() -> None:
    metadata = {f"{i:040d}": "v" * 40_000 for i in range(10)}
    document = single(
        shots=1_000_000, metadata=metadata, input={"gateset": "qis", "qubits": 29, "circuit": []}
    )
    assert read(document).shots == 1_000_000
    phases = native(
        {"gate": "ms", "targets": [0, 2], "phases": [1.0, -1], "angle": 0.25}, {"gate": "nop", "target": 0}
    )
    [(structure, parameters, _)] = read(phases).circuits.groups
    assert parameters.tolist() == [[1.0, -1.0, 0.25]]
    assert structure.counts == GateCounts(0, 1)


@pytest.mark.parametrize(
    ("shots", "settings", "is_mitigated"),
    [
        (1000, None, True),
        (499, None, False),
        (1000, {"error_mitigation": {"debiasing": False}}, False),
        (500, {"error_mitigation": {"debiasing": True}}, True),
    ],
)
def test_machines_mitigate_unless_told_otherwise(shots: int, settings: Any, is_mitigated: bool) -> None:
    assert read(single(backend="qpu.aria-1", shots=shots, settings=settings)).is_mitigated is is_mitigated
    assert not read(single(shots=shots, settings=settings)).is_mitigated
