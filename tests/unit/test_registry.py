"""Registries: names and ``module:attribute`` paths resolve, anything else is refused with a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError, UnknownNameError
from orchestrator.registry import REGISTRIES, check_name, import_path, resolve


@pytest.mark.parametrize("kind", REGISTRIES)
def test_unknown_name_is_refused_with_all_choices(kind: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve(kind, "no-such-thing")
    for name in REGISTRIES[kind]:
        assert name in str(caught.value)
    assert kind in str(caught.value)


def test_nearest_name_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'three_rotation'"):
        check_name("ansatz", "tree_rotation")


def test_own_part_by_path() -> None:
    assert resolve("ansatz", "collections:OrderedDict").__name__ == "OrderedDict"


@pytest.mark.parametrize(
    "path", ["no_such_module:x", "math:no_such_thing", "this_is no module:x", ":x", "math:", "math"]
)
def test_path_that_does_not_load(path: str) -> None:
    with pytest.raises(InputError, match="cannot load"):
        import_path(path)


def test_checking_a_path_imports_nothing() -> None:
    check_name("ansatz", "no_such_module:x")


@pytest.mark.parametrize("kind", REGISTRIES)
def test_entries_are_literal_paths(kind: str) -> None:
    for name, path in REGISTRIES[kind].items():
        module, colon, attribute = path.partition(":")
        assert colon
        assert module
        assert attribute.isidentifier()
        assert name == name.lower()


@pytest.mark.parametrize("text", ["raise RuntimeError('boom')", "def ("])
def test_module_that_raises_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=rf"cannot load '{name}:x': (RuntimeError: boom|SyntaxError)"):
        import_path(f"{name}:x")
