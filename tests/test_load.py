"""llmlab load: what it measures, what it makes of it, and how it behaves against a real lab."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.cli.judge.load_report import _print_figures
from llmlab.errors import EnvironmentFailure, GateFailure, LlmlabError, UsageError
from llmlab.probe import load as load_module
from llmlab.probe import page, picture
from llmlab.probe.figures import Figures, percentile, span
from llmlab.probe.load import MOST_RATE, MOST_SECONDS, Generator, Profile, Run, arrivals
from llmlab.probe.plot import check_plot, draw
from llmlab.probe.setup import Wishes, parse_duration
from llmlab.probe.shots import NO_ANSWER, Shot, shot_of
from llmlab.probe.slo import Promise, Search
from llmlab.probe.texts import built_in, own, repeated
from tests.conftest import LabUnderTest, clean_env, free_port, wait_until

GOOD = {
    "summary": "Short.",
    "model": {"name": "fake", "id": "sha256:0", "runtime": "extractive"},
    "usage": {"input_tokens": 10, "output_tokens": 2, "windows": 1, "truncated": False},
}


def run_of(*shots: Shot, seconds: float = 10.0, **values: Any) -> Run:
    return Run(Profile(), list(shots), seconds=seconds, **values)


# --- figures -----------------------------------------------------------------


def test_a_percentile_is_the_value_that_so_many_do_not_exceed() -> None:
    hundred = list(range(1, 101))
    assert [percentile(hundred, percent) for percent in (50, 90, 95, 99)] == [50, 90, 95, 99]
    assert [percentile([7], percent) for percent in (50, 99)] == [7, 7]
    assert percentile([1, 2, 3], 50) == 2


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([50, 90, 95, 99]))
def test_a_percentile_was_measured_and_holds(values: list[float], percent: int) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= percent / 100 * len(ordered)


def test_figures_tell_summaries_from_refusals_and_from_silence() -> None:
    figures = Figures.of(run_of(
        Shot(0, 0.2, 200, took=0.2, queue=0.05, tokens_in=100, tokens_out=20, model="t5"),
        Shot(1, 0.4, 200, took=0.3, tries=2, queue=0.1, tokens_in=50, tokens_out=10, model="t5"),
        Shot(2, 0.001, 200, took=0.001, queue=0.0, cached=True, model="t5"),
        Shot(3, 0.002, 429),
        Shot(4, 5.0, NO_ANSWER),
    ))  # fmt: skip
    assert figures.statuses == {"200": 3, "429": 1, "no answer": 1}
    assert (figures.requests_per_second, figures.texts_per_second) == (0.5, 0.3)
    assert (figures.tokens_in_per_second, figures.tokens_out_per_second) == (15, 3)
    assert figures.failed == pytest.approx(0.4)
    assert figures.cached == pytest.approx(1 / 3)
    assert figures.retried == 1
    assert figures.models == {"t5": 3}
    assert (figures.latency.max, figures.refusal.max) == (0.4, 0.002)
    assert figures.queue.max == 0.1
    assert figures.compute.max == pytest.approx(0.2)  # of the last try, without the first one


def test_figures_are_split_by_the_deployments_that_were_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = run_of(
        Shot(0, 0.1, 200, deployment="base"), Shot(1, 0.3, 200, deployment="base"),
        Shot(2, 0.9, 200, deployment="tuned-2"), Shot(3, 0.1, 500, deployment="tuned-2"),
        Shot(4, 0.1, 429),
    )  # fmt: skip
    figures = Figures.of(run)
    seen = {name: (one.requests, one.failed) for name, one in figures.deployments.items()}
    assert seen == {"base": (2, 0.0), "tuned-2": (2, 0.5)}
    assert figures.deployments["tuned-2"].latency.max == 0.9
    _print_figures(figures, run)
    shown = capsys.readouterr().out
    assert re.search(r"tuned-2 +2 +40\.0% +50\.0% +900 ms", shown)


def test_what_an_answer_says_of_its_deployment_is_kept_whatever_became_of_it() -> None:
    for status in (200, 500):
        answer = httpx2.Response(status, headers={"X-Deployment": "tuned-2"}, content=b"{}")
        shot = shot_of(answer, start=0, latency=1, took=1, late=0, tries=1)
        assert shot.deployment == "tuned-2"


def test_what_was_not_measured_is_null_and_not_nan() -> None:
    document = json.dumps(Figures.of(run_of()).as_json())
    assert "NaN" not in document
    figures = json.loads(document)
    assert figures["latency"]["p95"] is figures["failed"] is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 ms"), (0.00085, "850 µs"), (0.085, "85 ms"), (1.254, "1.25 s"), (math.nan, "-"),
     (0.9999, "1 s"), (74, "74 s")],
)  # fmt: skip
def test_times_are_shown_in_their_own_unit(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


# --- what is sent, and when --------------------------------------------------


def test_arrivals_are_a_poisson_process_and_the_same_for_the_same_seed() -> None:
    moments = list(islice(arrivals(50, 1), 20_000))
    assert moments == list(islice(arrivals(50, 1), 20_000))
    assert moments[:9] != list(islice(arrivals(50, 2), 9))
    gaps = [after - before for before, after in pairwise(moments)]
    assert min(gaps) >= 0
    # Exponential gaps: as much spread as there is mean.
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.03)


def test_no_text_is_like_another_unless_that_is_asked_for() -> None:
    texts = built_in(7, "a")
    made = [texts(number) for number in range(300)]
    assert len(set(made)) == 300
    assert texts(12) == made[12]
    assert not set(made) & {built_in(7, "b")(number) for number in range(300)}
    mine = own(["One.", "Two."], "a")
    assert len({mine(number) for number in range(300)}) == 300
    assert mine(2).startswith("One.\n")
    assert [repeated(["One.", "Two."])(number) for number in range(3)] == ["One.", "Two.", "One."]


def test_built_in_texts_differ_in_length_as_articles_do() -> None:
    texts = built_in(7, "a")
    words = sorted(len(texts(number).split()) for number in range(1000))
    assert words[0] >= 40
    assert words[-1] < 3030
    assert 250 < words[500] < 350
    assert words[950] > 3 * words[500]
    without = re.compile("^.*?series .[.] ")
    same = built_in(7, "b")
    assert without.sub("", texts(3)) == without.sub("", same(3))  # the seed says what is in it


# --- a service that is played -------------------------------------------------

Answer = Callable[[int], Awaitable[tuple[int, dict[str, str], Any]]]


@asynccontextmanager
async def service(answer: Answer) -> AsyncIterator[str]:
    """A service on a free port that gives what ``answer`` says of the n-th request."""
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length
                await reader.readexactly(int(length[1]))
                number, count = count, count + 1
                status, headers, document = await answer(number)
                body = json.dumps(document).encode()
                lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()


def measured(answer: Answer, **profile: Any) -> Run:
    """A run against a service that is played."""

    async def measure() -> Run:
        run = Run(Profile(**({"warm_up": 0.0, "timeout": 20.0} | profile)))
        async with service(answer) as url:
            await Generator(url, lambda _: {}, lambda number: f"Text {number}.").run(run)
        return run

    return asyncio.run(measure())


def stalls_once() -> Answer:
    """Answers at once, but for a whole second from its tenth request on."""
    free: asyncio.Future[None] | None = None

    async def answer(number: int) -> tuple[int, dict[str, str], Any]:
        nonlocal free
        if number == 9:
            free = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1.0, free.set_result, None)
        if free:
            await asyncio.shield(free)
        return 200, {}, GOOD

    return answer


def test_an_open_loop_sees_a_stall_in_every_request_that_should_have_been_sent() -> None:
    stalled = [
        [shot for shot in run.shots if shot.latency > 0.3]
        for run in (
            measured(stalls_once(), rate=50.0, seconds=2.0, seed=1),
            measured(stalls_once(), concurrency=1, seconds=2.0, requests=100),
        )
    ]
    # Some 35 were due within the first 0.7 s of it; a client that waits sent one of them.
    assert len(stalled[0]) > 15
    assert len(stalled[1]) < len(stalled[0]) / 2
    assert max(shot.latency for shot in stalled[0]) > 0.9


def test_latency_counts_from_the_time_at_which_a_request_was_due() -> None:
    """The generator itself is held up, too: that is late, and latency, not a fast answer."""

    def run_with_a_pause() -> Run:
        async def measure() -> Run:
            run = Run(Profile(rate=50.0, seconds=2.0, warm_up=0.0, seed=1))
            held = False

            def hold(run: Run) -> None:
                nonlocal held
                if run.shots and not held:
                    held = True
                    load_module.time.sleep(0.5)

            async with service(lambda _: _at_once()) as url:
                await Generator(url, lambda _: {}, lambda number: f"Text {number}.").run(run, hold)
            return run

        return asyncio.run(measure())

    run = run_with_a_pause()
    figures = Figures.of(run)
    assert figures.late.max > 0.2
    assert figures.latency.max >= figures.late.max


async def _at_once() -> tuple[int, dict[str, str], Any]:
    return 200, {"Server-Timing": "queue;dur=12.5", "X-Cache": "miss"}, GOOD


def test_a_closed_loop_has_so_many_requests_under_way_and_sends_so_many() -> None:
    now, most = 0, 0

    async def answer(number: int) -> tuple[int, dict[str, str], Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return 200, {}, GOOD

    run = measured(answer, concurrency=3, requests=20)
    assert most == 3
    assert (len(run.shots), run.sent, run.under_way) == (20, 20, 0)


def test_the_warm_up_does_not_count() -> None:
    count = 0

    async def answer(number: int) -> tuple[int, dict[str, str], Any]:
        nonlocal count
        count += 1
        await asyncio.sleep(0.01)
        return 200, {}, GOOD

    for profile in ({"concurrency": 2}, {"rate": 60.0}):
        count = 0
        run = measured(answer, warm_up=1.0, requests=5, **profile)
        assert len(run.shots) == 5
        assert count > 5
        assert all(shot.start >= 0 for shot in run.shots)


def test_an_answer_tells_its_time_in_the_queue_and_what_it_cost() -> None:
    run = measured(lambda _: _at_once(), requests=2, concurrency=1)
    shot = run.shots[0]
    assert (shot.queue, shot.tokens_in, shot.tokens_out) == (0.0125, 10, 2)
    assert (shot.cached, shot.model, shot.kind) == (False, "fake", "summary")


def test_who_refused_is_told_and_whether_it_said_when_to_come_back() -> None:
    async def answer(number: int) -> tuple[int, dict[str, str], Any]:
        headers = [{"X-Model": "m", "Retry-After": "2"}, {"Retry-After": "1"}, {}][number % 3]
        return 429, headers, {"detail": "too many"}

    run = measured(answer, concurrency=1, requests=6)
    refusals = Figures.of(run).refusals
    assert (refusals.by_api, refusals.by_gateway, refusals.without_retry_after) == (2, 4, 2)
    with pytest.raises(LlmlabError, match="429: too many") as caught:
        run.insist("http://lab")
    assert caught.value.exit_code == 5


def test_a_retry_after_is_honoured_and_is_part_of_the_latency() -> None:
    async def answer(number: int) -> tuple[int, dict[str, str], Any]:
        return (429, {"Retry-After": "1"}, {}) if number == 0 else (200, {}, GOOD)

    (shot,) = measured(answer, concurrency=1, requests=1, retry=30.0).shots
    assert (shot.ok, shot.tries) == (True, 2)
    assert shot.latency > 1
    assert shot.took < shot.latency
    (shot,) = measured(answer, concurrency=1, requests=1).shots
    assert (shot.status, shot.tries) == (429, 1)


def test_what_is_no_summary_and_what_is_no_answer_are_no_successes() -> None:
    async def wrong(number: int) -> tuple[int, dict[str, str], Any]:
        return 200, {}, {"hello": "world"}

    async def never(number: int) -> tuple[int, dict[str, str], Any]:
        await asyncio.sleep(60)
        return 200, {}, GOOD

    assert Figures.of(measured(wrong, requests=2)).statuses == {"no summary": 2}
    assert Figures.of(measured(never, requests=2, timeout=0.2)).statuses == {"no answer": 2}


def test_requests_under_way_are_bounded_and_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_module, "MOST_OPEN", 4)
    now, most = 0, 0

    async def slow(number: int) -> tuple[int, dict[str, str], Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.3)
        now -= 1
        return 200, {}, GOOD

    run = measured(slow, rate=200.0, seconds=0.5)
    assert most <= 4
    assert run.missed > 0
    assert run.missed + len(run.shots) == run.sent
    assert not Promise.parse("p95<60s").kept(Figures.of(run))


@pytest.mark.parametrize("profile", [{"rate": 50.0}, {"concurrency": 2}])
def test_a_token_that_cannot_be_had_ends_the_run(profile: dict[str, Any]) -> None:
    def no_token(number: int) -> dict[str, str]:
        raise UsageError("no token")

    async def measure() -> None:
        async with service(lambda _: _at_once()) as url:
            await Generator(url, no_token, str).run(Run(Profile(warm_up=0.0, **profile)))

    with pytest.raises(UsageError, match="no token"):
        asyncio.run(measure())


# --- promises ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "measure", "limit"),
    [("p95<2s", "p95", 2.0), (" p99 < 800ms ", "p99", 0.8), ("max<1.5s", "max", 1.5),
     ("failed<1%", "failed", 0.01), ("mean<10ms", "mean", 0.01),
     ("first_token.p95<500ms", "first_token.p95", 0.5), ("gaps.max < 2s", "gaps.max", 2.0)],
)  # fmt: skip
def test_a_promise_is_a_measure_and_a_limit(text: str, measure: str, limit: float) -> None:
    promise = Promise.parse(text)
    assert (promise.measure, promise.limit) == (measure, pytest.approx(limit))


@pytest.mark.parametrize(
    "text",
    ["", "p95", "p95<2", "p95>2s", "p42<2s", "p95<s", "p95<0s", "p95<1.2.3s", "p95<5%", "failed<2s",
     "p95<-1s", "p95<.s", "first_token<1s", "first_token.failed<1%", "queue.p95<1s"],
)  # fmt: skip
def test_what_is_no_promise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no promise") as caught:
        Promise.parse(text)
    assert caught.value.fix


def test_a_promise_on_latency_is_not_kept_by_refusing() -> None:
    fast = [Shot(0, 0.01, 200)] * 90
    promise = Promise.parse("p95<2s")
    assert promise.kept(Figures.of(run_of(*fast)))
    assert not promise.kept(Figures.of(run_of(*fast, *[Shot(0, 0.001, 429)] * 10)))
    assert not promise.kept(Figures.of(run_of(*fast, missed=1)))
    assert not promise.kept(Figures.of(run_of()))
    assert not Promise.parse("failed<10%").kept(Figures.of(run_of(*fast, *[Shot(0, 1, 503)] * 10)))


def searched(capacity: float, first: float = 0.0) -> Search:
    """A search against a lab that is fast below its capacity and slow above it."""
    search = Search(Promise.parse("p95<1s"), Profile(rate=first))
    while (rate := search.next_rate()) is not None:
        search.add(rate, run_of(Shot(0, 0.1 if rate <= capacity else 9, 200)))
        assert len(search.trials) < 25
    return search


@given(st.floats(0.07, MOST_RATE - 1), st.sampled_from([0.0, 0.5, 20.0]))
def test_a_search_ends_close_to_the_capacity(capacity: float, first: float) -> None:
    search = searched(capacity, first)
    if capacity < search.first / 16:
        assert search.best is None
        return
    assert search.best
    assert search.broken
    assert search.best.rate <= capacity < search.broken.rate
    assert search.broken.rate - search.best.rate <= 0.1 * search.best.rate
    search.insist()


def test_a_lab_that_never_breaks_is_not_asked_beyond_the_ceiling() -> None:
    search = searched(math.inf)
    assert search.best
    assert search.best.rate == MOST_RATE
    assert search.broken is None
    assert search.as_json()["broken_at"] is None


def test_a_promise_that_is_never_kept_is_a_failed_gate() -> None:
    search = searched(0.0)
    assert search.as_json()["rate"] is None
    with pytest.raises(GateFailure, match=r"not kept even at 0\.0625 requests/s") as caught:
        search.insist()
    assert caught.value.exit_code == 8


def test_a_slow_trial_lasts_long_enough_for_a_percentile() -> None:
    search = Search(Promise.parse("p95<1s"), Profile(seconds=10.0))
    assert search.profile_at(100).seconds == 10
    assert search.profile_at(1).seconds == 20
    assert search.profile_at(0.1).seconds == 60  # and not for ever


# --- plots -------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"
MIXED = (
    Shot(0.1, 0.25, 200), Shot(0.5, 0.3, 200, cached=True), Shot(1.1, 0.002, 429),
    Shot(2.2, 0.4, 502), Shot(3.9, 5.0, NO_ANSWER),
)  # fmt: skip


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.partition("\n")[2])


def test_the_plot_holds_a_dot_for_every_request_coloured_by_what_became_of_it() -> None:
    text = page.html(run_of(*MIXED, *[Shot(1, 0.2, 200)] * 40), "A <lab> & its load", ["note"])
    root = parsed(text)
    dots = [one.get("class") for one in root.iter(f"{SVG}circle")]
    assert len(dots) == 45
    assert {dots.count(kind) for kind in ("cached", "refused", "error", "no-answer")} == {1}
    assert "A <lab> & its load" in "".join(root.itertext())


def test_the_plot_needs_neither_network_nor_script() -> None:
    text = page.html(run_of(*MIXED), "title", [])
    tags = {one.tag.rpartition("}")[2] for one in parsed(text).iter()}
    assert not tags & {"script", "link", "img", "iframe", "image"}
    assert not re.search(r"(src|href|url|@import)\b", text)


@pytest.mark.parametrize(
    "shots",
    [(), MIXED[:1], (Shot(0, 0.0, 200),), [Shot(n / 10, 0.001, 200) for n in range(99)] + [
        Shot(9, 60, 200)]],
    ids=["nothing", "one", "no time at all", "far apart"],
)  # fmt: skip
def test_dots_stay_on_the_page(shots: Any) -> None:
    root = parsed(page.html(run_of(*shots), "title", []))
    places = [
        float(one.get(name, "nan"))
        for one in root.iter(f"{SVG}circle") for name in ("cx", "cy")
    ]  # fmt: skip
    assert len(places) == 2 * len(shots)
    assert all(0 <= place <= page.WIDTH for place in places)


@given(st.floats(1e-4, 1e5))
def test_an_axis_has_a_handful_of_round_ticks_that_reach_above_all(top: float) -> None:
    axis = page.axis([top / 3, top], 100)
    assert 2 <= len(axis.ticks) <= 9
    assert axis.ticks[0] == 0
    assert axis.ticks[-1] >= top * (1 - 1e-6)
    assert 0 <= axis.place(top) <= 100.001


def test_a_long_run_is_thinned_and_says_so_but_keeps_its_slowest() -> None:
    many = [Shot(n / 1e4, 0.01, 200) for n in range(3 * page.MOST_DOTS)]
    many[page.MOST_DOTS + 1] = Shot(2, 7.0, 200)
    thin = page.thinned(many)
    assert len(thin) <= page.MOST_DOTS
    assert max(shot.latency for shot in thin) == 7.0
    assert f"({len(thin)} of {len(many)} drawn)" in page.html(run_of(*many), "title", [])


def test_a_plot_by_matplotlib_is_a_png(tmp_path: Path) -> None:
    for number, shots in enumerate((MIXED, ())):
        file = tmp_path / f"{number}.png"
        draw(run_of(*shots), "dollars $ are no formula", [], file)
        assert file.read_bytes().startswith(b"\x89PNG")


def test_a_png_without_matplotlib_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFailure) as caught:
        check_plot(tmp_path / "load.png")
    assert "pip install 'llmlab[notebook]'" in str(caught.value.fix)
    check_plot(tmp_path / "load.html")


# --- options -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1h", 3600), ("90", 90)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration("--duration", text) == seconds


def test_without_a_duration_requests_are_what_ends_a_run_but_not_for_ever() -> None:
    assert Wishes().profile().seconds == 30
    assert Wishes(requests=10).profile().seconds == MOST_SECONDS
    assert Wishes(requests=10, duration="5s").profile().seconds == 5
    assert Wishes(seed=4).profile().seed == 4


@pytest.mark.parametrize(
    "options",
    ["--rate 5 -c 2", "--until p95", "--until p95<2s -c 4", "--until p95<2s --requests 9",
     "--duration 2h", "--duration soon", "--duration 0", "--warm-up -1s", "--plot load.jpg",
     "--plot no/such/folder/load.html", "--model NO!", "nothing-here.txt", "empty.txt",
     "--url ftp://x --duration 1s"],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_a_reason(lab: LabUnderTest, options: str) -> None:
    (lab.root / "empty.txt").write_text(" \n")
    done = lab.run("load", *options.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    "options",
    ["-c 0", "-c 99999", "--rate 0", "--rate 1e9", "--requests 99999999", "--subjects 0",
     "--repeat -1", "--timeout 0", "--seed -1"],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(tmp_path: Path, options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmlab", "load", *options.split()], cwd=tmp_path, env=clean_env(),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert options.split()[0].lstrip("-") in done.stderr


# --- a real lab --------------------------------------------------------------

LATENCY = {"mean", "p50", "p90", "p95", "p99", "max"}
FIGURES = {
    "requests", "seconds", "requests_per_second", "texts_per_second", "tokens_in_per_second",
    "tokens_out_per_second", "statuses", "models", "deployments", "failed", "cached",
    "retried", "missed",
    "refusals", "latency", "refusal", "queue", "compute", "late",
    "streams",
}  # fmt: skip
SETUP = {
    "url", "path", "model", "max_tokens", "loop", "concurrency", "rate", "warm_up", "retry", "seed",
    "subjects", "texts", "interrupted",
}  # fmt: skip


@pytest.fixture(scope="module")
def limited(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that lets each subject ask 20 times a second, and 5 times more at once."""
    one = make_lab(gateway__rate_limit__rate='"20r/s"', gateway__rate_limit__burst="5")
    one.ok("up")
    return one


