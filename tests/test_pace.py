"""Many requests of one client at a lab that takes so many a second, in the time of a fake clock."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from llmlab.cli.use.reading import bars, rate
from llmlab.client import AsyncClient, RetryPolicy, UpstreamError
from llmlab.client.batch import InOrder, Outcome
from llmlab.client.pace import Pace, interval_of
from llmlab.client.retry import Attempts, retry_after
from llmlab.config.gateway import RateLimit
from tests.test_cli import GOOD


class Waiting(selectors.SelectSelector):
    """Does not wait; says how long it was to."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.waited += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes when everybody waits for it, and at no other time."""

    def __init__(self) -> None:
        self._waiting = Waiting()
        super().__init__(self._waiting)

    def time(self) -> float:
        return self._waiting.waited


@dataclass
class Limited:
    """A lab behind NGINX's ``limit_req``: a bucket that leaks.

    Args:
        rate: requests/s.
        told: whether the answer 429 says the rate.
        hogged: others of the same subject take all that there is.
        seconds: that an answer takes.
    """

    rate: float = 2.0
    burst: int = 10
    told: bool = True
    hogged: bool = False
    seconds: float = 0.01
    excess: float = 0.0
    last: float = 0.0
    statuses: list[int] = field(default_factory=list)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        now = asyncio.get_running_loop().time()
        excess = max(0.0, self.excess - (now - self.last) * self.rate) + 1
        if self.hogged or excess - 1 > self.burst:
            self.statuses.append(429)
            policy = {"RateLimit-Policy": f'"rate";q={self.rate:.0f};w=1'} if self.told else {}
            return httpx2.Response(429, headers={"Retry-After": "1"} | policy)
        self.excess, self.last = excess, now
        self.statuses.append(200)
        await asyncio.sleep(self.seconds)
        return httpx2.Response(200, text=GOOD)


