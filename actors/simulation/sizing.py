"""How many circuits go into a block, and whether the states fit into memory at all."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import CapabilityError

BLOCK_AMPLITUDES = 2**14
"""Amplitudes of a block: 256 KB in double precision, half of a common core's L2 cache."""
MIN_WIDTH, MAX_WIDTH = 8, 256
"""Fewer lanes than a vector register or two waste it, also where that overflows the cache; more gain nothing."""
BYTES_PER_AMPLITUDE = 16
FORWARD_BLOCKS = 3
"""Undisplaced states, displaced states, and a target for permutations."""
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def cache_width(n_qubits: int) -> int:
    """Lanes of a block that suits the cache."""
    return min(max(BLOCK_AMPLITUDES >> n_qubits, MIN_WIDTH), MAX_WIDTH)


def forward_width(n_qubits: int, n_circuits: int, table_bytes: int) -> int:
    """Lanes for a job of `n_circuits`: what suits the cache, unless there are fewer circuits or less memory.

    Raises:
        CapabilityError: not even one lane fits.
    """
    width = min(cache_width(n_qubits), max(n_circuits, 1))
    return _fit(n_qubits, width, FORWARD_BLOCKS, table_bytes)


def adjoint_width(n_qubits: int) -> int:
    """Lanes for derivatives: fixed per number of qubits, because the order of a lane's sums depends on it.

    Half of `cache_width` (two blocks are read together), and one lane from 20 qubits on.
    """
    return max(BLOCK_AMPLITUDES // 2 >> n_qubits, min(MIN_WIDTH, max(2**20 >> n_qubits, 1))) if n_qubits > 6 else MAX_WIDTH // 2


def adjoint_together(n_qubits: int, n_paulis: int, table_bytes: int) -> int:
    """How many strings share one reverse sweep: as many as a third of the memory available holds, at least one.

    Raises:
        CapabilityError: not even one fits.
    """
    width = adjoint_width(n_qubits)
    _fit(n_qubits, width, 3, table_bytes, may_shrink=False)
    spare = available_bytes() // 3 // block_bytes(n_qubits, width) - 2
    return int(min(max(spare, 1), n_paulis))


def block_bytes(n_qubits: int, width: int) -> int:
    """Memory of one block of `width` states."""
    return (BYTES_PER_AMPLITUDE * width) << n_qubits


def check_fits(n_qubits: int, what: str, n_bytes: int) -> None:
    """Refuse to allocate `n_bytes` when less is available.

    Raises:
        CapabilityError: with the two figures.
    """
    available = available_bytes()
    if n_bytes > available:
        raise CapabilityError(
            f"{what} of {n_qubits} qubits needs {_in_words(n_bytes)} of memory and {_in_words(available)} is available; use fewer "
            "qubits or a larger machine"
        )


def _fit(n_qubits: int, width: int, n_blocks: int, table_bytes: int, may_shrink: bool = True) -> int:
    while may_shrink and width > 1 and n_blocks * block_bytes(n_qubits, width) + table_bytes > available_bytes() // 2:
        width //= 2
    check_fits(n_qubits, "simulating a circuit", n_blocks * block_bytes(n_qubits, width))
    return width


def available_bytes() -> int:
    """Memory that this process can still take: the machine's, or its container's if that is less."""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**33
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for limit_file, usage_file in _CGROUP_FILES:
        limit, usage = _read(limit_file).strip(), _read(usage_file).strip()
        if limit.isdigit() and usage.isdigit():
            available = min(available, max(int(limit) - int(usage), 0))
    return available


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _in_words(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
