"""CircuitCache: circuit key -> the registered circuit and its compiled program; bounded, the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.circuits.measured import MeasuredCircuit


@dataclass(frozen=True)
class CacheStats:
    """Counts since the cache was made. A lookup of a circuit that is not registered counts as neither."""

    n_entries: int
    hits: int
    lookups: int
    evictions: int


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """A registered circuit, and its program once somebody asked for it."""

    circuit: MeasuredCircuit
    program: Any = None
    is_compiled: bool = False
    compiling: threading.Lock = field(default_factory=threading.Lock, repr=False)


class CircuitCache:
    """Remembers compiled circuits, so that a structure is compiled once and run many times. Any thread may use it.

    Args:
        max_entries: circuits kept. One that falls out is forgotten whole, circuit and program, and must be registered again.
    """

    def __init__(self, max_entries: int = 128) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries = {max_entries}: a cache holds at least one circuit")
        self._max_entries = max_entries
        self._lock = threading.Lock()  # of all that follows; never held while something compiles
        self._entries: OrderedDict[str, CacheEntry] = OrderedDict()
        self._hits = 0
        self._lookups = 0
        self._evictions = 0

    def add(self, circuit: MeasuredCircuit) -> None:
        """Register `circuit`; one that is known already keeps its program."""
        with self._lock:
            if circuit.key not in self._entries:
                self._entries[circuit.key] = CacheEntry(circuit)
            self._entries.move_to_end(circuit.key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
                self._evictions += 1

    def lookup(self, key: str, compile_circuit: Callable[[MeasuredCircuit], Any]) -> tuple[CacheEntry, bool]:
        """The entry of `key`, compiled now if it is not yet, and whether it was a hit.

        Threads that ask for a circuit while another compiles it wait for that, and hit; other circuits are not held up.

        Raises:
            KeyError: no circuit is registered under `key`.
        """
        with self._lock:
            entry = self._entries[key]
            self._entries.move_to_end(key)
            self._lookups += 1
            if entry.is_compiled:
                self._hits += 1
                return entry, True
        with entry.compiling:
            with self._lock:
                newest = self._entries.get(key, entry)
                if newest.is_compiled:
                    self._hits += 1
                    return newest, True
            # Stored only when compiling succeeded: a failure is met again, not remembered as a program.
            entry = replace(entry, program=compile_circuit(entry.circuit), is_compiled=True)
            with self._lock:
                if key in self._entries:
                    self._entries[key] = entry
            return entry, False

    @property
    def stats(self) -> CacheStats:
        """Counts so far."""
        return CacheStats(len(self._entries), self._hits, self._lookups, self._evictions)
