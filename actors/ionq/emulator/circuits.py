"""The circuits of a job: JSON text to a structure, known and checked once, and its numbers, read in bulk.

A training sends the same few structures thousands of times with other numbers. Reading every gate as a Python object would cost more than
simulating it, so a circuit's text is cut at its decimal numbers: what is left is its *skeleton*, which is parsed and checked when it is met
first. Whole numbers stay in the skeleton; one where a decimal may stand is a constant of the structure.

All circuits of a job are cut at once (`decimals`), where each of its skeletons was met before; else, and for what is written in another
way, one by one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import numpy as np

from actors.ionq.emulator.decimals import Cut, cut, decimals
from actors.ionq.emulator.gates import FIXED, ROTATIONS, Call
from actors.ionq.emulator.refusal import Refusal, bad_request
from orchestrator.costs.gate_counts import GateCounts, count_gates
from orchestrator.errors import CircuitError, nearest

QIS_GATES = (*FIXED, *ROTATIONS, "swap", "pauliexp")
NATIVE_GATES = ("gpi", "gpi2", "ms", "zz", "nop")
GATESETS = {"qis": QIS_GATES, "native": NATIVE_GATES}

_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+)"
_FULL_MS = r"(?!(?:(?<=\"angle\":)|(?<=\"angle\": ))0\.25[,}])"
_VALUES = re.compile(rf'": ?{_FULL_MS}({_NUMBER}|\[{_NUMBER}, ?{_NUMBER}\])')
"""A decimal number, or a pair of them, as the value of a key. Not the angle of a full MS gate: as a constant it is Clifford."""
_PLACEHOLDER = "0.5e0"
_SKELETONS = {False: f'": {_PLACEHOLDER}', True: f'": [{_PLACEHOLDER}, {_PLACEHOLDER}]'}
_STRUCTURES_KEPT = 1024
_DEFAULT_MS_ANGLE = 0.25


class _Slot:
    """The place of the next decimal number in a skeleton."""

    def __init__(self, index: int) -> None:
        self.index = index


@dataclass(frozen=True, eq=False)
class Structure:
    """A circuit without its numbers.

    Attributes:
        gateset: ``qis`` or ``native``. calls: its gates. n_qubits: the highest qubit it names, plus one; at least 1.
        slots: int64 [P]: which decimal number of the text each parameter is, -1 for a constant. constants: float64 [P].
        factors: float64 [P], what that number is multiplied by: 1, or the coefficient of a ``pauliexp``.
        has_turns: the parameters are native phases and angles, which lie within [-1, 1].
        counts: what it is billed for. n_decimals: decimal numbers of the text.
    """

    gateset: str
    calls: tuple[Call, ...]
    n_qubits: int
    slots: np.ndarray
    constants: np.ndarray
    factors: np.ndarray
    has_turns: bool
    counts: GateCounts
    n_decimals: int

    @cached_property
    def text(self) -> str:
        """Equal for circuits that differ in numbers only, constants not being such."""
        fixed = np.where(self.slots >= 0, np.nan, self.constants * self.factors).tolist()
        return f"{self.gateset} {[tuple(call) for call in self.calls]} {fixed} {self.factors.tolist()}"

    def constant(self, parameter: int) -> float:
        """A parameter that is one."""
        return float(self.constants[parameter] * self.factors[parameter])

    @cached_property
    def digest(self) -> bytes:
        """16 bytes of `text`."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).digest()

    def parameters(self, decimals: np.ndarray) -> np.ndarray:
        """float64 [N, P] of N circuits with the decimal numbers `decimals` [N, n_decimals].

        Raises:
            Refusal: a number that is not finite, or a native phase outside of [-1, 1].
        """
        found = np.broadcast_to(self.constants, (len(decimals), len(self.constants)))
        if self.n_decimals:
            found = np.where(self.slots >= 0, decimals[:, self.slots], found)
        found = found * self.factors
        bad = ~np.isfinite(found) | (self.has_turns & (np.abs(found) > 1.0))
        if bad.any():
            value = float(found[bad][0])
            raise bad_request(
                f"the number {value!r} is out of range: native phases and angles are turns in [-1, 1] (nearest valid: "
                f"{max(-1.0, min(value, 1.0))!r}), rotations any finite number of radians"
            )
        return found


