"""The circuits that a fleet knows, and those of them that are in Ray's store. All bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from actors.registered_circuits import MAX_CIRCUITS, RegisteredCircuits
from orchestrator.circuits.measured import MeasuredCircuit

MAX_IN_STORE = 256
"""Of a fleet's circuits, those in Ray's store; another is put there anew when it is sent to an actor, which takes 2 ms."""


class CircuitStore(RegisteredCircuits):
    """Registered circuits, by key; the least recently used goes first.

    Args:
        put: puts a circuit into Ray's store; returns its reference.
    """

    def __init__(
        self,
        put: Callable[[MeasuredCircuit], Any],
        max_circuits: int = MAX_CIRCUITS,
        max_in_store: int = MAX_IN_STORE,
    ) -> None:
        super().__init__(max_circuits)
        self._put = put
        self._max_in_store = max_in_store
        self._references: OrderedDict[str, Any] = OrderedDict()

    @property
    def n_in_store(self) -> int:
        """Circuits that Ray's store holds for this fleet."""
        return len(self._references)

    def reference(self, circuit: MeasuredCircuit) -> Any:
        """Ray's reference of `circuit`, put into the store now if it is not there."""
        if circuit.key not in self._references:
            self._references[circuit.key] = self._put(circuit)
        self._references.move_to_end(circuit.key)
        while len(self._references) > self._max_in_store:
            self._references.popitem(last=False)
        return self._references[circuit.key]

    def forget_reference(self, key: str) -> None:
        """What is in the store may be lost: put it there anew next time."""
        self._references.pop(key, None)

    def forget(self, key: str) -> None:
        """Nobody asks for this circuit any more."""
        super().forget(key)
        self.forget_reference(key)