def test_an_unlimited_run_is_told_to_programs(lab: LabUnderTest) -> None:
    told = lab.json("load", "-c", "3", "--requests", "30", "--warm-up", "200ms")
    assert set(told) == SETUP | FIGURES
    assert (told["url"], told["path"], told["loop"]) == (lab.url, "/summarize/", "closed")
    assert (told["requests"], told["statuses"], told["failed"]) == (30, {"200": 30}, 0)
    assert (told["models"], told["cached"], told["interrupted"]) == ({"textrank": 30}, 0, False)
    assert told["tokens_in_per_second"] > told["tokens_out_per_second"] > 0
    assert told["deployments"]["textrank"]["requests"] == 30
    # The gateway lets the API's word on the queue through.
    for name in ("latency", "queue", "compute"):
        assert set(told[name]) == LATENCY
        assert 0 <= told[name]["p50"] <= told[name]["p95"] <= told[name]["max"]
    assert told["queue"]["max"] <= told["latency"]["max"]


def test_an_unlimited_run_is_told_to_people(lab: LabUnderTest) -> None:
    shown = lab.ok("load", "--requests", "10", "--warm-up", "0", "--model", "textrank")
    assert shown.startswith(f"{lab.url}/models/textrank/summarize/  closed loop, 4 clients\n")
    assert "texts: built in, 40 to 3000 words" in shown
    assert re.search(r"200 OK +10 +100\.0%", shown)
    assert re.search(r"texts/s +[\d.]+ +by textrank", shown)
    for line in ("a summary", "in the queue", "computing"):
        assert re.search(rf"{line}.*( [\d.]+ (µs|ms|s) *){{5}}", shown)


