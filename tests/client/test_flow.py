"""A request that is sent while a function is called, in both kinds of clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from proofcompute.client.flow import Flow, Send, run, run_async
from proofcompute.errors import InputError

LONG = 30.0


class Response:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Inner:
    """A transport that notes what it is asked, and answers, fails or waits for ever."""

    def __init__(self, failure: Exception | None = None, *, waits: bool = False) -> None:
        self.failure, self.waits = failure, waits
        self.asked = self.cancelled = False
        self.arrived = Event()
        self.response = Response()

    def handle_request(self, _: object) -> Response:
        self.asked = True
        if self.failure is not None:
            raise self.failure
        return self.response

    async def handle_async_request(self, request: object) -> Response:
        self.arrived.set()
        if self.waits:
            try:
                await asyncio.sleep(LONG)
            finally:
                self.cancelled = True
        return self.handle_request(request)


def sending(meanwhile: Callable[[], object]) -> Flow:
    return (yield Send(object(), meanwhile))


def require(holds: bool) -> None:
    if not holds:
        refuse()


def refuse() -> None:
    raise InputError("it does not fit")


def test_an_asynchronous_client_calls_while_the_request_is_on_its_way() -> None:
    inner = Inner()
    found = asyncio.run(run_async(sending(lambda: require(inner.arrived.wait(LONG))), inner))
    assert found is inner.response
    assert not found.closed


def test_a_synchronous_client_calls_before() -> None:
    inner = Inner()
    with pytest.raises(InputError, match="fit"):
        run(sending(refuse), inner)
    assert not inner.asked
    assert run(sending(lambda: None), inner) is inner.response


def test_the_functions_error_comes_before_the_response_and_drops_it() -> None:
    inner = Inner()
    with pytest.raises(InputError, match="fit"):
        asyncio.run(run_async(sending(lambda: require(not inner.arrived.wait(LONG))), inner))
    assert inner.response.closed or not inner.asked


def test_the_functions_error_ends_a_request_that_waits() -> None:
    inner = Inner(waits=True)
    with pytest.raises(InputError, match="fit"):
        asyncio.run(run_async(sending(refuse), inner))
    assert inner.cancelled
    assert not inner.asked


@pytest.mark.parametrize("both", [False, True])
def test_the_error_of_the_request_is_the_second_in_rank(both: bool) -> None:
    inner = Inner(OSError("gone"))

    def meanwhile() -> None:
        inner.arrived.wait(LONG)
        if both:
            refuse()

    error: Any = InputError if both else OSError
    with pytest.raises(error):
        asyncio.run(run_async(sending(meanwhile), inner))


def test_the_procedure_may_go_on_after_the_functions_error() -> None:
    def twice() -> Flow:
        try:
            yield Send(object(), refuse)
        except InputError:
            return (yield Send(object()))

    inner = Inner()
    assert asyncio.run(run_async(twice(), inner)) is inner.response
