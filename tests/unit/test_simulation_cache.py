"""Compiled kernels are shared by every copy of one version of the sources, and by none of another."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest

from actors.simulation import jit


def test_copies_of_the_sources_share_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = set()
    for copy in ("one", "two"):
        source = tmp_path / copy / "forward.py"
        source.parent.mkdir()
        source.touch()
        locator = jit.KernelCacheLocator.from_function(
            test_copies_of_the_sources_share_one_folder, str(source)
        )
        folders.add(locator.get_cache_path())
    [folder] = folders
    assert Path(folder).is_relative_to(tmp_path)
    assert f"{jit.source_digest():x}" in folder


def test_the_users_own_cached_functions_are_left_alone() -> None:
    before = numba.config.CACHE_LOCATOR_CLASSES
    digest = jit.source_digest()

    def function(x: float) -> float:
        return x + digest

    jit.entry_point(function)
    assert before == numba.config.CACHE_LOCATOR_CLASSES