def test_a_rate_limited_run_counts_the_refusals(limited: LabUnderTest) -> None:
    told = limited.json("load", "--rate", "100", "--duration", "2s", "--warm-up", "0", "--seed=1")
    assert set(told["statuses"]) == {"200", "429"}
    refusals = told["refusals"]
    assert refusals["by_gateway"] == told["statuses"]["429"] > 10
    assert (refusals["by_api"], refusals["without_retry_after"]) == (0, 0)
    assert told["refusal"]["p50"] > 0


def test_a_run_without_a_single_summary_exits_with_5(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab(gateway__rate_limit__rate='"1r/m"', gateway__rate_limit__burst="0")
    lab.ok("up")
    done = lab.run("load", "--requests", "8", "--warm-up", "0")
    assert done.returncode == 5
    assert re.search(r"429 Too Many Requests +8 +100\.0%", done.stdout)
    assert "Refused by the gateway: 8 " in done.stdout
    assert "All with Retry-After." in done.stdout
    assert "Error: 429: The rate limit is reached" in done.stderr


def test_each_subject_has_a_limit_of_its_own(limited: LabUnderTest) -> None:
    options = ("--rate", "100", "--requests", "100", "--warm-up", "0", "--subjects", "50")
    assert limited.json("load", *options)["statuses"] == {"200": 100}


def test_refusals_are_waited_out_if_that_is_asked_for(limited: LabUnderTest) -> None:
    told = limited.json("load", "-c", "10", "--requests", "30", "--warm-up", "0", "--retry", "60")
    assert told["statuses"] == {"200": 30}
    assert told["retried"] > 0
    assert told["refusals"]["by_gateway"] >= told["retried"]


def test_a_full_queue_is_told_from_the_rate_limit(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab(gateway__rate_limit__enabled="false", service__queue="1")
    lab.ok("up")
    told = lab.json("load", "-c", "24", "--requests", "400", "--warm-up", "0")
    assert told["refusals"]["by_api"] == told["statuses"]["429"] > 0
    assert told["refusals"]["by_gateway"] == told["refusals"]["without_retry_after"] == 0


def test_own_texts_are_sent_and_only_repeated_ones_come_from_the_cache(lab: LabUnderTest) -> None:
    folder = lab.root / "own"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.txt").write_text(f"Text {name} speaks of tides. The tide is late.")
    told = lab.json("load", "own", "--requests", "8", "-c", "1", "--warm-up", "0")
    assert (told["cached"], told["statuses"]) == (0, {"200": 8})
    assert told["texts"].startswith("2 of one's own")
    again = ("load", "own", "--requests", "8", "-c", "1", "--warm-up", "0", "--repeat", "2")
    assert lab.json(*again)["cached"] == 0.75  # two had to be made
    assert lab.json(*again)["cached"] == 1
    built = lab.json("load", "--requests", "20", "-c", "1", "--warm-up", "0", "--repeat", "2")
    assert built["cached"] == 0.9


def test_the_highest_rate_that_keeps_a_promise_is_found(limited: LabUnderTest) -> None:
    options = ("--until", "failed<30%", "--rate", "10", "--duration", "1s", "--warm-up", "0")
    told = limited.json("load", *options)
    assert told["promise"] == "failed<30%"
    assert told["rate"] < told["broken_at"]
    assert all(set(trial) == FIGURES | {"rate", "kept", "broken_by"} for trial in told["trials"])
    kept = {trial["rate"] for trial in told["trials"] if trial["kept"]}
    assert max(kept) == told["rate"]


def test_a_promise_that_no_rate_keeps_exits_with_8(limited: LabUnderTest) -> None:
    done = limited.run("load", "--until", "max<0.01ms", "--rate", "160", "--duration", "300ms",
                       "--warm-up", "0")  # fmt: skip
    assert done.returncode == 8
    assert "max<0.01ms is not kept even at 10 requests/s" in done.stderr
    assert len(re.findall(r"no$", done.stdout, re.MULTILINE)) == 5


def test_a_plot_is_drawn_of_a_real_run(lab: LabUnderTest) -> None:
    done = lab.run("load", "--requests", "12", "--warm-up", "0", "--plot", "load.html")
    assert (done.returncode, done.stderr) == (0, "Plot: load.html\n")
    root = parsed((lab.root / "load.html").read_text())
    assert len(list(root.iter(f"{SVG}circle"))) == 12
    assert "answered by textrank" in "".join(root.itertext())


def _requests(lab: LabUnderTest) -> int:
    return int(lab.json("status")["deployments"][0]["requests"])


def test_ctrl_c_ends_a_run_and_tells_what_was_measured(lab: LabUnderTest) -> None:
    before = _requests(lab)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "load", "--duration", "10m", "--warm-up", "0", "-c", "2",
         "--plot", "cut.html", "-o", "json"],
        cwd=lab.root, env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: _requests(lab) > before + 20, 60)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    told = json.loads(shown)
    assert told["interrupted"] is True
    assert told["requests"] > 0
    assert told["seconds"] < 300
    dots = list(parsed((lab.root / "cut.html").read_text()).iter(f"{SVG}circle"))
    assert len(dots) == told["requests"]


