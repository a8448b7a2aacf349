"""``qfleet examples``: what is in a store of training examples, what is added to it, and what a task gets out of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import ConfigError, InputError
from pipelines.data.files import Columns, read_columns
from pipelines.display.formatting import format_count, format_percent, format_value
from pipelines.example_store.definition import about
from pipelines.example_store.selection import Selection
from pipelines.example_store.store import ExampleStore
from pipelines.report import print_sections

_SHOWN_VERSIONS = 10


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line says. Returns what ``--json`` prints."""
    actions: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "add": _add,
        "select": _select,
        "set-weight": _set_weight,
        "remove": _remove,
        "compact": _compact,
        "show": _show,
        "contexts": _contexts,
        "weights": _contexts,
    }
    return actions[options.action](options)


def _add(options: argparse.Namespace) -> dict[str, Any]:
    store = ExampleStore.open(options.store)
    wanted = _contexts_of(options.context)
    columns = _feature_columns(options, [each for each in wanted.values() if isinstance(each, str)])
    contexts = {
        name: given if isinstance(given, float) else _numbers(options.file, given, columns)
        for name, given in wanted.items()
    }
    vectors = options.vectors
    if vectors is None:
        vectors = store.definition.columns.embedding if store.version else "features"
    added = store.add(
        columns.features,
        columns.target,
        None if options.id is None else _column(options.file, options.id, columns),
        contexts=contexts,
        vectors=None if vectors == "features" else vectors,
        metadata={name: _column(options.file, name, columns) for name in options.metadata},
        feature_names=columns.feature_names,
        target_name=columns.target_name,
    )
    figures = {
        "store": str(store.path),
        "version": added.version,
        "inserted": added.inserted,
        "updated": added.updated,
        "unchanged": added.unchanged,
        "contexts": sorted(contexts),
    }
    rows = {"examples": f"{added.inserted} new, {added.updated} changed, {added.unchanged} as they were"}
    rows |= {"tasks": ", ".join(sorted(contexts)) or "none named", "version": str(added.version)}
    print_sections(f"{store.path}: examples of {options.file}", {"Added": rows}, to_stdout=not options.json)
    return figures


def _select(options: argparse.Namespace) -> dict[str, Any]:
    store = ExampleStore.open(options.store, as_of=options.as_of)
    chosen = store.select(
        options.context,
        near=None if options.near is None else _near(store, options.near),
        k=options.k,
        where=options.where,
        min_weight=options.min_weight,
        weighted=not options.ranked,
        metric=options.metric,
        pool=options.pool,
        seed=options.seed,
    )
    figures = chosen.to_json()
    footer = []
    if options.output is not None:
        figures["output"] = str(chosen.write(options.output, with_weights=options.with_weights))
        footer = [
            f"file     {options.output}",
            f'train    data.path = "{options.output}", data.target = "{chosen.target_name}"',
        ]
    print_sections(f"{store.path}: examples for {options.context}", _chosen(chosen, figures, options), footer,
                   to_stdout=not options.json)  # fmt: skip
    return figures


def _chosen(
    chosen: Selection, figures: dict[str, Any], options: argparse.Namespace
) -> dict[str, dict[str, str]]:
    short = (
        ""
        if options.k is None or len(chosen.ids) == options.k
        else f" of the {options.k} asked for: there are no more"
    )
    rows = {
        "candidates": f"{chosen.n_candidates} pass the filter",
        "chosen": f"{len(chosen.ids)}{short}, {chosen.how}",
        "by target": ", ".join(f"{name} {count}" for name, count in figures["by_target"].items()),
        "weights": f"{chosen.weights.min():.3g} to {chosen.weights.max():.3g}, worth {figures['effective_examples']:.1f} equal ones",
        "version": str(chosen.version),
    }
    if len(figures["by_target"]) > 20:
        rows["by target"] = (
            f"{format_value(float(min(chosen.targets)))} to {format_value(float(max(chosen.targets)))}"
        )
    if chosen.distances is not None:
        rows["distances"] = f"{chosen.distances.min():.3g} to {chosen.distances.max():.3g} ({options.metric})"
    return {"Selection": rows}


def _set_weight(options: argparse.Namespace) -> dict[str, Any]:
    store = ExampleStore.open(options.store)
    version = store.set_weight(options.context, options.id, options.weight)
    return _changed(
        options, version, f"weight {options.weight:g} in {options.context} for {len(options.id)} example(s)"
    )


def _remove(options: argparse.Namespace) -> dict[str, Any]:
    return _changed(
        options, ExampleStore.open(options.store).remove(options.id), f"{len(options.id)} example(s) removed"
    )


def _compact(options: argparse.Namespace) -> dict[str, Any]:
    store = ExampleStore.open(options.store)
    before = store.n_bytes
    version = store.compact(options.keep_days)
    said = f"{format_count(before, 'B')} before, {format_count(store.n_bytes, 'B')} now"
    return _changed(options, version, said) | {"bytes_before": before, "bytes": store.n_bytes}


