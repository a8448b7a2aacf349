"""What the scheduler takes from: jobs that are tried again, and places of workers, each against a plain list that is searched through."""

from __future__ import annotations

import random

from actors.places import Places
from actors.retries import Retries

NOWHERE: frozenset[str] = frozenset()


def test_retries_are_those_of_a_list_that_is_searched_through() -> None:
    rng = random.Random(1)
    for _ in range(40):
        queue, model = Retries(), list[tuple[int, frozenset[str]]]()
        groups = [frozenset(name for name in "ABC" if rng.random() < 0.4) for _ in range(4)]
        has_no_other = {group: rng.random() < 0.2 for group in groups}
        n_taken = 0
        for step in range(200):
            if rng.random() < 0.3:
                new = [(10 * step + i, rng.choice(groups)) for i in range(rng.randrange(4))]
                queue.add(new)
                model[:0] = new
            if model and rng.random() < 0.2:
                gone = rng.choice(model)
                queue.remove(*gone)
                queue.remove(*gone)  # it is not there any more
                model.remove(gone)
            worker = rng.choice("ABC")
            allowed = [pair for pair in model if worker not in pair[1] or has_no_other[pair[1]]]
            taken = queue.take(worker, has_no_other.__getitem__)
            assert taken == (allowed[0][0] if allowed else None)
            model = [pair for pair in model if pair[0] != taken]
            n_taken += taken is not None
            assert list(queue) == [job for job, _ in model]
            assert len(queue) == len(model)
        assert n_taken > 20


def test_jobs_that_failed_on_a_worker_are_passed_over_together() -> None:
    queue = Retries()
    failed_on = frozenset("A")
    queue.add([(job, failed_on) for job in range(10_000)])
    asked = []
    queue.add([])
    assert queue.take("A", lambda group: bool(asked.append(group))) is None  # type: ignore[func-returns-value]
    assert asked == [failed_on], "one question for all ten thousand"
    assert queue.take("B", lambda group: False) == 0
    for job in range(1, 10_000):
        queue.remove(job, failed_on)
    assert len(queue) == 0
    assert len(queue._heads) < 100, "what is out of date does not pile up"


def test_places_come_by_key_and_then_by_number() -> None:
    rng = random.Random(1)
    places, model = Places[str](), list[tuple[float, int, str]]()
    for _ in range(2000):
        if rng.random() < 0.5:
            key, number = rng.choice([0.5, 1.0, 2.0]), rng.randrange(100)
            places.add(key, number, f"w{number}")
            model.append((key, number, f"w{number}"))
        elif places:
            model.sort()
            assert places.first() == model[0][2]
            assert places.take() == model.pop(0)
        assert bool(places) == bool(model)
    places.rekey(lambda key, entry: 1 / key)
    model = sorted((1 / key, number, entry) for key, number, entry in model)
    assert [places.take() for _ in model] == model
    assert not places
