"""Decides which of several models may run its next batch on a shared device.

Start-time fair queueing (Goyal, Vin & Cheng, 1996) with one flow per model. The virtual clock is the start time of the
batch that started last, and the cost of a batch is the seconds that it takes. The waiting model with the earliest start
time runs next. Models that always have work therefore share the time evenly, and a model that was idle waits only for
the running batch.
"""

from threading import Condition


class Turns:
    """Lets at most `capacity` batches run at the same time. On a CPU it is 1."""

    def __init__(self, capacity: int = 1) -> None:
        self._capacity = capacity
        self._num_running = 0
        self._clock = 0.0
        self._waiting: list[Turn] = []  # in the order of arrival, which decides between equal start times
        self._changed = Condition()

    def join(self) -> "Turn":
        """Add a model, and return its turn."""
        return Turn(self)

    def take(self, turn: "Turn", *, waits: bool) -> bool:
        """See `Turn.take`."""
        with self._changed:
            turn.start_s = max(self._clock, turn.finish_s)
            self._waiting.append(turn)
            try:
                if not self._is_next(turn):
                    if not waits:
                        return False
                    self._changed.wait_for(lambda: self._is_next(turn))
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
            self._num_running += 1
            self._clock = turn.start_s
            return True

    def give_back(self, turn: "Turn", seconds: float) -> None:
        """See `Turn.give_back`."""
        with self._changed:
            self._num_running -= 1
            turn.finish_s = max(turn.finish_s, turn.start_s) + seconds
            self._changed.notify_all()

    def _is_next(self, turn: "Turn") -> bool:
        return self._num_running < self._capacity and min(self._waiting, key=lambda one: one.start_s) is turn


class Turn:
    """The turn of one model. `start_s` and `finish_s` are virtual times in seconds of engine time."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.start_s = self.finish_s = 0.0

    def take(self, *, waits: bool = True) -> bool:
        """Begin a batch, after waiting for other models. Without `waits`, returns False instead of waiting."""
        return self._turns.take(self, waits=waits)

    def give_back(self, seconds: float) -> None:
        """End a batch that took `seconds`."""
        self._turns.give_back(self, seconds)
