"""What was used of models, in a lab that runs: `llmlab usage` beside what they have counted."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import httpx2
import pytest

from llmlab.config import Config
from llmlab.delivery.adding_up import as_csv
from llmlab.engines.local.started import all_started
from llmlab.errors import UpstreamError
from llmlab.repeating import again_and_again
from llmlab.usage.lines import Used, read
from llmlab.usage.store import Books, Row
from llmlab.usage.telling import untold
from tests.conftest import LabUnderTest, wait_until
from tests.provider import PROMPT, Provider

BUDGETS = """
[[budgets]]
tokens_per_day = 1000000000
requests_per_day = 1000000
[[budgets]]
by = "claim:team"
money_per_month = 5000.0
currency = "EUR"
"""
MODEL = """
[models.{name}]
runtime = "openai"
base_url = "{url}"
model = "{exchange}"
price = {{ input = 0.5, output = 2.0 }}
"""
MODELS = {"whole": "hello", "long": "hundred", "cut": "cut", "silent": "silent", "no": "too-many"}
REQUESTS = 1000
AT_ONCE = 24


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as one:
        yield one


@pytest.fixture(scope="module")
def far(make_lab: Callable[..., LabUnderTest], provider: Provider) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__enabled="false")
    with (one.root / "configs" / "lab.toml").open("a") as file:
        for name, exchange in MODELS.items():
            file.write(MODEL.format(name=name, exchange=exchange, url=provider.url))
        file.write(BUDGETS)
    one.ok("up", "--model", "textrank", *(part for name in MODELS for part in ("--model", name)))
    return one


def chat(model: str, *, stream: bool = False, most: int = 120) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "What burns?"}],
            "max_tokens": most, "stream": stream}  # fmt: skip


def used(lab: LabUnderTest, by: str = "subject") -> dict[str, Any]:
    return {one["name"]: one for one in lab.json("usage", "--by", by)}


def settled(lab: LabUnderTest) -> bool:
    """Whether no request is under way whose API could still say something."""
    told = lab.ok("metrics", "-o", "prometheus").splitlines()
    (held,) = (one for one in told if one.startswith("llmlab_budget_reserved") and "tokens" in one)
    return float(held.rpartition(" ")[2]) == 0


def test_it_adds_up_with_what_the_models_have_counted_to_the_token(
    far: LabUnderTest, provider: Provider
) -> None:
    before = provider.read, provider.written
    with far.client("exact") as client:
        for stream in (False, True):
            answer = client.post("/v1/chat/completions", json=chat("whole", stream=stream))
            assert answer.status_code == 200
            assert "usage" not in "".join(answer.headers)
        assert client.post("/v1/chat/completions", json=chat("no")).status_code == 429
        assert client.post("/v1/chat/completions", json={"model": "whole"}).status_code == 400
        assert client.post("/summarize/", json={"text": "One. Two."}).status_code == 200
        again = client.post("/summarize/", json={"text": "One. Two."})
        assert again.headers["x-cache"] == "hit"
    rows = used(far, "model")
    assert (rows["whole"]["tokens_in"], rows["whole"]["tokens_out"]) == (2 * PROMPT, 12)
    assert (rows["whole"]["requests"], rows["whole"]["estimated"]) == (3, 0)
    assert rows["whole"]["cost"] == pytest.approx(2 * 22e-6)
    assert (rows["no"]["requests"], rows["no"]["tokens_in"], rows["no"]["tokens_out"]) == (1, 0, 0)
    summaries = far.metric("textrank", "llmlab_input_tokens_total")
    assert rows["textrank"]["tokens_in"] == summaries  # the second one was kept from before
    assert provider.read - before[0] == 2 * PROMPT
    assert provider.written - before[1] == 12


def test_a_client_that_leaves_pays_for_what_was_written_and_no_more_than_it_asked_for(
    far: LabUnderTest, provider: Provider
) -> None:
    before = used(far, "model").get("long", {"tokens_in": 0, "tokens_out": 0})
    written = provider.written
    with far.client("leaver") as client, client.stream(
        "POST", "/v1/chat/completions", json=chat("long", stream=True, most=5000)
    ) as answer:  # fmt: skip
        lines = answer.iter_lines()
        for _ in range(20):
            next(lines)
    wait_until(lambda: settled(far))
    row = used(far, "model")["long"]
    assert row["estimated"] == 1
    assert row["tokens_in"] - before["tokens_in"] >= PROMPT
    assert provider.written - written <= row["tokens_out"] - before["tokens_out"] < 500


def kill_one(lab: LabUnderTest, name: str) -> None:
    started = all_started(lab.lab.state)[f"api-{name}"]
    os.kill(started.pid, signal.SIGKILL)


def answers(lab: LabUnderTest, name: str) -> bool:
    """Whether a deployment is there again: asked what costs nothing."""
    with lab.client("waiting") as client:
        return client.get(f"/models/{name}/v1/models").status_code == 200


def ask_something(client: httpx2.Client, seed: int) -> None:
    """One request of a mix; what becomes of it is nobody's business here."""
    chance = random.Random(seed)
    kind = chance.choice(["whole", "whole", "stream", "stream", "leave", "cut", "silent", "text"])
    try:
        if kind == "text":
            client.post("/summarize/", json={"text": f"Lamp {seed} is lit. It burns {seed} hours."})
        elif kind in ("whole", "silent", "cut"):
            client.post("/v1/chat/completions", json=chat(kind, stream=kind == "cut"))
        elif kind == "stream":
            client.post("/v1/chat/completions", json=chat("whole", stream=True))
        else:
            asked = chat("long", stream=True)
            with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
                lines = answer.iter_lines()
                for _ in range(chance.randrange(30)):
                    next(lines)
    except (httpx2.HTTPError, StopIteration):
        pass


