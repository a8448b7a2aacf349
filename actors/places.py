"""Places: workers in the order in which they are to be used, the least key first; of one key, the one that joined first.

So a few jobs always go to the same few workers, which know their circuits. Keys are few (speeds are rounded to classes), and most of the
order is that of small whole numbers.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Places(Generic[T]):
    """Entries by key and number. One that is out of date is for the caller to drop when it meets it."""

    def __init__(self) -> None:
        self._by_key: dict[float, list[tuple[int, T]]] = {}  # heaps
        self._keys: list[float] = []  # a heap, of the keys that have entries

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, key: float, number: int, entry: T) -> None:
        """Add `entry`; those of one number are the same."""
        entries = self._by_key.get(key)
        if entries is None:
            self._by_key[key] = [(number, entry)]
            heapq.heappush(self._keys, key)
        else:
            heapq.heappush(entries, (number, entry))

    def first(self) -> T:
        """The first entry. There must be one."""
        return self._by_key[self._keys[0]][0][1]

    def take(self) -> tuple[float, int, T]:
        """Take the first entry out, with its key and number. There must be one."""
        key = self._keys[0]
        entries = self._by_key[key]
        number, entry = heapq.heappop(entries)
        if not entries:
            del self._by_key[key]
            heapq.heappop(self._keys)
        return key, number, entry

    def rekey(self, key_of: Callable[[float, T], float]) -> None:
        """Give every entry another key, by its old one and itself."""
        old, self._by_key, self._keys = self._by_key, {}, []
        for key, entries in old.items():
            for number, entry in entries:
                self.add(key_of(key, entry), number, entry)
