"""The example store: one table for many tasks, the same rows from the same seed, and nothing lost to a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from orchestrator.config import TrainingConfig
from orchestrator.errors import DataError, InputError
from pipelines.data.files import read_columns
from pipelines.example_store import ExampleStore
from pipelines.example_store.drawing import draw, effective_size, uniform
from pipelines.example_store.table import MissingExtraError

N = 120


def examples(n: int = N, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 6))
    return {
        "features": features,
        "targets": (features[:, 0] > 0).astype(np.int64),
        "ids": [f"e{i:03d}" for i in range(n)],
        "contexts": {"fraud": rng.uniform(0.1, 1.0, n), "audit": np.where(rng.random(n) < 0.5, 0.2, 0.0)},
        "metadata": {"site": np.array(["a", "b", "c"])[np.arange(n) % 3], "amount": np.arange(n)},
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ExampleStore:
    store = ExampleStore.open(tmp_path_factory.mktemp("store") / "s")
    store.add(**examples())
    return store


@pytest.fixture
def store(made: ExampleStore, tmp_path: Path) -> ExampleStore:
    """A store of one's own, with `examples` in it."""
    shutil.copytree(made.path, tmp_path / "own")
    return ExampleStore.open(tmp_path / "own")


def test_what_is_selected_is_what_was_added(made: ExampleStore) -> None:
    given = examples()
    chosen = made.select("fraud")
    rows = [int(name[1:]) for name in chosen.ids]
    assert sorted(rows) == list(range(N))
    assert (chosen.features == given["features"][rows]).all()
    assert (chosen.targets == given["targets"][rows]).all()
    assert chosen.targets.dtype == np.int64
    assert (chosen.weights == given["contexts"]["fraud"][rows]).all()
    assert (chosen.metadata["site"] == given["metadata"]["site"][rows]).all()
    assert set(made.select("audit").ids) == {f"e{i:03d}" for i in np.flatnonzero(given["contexts"]["audit"])}


def test_the_filter_is_exact(made: ExampleStore) -> None:
    given = examples()
    chosen = made.select("fraud", where="site = 'b' AND amount >= 30 AND target = 1", min_weight=0.4)
    weights, site, amount = given["contexts"]["fraud"], given["metadata"]["site"], given["metadata"]["amount"]
    wanted = (weights >= 0.4) & (site == "b") & (amount >= 30) & (given["targets"] == 1)
    assert set(chosen.ids) == {f"e{i:03d}" for i in np.flatnonzero(wanted)}
    assert chosen.n_candidates == wanted.sum()
    by_other = made.select("fraud", where="`weight:audit` > 0")
    assert set(by_other.ids) == set(made.select("audit").ids)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_nearest_are_those_of_another_implementation(made: ExampleStore, metric: Any) -> None:
    features = examples()["features"].astype(np.float32)
    vector = np.random.default_rng(5).normal(size=6).astype(np.float32)
    chosen = made.select("fraud", near=vector, k=25, weighted=False, metric=metric)
    theirs = NearestNeighbors(
        n_neighbors=25, metric="euclidean" if metric == "l2" else metric, algorithm="brute"
    )
    distances, rows = theirs.fit(features.astype(np.float64)).kneighbors(vector[None].astype(np.float64))
    assert [int(name[1:]) for name in chosen.ids] == rows[0].tolist()
    # single precision: some eps of sums of squares below 50; a root at 1 or more halves it
    assert chosen.distances == pytest.approx(distances[0], abs=50 * 2.0**-23)


def test_ties_go_by_id_and_all_of_them_are_seen(tmp_path: Path) -> None:
    store = ExampleStore.open(tmp_path / "s")
    names = np.random.default_rng(1).permutation([f"t{i:02d}" for i in range(60)])
    store.add(np.ones((60, 2)), np.arange(60) % 2, names, contexts={"a": 1.0})
    chosen = store.select("a", near=[1.0, 1.0], k=5, weighted=False)
    assert chosen.ids == ("t00", "t01", "t02", "t03", "t04")
    assert store.select("a", k=3, weighted=False).ids == ("t00", "t01", "t02")


