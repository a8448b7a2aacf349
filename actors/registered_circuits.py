"""Circuits by their keys within a bound, the least recently used going first; and what one side knows of the other's by the same rule."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job

MAX_CIRCUITS = 4096
"""Circuits that a dispatcher keeps beside those of jobs under way."""


class RegisteredCircuits:
    """Registered circuits, by key; the least recently used goes first."""

    def __init__(self, max_circuits: int = MAX_CIRCUITS) -> None:
        self._max_circuits = max_circuits
        self._circuits: OrderedDict[str, MeasuredCircuit] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._circuits

    def __iter__(self) -> Iterator[str]:
        return iter(self._circuits)

    def __len__(self) -> int:
        return len(self._circuits)

    def add(self, circuit: MeasuredCircuit) -> None:
        """Keep `circuit`, or keep it for longer."""
        self._circuits.setdefault(circuit.key, circuit)
        self._circuits.move_to_end(circuit.key)
        while len(self._circuits) > self._max_circuits:
            self.forget(next(iter(self._circuits)))

    def get(self, key: str) -> MeasuredCircuit:
        """The circuit; KeyError if it is not kept."""
        self._circuits.move_to_end(key)
        return self._circuits[key]

    def of(self, jobs: Iterable[Job]) -> dict[str, MeasuredCircuit]:
        """Those that `jobs` name, for who needs them however many are registered meanwhile; KeyError if one is not kept."""
        return {key: self.get(key) for key in dict.fromkeys(job.circuit_key for job in jobs)}

    def forget(self, key: str) -> None:
        """Nobody asks for this circuit any more."""
        self._circuits.pop(key, None)


class KnownCircuits:
    """Keys of the circuits that another process keeps, as far as it is known here: the same rules, applied in the order of sending."""

    def __init__(self, max_circuits: int) -> None:
        self._max_circuits = max_circuits
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def note(self, key: str) -> bool:
        """A job of this circuit is sent: True if the circuit must go along."""
        is_new = key not in self._keys
        self._keys[key] = None
        self._keys.move_to_end(key)
        while len(self._keys) > self._max_circuits:
            self._keys.popitem(last=False)
        return is_new

    def discard(self, key: str) -> None:
        """The other side says that it does not know it."""
        self._keys.pop(key, None)
