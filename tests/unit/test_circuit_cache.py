"""The circuit cache: compiled once, bounded, least recently used first out, counted."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.circuit_cache import CacheStats, CircuitCache
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate


def circuit(name: str) -> MeasuredCircuit:
    return MeasuredCircuit(CircuitTemplate(1, 0, (), name), ("Z",))


class Compiler:
    """Counts what it compiles."""

    def __init__(self) -> None:
        self.compiled: list[str] = []

    def __call__(self, circuit: MeasuredCircuit) -> str:
        self.compiled.append(circuit.template.circuit_json)
        return f"program of {circuit.template.circuit_json}"


def test_a_circuit_is_compiled_once():
    cache, compiler, a = CircuitCache(), Compiler(), circuit("a")
    cache.add(a)
    for is_hit in (False, True, True):
        entry, found = cache.lookup(a.key, compiler)
        assert found is is_hit
        assert entry.program == "program of a"
        assert entry.circuit is a
        cache.add(circuit("a"))  # registering again keeps the program
    assert compiler.compiled == ["a"]
    assert cache.stats == CacheStats(n_entries=1, hits=2, lookups=3, evictions=0)


def test_the_least_recently_used_circuit_is_forgotten():
    cache, compiler = CircuitCache(max_entries=2), Compiler()
    a, b, c = map(circuit, "abc")
    cache.add(a)
    cache.add(b)
    cache.lookup(a.key, compiler)
    cache.add(c)
    with pytest.raises(KeyError):
        cache.lookup(b.key, compiler)
    assert cache.lookup(a.key, compiler)[1]
    assert cache.stats == CacheStats(n_entries=2, hits=1, lookups=2, evictions=1)


def test_a_failed_compilation_is_met_again_and_not_remembered():
    cache, a = CircuitCache(), circuit("a")
    cache.add(a)

    def fail(circuit: MeasuredCircuit) -> str:
        raise OSError("no compiler")

    with pytest.raises(OSError, match="no compiler"):
        cache.lookup(a.key, fail)
    entry, is_hit = cache.lookup(a.key, Compiler())
    assert (entry.program, is_hit) == ("program of a", False)


def test_none_is_a_program_like_any_other():
    cache, a = CircuitCache(), circuit("a")
    cache.add(a)
    cache.lookup(a.key, lambda circuit: None)
    assert cache.lookup(a.key, lambda circuit: None)[1]


def test_what_is_handed_out_cannot_be_changed():
    cache, a = CircuitCache(), circuit("a")
    cache.add(a)
    entry, _ = cache.lookup(a.key, Compiler())
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.program = "another"  # type: ignore[misc]


def test_a_cache_holds_at_least_one_circuit():
    with pytest.raises(ValueError, match="max_entries = 0"):
        CircuitCache(0)


def test_threads_that_want_one_circuit_compile_it_once():
    cache, compiler, a = CircuitCache(), Compiler(), circuit("a")
    cache.add(a)
    start = threading.Barrier(8)

    def look(_: int) -> bool:
        start.wait()
        entry, is_hit = cache.lookup(a.key, compiler)
        assert entry.program == "program of a"
        return is_hit

    with ThreadPoolExecutor(8) as pool:
        hits = list(pool.map(look, range(8)))
    assert compiler.compiled == ["a"]
    assert hits.count(False) == 1
    assert cache.stats == CacheStats(n_entries=1, hits=7, lookups=8, evictions=0)


def test_a_slow_compilation_holds_up_no_other_circuit():
    cache, a, b = CircuitCache(max_entries=1), circuit("a"), circuit("b")
    cache.add(a)
    begun, may_end = threading.Event(), threading.Event()

    def slow(circuit: MeasuredCircuit) -> str:
        begun.set()
        assert may_end.wait(10)
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(cache.lookup, a.key, slow)
        assert begun.wait(10)
        cache.add(b)  # a falls out while it is compiled
        assert cache.lookup(b.key, Compiler())[0].program == "program of b"
        may_end.set()
        assert looking.result()[0].program == "slow"
    with pytest.raises(KeyError):
        cache.lookup(a.key, slow)