def in_no_time(work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, float]:
    """What comes of it, and the seconds that it would have taken."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        found = runner.run(work())
        return found, runner.get_loop().time()


def asking(lab: Limited, texts: int, concurrency: int, retry: float = 60.0) -> tuple[int, float]:
    """How many of so many texts failed, and after how many seconds the last had its outcome."""

    async def work() -> int:
        clock = asyncio.get_running_loop().time
        async with AsyncClient("http://127.0.0.1:1", "t", retry=RetryPolicy(retry)) as client:
            client.pace.clock = clock
            client._http = httpx2.AsyncClient(
                transport=httpx2.MockTransport(lab), base_url="http://lab"
            )
            places = asyncio.Semaphore(concurrency)

            async def one() -> bool:
                async with places:
                    try:
                        await client.summarize("A text.")
                    except UpstreamError:
                        return False
                    return True

            return (await asyncio.gather(*(one() for _ in range(texts)))).count(False)

    return in_no_time(work)


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_five_hundred_texts_all_get_through_at_the_labs_rate(concurrency: int, told: bool) -> None:
    lab = Limited(told=told)
    failed, seconds = asking(lab, 500, concurrency)
    assert failed == 0
    assert 244 <= seconds < (260 if told else 330)


def test_a_lab_that_says_its_rate_turns_nobody_away_once_that_is_known() -> None:
    lab = Limited()
    asking(lab, 200, 64)
    assert 429 in lab.statuses[:64]
    assert lab.statuses[64:].count(429) <= 3


def test_slow_answers_of_others_are_no_reason_to_give_up() -> None:
    assert asking(Limited(seconds=100), 30, 30)[0] == 0


def test_if_nobody_gets_through_for_the_policys_time_they_fail_together() -> None:
    failed, seconds = asking(Limited(hogged=True), 20, 20, retry=30)
    assert failed == 20
    assert 28 <= seconds < 45


def test_a_policy_of_no_time_fails_at_the_first_429_and_still_keeps_to_the_rate() -> None:
    lab = Limited(burst=0)
    failed, _ = asking(lab, 10, 1, retry=0)
    assert lab.statuses[:2] == [200, 429]
    assert failed <= 3


# --- the pieces ---------------------------------------------------------------------------


def refused(**headers: str) -> httpx2.Response:
    return httpx2.Response(
        429, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def test_a_429_is_everybodys_and_costs_none_of_the_time_for_retries() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    one, other = (Attempts(RetryPolicy(10), pace, clock=lambda: now) for _ in range(2))
    assert pace.claim() == 0
    assert one.pause_after(refused(Retry_After="7")) == 0
    assert pace.claim() == 7  # also for the other one
    now = 7.0
    assert pace.claim() == 0
    assert other.pause_after(httpx2.Response(200)) is None
    now = 16.0
    with one.trying():
        now = 17.0
    assert one.pause_after(httpx2.Response(503, headers={"Retry-After": "9"})) == 9


def test_an_hour_of_silence_is_no_time_without_an_answer() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    assert pace.hold(1, refused(), patience=60)
    now = 3600.0
    assert pace.hold(1, refused(), patience=60)


def test_a_pause_that_is_too_long_holds_up_nobody() -> None:
    pace = Pace(clock=lambda: 0.0)
    assert not pace.hold(999, refused(), patience=60)
    assert pace.claim() == 0


@pytest.mark.parametrize(
    ("policy", "interval"),
    [
        ('"rate";q=2;w=1', 0.5),
        ('"rate";q=30;w=60', 2.0),
        ('"rate"; w=60; q=6', 10.0),
        ('"burst";q=100;w=1, "day";q=86400;w=86400', 1.0),
        ('"rate";q=2;w=1;pk=:c3Vi:', 0.5),
        ('"rate";q=0;w=1', 0.0),
        ('"rate";q=2', 0.0),
        ("2r/s", 0.0),
        ("", 0.0),
    ],
)
def test_a_rate_is_read_as_the_draft_of_the_standard_writes_it(
    policy: str, interval: float
) -> None:
    assert interval_of(refused(RateLimit_Policy=policy)) == interval


@pytest.mark.parametrize(("rate", "interval"), [("2r/s", 0.5), ("30r/m", 2.0), ("50r/s", 0.02)])
def test_what_the_gateway_says_is_what_a_client_reads(rate: str, interval: float) -> None:
    limit = RateLimit(rate=rate)
    assert interval_of(refused(RateLimit_Policy=limit.policy)) == interval
    assert RateLimit(enabled=False).policy == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Sun, 06 Nov 1994 08:49:44 GMT", 7.0),
        ("Sunday, 06-Nov-94 08:49:44 GMT", 7.0),
        ("Sun Nov  6 08:49:44 1994", 7.0),
        ("Sun, 06 Nov 1994 08:49:30 GMT", 0.0),
        ("Sun, 99 Nov 1994 08:49:30 GMT", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("٧", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date_by_the_servers_clock(
    value: str, seconds: float
) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    headers = [("Retry-After", value.encode()), ("Date", date.encode())]
    assert retry_after(httpx2.Response(429, headers=headers)) == seconds


def test_a_date_from_a_server_that_does_not_tell_the_time_is_taken_by_ours() -> None:
    assert retry_after(refused(Retry_After="Sun, 06 Nov 2094 08:49:37 GMT")) > 1e9


def test_outcomes_are_told_in_the_order_of_the_sources_as_soon_as_they_can_be() -> None:
    told: list[str] = []
    ordered = InOrder(lambda outcome: told.append(outcome.name))
    for number in (1, 3, 0):
        ordered.put(number, Outcome(str(number), 0.0))
    assert told == ["0", "1"]
    ordered.rest()
    assert told == ["0", "1", "3"]


def test_who_has_to_wait_for_long_is_told_so_once_and_at_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for texts in (5, 500):
        with bars(texts) as reading:
            reading.limited(0.5)
            reading.done("a.txt")
    told = "The lab is limited to 2 a second (gateway.rate_limit): 500 texts take about 4 min.\n"
    assert capfd.readouterr() == ("", told)


@pytest.mark.parametrize(
    ("interval", "told"), [(0.5, "2 a second"), (1.0, "1 a second"), (2.0, "30 a minute")]
)
def test_a_rate_is_told_in_whole_numbers(interval: float, told: str) -> None:
    assert rate(interval) == told