def _changed(options: argparse.Namespace, version: int, said: str) -> dict[str, Any]:
    print(f"{options.store}: {said}; version {version}", file=sys.stderr if options.json else sys.stdout)
    return {"store": options.store, "version": version}


def _show(options: argparse.Namespace) -> dict[str, Any]:
    store = ExampleStore.open(options.store, as_of=options.as_of)
    content, versions = about(store.definition.columns), store.versions()
    n, contexts = store.count(), store.contexts()
    features = content["features"]
    rows = {
        "examples": str(n),
        "features": f"{len(features)}: {', '.join(features[:6])}{' …' if len(features) > 6 else ''}",
        "target": f"{content['target']} ({content['target_kind']})",
        "metadata": ", ".join(content["metadata"]) or "none",
        "vectors": f"{content['embedding']}, {content['dimensions']} dimensions",
        "tasks": f"{len(contexts)}: {', '.join(list(contexts)[:6])}{' …' if len(contexts) > 6 else ''}",
        "on disk": format_count(store.n_bytes, "B"),
    }
    newest = {
        str(v.number): f"{v.time:%Y-%m-%d %H:%M:%S}, {v.rows} examples" for v in versions[-_SHOWN_VERSIONS:]
    }
    print_sections(
        f"{store.path}: version {store.version}",
        {"Content": rows, "Versions": newest},
        to_stdout=not options.json,
    )
    return content | {
        "store": str(store.path),
        "version": store.version,
        "examples": n,
        "contexts": contexts,
        "bytes": store.n_bytes,
        "versions": [{"version": v.number, "time": v.time.isoformat(), "examples": v.rows} for v in versions],
    }


def _contexts(options: argparse.Namespace) -> dict[str, Any]:
    store = ExampleStore.open(options.store, as_of=options.as_of)
    found = store.contexts()
    if options.action == "contexts":
        rows: dict[str, Any] = {
            name: f"{one['examples']} examples, {format_percent(one['share'])} of the store"
            for name, one in found.items()
        }
    else:
        rows = {
            name: {
                "examples": str(one["examples"]),
                "worth": f"{one['effective_examples']:.1f}",
                "of them": format_percent(one["effective_examples"] / one["examples"]),
                "weights": f"{one['least']:.3g} to {one['most']:.3g}",
                "sum": f"{one['total_weight']:.4g}",
            }
            for name, one in found.items()
        }
    print_sections(f"{store.path}: tasks", {"Task": rows}, to_stdout=not options.json)
    return {"store": str(store.path), "version": store.version, "contexts": found}


def _contexts_of(given: list[str]) -> dict[str, float | str]:
    """Weight, or name of a column, by context.

    Raises:
        InputError: no ``NAME=``, or a name twice.
    """
    contexts: dict[str, float | str] = {}
    for each in given:
        name, equals, weight = each.partition("=")
        if not equals or not weight or name in contexts:
            problem = "is named twice" if name in contexts else "NAME=WEIGHT or NAME=COLUMN is wanted"
            raise InputError(f"--context {each}: {problem}; nearest valid: {name or 'task'}=1")
        try:
            contexts[name] = float(weight)
        except ValueError:
            contexts[name] = weight
    return contexts


def _feature_columns(options: argparse.Namespace, weight_columns: list[str]) -> Columns:
    """The features and the target; what is named for something else is no feature."""
    taken = {*weight_columns, *options.metadata, options.id}
    if options.features is not None:
        if both := sorted(taken & set(options.features)):
            raise InputError(f"--features {both[0]}: is named for something else, too")
        return read_columns(options.file, options.target, options.features)
    columns = read_columns(options.file, options.target)
    features = [name for name in columns.feature_names if name not in taken]
    return (
        columns
        if len(features) == len(columns.feature_names)
        else read_columns(options.file, options.target, features)
    )


def _column(file: str, name: str, columns: Columns) -> np.ndarray:
    """Any column of the file, as a target is read."""
    try:
        return read_columns(file, name, columns.feature_names[:1]).target
    except ConfigError as error:
        raise ConfigError("column", name, error.problem, error.suggestion) from None


def _numbers(file: str, name: str, columns: Columns) -> np.ndarray:
    values = _column(file, name, columns)
    if values.dtype.kind not in "bif":
        raise InputError(f"{file}: column {name!r} holds {str(values[0])!r}; weights are numbers")
    return values.astype(np.float64)


def _near(store: ExampleStore, given: str) -> np.ndarray:
    """The vector that ``--near`` means.

    Raises:
        InputError: it is none of the three.
    """
    if given.startswith("id:"):
        return store.vector(given.removeprefix("id:"))
    if Path(given).exists():
        features = read_columns(given, None, store.definition.columns.features).features
        return np.asarray(store.embed(features).mean(axis=0))
    try:
        return np.asarray(store.embed([float(value) for value in given.split(",")])[0])
    except ValueError:
        raise InputError(
            f"--near {given}: neither numbers separated by commas, nor id:ID, nor a file"
        ) from None
