"""How the kernels are compiled: one set of options, and a disk cache that knows all sources."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numba.np.linalg
from numba.core import caching
from numba.core import types as numba_types
from numba.extending import typeof_impl

from actors.simulation.vectors import fma as fma


def _load_array_functions() -> None:
    """Load numba's array functions without scipy, which takes 0.15 s: half of the time from opening a session to its first result.

    On loading, they ask whether scipy has BLAS, and import all of `scipy.linalg` to find out. No kernel calls BLAS; functions that
    do, of other libraries in this process, ask again when they are compiled.
    """
    ask = numba.np.linalg.ensure_blas
    numba.np.linalg.ensure_blas = lambda: None
    try:
        from numba.np import arraymath
    finally:
        numba.np.linalg.ensure_blas = ask
    arraymath.ensure_blas = ask


_load_array_functions()


class Kernel:
    """A compiled function that only compiled code may call: it has no entry from Python, which saves an eighth of the compile time."""

    def __init__(self, function: Callable[..., Any], **options: bool) -> None:
        self.dispatcher = numba.njit(
            function,
            nogil=True,
            error_model="numpy",
            _nrt=False,
            no_cpython_wrapper=True,
            no_cfunc_wrapper=True,
            **options,
        )

    def __call__(self, *arguments: object) -> None:
        """Refused: there is nothing that Python could call.

        Raises:
            TypeError: always.
        """
        name = self.dispatcher.py_func.__name__
        raise TypeError(
            f"{name} is a kernel, for compiled code alone; from Python: numba.njit(lambda *a: {name}(*a))"
        )


@typeof_impl.register(Kernel)
def _type_of_kernel(value: Kernel, context: object) -> numba_types.Dispatcher:
    return numba_types.Dispatcher(value.dispatcher)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` as a part of the entry points that call it (not cached by itself). It may not allocate arrays.

    So no references to arrays are counted in it, which would cost more than a short loop does, and take longer to compile.
    """
    return Kernel(function)


def allocating(function: Callable[..., Any]) -> Any:
    """As `kernel`, for functions that allocate arrays."""
    return numba.njit(function, nogil=True, error_model="numpy")


def short_loop(function: Callable[..., Any]) -> Any:
    """As `kernel`, for a loop so short that calling it would cost as much."""
    return Kernel(function, forceinline=True)


def inlined(function: Callable[..., Any]) -> Any:
    """As `kernel`, for the outer loops: pasted into the caller before compilation.

    Each level of calls makes LLVM optimise everything below it once more, seconds for the outer ones.
    """
    return numba.njit(function, nogil=True, error_model="numpy", inline="always")


@functools.cache
def source_digest() -> int:
    """A digest (63 bits) of every source file of this package, without `torch_engine`: its entry point has only kernels of other rooms."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.parent.name != "torch_engine":
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


def entry_point(function: Callable[..., Any], allocates: bool = True) -> Any:
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
        return numba.njit(function, nogil=True, error_model="numpy", cache=True, _nrt=allocates)
    except RuntimeError:  # "no locator available": no folder is writable, so this process compiles for itself
        return numba.njit(function, nogil=True, error_model="numpy", _nrt=allocates)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = others


def cache_folder(function: Any) -> Path | None:
    """Where an entry point's compiled code is kept; None if nowhere."""
    path = getattr(function._cache, "cache_path", None)
    return None if path is None else Path(path)


def is_cached(function: Any) -> bool:
    """Whether some specialisation of an entry point is on disk already, compiled by this version of numba from these sources."""
    file = getattr(function._cache, "_cache_file", None)
    return file is not None and bool(file._load_index())