@dataclass(frozen=True, eq=False)
class Circuits:
    """The circuits of a job, by structure.

    Attributes:
        groups: for each structure its parameters float64 [N, P] and the places int64 [N] of these circuits in the job.
        counts: of each circuit, in the order of the job.
    """

    groups: tuple[tuple[Structure, np.ndarray, np.ndarray], ...]
    counts: tuple[GateCounts, ...]

    def __len__(self) -> int:
        return len(self.counts)


class _Known(NamedTuple):
    """What is known of a skeleton as `decimals.cut` gives it.

    Attributes:
        slots: int64: which of its decimal numbers are the structure's. constants: the same of those that are part of the structure.
        values: float64, of the constants.
    """

    structure: Structure
    slots: np.ndarray
    constants: np.ndarray
    values: np.ndarray


class CircuitReader:
    """Reads circuits and remembers the structures it has met. Not thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Structure | None] = OrderedDict()
        self._cuts: OrderedDict[tuple[str, bytes, bytes], _Known] = OrderedDict()

    def read(self, texts: Sequence[str], gateset: str, n_qubits: int) -> Circuits:
        """The circuits whose JSON objects (``{"circuit": [...]}``) are `texts`.

        Raises:
            Refusal: a gate that is unknown, malformed or of the other gate set, a qubit beyond `n_qubits`, a number out of range.
        """
        members: dict[Structure, tuple[list[Sequence[float] | np.ndarray], list[int]]] = {}
        counts = []
        nothing: list[Cut | None] = [None] * len(texts)
        cuts = cut(texts) or nothing
        for place, (text, pieces) in enumerate(zip(texts, cuts, strict=True)):
            structure, decimals = self._read(text, pieces, gateset)
            if structure.n_qubits > n_qubits:
                raise bad_request(
                    f"circuit {place} acts on qubit {structure.n_qubits - 1}, but input.qubits = {n_qubits}; nearest valid: "
                    f"{structure.n_qubits}"
                )
            numbers, places = members.setdefault(structure, ([], []))
            numbers.append(decimals)
            places.append(place)
            counts.append(structure.counts)
        groups = tuple(
            (
                structure,
                structure.parameters(np.array(numbers, np.float64).reshape(len(places), -1)),
                np.array(places, np.int64),
            )
            for structure, (numbers, places) in members.items()
        )
        return Circuits(groups, tuple(counts))

    def _read(
        self, text: str, pieces: Cut | None, gateset: str
    ) -> tuple[Structure, Sequence[float] | np.ndarray]:
        """The structure of a circuit and its decimal numbers, from its pieces if they are known."""
        if pieces is None:
            return self._structure(text, gateset)
        key = (gateset, pieces.skeleton, (pieces.values == _DEFAULT_MS_ANGLE).tobytes())
        known = self._cuts.get(key)
        if known is not None and np.array_equal(pieces.values[known.constants], known.values):
            return known.structure, pieces.values[known.slots]
        structure, decimals = self._structure(text, gateset)
        if known is None:
            known = _known(text, structure, pieces)
            if len(known.slots) == structure.n_decimals:
                self._cuts[key] = known
            if len(self._cuts) > _STRUCTURES_KEPT:
                self._cuts.popitem(last=False)
        return structure, decimals

    def _structure(self, text: str, gateset: str) -> tuple[Structure, Sequence[float]]:
        parts = _VALUES.split(text)
        values, between = parts[1::2], parts[::2]
        numbers = ",".join(values).replace("[", "").replace("]", "").split(",") if values else []
        decimals = list(map(float, numbers))
        gaps = [_SKELETONS[value[0] == "["] + after for value, after in zip(values, between[1:], strict=True)]
        key = (gateset, between[0] + "".join(gaps))
        if key in self._known:
            self._known.move_to_end(key)
        else:
            found = _parse(key[1], gateset)
            self._known[key] = found if found.n_decimals == len(decimals) else None
            if len(self._known) > _STRUCTURES_KEPT:
                self._known.popitem(last=False)
        known = self._known[key]
        if known is not None:
            return known, decimals
        return _parse(
            text, gateset, has_slots=False
        ), []  # some "number" stands inside of a string, e.g. a circuit's name


def _known(text: str, structure: Structure, pieces: Cut) -> _Known:
    """Which of the decimal numbers in `pieces` are those that `structure` has slots for."""
    found = decimals(text.encode()) if text.isascii() else None
    is_slot = np.zeros(len(pieces.values), bool)
    if found is not None and structure.n_decimals:
        for match in _VALUES.finditer(text):
            start, end = match.span(1)
            is_slot |= (found.starts >= start) & (found.ends <= end)
    constants = np.flatnonzero(~is_slot)
    return _Known(structure, np.flatnonzero(is_slot), constants, pieces.values[constants])


def _parse(text: str, gateset: str, has_slots: bool = True) -> Structure:
    """The structure of a circuit's JSON object.

    Args:
        has_slots: placeholders are slots; else all numbers are constants.

    Raises:
        Refusal: see `CircuitReader.read`.
    """
    slots: list[_Slot] = []

    def number(written: str) -> _Slot | float:
        if written != _PLACEHOLDER or not has_slots:
            return float(written)
        slots.append(_Slot(len(slots)))
        return slots[-1]

    try:
        circuit = json.loads(text, parse_float=number, parse_constant=refuse_constant)
    except ValueError as error:
        raise bad_request(f"a circuit is not JSON: {error}") from None
    gates = circuit.get("circuit") if isinstance(circuit, dict) else None
    if not isinstance(gates, list):
        raise bad_request(f"a circuit is an object with a list of gates under 'circuit', not {text[:60]!r}")
    builder = _Builder(gateset)
    for place, gate in enumerate(gates):
        builder.add(place, gate)
    try:
        counts = count_gates(gates)
    except CircuitError as error:
        raise bad_request(str(error)) from None
    return builder.structure(counts, len(slots))


def refuse_constant(name: str) -> NoReturn:
    """For ``json.loads(parse_constant=...)``: NaN and Infinity are not JSON.

    Raises:
        Refusal: always.
    """
    raise bad_request(f"{name} is not JSON; numbers are finite")


class _Builder:
    """Checks gates one by one and collects their parameters."""

    def __init__(self, gateset: str) -> None:
        self.gateset = gateset
        self.calls: list[Call] = []
        self.values: list[_Slot | float] = []
        self.factors: list[float] = []

    def add(self, place: int, gate: Any) -> None:
        name = gate.get("gate") if isinstance(gate, dict) else None
        if name not in GATESETS[self.gateset]:
            raise bad_request(self._unknown(place, name))
        try:
            self._add(name, gate)
        except Refusal as error:
            raise bad_request(f"gate {place} ({name}): {error.message}") from None

    def structure(self, counts: GateCounts, n_decimals: int) -> Structure:
        calls = tuple(self.calls)
        return Structure(
            gateset=self.gateset,
            calls=calls,
            n_qubits=1 + max((q for call in calls for q in (*call.targets, *call.controls)), default=0),
            slots=np.array([v.index if isinstance(v, _Slot) else -1 for v in self.values], np.int64),
            constants=np.array([0.0 if isinstance(v, _Slot) else v for v in self.values], np.float64),
            factors=np.array(self.factors, np.float64),
            has_turns=self.gateset == "native",
            counts=counts,
            n_decimals=n_decimals,
        )

    def _unknown(self, place: int, name: Any) -> str:
        other = "native" if self.gateset == "qis" else "qis"
        if name in GATESETS[other]:
            return f"gate {place} ({name}) belongs to the gate set {other!r}, and the job's is {self.gateset!r}; they cannot be mixed"
        known = GATESETS[self.gateset]
        return f"gate {place}: {name!r} is no {self.gateset} gate; nearest valid: {nearest(name, known) or known[0]!r}"

    def _add(self, name: str, gate: Mapping[str, Any]) -> None:
        targets = _qubits(gate, "target", "targets")
        controls = _qubits(gate, "control", "controls")
        wanted = {"swap": 2, "xx": 2, "yy": 2, "zz": 2, "ms": 2, "pauliexp": 0, "nop": 0}.get(name, 1)
        if not targets or (wanted and len(targets) != wanted):
            raise bad_request(f"{len(targets)} targets; nearest valid: {wanted or 1}")
        if len(set(targets + controls)) < len(targets + controls):
            raise bad_request(f"qubits {[*controls, *targets]} name one twice")
        if name == "cnot" and not controls:
            raise bad_request("has no control; nearest valid: one")
        if controls and (self.gateset == "native" or name in ("xx", "yy", "zz", "pauliexp")):
            raise bad_request(f"takes no controls, and has {list(controls)}; nearest valid: none")
        first = len(self.values)
        term = ""
        if name == "pauliexp":
            term = self._exponential(gate, len(targets))
        elif self.gateset == "native":
            self._native(name, gate)
        elif name in ROTATIONS:
            self._parameter("rotation", gate.get("rotation"))
        if name != "nop":
            self.calls.append(Call(name, targets, controls, term, first))

    def _native(self, name: str, gate: Mapping[str, Any]) -> None:
        if name in ("gpi", "gpi2"):
            self._parameter("phase", gate.get("phase"))
        elif name == "ms":
            phases = gate.get("phases")
            if not isinstance(phases, list) or len(phases) != 2:
                raise bad_request(f"phases = {phases!r}; nearest valid: a list of two")
            for phase in phases:
                self._parameter("phases", phase)
            self._parameter("angle", gate.get("angle", _DEFAULT_MS_ANGLE))
        elif name == "zz":  # IonQ's documents say angle, cirq-ionq 1.7.0 sends phase
            self._parameter("angle", gate.get("angle", gate.get("phase")))

    def _exponential(self, gate: Mapping[str, Any], n_targets: int) -> str:
        """Note the parameter of ``exp(-i time coefficient P)``; P with its first letter on the first target (IonQ writes it last)."""
        terms, coefficients = gate.get("terms"), gate.get("coefficients")
        for key, value in (("terms", terms), ("coefficients", coefficients)):
            if not isinstance(value, list) or len(value) != 1:
                raise bad_request(
                    f"{key} = {value!r}; nearest valid: a list of one (the emulator knows no more)"
                )
        assert terms is not None
        assert coefficients is not None
        [term], [coefficient] = terms, coefficients
        if not isinstance(term, str) or len(term) != n_targets or set(term) - set("IXYZ"):
            raise bad_request(
                f"term {term!r}; nearest valid: one letter of I, X, Y, Z for each of {n_targets} targets"
            )
        self.values.append(_number("time", gate.get("time")))
        factor = _number("coefficients", coefficient)
        assert not isinstance(factor, _Slot)  # what stands in a list is no slot of a QIS circuit
        self.factors.append(factor)
        return term[::-1]

    def _parameter(self, key: str, value: Any) -> None:
        self.values.append(_number(key, value))
        self.factors.append(1.0)


def _number(key: str, value: Any) -> _Slot | float:
    if isinstance(value, _Slot):
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise bad_request(f"{key} = {value!r}; nearest valid: a number")
    return float(value)


def _qubits(gate: Mapping[str, Any], one: str, several: str) -> tuple[int, ...]:
    single, many = gate.get(one), gate.get(several)
    if single is not None and many is not None:
        raise bad_request(f"has both {one!r} and {several!r}; nearest valid: {several!r} alone")
    found = many if many is not None else [] if single is None else [single]
    if not isinstance(found, list) or any(
        not isinstance(q, int) or isinstance(q, bool) or q < 0 for q in found
    ):
        raise bad_request(f"{several} = {found!r}; nearest valid: qubits from 0 on")
    return tuple(found)
