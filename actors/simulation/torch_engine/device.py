"""Which device computes, how much memory it has left, and how many circuits it takes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from actors.simulation.sizing import available_bytes
from actors.simulation.torch_engine.sizing import circuits_together
from orchestrator.errors import CapabilityError, ConfigError

T = TypeVar("T")

MEMORY_SHARE = 0.5
"""Of the free memory that blocks may take: other actors, and torch's own tensors of the same process, want some too."""
_LITTLE = 2**26
"""Bytes that are taken without asking how many are free, which takes some tenths of a millisecond; running out is met all the same."""


def find_device(name: str) -> torch.device:
    """The device that ``backend.device`` names; "auto" is CUDA where this process sees it.

    Raises:
        ConfigError: it is not there; the text names what is.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if count and name in ("cuda", *(f"cuda:{index}" for index in range(count))):
        return torch.device(name)
    nearest_valid = f"cuda:{count - 1}" if count else "cpu"
    seen = f"{count} CUDA devices" if count != 1 else "1 CUDA device"
    why = f"this process sees {seen if count else 'no CUDA device'} (torch {torch.__version__})"
    raise ConfigError("backend.device", name, f"{why}; nearest valid: {nearest_valid}", nearest_valid)


def wake(device: torch.device) -> torch.device:
    """Begin the process's context on `device`, which the first tensor there would otherwise wait for.

    Returns:
        The device with its number, for all tensors of a session: "cuda" alone is whichever the process has made its current one by then.

    Raises:
        ConfigError: it is seen and does not compute: it is another process's alone, has no memory left for a context, or is of a kind
            that this build of torch has no kernels for.
    """
    try:
        seen = torch.zeros(1, device=device)
        (seen + 1).item()  # waits, so that what a kernel meets is told here
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        why = f"it is there, but computing on it fails ({first_line}; torch {torch.__version__}); nearest valid: cpu"
        raise ConfigError("backend.device", str(device), why, "cpu") from error
    return seen.device


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Within, torch has so many threads and records no gradients; afterwards it is as it was, for the user's own tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def free_bytes(device: torch.device) -> int:
    """Memory that tensors on `device` can still take."""
    if device.type != "cuda":
        return available_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # of torch's own pool
    return int(free + kept)


def _ran_out(error: RuntimeError) -> bool:
    """Whether memory did: that of torch's own pool; the driver's, which wants some for its kernels; or the processor's, whose error has no
    type of its own."""
    words = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(one in str(error) for one in words)


class Blocks:
    """How many circuits a block holds: what suits the device, unless there is less memory; half as many after it ran out.

    Args:
        device: where they are held.
        n_qubits: of the circuits.
    """

    def __init__(self, device: torch.device, n_qubits: int) -> None:
        self._device = device
        self._n_qubits = n_qubits
        self._most = circuits_together(n_qubits, device.type)

    def lanes(self, bytes_each: int, what: str) -> int:
        """For circuits that take `bytes_each`.

        Raises:
            CapabilityError: not even one fits.
        """
        if self._most * bytes_each <= _LITTLE:
            return self._most
        available = free_bytes(self._device)
        if bytes_each > available:
            raise self._too_large(
                what, f"{bytes_each / 2**20:,.0f} MiB", f"{available / 2**20:,.0f} MiB is free"
            )
        return max(min(self._most, int(MEMORY_SHARE * available) // bytes_each), 1)

    def run(self, work: Callable[[int], T], bytes_each: int, what: str) -> T:
        """``work(lanes)``, begun again with half as many lanes whenever the device's memory runs out.

        Another process may take memory between asking for it and using it. The bits of the answer do not depend on the lanes.

        Raises:
            CapabilityError: one lane does not fit.
        """
        while True:
            lanes = self.lanes(bytes_each, what)
            try:
                return work(lanes)
            except RuntimeError as error:
                if not _ran_out(error):
                    raise
                if lanes == 1:
                    words = f"{bytes_each / 2**20:,.0f} MiB", "that could not be had"
                    raise self._too_large(what, *words) from error
            self._most = lanes // 2
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _too_large(self, what: str, needed: str, found: str) -> CapabilityError:
        return CapabilityError(
            f"{what} of {self._n_qubits} qubits needs {needed} on {self._device}, and {found}; use fewer qubits, "
            "backend.precision = 'single' or a device with more memory"
        )