@pytest.mark.parametrize("how", [{}, {"near": np.arange(6.0)}, {"near": np.arange(6.0), "weighted": False}])
def test_the_same_seed_gives_the_same_rows_in_any_physical_order(
    made: ExampleStore, tmp_path: Path, how: dict[str, Any]
) -> None:
    given = examples()
    other = ExampleStore.open(tmp_path / "other")
    order = np.random.default_rng(3).permutation(N)
    for rows in np.array_split(order, 4):  # four fragments, one of them written anew, then joined
        other.add(
            given["features"][rows], given["targets"][rows], [given["ids"][i] for i in rows],
            contexts={name: values[rows] for name, values in given["contexts"].items()},
            metadata={name: values[rows] for name, values in given["metadata"].items()},
        )  # fmt: skip
    other.set_weight("fraud", ["e005"], 0.77)
    other.set_weight("fraud", ["e005"], given["contexts"]["fraud"][5])
    for seed in (0, 1):
        mine, theirs = (s.select("fraud", k=20, seed=seed, **how) for s in (made, other))
        assert mine.ids == theirs.ids
        assert (mine.features == theirs.features).all()
        assert how == {} or (mine.distances == theirs.distances).all()
    if how.get("weighted", True):
        assert made.select("fraud", k=20, seed=0, **how).ids != made.select("fraud", k=20, seed=1, **how).ids


def test_drawing_has_the_probabilities_of_drawing_one_after_the_other() -> None:
    """Each order of 3 out of 4 has probability w_i/W · w_j/(W-w_i) · w_k/(W-w_i-w_j); chi-square over all 24 of them."""
    weights, n = np.array([0.1, 0.5, 1.0, 2.4]), 6000
    counts = dict.fromkeys(permutations(range(4), 3), 0)
    for seed in range(n):
        counts[tuple(draw(["a", "b", "c", "d"], weights, 3, seed).tolist())] += 1
    chi_square = 0.0
    for order, count in counts.items():
        left, probability = weights.sum(), 1.0
        for i in order:
            probability *= weights[i] / left
            left -= weights[i]
        chi_square += (count - n * probability) ** 2 / (n * probability)
    assert chi_square < 23 + 4 * np.sqrt(2 * 23)  # mean and four standard deviations, 23 degrees of freedom


def test_hashes_of_ids_are_uniform() -> None:
    values = uniform([f"e{i}" for i in range(20_000)], seed=7)
    assert ((values > 0) & (values < 1)).all()
    assert values.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * 20_000))
    steps = np.abs(np.sort(values) - (np.arange(20_000) + 0.5) / 20_000).max()
    assert steps < 1.95 / np.sqrt(20_000)  # Kolmogorov-Smirnov, 0.1 %


def test_effective_size() -> None:
    assert effective_size(np.full(9, 0.3)) == pytest.approx(9)
    assert effective_size(np.array([1.0, 3.0])) == pytest.approx(16 / 10)
    assert effective_size(np.array([])) == 0


def test_adding_the_same_again_changes_nothing(store: ExampleStore) -> None:
    before = store.version
    again = store.add(**examples())
    assert (again.version, again.inserted, again.updated, again.unchanged) == (before, 0, 0, N)


def test_a_second_task_keeps_the_weights_of_the_first(store: ExampleStore) -> None:
    given = examples(10)
    added = store.add(**given | {"features": examples()["features"][:10], "targets": examples()["targets"][:10],
                                 "contexts": {"triage": 0.7}})  # fmt: skip
    assert (added.inserted, added.updated) == (0, 10)
    assert set(store.select("triage").ids) == set(given["ids"])
    assert store.contexts()["fraud"]["examples"] == N
    assert store.count() == N


def test_content_is_its_own_id(tmp_path: Path) -> None:
    store = ExampleStore.open(tmp_path / "s")
    features = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    first = store.add(features, ["x", "x", "y"], contexts={"a": 1.0})
    assert first.inserted == 3  # the second equal example is not lost
    assert store.add(features, ["x", "x", "y"], contexts={"a": 1.0}).unchanged == 3
    assert store.add(features[:1], ["z"], contexts={"a": 1.0}).inserted == 1


def test_weights_and_examples_change_and_older_versions_stay(store: ExampleStore) -> None:
    first, fraud = store.version, examples()["contexts"]["fraud"]
    store.set_weight("fraud", ["e001", "e002"], [0.5, 0.0])
    store.set_weight("new", ["e003"], 2.0)
    assert "e002" not in store.select("fraud").ids
    assert store.select("new").weights.tolist() == [2.0]
    removed = store.remove(["e001"])
    assert "e001" not in store.select("fraud").ids
    assert store.version == removed > first
    old = ExampleStore.open(store.path, as_of=first).select("fraud")
    assert dict(zip(old.ids, old.weights.tolist(), strict=True)) == {f"e{i:03d}": fraud[i] for i in range(N)}
    assert store.set_weight("new", ["e003"], 2.0) == removed  # nothing to do, no version
    with pytest.raises(InputError, match=f"no version 99; nearest valid: {removed}"):
        ExampleStore.open(store.path, as_of=99)
    with pytest.raises(InputError, match="to be read"):
        ExampleStore.open(store.path, as_of=first).remove(["e003"])
    assert {v.number for v in store.versions()} >= {first, removed}


