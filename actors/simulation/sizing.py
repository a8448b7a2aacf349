"""How many circuits go into a block, and whether the states fit into memory at all."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import CapabilityError

BLOCK_AMPLITUDES = 2**14
"""Amplitudes of a block: 256 KB in double precision, half of a common core's L2 cache."""
MIN_WIDTH, MAX_WIDTH = 8, 256
"""Fewer lanes than fill a vector register or two waste it, even where that overflows the cache; more gain nothing."""
BLOCK_LANES = 4
"""Lanes that gates of several qubits want: those of a single state that act on neighbouring rows fill no vector register."""
FORWARD_AMPLITUDES, REVERSE_AMPLITUDES = 2**16, 2**18
"""Larger blocks (1 and 4 MB) are slower than fewer lanes are: from 16 qubits on, or 18 for derivatives, states are computed one at a time.
The difference is in the derivatives' inner products, which want lanes as gates of several qubits do."""
SMALL_BYTES = 2**26
"""Not worth asking the system about."""
BYTES_PER_AMPLITUDE = 16
BYTES_PER_COMPONENT = 8
BLOCK_COMPONENTS = 2**17
"""Pauli components of a block of density matrices: 1 MB, the half of what three blocks leave of a large L2 cache."""
FORWARD_BLOCKS = 3
"""Undisplaced states, displaced states, and a target for permutations."""
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def forward_width(n_qubits: int, n_circuits: int, least: int = 1) -> int:
    """Lanes for a job of `n_circuits`: what suits the cache, unless there are fewer circuits or less memory.

    Args:
        least: lanes below which the kernels in question are slow, whatever the cache says.

    Raises:
        CapabilityError: not even one lane fits.
    """
    suited = max(BLOCK_AMPLITUDES >> n_qubits, _least_width(n_qubits, FORWARD_AMPLITUDES), least)
    width = min(suited, MAX_WIDTH, max(n_circuits, 1))
    while width > 1 and not is_affordable(FORWARD_BLOCKS * block_bytes(n_qubits, width)):
        width //= 2
    check_fits(n_qubits, "simulating a circuit", FORWARD_BLOCKS * block_bytes(n_qubits, width))
    return width


def density_matrix_width(n_qubits: int, n_circuits: int) -> int:
    """As `forward_width`, for density matrices of 4**n real components.

    Raises:
        CapabilityError: not even one lane fits.
    """
    one = FORWARD_BLOCKS * BYTES_PER_COMPONENT << 2 * n_qubits
    width = min(max(BLOCK_COMPONENTS >> 2 * n_qubits, MIN_WIDTH), MAX_WIDTH, max(n_circuits, 1))
    while width > 1 and not is_affordable(width * one):
        width //= 2
    check_fits(n_qubits, "a density matrix", width * one)
    return width


def adjoint_width(n_qubits: int) -> int:
    """Lanes for derivatives: a function of the number of qubits alone, because the order of a lane's sums depends on it.

    Half as many as forward, because the inner products read two blocks together.
    """
    return min(
        max(BLOCK_AMPLITUDES // 2 >> n_qubits, _least_width(n_qubits, REVERSE_AMPLITUDES)), MAX_WIDTH // 2
    )


def adjoint_together(n_qubits: int, n_paulis: int) -> int:
    """How many of `n_paulis` strings share one reverse sweep: all, or as many as memory holds.

    Raises:
        CapabilityError: not even one fits.
    """
    one = block_bytes(n_qubits, adjoint_width(n_qubits))
    check_fits(n_qubits, "differentiating a circuit", 3 * one)
    together = n_paulis
    while together > 1 and not is_affordable((2 + together) * one):
        together = (together + 1) // 2
    return together


def _least_width(n_qubits: int, amplitudes: int) -> int:
    return min(MIN_WIDTH, max(amplitudes >> n_qubits, 1))


def is_affordable(n_bytes: int) -> bool:
    """Small, or at most a third of what is available."""
    return n_bytes <= SMALL_BYTES or n_bytes <= available_bytes() // 3


def block_bytes(n_qubits: int, width: int) -> int:
    """Memory of one block of `width` states."""
    return (BYTES_PER_AMPLITUDE * width) << n_qubits


def check_fits(n_qubits: int, what: str, n_bytes: int) -> None:
    """Refuse to allocate `n_bytes` when less is available.

    Raises:
        CapabilityError: with the two figures.
    """
    if n_bytes <= SMALL_BYTES:
        return
    available = available_bytes()
    if n_bytes > available:
        raise CapabilityError(
            f"{what} of {n_qubits} qubits needs {_in_words(n_bytes)} of memory and {_in_words(available)} is available; use fewer "
            "qubits or a larger machine"
        )


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
