"""Many waits under one timer: each has its limit, all have one end, and pauses between them do not count."""

from __future__ import annotations

import asyncio

import pytest

from proofcompute.serving.waiting import Waiting

LONG = 30.0
SHORT = 0.05


async def waits(waiting: Waiting, *seconds: float, pause: float = 0.0) -> int:
    """Wait for so many seconds each, and return how many waits there were."""
    done = 0
    async with waiting as held:
        for wait in seconds:
            with held:
                await asyncio.sleep(wait)
            done += 1
            await asyncio.sleep(pause)
    return done


def later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_wait_that_lasts_too_long_is_ended(before: int) -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            await waits(Waiting(SHORT, later(LONG)), *[0.0] * before, LONG)

    asyncio.run(run())


def test_short_waits_may_last_longer_together() -> None:
    async def run() -> int:
        return await waits(Waiting(10 * SHORT, later(LONG)), *[2 * SHORT] * 12)

    assert asyncio.run(run()) == 12


def test_pauses_do_not_count() -> None:
    async def run() -> int:
        return await waits(Waiting(SHORT, later(LONG)), 0.0, 0.0, pause=3 * SHORT)

    assert asyncio.run(run()) == 2


def test_no_wait_goes_on_after_the_end() -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            await waits(Waiting(LONG, later(SHORT)), 0.0, LONG)

    asyncio.run(run())


def test_the_end_is_seen_by_a_wait_that_begins_after_it() -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            await waits(Waiting(SHORT, later(SHORT)), 0.0, LONG, pause=3 * SHORT)

    asyncio.run(run())


def test_a_cancellation_from_outside_is_none_of_its_own() -> None:
    async def run() -> None:
        task = asyncio.ensure_future(waits(Waiting(LONG, later(LONG)), LONG))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