def test_contexts_say_how_much_their_weights_are_worth(made: ExampleStore) -> None:
    fraud, audit = (made.contexts()[name] for name in ("fraud", "audit"))
    weights = examples()["contexts"]["fraud"]
    assert fraud["effective_examples"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert fraud["share"] == 1
    assert audit["effective_examples"] == pytest.approx(audit["examples"])  # all of one weight


def test_two_writers_do_not_double_an_example(store: ExampleStore) -> None:
    """A handle that was opened before another one wrote matches against what that wrote."""
    other = ExampleStore.open(store.path)
    assert other.count() == N
    new = examples() | {"ids": [f"n{i}" for i in range(N)]}
    assert store.add(**new).inserted == N
    assert other.add(**new).unchanged == N
    assert other.count() == store.count() == 2 * N


def test_nothing_to_change_is_no_version(store: ExampleStore) -> None:
    before = store.version
    assert store.remove([]) == store.set_weight("fraud", [], 1.0) == before


def test_a_pca_embedding_is_fitted_once_and_kept(tmp_path: Path) -> None:
    given, store = examples(), ExampleStore.open(tmp_path / "s")
    store.add(
        given["features"][:80], given["targets"][:80], given["ids"][:80], contexts={"a": 1.0}, vectors="pca"
    )
    before = store.embed(given["features"][0])
    store.add(
        given["features"][80:] * 100,
        given["targets"][80:],
        given["ids"][80:],
        contexts={"a": 1.0},
        vectors="pca",
    )
    again = ExampleStore.open(tmp_path / "s")
    assert (again.embed(given["features"][0]) == before).all()
    assert again.select("a", near=before[0], k=1, weighted=False).ids == ("e000",)
    assert again.select("a", near=before[0], k=1, weighted=False).distances == pytest.approx([0.0], abs=1e-6)


def test_a_function_makes_vectors_which_only_its_giver_can_make_again(tmp_path: Path) -> None:
    given, store = examples(), ExampleStore.open(tmp_path / "s")
    store.add(
        given["features"], given["targets"], given["ids"], contexts={"a": 1.0}, vectors=lambda x: x[:, :2]
    )
    assert store.select("a", near=given["features"][4, :2], k=1, weighted=False, metric="l2").ids == ("e004",)
    with pytest.raises(InputError, match="give a vector"):
        store.embed(given["features"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": np.ones((N, 5))}, "5 features are given, the store's examples have 6"),
        ({"targets": np.array(["x"] * N)}, "targets are text, the store's are integers"),
        ({"metadata": {"site": np.array(["a"] * N)}}, "metadata are .*the store's are"),
        ({"vectors": "pca"}, "vectors are made by 'pca', the store's by 'features'"),
        ({"target_name": "label"}, "the target is 'label', the store's is 'target'"),
        ({"feature_names": list("abcdef")}, "feature 1 is 'a', the store has 'x0'"),
    ],
)
def test_other_columns_are_refused_in_words(store: ExampleStore, change: dict[str, Any], said: str) -> None:
    before = store.version
    with pytest.raises(DataError, match=said):
        store.add(**examples() | change)
    assert store.version == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contexts": {"a b": 1.0}}, "nearest valid: 'a-b'"),
        ({"contexts": {"a.b": 1.0}}, "nearest valid: 'a-b'"),
        ({"target_name": "a.b"}, "nearest valid: 'a_b'"),
        ({"contexts": {"fraud": -1.0}}, "weight -1.0 in row 1"),
        ({"contexts": {"fraud": [np.nan] * N}}, "weight nan in row 1"),
        ({"contexts": {"fraud": [1.0]}}, "1 weights for 120 examples"),
        ({"ids": ["same"] * N}, "1 id.s. more than once: 'same'"),
        ({"vectors": "umap"}, "nearest valid: 'pca'"),
        ({"metadata": {"id": np.arange(N)}}, "cannot be called 'id'"),
        ({"metadata": {"a-b": np.arange(N)}}, "nearest valid: 'a_b'"),
        ({"targets": None}, "examples need targets"),
    ],
)
def test_what_cannot_be_stored_is_refused(store: ExampleStore, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        store.add(**examples() | change)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"context": "fruad"}, "did you mean 'fraud'"),
        ({"where": "sitee = 'a'"}, "no column 'sitee'; did you mean 'site'"),
        ({"where": "site = 'a'; DROP TABLE x"}, "one condition"),
        ({"where": "1=1) OR (1=1"}, "one condition"),
        ({"where": "site ="}, "parse"),
        ({"where": "site = 'nowhere'"}, "of the 120 examples of 'fraud' none passes site = 'nowhere'"),
        ({"near": [1.0]}, "a finite vector of 6 numbers"),
        ({"near": np.zeros(6)}, "no direction"),
        ({"near": ["a"] * 6}, "no vector of 6 numbers"),
        ({"k": 0}, "nearest valid: 1"),
        ({"pool": 5}, "is for what is near"),
        ({"near": np.ones(6), "k": 5, "pool": 4}, "nearest valid: 5"),
        ({"metric": "cosin"}, "nearest valid: 'cosine'"),
        ({"min_weight": -1}, "nearest valid: 0"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(
    made: ExampleStore, asked: dict[str, Any], said: str
) -> None:
    asked = {"context": "fraud"} | asked
    with pytest.raises(InputError, match=said):
        made.select(asked.pop("context"), **asked)


@pytest.mark.parametrize(("days", "close"), [(-1.0, "0"), (float("nan"), "0"), (1e12, "36500")])
def test_versions_are_kept_for_a_number_of_days(made: ExampleStore, days: float, close: str) -> None:
    with pytest.raises(InputError, match=f"nearest valid: {close}$"):
        made.compact(days)


def test_unknown_ids_are_refused_and_nothing_is_written(store: ExampleStore) -> None:
    before = store.version
    with pytest.raises(InputError, match="no example 'e0010'; did you mean 'e0"):
        store.set_weight("fraud", ["e001", "e0010"], 1.0)
    with pytest.raises(InputError, match="no example"):
        store.remove(["e001", "nothing"])
    assert store.version == before


def test_without_lancedb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[store\]'"):
        ExampleStore.open(tmp_path / "s")


def test_an_empty_store_says_how_it_is_filled(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="qfleet examples add"):
        ExampleStore.open(tmp_path / "s").select("a")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        ExampleStore.open(tmp_path / "file")


def test_a_selection_trains_from_memory_and_from_its_file(
    made: ExampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import Trainer

    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    chosen = made.select("fraud", k=60)
    common = [
        "model.n_qubits=2", "data.n_components=2", "model.n_layers=1", "run.epochs=1", "fleet.dispatcher=serial",
        "tracking.enabled=false", "data.name=arrays", f"run.directory={tmp_path / 'runs'}",
    ]  # fmt: skip
    in_memory = Trainer(TrainingConfig().with_overrides(common), data=chosen.arrays, progress=False).fit()
    file = chosen.write(tmp_path / "selected.parquet")
    of_file = [
        *common[:-2],
        f"run.directory={tmp_path / 'more'}",
        "data.name=none",
        f"data.path={file}",
        "data.target=target",
    ]
    read = Trainer(TrainingConfig().with_overrides(of_file), progress=False).fit()
    assert (read.best_params == in_memory.best_params).all()
    with pytest.raises(InputError, match=r"nearest valid: '\.parquet'"):
        chosen.write(tmp_path / "selected.parq")
    weighted = read_columns(chosen.write(tmp_path / "w.csv", with_weights=True), "target", ["x0", "weight"])
    assert (weighted.features[:, 1] == chosen.weights).all()


CHILD = """
import sys
import numpy as np
from pipelines.example_store import ExampleStore
store = ExampleStore.open(sys.argv[1])
for i in range(400):
    rng = np.random.default_rng(i)
    features = rng.normal(size=(500, 32))
    store.add(features, np.full(500, i), [f"{i}-{j}" for j in range(500)], contexts={f"t{i}": 1.0})
    print(i, flush=True)
"""


def test_a_killed_writer_leaves_the_version_before(tmp_path: Path) -> None:
    """SIGKILL at some moment of an add: whole adds only, each to the bit, and the next add goes on."""
    path = tmp_path / "s"
    for round_, seconds in enumerate((0.0, 0.017)):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(3 + round_)]
        time.sleep(seconds)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        told += [int(line) for line in child.stdout.read().split()]
        store = ExampleStore.open(path)
        contexts = store.contexts()
        assert len(contexts) in (len(told), len(told) + 1)
        assert store.count() == 500 * len(contexts)
        for name in contexts:
            i = int(name[1:])
            chosen = store.select(name)
            rows = [int(each.split("-")[1]) for each in chosen.ids]
            assert sorted(rows) == list(range(500))
            assert (chosen.features == np.random.default_rng(i).normal(size=(500, 32))[rows]).all()


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace tells what is connected to; it is not installed"
)
def test_nothing_is_asked_of_any_network(tmp_path: Path) -> None:
    code = (
        CHILD.replace("range(400)", "range(2)") + 'store.select("t1", near=np.ones(32), k=5); store.compact()'
    )
    run = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(tmp_path / "trace"),
         sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "ptrace" in run.stderr.lower():
        pytest.skip("this container does not allow ptrace")
    assert run.returncode == 0, run.stderr
    calls = (tmp_path / "trace").read_text()
    assert "sin_port" not in calls
    assert "sin6_port" not in calls
    assert not [line for line in calls.splitlines() if "connect(" in line and "AF_UNIX" not in line]
