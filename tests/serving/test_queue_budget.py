"""How several models share the limits of the queue."""

import pytest

from openbei.serving.queue_budget import QueueBudget, QueueLimits


def fill(budget: QueueBudget, share: object, field: str, most: int = 1000) -> int:
    """Add to a share while there is room; returns what it has in the end."""
    for _ in range(most):
        if not budget.has_room(share):
            break
        setattr(share, field, getattr(share, field) + 1)
    return int(getattr(share, field))


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("field", ["num_requests", "num_tokens"])
def test_one_model_may_use_all(field: str, limit: int) -> None:
    names = {"num_requests": "max_concurrent_requests", "num_tokens": "max_queue_tokens"}
    budget = QueueBudget(QueueLimits(**{names[field]: limit}))
    assert fill(budget, budget.join(), field) == limit


def test_a_flood_leaves_room_for_the_others() -> None:
    """Half of the limit is for all, the other half is reserved in equal parts."""
    budget = QueueBudget(QueueLimits(max_concurrent_requests=120))
    shares = [budget.join() for _ in range(3)]
    assert fill(budget, shares[0], "num_requests") == 60 + 20
    assert fill(budget, shares[1], "num_requests") == 20
    assert fill(budget, shares[2], "num_requests") == 20
    assert str(budget) == "120 requests (limit 120), 0 tokens (limit 1000000)"


def test_room_that_is_given_back_is_for_all() -> None:
    budget = QueueBudget(QueueLimits(max_queue_tokens=100))
    one, other = budget.join(), budget.join()
    assert fill(budget, one, "num_tokens") == 75
    one.num_tokens = 25
    assert fill(budget, other, "num_tokens") == 75
    assert not budget.has_room(one)