@pytest.mark.slow
def test_of_1000_mixed_requests_cut_and_killed_none_is_counted_below_what_models_counted(
    far: LabUnderTest, provider: Provider
) -> None:
    wait_until(lambda: settled(far))
    rows = used(far, "model")
    before = {name: sum(rows[name][key] for name in rows if name in MODELS)
              for name, key in (("in", "tokens_in"), ("out", "tokens_out"))}  # fmt: skip
    at_provider = provider.read, provider.written
    summaries = rows.get("textrank", {"tokens_out": 0})  # by the tests before this one, if any
    texts = far.metric("textrank", "llmlab_output_tokens_total"), summaries["tokens_out"]
    done = threading.Semaphore(0)
    with far.client("mixed") as client, ThreadPoolExecutor(AT_ONCE) as pool:

        def one(seed: int) -> None:
            ask_something(client, seed)
            done.release()

        for begin, name in ((0, "whole"), (REQUESTS // 2, "long")):
            asked = [pool.submit(one, begin + number) for number in range(REQUESTS // 2)]
            for _ in range(REQUESTS // 2 - AT_ONCE):
                done.acquire()
            kill_one(far, name)  # with some under way
            for future in asked:
                future.result()
            wait_until(lambda name=name: answers(far, name))
    rows = used(far, "model")
    mixed = used(far)["mixed"]
    assert mixed["requests"] + mixed["refused"] <= REQUESTS
    assert provider.read - at_provider[0] > PROMPT * REQUESTS / 2  # the others were summaries
    now = {name: sum(rows[name][key] for name in rows if name in MODELS)
           for name, key in (("in", "tokens_in"), ("out", "tokens_out"))}  # fmt: skip
    assert now["in"] - before["in"] >= provider.read - at_provider[0]
    assert now["out"] - before["out"] >= provider.written - at_provider[1]
    # Nobody has left or died here, so these are exact.
    written = far.metric("textrank", "llmlab_output_tokens_total") - texts[0]
    assert rows["textrank"]["tokens_out"] - texts[1] == written


def test_sums_and_counts_outlive_the_lab_and_its_log(far: LabUnderTest) -> None:
    with far.client("counted") as client:

        def ask() -> httpx2.Response:
            return client.post("/v1/chat/completions", json=chat("whole"))

        first = ask()
        assert first.status_code == 200
    rows = used(far)
    far.ok("down")
    for file in far.lab.logs.glob("gateway.log*"):
        file.unlink()
    far.ok("up", "--model", "textrank", "--model", "whole")
    with far.client("counted") as client:
        second = client.post("/v1/chat/completions", json=chat("whole"))
    assert int(second.headers["x-ratelimit-remaining-requests"]) == (
        int(first.headers["x-ratelimit-remaining-requests"]) - 1
    )
    now = used(far)
    assert now["counted"]["requests"] == rows["counted"]["requests"] + 1
    assert {**now, "counted": rows["counted"]} == rows


@pytest.mark.parametrize("name", ["=cmd|x", "+1", "-1", "@x", "\tx"])
def test_a_name_is_no_formula_of_a_spreadsheet(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv([Row(name, 1, 0, 0, 3, 1, 2.5)]), newline=""))
    assert (row["name"], row["requests"]) == (f"'{name}", "1")


def test_it_is_told_as_csv_by_day_and_by_claim_as_well(far: LabUnderTest) -> None:
    rows = list(csv.DictReader(io.StringIO(far.ok("usage", "--by", "day", "-o", "csv"))))
    assert list(rows[0]) == ["name", "requests", "refused", "estimated", "tokens_in", "tokens_out",
                             "cost"]  # fmt: skip
    total = sum(int(one["tokens_in"]) for one in rows)
    (team,) = far.json("usage", "--by", "team")
    assert (team["name"], team["tokens_in"]) == ("", total)
    assert far.ok("usage", "--by", "route").startswith("route ")
    assert far.run("usage", "--by", "a b").returncode == 2
    assert "--since" in far.run("usage", "--since", "soon").stderr


def test_the_ledger_tells_when_budgets_change(far: LabUnderTest) -> None:
    told = [one for one in far.json("ledger", "-n", "0") if one["document"].get("did") == "budgets"]
    assert len(told) == 1  # `up` was called twice
    assert [one["name"] for one in told[0]["document"]["budgets"]] == ["subject", "claim:team"]


def test_another_price_counts_from_then_on_and_restarts_no_model(far: LabUnderTest) -> None:
    pid = all_started(far.lab.state)["api-whole"].pid
    before = used(far, "model").get("whole", {"cost": 0.0})["cost"]
    config = far.lab.config_file
    price = 'model = "hello"\nprice = { input = 0.5, output = 2.0 }'
    assert price in config.read_text()
    dearer = price.replace("0.5", "5.0").replace("2.0", "20.0")
    config.write_text(config.read_text().replace(price, dearer))
    far.ok("up", "--model", "textrank", "--model", "whole")
    assert all_started(far.lab.state)["api-whole"].pid == pid
    with far.client("dearer") as client:
        assert client.post("/v1/chat/completions", json=chat("whole")).status_code == 200
    cost = (5 * PROMPT + 20 * 6) * 1e-6
    assert used(far, "model")["whole"]["cost"] - before == pytest.approx(cost)


def test_a_lab_ends_also_where_what_it_has_counted_cannot_be_kept(far: LabUnderTest) -> None:
    with far.client("unkept") as client:
        assert client.post("/v1/chat/completions", json=chat("whole")).status_code == 200
    counts = far.lab.state / "counts"
    for file in counts.iterdir():
        file.unlink()
    counts.rmdir()
    counts.touch()
    far.ok("down")
    assert not far.status()["running"]
    counts.unlink()


def test_a_gateway_that_logs_nothing_of_usage_is_told(far: LabUnderTest) -> None:
    conf = far.lab.nginx_conf
    assert far.run("usage").stderr == ""
    now = conf.read_text()
    conf.write_text(now.replace('"tokens_in":$lab_tokens_in,', ""))
    done = far.run("usage", "-o", "json")
    conf.write_text(now)
    assert done.returncode == 0
    assert "nginx.conf logs nothing of what is used" in done.stderr
    assert "Fix: llmlab init FOLDER" in done.stderr
    assert json.loads(done.stdout)
    plus = Config.model_validate({"gateway": {"edition": "plus"}})
    assert "without njs" in untold(plus, now)
    assert untold(Config(), now) == ""


# --- Lines ------------------------------------------------------------------------------------


def line(**said: Any) -> str:
    usual = {"at": 7200.5, "subject": "a", "deployment": "m", "route": "chat", "method": "POST",
             "status": 200, "settled": 1, "tokens_in": 3, "tokens_out": 4, "cost": 5, "over": "",
             "claims": ""}  # fmt: skip
    return json.dumps(usual | said)


def test_a_line_says_what_was_used_and_others_nothing() -> None:
    found = read(line(claims='{"team": "red"}'))
    assert found == Used(7200.5, "a", "m", "chat", '{"team": "red"}', 1, 0, 0, 3, 4, 5)
    late = read(line(settles="r", tokens_out=-4, claims={"team": "red"}))
    assert late
    assert (late.requests, late.estimated, late.tokens_out) == (0, -1, -4)
    assert asdict(read(line(settled=0)) or late)["estimated"] == 1
    refused = read(line(deployment="", status=429, over="small tokens_per_minute"))
    assert refused
    assert (refused.requests, refused.refused) == (0, 1)
    for other in ("", "no JSON", line(method="GET"), line(deployment="", status=429), "[1]"):
        assert read(other) is None


def test_a_log_that_says_nothing_new_writes_nothing(tmp_path: Any) -> None:
    books = Books(tmp_path)
    books.take("local", lambda _: ([line()], "1"))
    written = (tmp_path / "usage.db").stat().st_mtime_ns
    assert books.take("local", lambda cursor: ([], cursor)) == 0
    assert (tmp_path / "usage.db").stat().st_mtime_ns == written
    books.take("local", lambda _: ([], "2"))  # a log was rotated, say
    assert (tmp_path / "usage.db").stat().st_mtime_ns > written


@pytest.mark.parametrize(
    "odd",
    [{"subject": "\ud800"}, {"claims": '{"team": "\\ud800"}'}, {"at": float("inf")},
     {"at": float("nan")}, {"tokens_in": 1 << 63}, {"cost": float("inf")}],
    ids=lambda odd: next(iter(odd)),
)  # fmt: skip
def test_a_line_that_cannot_be_kept_is_passed_over(tmp_path: Any, odd: dict[str, Any]) -> None:
    books = Books(tmp_path)
    assert read(line(**odd)) is None
    log = [line(), line(**odd), line(subject="b")]
    assert books.take("local", lambda cursor: (log, "3")) == 3
    assert {one.name for one in books.rows("subject", 0)} == {"a", "b"}


def test_a_look_that_fails_of_whatever_is_logged_and_the_next_one_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    went_on, failures = threading.Event(), [ZeroDivisionError(), UpstreamError("away")]

    def look() -> None:
        if failures:
            raise failures.pop(0)
        went_on.set()

    again_and_again(look, logging.getLogger("llmlab.keeper"), every=0.001)
    assert went_on.wait(10)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["a look failed; it goes on with the next one", "away"]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize("other", ["local", "ray"])  # whose keeper is that of the local engine
def test_each_line_counts_once_whoever_reads_it(tmp_path: Any, other: str) -> None:
    books = Books(tmp_path)
    log = [line(), line(subject="b")]

    def since(cursor: str) -> tuple[list[str], str]:
        return log[int(cursor) :], str(len(log))

    assert [books.take(one, since) for one in ("local", other)] == [2, 0]
    log.append(line())
    assert books.take("local", since) == 1
    assert [(one.name, one.tokens_in) for one in books.rows("subject", 0)] == [("a", 6), ("b", 3)]
    assert books.rows("subject", 4 * 3600) == []
    assert (tmp_path / "usage.db").stat().st_mode & 0o777 == 0o600
