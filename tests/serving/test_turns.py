"""Turns of models on one device, on a clock of our own: who is next, and for how long one waits."""

import threading
from collections.abc import Sequence

import pytest

from openbei.serving.turns import Turn, Turns


class Crowd:
    """Models that wait for their turn, each in a thread; `served` has their names in the order of their turns."""

    def __init__(self, turns: Turns, names: str) -> None:
        self._all = turns
        self.turns = {name: turns.join() for name in names}
        self.served: list[str] = []
        self._took = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def wait(self, name: str) -> None:
        """Let a model wait for its turn; returns when it waits or has it."""
        turn = self.turns[name]

        def take() -> None:
            assert turn.take()
            self.served.append(name)
            self._took.release()

        self._threads.append(threading.Thread(target=take))
        self._threads[-1].start()
        while turn not in self._all._waiting and name not in self.served[-1:]:
            pass

    def serve(self, seconds: dict[str, float]) -> str:
        """Wait for the next turn, and end it after the model's `seconds`."""
        assert self._took.acquire(timeout=20)
        name = self.served[-1]
        self.turns[name].give_back(seconds[name])
        return name

    def close(self) -> None:
        for thread in self._threads:
            thread.join(20)


def run(costs: dict[str, float], num_turns: int) -> Sequence[str]:
    """The order of turns if every model always has work, and its batches take `costs`."""
    crowd = Crowd(Turns(), "".join(costs))
    blocker = crowd.turns[next(iter(costs))]
    assert blocker.take(waits=False)
    for name in list(costs)[1:]:
        crowd.wait(name)
    blocker.give_back(costs[next(iter(costs))])
    order = []
    crowd.wait(next(iter(costs)))
    for _ in range(num_turns):
        name = crowd.serve(costs)
        order.append(name)
        crowd.wait(name)
    for _ in costs:
        crowd.serve(costs)
    crowd.close()
    return order


def test_equal_models_alternate() -> None:
    assert "".join(run({"a": 1, "b": 1}, 6)) == "bababa"


def test_models_share_the_time_and_not_the_number_of_batches() -> None:
    order = run({"a": 3, "b": 1, "c": 1}, 50)
    seconds = {name: order.count(name) * cost for name, cost in {"a": 3, "b": 1, "c": 1}.items()}
    assert max(seconds.values()) - min(seconds.values()) <= 3


def test_one_that_was_idle_is_next_but_does_not_catch_up() -> None:
    turns = Turns()
    busy, idle = turns.join(), turns.join()
    for _ in range(100):
        assert busy.take(waits=False)
        busy.give_back(1)
    assert busy.take(waits=False)
    assert not idle.take(waits=False)
    busy.give_back(1)
    assert idle.take(waits=False)
    idle.give_back(0.1)
    assert idle.finish_s == pytest.approx(100.1)


def test_a_refused_turn_leaves_no_trace() -> None:
    turns = Turns()
    one, other = turns.join(), turns.join()
    assert one.take(waits=False)
    assert not other.take(waits=False)
    one.give_back(1)
    assert one.take(waits=False)


def test_capacity() -> None:
    turns = Turns(2)
    taken: list[Turn] = [turns.join() for _ in range(3)]
    assert [turn.take(waits=False) for turn in taken] == [True, True, False]
    taken[0].give_back(1)
    assert taken[2].take(waits=False)
