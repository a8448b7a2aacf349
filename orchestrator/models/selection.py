"""Parameters named by people: by number, name, range, layer, or part of the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import ConfigError, nearest

_LAYER = re.compile(r"layer(-?\d+)")


@dataclass(frozen=True)
class ParamNames:
    """What the parameters of a model can be called.

    Attributes:
        circuit: names of the circuit's parameters, in order.
        layers: where each layer's parameters begin, and the end of the last; empty where there are no layers.
        n_head: parameters of the head, which follow the circuit's and are called ``head0``, ``head1`` ...
    """

    circuit: tuple[str, ...]
    layers: tuple[int, ...]
    n_head: int

    @property
    def all(self) -> tuple[str, ...]:
        """The name of every parameter."""
        return (*self.circuit, *(f"head{i}" for i in range(self.n_head)))

    def select(self, key: str, entries: Sequence[int | str]) -> np.ndarray:
        """The parameters that `entries` name, int64, ascending.

        An entry is a number, a name (``p7``), a range of names (``p3..p9``, both ends included), a layer (``layer0``; ``layer-1`` is
        the last), ``circuit`` or ``head``.

        Raises:
            ConfigError: of the configuration's `key`: an entry names nothing.
        """
        return np.unique(np.array([i for entry in entries for i in self._of(key, entry)], np.int64))

    def _of(self, key: str, entry: int | str) -> range:
        names, n_circuit = self.all, len(self.circuit)
        if not isinstance(entry, str):
            entry = int(entry)  # numpy's integers too
            if not 0 <= entry < len(names):
                problem = f"the model's parameters are 0 to {len(names) - 1}"
                raise ConfigError(key, entry, problem, str(len(names) - 1))
            return range(entry, entry + 1)
        first, dots, last = entry.partition("..")
        if dots and first in names and last in names and names.index(first) <= names.index(last):
            return range(names.index(first), names.index(last) + 1)
        if entry in names:
            return range(names.index(entry), names.index(entry) + 1)
        if entry in ("circuit", "head"):
            return range(n_circuit) if entry == "circuit" else range(n_circuit, len(names))
        layer, n_layers = _LAYER.fullmatch(entry), max(len(self.layers) - 1, 0)
        if layer is not None and -n_layers <= int(layer[1]) < n_layers:
            number = int(layer[1]) % n_layers
            return range(self.layers[number], self.layers[number + 1])
        known = [*(f"layer{i}" for i in range(n_layers)), "circuit", "head"]
        first_name = names[0] if names else "p0"
        problem = f"names no parameter; known: {', '.join(known)}, numbers, names such as {first_name!r}, ranges such as 'p0..p5'"
        raise ConfigError(key, entry, problem, nearest(entry, [*known, *names]))