def test_ctrl_c_in_a_search_tells_the_trials_so_far(lab: LabUnderTest) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "load", "--until", "p95<50s", "--rate", "20",
         "--duration", "1s", "--warm-up", "0"],
        cwd=lab.root, env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    before = _requests(lab)
    wait_until(lambda: _requests(lab) > before + 40, 60)  # more than the first trial has
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "")
    assert re.search(r"^ +20 .* yes$", shown, re.MULTILINE)
    assert "holds up to" not in shown


def test_a_terminal_shows_the_run_while_it_goes_on(lab: LabUnderTest) -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "load", "--duration", "2s", "--warm-up", "500ms"],
        cwd=lab.root, env=lab.env | {"TERM": "xterm", "COLUMNS": "90", "NO_COLOR": "1"},
        stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(terminal, 65536):
            drawn += part
    except OSError:  # Linux says so when the other end is closed
        pass
    shown, _ = process.communicate(timeout=30)
    os.close(terminal)
    assert process.returncode == 0
    assert "200 OK" in shown
    screen = drawn.decode()
    for told in ("warming up", "s left", "4 clients", "p50", "200 × ", "in flight"):
        assert told in screen


def test_without_a_terminal_nothing_is_drawn(lab: LabUnderTest) -> None:
    assert lab.run("load", "--requests", "3", "--warm-up", "0").stderr == ""


