"""Work of many requests in a few threads: each gets its own result, and failures and cancellations stay apart."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from openbei.errors import InputError
from openbei.serving.tokenizer_threads import MAX_JOBS, TokenizerThreads


def run(test: Callable[[TokenizerThreads], Awaitable[None]], num_threads: int = 2) -> None:
    async def main() -> None:
        threads = TokenizerThreads(num_threads)
        threads.start()
        try:
            await test(threads)
        finally:
            threads.close()
            for thread in threads.threads:
                await asyncio.to_thread(thread.join, 5)
            assert not any(thread.is_alive() for thread in threads.threads)

    asyncio.run(main())


@pytest.mark.parametrize("num_threads", [1, 3])
def test_each_gets_its_own(num_threads: int) -> None:
    async def test(threads: TokenizerThreads) -> None:
        futures = [threads.run(lambda i=i: i * i) for i in range(10 * MAX_JOBS)]
        assert await asyncio.gather(*futures) == [i * i for i in range(10 * MAX_JOBS)]

    run(test, num_threads)


def test_a_failure_touches_no_other_work() -> None:
    def fail() -> None:
        raise InputError("it is wrong")

    def end() -> None:
        raise SystemExit

    async def test(threads: TokenizerThreads) -> None:
        futures = [threads.run(function) for function in (lambda: 1, fail, end, lambda: 2)]
        first, wrong, ended, last = await asyncio.gather(*futures, return_exceptions=True)
        assert (first, last) == (1, 2)
        assert isinstance(wrong, InputError)
        assert isinstance(ended, SystemExit)

    run(test)


def test_cancelled_work_is_not_done() -> None:
    gate, calls = threading.Event(), []

    async def test(threads: TokenizerThreads) -> None:
        running = threads.run(lambda: gate.wait(5))
        await asyncio.sleep(0.01)
        waiting = [threads.run(lambda i=i: calls.append(i)) for i in range(4)]
        waiting[1].cancel()
        running.cancel()
        gate.set()
        await asyncio.gather(*(waiting[i] for i in (0, 2, 3)))
        assert calls == [0, 2, 3]

    run(test, num_threads=1)
