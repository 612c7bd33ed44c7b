"""Batches: made of what waits, for one network each, in time or not at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from app.serving.batching import Batcher, Row, Task
from app.serving.errors import TooLateError


class Network:
    """Reads a text of digits as an image of one number, and answers ten times that."""

    def __init__(self, factor: int = 10) -> None:
        self.factor, self.batches, self.go_on = factor, list[list[int]](), threading.Event()
        self.go_on.set()

    def read(self, contents: bytes) -> Any:
        return np.array([int(contents)]) if contents.isdigit() else f"{contents!r} is no number"

    def answer(self, pixels: Any) -> dict[str, Any]:
        self.go_on.wait(10)
        self.batches.append(pixels[:, 0].tolist())
        if (pixels == 13).any():
            raise ValueError("an unlucky batch")
        return {"out": pixels[:, 0] * self.factor}


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    one = Batcher(threads=2, most=4, at_once=1)
    yield one
    one.close()


async def ask(batcher: Batcher, network: Network, *given: Any, seconds: float = 10) -> list[Any]:
    loop, by = asyncio.get_running_loop(), time.monotonic() + seconds
    tasks = [Task(network, each, by, loop.create_future()) for each in given]
    batcher.submit(tasks)
    return await asyncio.gather(*(task.answer for task in tasks), return_exceptions=True)


def values(found: list[Any]) -> list[Any]:
    return [each.arrays["out"][each.number] if isinstance(each, Row) else each for each in found]


def test_each_file_gets_its_own_answer_in_order(batcher: Batcher, network: Network) -> None:
    given = [str(number).encode() for number in range(50) if number != 13]
    found = asyncio.run(ask(batcher, network, *given))
    assert values(found) == [10 * int(each) for each in given]
    assert max(map(len, network.batches)) <= 4


def test_a_file_that_cannot_be_read_spoils_no_other(batcher: Batcher, network: Network) -> None:
    found = values(asyncio.run(ask(batcher, network, b"1", b"x", b"3")))
    assert found == [10, "b'x' is no number", 30]


def test_pixels_need_no_reading(batcher: Batcher, network: Network) -> None:
    assert values(asyncio.run(ask(batcher, network, np.array([7]), b"8"))) == [70, 80]


def test_what_waits_while_the_network_is_busy_becomes_one_batch(
    batcher: Batcher, network: Network
) -> None:
    async def story() -> list[Any]:
        network.go_on.clear()
        first = asyncio.create_task(ask(batcher, network, b"1"))
        await asyncio.sleep(0.2)
        others = [asyncio.create_task(ask(batcher, network, b"%d" % n)) for n in (2, 3, 4)]
        await asyncio.sleep(0.2)
        network.go_on.set()
        return [await each for each in (first, *others)]

    asyncio.run(story())
    assert network.batches == [[1], [2, 3, 4]]


def test_nobody_waits_for_a_batch_to_fill(batcher: Batcher, network: Network) -> None:
    began = time.monotonic()
    asyncio.run(ask(batcher, network, b"1"))
    assert time.monotonic() - began < 1
    assert network.batches == [[1]]


def test_no_batch_mixes_networks(batcher: Batcher) -> None:
    networks = [Network(10), Network(1000)]

    async def story() -> list[list[Any]]:
        for each in networks:
            each.go_on.clear()
        waiting = [
            asyncio.create_task(ask(batcher, networks[n % 2], b"%d" % n)) for n in range(2, 12)
        ]
        await asyncio.sleep(0.2)
        for each in networks:
            each.go_on.set()
        return [await each for each in waiting]

    found = asyncio.run(story())
    assert [values(each)[0] for each in found] == [n * (10, 1000)[n % 2] for n in range(2, 12)]


def test_a_mistake_in_a_batch_is_told_to_all_of_it_and_ends_nothing(
    batcher: Batcher, network: Network
) -> None:
    (found,) = asyncio.run(ask(batcher, network, b"13"))
    assert isinstance(found, ValueError)
    assert values(asyncio.run(ask(batcher, network, b"1"))) == [10]


def test_what_comes_too_late_is_not_computed(batcher: Batcher, network: Network) -> None:
    async def story() -> list[Any]:
        network.go_on.clear()
        first = asyncio.create_task(ask(batcher, network, b"1"))
        await asyncio.sleep(0.1)
        late = asyncio.create_task(ask(batcher, network, b"2", seconds=0.2))
        await asyncio.sleep(0.4)
        network.go_on.set()
        return [await first, await late]

    first, late = asyncio.run(story())
    assert values(first) == [10]
    assert isinstance(late[0], TooLateError)
    assert network.batches == [[1]]


def test_one_slow_batch_does_not_shut_the_door_for_good(batcher: Batcher, network: Network) -> None:
    async def story() -> list[Any]:
        network.go_on.clear()
        slow = asyncio.create_task(ask(batcher, network, b"1"))
        await asyncio.sleep(1.5)
        network.go_on.set()
        await slow
        # By the mean of one batch, none could be answered within so little.
        return [(await ask(batcher, network, b"2", seconds=0.2))[0] for _ in range(12)]

    found = asyncio.run(story())
    assert isinstance(found[0], TooLateError)
    assert values(found[-1:]) == [20]


def test_all_threads_end_when_fewer_may_compute_than_there_are(network: Network) -> None:
    async def story() -> list[Any]:
        batcher = Batcher(threads=8, most=1, at_once=1)
        waiting = asyncio.create_task(ask(batcher, network, *[b"%d" % n for n in range(20, 60)]))
        await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.to_thread(batcher.close), 20)
        return await waiting

    assert values(asyncio.run(story())) == [10 * n for n in range(20, 60)]


def test_what_nobody_waits_for_is_not_computed(batcher: Batcher, network: Network) -> None:
    async def story() -> None:
        network.go_on.clear()
        first = asyncio.create_task(ask(batcher, network, b"1"))
        await asyncio.sleep(0.1)
        gone = asyncio.create_task(ask(batcher, network, b"2"))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.sleep(0)
        network.go_on.set()
        await first
        await ask(batcher, network, b"3")

    asyncio.run(story())
    assert network.batches == [[1], [3]]


def test_a_function_is_called_on_its_own(batcher: Batcher, network: Network) -> None:
    def unlucky() -> None:
        raise KeyError("no")

    found = asyncio.run(ask(batcher, network, lambda: {"said": 1}, unlucky))
    assert found[0] == {"said": 1}
    assert isinstance(found[1], KeyError)


def test_closing_answers_what_waits_first(network: Network) -> None:
    async def story() -> list[Any]:
        batcher = Batcher(threads=2, most=4, at_once=1)
        network.go_on.clear()
        waiting = asyncio.create_task(ask(batcher, network, b"1", b"2", b"3", b"4", b"5"))
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.1)
        network.go_on.set()
        await closing
        return await waiting

    assert values(asyncio.run(story())) == [10, 20, 30, 40, 50]