# --- where nothing answers ---------------------------------------------------


def test_a_lab_that_is_down_is_the_usual_error(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab()
    lab.ok("keys", "init")
    done = lab.run("load", "--duration", "10m")
    assert (done.returncode, done.stdout) == (5, "")
    assert "cannot be reached" in done.stderr
    assert "Fix: llmlab up" in done.stderr


def test_a_refused_token_and_an_unknown_model_are_the_usual_errors(lab: LabUnderTest) -> None:
    refused = lab.run("load", env={"LLMLAB_TOKEN": "a.b.c"})
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "401" in refused.stderr
    unknown = lab.run("load", "--model", "nosuch")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "nosuch is not deployed" in unknown.stderr


def test_the_labs_own_token_goes_nowhere_else(lab: LabUnderTest) -> None:
    done = lab.run("load", "--url", "http://192.0.2.1:8000")
    assert (done.returncode, done.stdout) == (4, "")
    assert "LLMLAB_TOKEN" in done.stderr


def test_several_subjects_need_the_labs_key(lab: LabUnderTest) -> None:
    done = lab.run("load", "--subjects", "2", env={"LLMLAB_TOKEN": lab.token()})
    assert (done.returncode, done.stdout) == (2, "")
    assert "--subjects 2" in done.stderr


def test_a_lab_elsewhere_is_asked_with_the_token_that_was_given(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmlab", "load", "--url", lab.url, "--requests", "3",
         "--warm-up", "0", "-o", "json"],
        cwd=tmp_path, env=clean_env(LLMLAB_TOKEN=lab.token()), capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["statuses"] == {"200": 3}, done.stderr


def test_a_port_where_nobody_listens_exits_with_5(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmlab", "load", "--url", f"http://127.0.0.1:{free_port()}"],
        cwd=tmp_path, env=clean_env(LLMLAB_TOKEN="a.b.c"), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "")
