"""How the kernels are compiled: one set of options, an explicit fused multiply-add, and a disk cache that knows all sources."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core import types as numba_types
from numba.extending import intrinsic


@intrinsic
def fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    """``a * b + c`` rounded once (LLVM's llvm.fma).

    Written out rather than left to the compiler's "contract" flag, which may fuse a vector loop and its scalar remainder
    differently: with the fusing explicit, a result has the same bits whichever loop computed it.
    """
    signature = numba_types.float64(numba_types.float64, numba_types.float64, numba_types.float64)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fma(*arguments)

    return signature, generate


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` as a part of the entry points that call it (not cached by itself)."""
    return numba.njit(function, nogil=True, error_model="numpy")


def inlined(function: Callable[..., Any]) -> Any:
    """As `kernel`, for the outer loops: pasted into the caller before compilation.

    Each level of calls makes LLVM optimise everything below it once more, seconds for the outer ones.
    """
    return numba.njit(function, nogil=True, error_model="numpy", inline="always")


@functools.cache
def source_digest() -> int:
    """A digest (63 bits) of every source file of this package."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return int.from_bytes(digest.digest()) >> 1


class KernelCacheLocator(caching.UserWideCacheLocator):
    """A folder of the user's cache named by the digest of the sources: every copy of one version shares its compiled kernels.

    A job that Ray starts runs in a fresh copy of the working directory, and a new clone is another folder: beside the sources,
    where numba would put them, the kernels would be compiled for each anew, some twenty seconds each time.
    """

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        beside = Path(super().get_cache_path())
        self._cache_path: str = str(beside.parent / f"qfleet-{source_digest():016x}")


_LOCATORS = f"UserProvidedCacheLocator,{__name__}.KernelCacheLocator,InTreeCacheLocator"
"""NUMBA_CACHE_DIR if it is set, else our folder, else beside the sources."""


def entry_point(function: Callable[..., Any]) -> Any:
    """Compile `function`, which must close over one variable holding `source_digest()`, and cache the result on disk.

    numba checks only the file that defines a cached function, not the kernels compiled into it from other files, and would run
    stale machine code after an edit or an update of those. It does hash the values a function closes over, so closing over the
    digest of all sources makes every change of any of them a new cache entry. Files are renamed into place, so processes may race.
    """
    if not function.__closure__ or source_digest() not in [
        cell.cell_contents for cell in function.__closure__
    ]:
        raise TypeError(f"{function.__name__} must close over source_digest()")
    others = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = _LOCATORS  # read when the decorator is applied
    try:
        return numba.njit(function, nogil=True, error_model="numpy", cache=True)
    except RuntimeError:  # "no locator available": no folder is writable, so this process compiles for itself
        return numba.njit(function, nogil=True, error_model="numpy")
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = others
