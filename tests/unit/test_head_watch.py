"""The watch on a cluster's head: patient for a while, then certain, and certain no longer when the head is back."""

from __future__ import annotations

import socket

import pytest
import ray

from actors.ray_fleet import connection
from actors.ray_fleet.head import HeadWatch
from actors.ray_fleet.process import kill
from orchestrator.errors import FleetError


class Head:
    """A head that is there or not, on a clock of its own."""

    def __init__(self) -> None:
        self.time = 0.0
        self.is_there = True
        self.asked: list[tuple[str, int]] = []

    def listens(self, host: str, port: int) -> bool:
        self.asked.append((host, port))
        return self.is_there


@pytest.fixture
def head() -> Head:
    return Head()


def watch_on(head: Head, address: str = "10.0.0.1:6379") -> HeadWatch:
    return HeadWatch(address, 15.0, head.listens, lambda: head.time)


def test_a_short_silence_is_waited_out(head: Head) -> None:
    watch = watch_on(head)
    assert watch.answers()
    head.is_there = False
    for head.time in (1.0, 8.0, 15.9):
        assert not watch.answers()
    head.is_there = True
    assert watch.answers()
    head.is_there, head.time = False, 20.0  # counted anew
    assert not watch.answers()
    assert not watch.is_lost


def test_a_long_one_ends_the_waiting_in_words(head: Head) -> None:
    watch = watch_on(head)
    head.is_there = False
    assert not watch.answers()
    head.time = 15.0
    with pytest.raises(
        FleetError, match=r"head of the Ray cluster at 10\.0\.0\.1:6379 is gone.*15 s.*resume"
    ):
        watch.answers()
    assert watch.is_lost
    n_asked = len(head.asked)
    assert not watch.may_be_asked()
    assert len(head.asked) == n_asked, "who is known to be lost is not waited for once more"
    head.is_there = True
    assert watch.answers()
    assert watch.may_be_asked()


def test_the_address_may_be_of_version_6(head: Head) -> None:
    assert watch_on(head, "[fd00::1]:6379").answers()
    assert head.asked == [("fd00::1", 6379)]


def test_it_is_a_connection_that_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert HeadWatch(f"127.0.0.1:{port}").answers()
    assert not HeadWatch(f"127.0.0.1:{port}").answers()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", f"{'a' * 70}.example:6379"])
def test_an_address_that_cannot_be_is_one_where_nobody_answers(address: str) -> None:
    assert not HeadWatch(address).answers()


def test_a_fleet_that_is_closed_after_ray_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """`of_this_cluster` asks Ray, which starts a cluster where there is none."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(HeadWatch, "of_this_cluster", lambda: pytest.fail("Ray was asked"))
    killed: list[object] = []
    monkeypatch.setattr(ray, "kill", lambda handle, **_: killed.append(handle))
    ours = connection.Connection(is_ours=True, n_fleets=1)
    monkeypatch.setattr(connection, "_current", ours)
    connection.release(ours)
    kill(object())
    assert killed == []
    assert connection._current is None


def test_a_cluster_that_could_not_be_joined_is_not_ours_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connection, "_current", None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FleetError, match="nothing listens there"):
        connection.connect(f"127.0.0.1:{port}")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)  # by somebody else, later on
    assert not connection.connect(None).is_ours


def test_two_silences_far_apart_are_not_one(head: Head) -> None:
    """Nobody asked in between: between two runs a process may rest for hours."""
    watch = watch_on(head)
    head.is_there = False
    assert not watch.answers()
    head.time = 3600.0
    assert not watch.answers()
    head.time += 15.0
    with pytest.raises(FleetError):
        watch.answers()
