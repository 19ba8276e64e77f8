"""The console's pages of requests and of usage: what they show of a lab's logs and books."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from llmlab.answered import Answer
from llmlab.cli.app import app
from llmlab.config import Config
from llmlab.console import requests as pages
from llmlab.console import waterfall
from llmlab.console.app import build_app
from llmlab.delivery.request_logs import Found
from llmlab.delivery.tracing import History, Traced, trace
from llmlab.engines.base import Plan
from llmlab.engines.record import Record
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.service.settings import Settings
from llmlab.traffic import Deployed, Share, Split
from llmlab.usage.store import Books, Row
from tests.summarizing import summarizing
from tests.test_trace import api_line, line

Ask = Callable[..., Any]
EVIL = '"><script>alert(1)</script><b onclick=x style=y>'
PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """One that counts as running, by its record; no process of it does."""
    lab = Lab(tmp_path)
    model = Config().models["textrank"]
    config = Config.model_validate({
        "models": {"new": model.model_dump()}, "routes": {"summarize": "new"},
        "budgets": [{"by": "claim:team", "money_per_month": 9, "currency": "EUR"}],
    })  # fmt: skip
    settings = Settings(deployment="new", name="new", model=model, folder=None,
                        service=config.service)  # fmt: skip
    lab.make_state()
    Record.of(Plan(config, "new", (settings,)), "local", "1.31.3").write(lab)
    lab.nginx_conf.write_text("log $lab_tokens_in")
    return lab


def asking(lab: Lab, role: str) -> Ask:
    client = TestClient(build_app(lab, lambda: "1"), raise_server_exceptions=False)

    def ask(path: str, **query: str) -> Any:
        return client.get(
            f"/console/{path}", params=query or None, headers={"X-Subject": "alice", "X-Role": role}
        )

    return ask


@pytest.fixture
def ask(lab: Lab) -> Ask:
    return asking(lab, "viewer")


def log(lab: Lab, *lines: dict[str, Any]) -> None:
    lab.logs.mkdir(parents=True, exist_ok=True)
    with (lab.logs / "gateway.log").open("a") as file:
        for one in lines:
            file.write(json.dumps(one, separators=(",", ":")) + "\n")


def logged(number: int, **values: Any) -> dict[str, Any]:
    return line(at=1_796_000_000.0 + number, request_id=f"r{number:03}",
                tokens_in=1234, tokens_out=56, cost=0, settled=1) | values  # fmt: skip


def shown(page: Any) -> list[str]:
    return re.findall(r"requests/show\?id=([^\"]+)", page.text)


def traced(*, api: dict[str, Any] | None = None, **values: Any) -> Traced:
    history = History(Store(Lab(Path("/nowhere"))), lambda _: "")
    found = Found([line(revision=0) | values], [api_line() | (api or {})])
    return trace(found, history, ["r1"])[0]


# --- The list ----------------------------------------------------------------------------------


def test_fifty_are_on_a_page_and_each_leads_to_the_ones_before(lab: Lab, ask: Ask) -> None:
    log(lab, *(logged(number) for number in range(120)))
    found, query = [], ""
    for _ in range(3):
        page = ask(f"requests{query}")
        found += shown(page)
        older = re.search(r"requests(\?[^\"]*before=[^\"]+)\">Older", page.text)
        query = older[1].replace("&amp;", "&") if older else ""
    assert found == [f"r{number:03}" for number in range(119, -1, -1)]
    assert not query, "that was all"
    assert ">Newest</a>" in page.text
    assert "1,234, 56" in page.text


def test_a_search_keeps_its_fields_and_finds_by_them(lab: Lab, ask: Ask) -> None:
    log(lab, logged(1), logged(2, status=503), logged(3, subject="a&b", status=429))
    assert shown(ask("requests", status="5xx")) == ["r002"]
    page = ask("requests", subject=" a&b ", status="", model="new")
    assert shown(page) == ["r003"]
    assert 'value="a&amp;b"' in page.text
    assert "subject=a%26b&amp;model=new&amp;live=1" in page.text, "it can be followed as it is"
    assert shown(ask("requests", id="r00", route="summarize")) == ["r003", "r002", "r001"]
    assert shown(ask("requests", minutes="5")) == [], "these are of long ago"
    log(lab, logged(4, at=time.time()))
    assert shown(ask("requests", minutes="5")) == ["r004"]


def test_what_is_not_as_it_mostly_is_stands_beside_the_status(lab: Lab, ask: Ask) -> None:
    log(
        lab,
        logged(
            1,
            broken=1,
            cache="hit",
            handed_on="far",
            waf="found",
            over="daily tokens",
            answer=str(Answer(tokens=3, cut_off=True, refusal="field", invalid=True)),
        ),
    )
    said = " ".join(re.sub(r"<[^>]+>", " ", ask("requests").text).split())
    for word in ("broken off", "cache hit", "for far", "WAF found", "over daily tokens",
                 "cut off", "refusal", "not of its format"):  # fmt: skip
        assert word in said
    assert 'class="tag wrong">200' in ask("requests").text


def test_a_lab_that_nobody_has_asked_says_what_to_do(ask: Ask) -> None:
    assert "llmlab summarize FILE" in ask("requests").text
    assert "still logged" in ask("requests", subject="bob").text
    assert ask("requests.json").json() == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"status": "many"}, "is no status"),
        ({"minutes": "0"}, "is no number of minutes"),
        ({"minutes": "1e3"}, "is no number of minutes"),
        ({"minutes": "٣"}, "is no number of minutes"),
        ({"minutes": "9" * 5000}, "is no number of minutes"),
        ({"before": "nan:r1"}, "is no place in the log"),
        ({"before": "yesterday"}, "is no place in the log"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(ask: Ask, query: dict[str, str], said: str) -> None:
    for path in ("requests", "requests.json"):
        answer = ask(path, **query)
        assert answer.status_code == 400
        assert said in answer.text


def verb(lab: Lab) -> list[str]:
    lab.config_file.parent.mkdir(exist_ok=True)
    lab.config_file.touch()
    return ["--lab", str(lab.root), "trace"]


def test_the_documents_are_those_of_the_verb(lab: Lab, ask: Ask) -> None:
    log(lab, logged(1), logged(2, status=503))
    listed = CliRunner().invoke(app, [*verb(lab), "--status", "503", "-o", "json"])
    assert ask("requests.json", status="503").json() == json.loads(listed.stdout)
    one = CliRunner().invoke(app, [*verb(lab), "r001", "-o", "json"])
    assert ask("requests/show.json", id="r001").json() == json.loads(one.stdout)


# --- One of them -------------------------------------------------------------------------------


def test_a_request_is_told_with_who_served_it_and_why(lab: Lab, ask: Ask) -> None:
    store = Store(lab)
    why = f"because {EVIL}"
    new = summarizing(deployments=(Deployed("new", "new:1"),), split=Split((Share("new", 25.0),)))
    store.change("route", {"number": 1}, lambda _: new, why, who="carol")
    log(lab, logged(1, revision=1, rule="header", over="daily tokens_per_day", cost=1500))
    page = ask("requests/show", id="r001")
    for told in ("header, whatever the shares are", "by carol", "tokens_per_day", "0.0015"):
        assert told in page.text
    assert why not in page.text
    assert "because &#34;&gt;&lt;script&gt;" in page.text


def test_a_request_that_asks_by_name_has_no_reason_of_the_routes(lab: Lab, ask: Ask) -> None:
    new = summarizing(deployments=(Deployed("new", "new:1"),), split=Split((Share("new", 25.0),)))
    Store(lab).change("route", {"number": 1}, lambda _: new, "enough was seen", who="carol")
    log(lab, logged(1, revision=1, rule="model", route=""), logged(2, revision=1, rule="split"),
        logged(3, revision=1, rule="", route="", deployment="", status=404))  # fmt: skip
    for number, told in ((1, False), (2, True), (3, False)):
        page = ask("requests/show", id=f"r00{number}").text
        assert ("enough was seen" in page) is told
        assert "entry 1 (route) by carol" in page


def test_what_asks_no_route_at_its_own_address_is_shown_as_it_was_asked(lab: Lab, ask: Ask) -> None:
    nosuch = "/models/nosuch/summarize/"
    log(lab, logged(1, path=nosuch, status=404, endpoint=""), logged(2, endpoint="/summarize/"),
        logged(3, path="/docs", endpoint=""), logged(4))  # fmt: skip
    asked = re.findall(r'<td class="clip" title="([^"]+)">([^<]+)</td>', ask("requests").text)
    assert [one for one in asked if one[0].startswith("/")] == [
        ("/summarize/", "summarize"), ("/docs", "/docs"), ("/summarize/", "summarize"),
        (nosuch, nosuch),
    ]  # fmt: skip


def test_all_requests_of_one_id_are_shown(lab: Lab, ask: Ask) -> None:
    log(lab, logged(1, subject="one"), logged(1, subject="two"))
    page = ask("requests/show", id="r001")
    assert "2 requests have this id" in page.text
    assert page.text.count("Where the time went") == 2


def test_a_request_that_no_log_knows_is_not_here(lab: Lab, ask: Ask) -> None:
    log(lab, logged(1))
    for path in ("requests/show", "requests/show.json"):
        unknown = ask(path, id=EVIL)
        assert unknown.status_code == 404
        assert "llmlab trace --last 20" in unknown.text
        assert ask(path).status_code == 400
    assert "<script>alert" not in ask("requests/show", id=EVIL).text


def test_texts_of_others_are_only_texts(lab: Lab, ask: Ask) -> None:
    names = dict.fromkeys(
        ("subject", "deployment", "model", "route", "rule", "path", "method", "handed_on", "over",
         "waf_kinds", "cache"), EVIL,
    )  # fmt: skip
    log(lab, logged(1, **names, flags=f"{EVIL}=on"))
    books = Books(lab.state)
    written = json.dumps(logged(1, **(names | {"method": "POST"}), claims="{}"))
    books.take("local", lambda _: ([written], "1"))
    for page in (ask("requests"), ask("requests/show", id="r001"), ask("requests", subject=EVIL),
                 ask("usage", since="3650d"), ask("usage", by="model", since="3650d")):  # fmt: skip
        assert page.status_code == 200
        assert "&lt;script&gt;" in page.text
        inside = re.sub(r'"[^"]*"', '""', page.text)
        assert not re.search(r"<[^>]* (style|on[a-z]+)=", inside)
        assert "<script>alert" not in page.text


# --- The waterfall -----------------------------------------------------------------------------


def placed(one: Traced) -> list[tuple[str, float, float]]:
    return [(part.kind, round(part.begin, 3), round(part.seconds, 3))
            for part in waterfall.parts(one)]  # fmt: skip


def test_a_summary_waits_and_is_then_computed() -> None:
    one = traced(seconds=0.250, upstream_seconds="0.240", timing="queue;dur=40",
                 api={"seconds": 0.239})  # fmt: skip
    assert placed(one) == [
        ("gateway", 0.0, 0.25), ("gateway", 0.0, 0.01), ("try", 0.01, 0.24),
        ("queue", 0.01, 0.04), ("model", 0.05, 0.199),
    ]  # fmt: skip


def test_a_stream_has_a_first_token_and_the_others() -> None:
    answer = str(Answer(0.2, 0.05, 0.5, 11, False, "", None))
    one = traced(seconds=1.0, upstream_seconds="1.0", timing="", answer=answer)
    assert placed(one)[2:] == [("first", 0.3, 0.2), ("tokens", 0.5, 0.5)], "it ends with the answer"
    waited = traced(seconds=1.0, upstream_seconds="1.0", timing="queue;dur=100", answer=answer)
    assert placed(waited)[2:] == [
        ("queue", 0.0, 0.1), ("first", 0.1, 0.2), ("tokens", 0.3, 0.5),
    ]  # fmt: skip


def test_each_try_comes_after_the_one_before() -> None:
    one = traced(seconds=0.5, upstream_seconds="0.1, 0.3", upstream_status="502, 200", timing="")
    assert placed(one)[1:] == [("gateway", 0.0, 0.1), ("failed", 0.1, 0.1), ("try", 0.2, 0.3)]


def test_what_nobody_has_told_is_not_drawn() -> None:
    refused = traced(seconds=0.001, upstream_seconds="", upstream_status="", timing="",
                     deployment="")  # fmt: skip
    assert placed(refused) == [("gateway", 0.0, 0.001)]


@pytest.mark.parametrize(
    "values",
    [
        {"seconds": 0.0, "upstream_seconds": "0.001"},
        {"seconds": 0.1, "upstream_seconds": "5, 7", "upstream_status": "502"},
        {"seconds": 0.1, "upstream_seconds": "0.1", "timing": "queue;dur=99999"},
        {"seconds": 9.0, "upstream_seconds": "0.001", "timing": "queue;dur=0.001"},
        {"seconds": 0.1, "upstream_seconds": "0.1", "answer": str(Answer(9.0, 9.0, 9.0, 99))},
    ],
)
def test_figures_that_do_not_fit_together_stay_within_the_drawing(values: dict[str, Any]) -> None:
    for part in waterfall.drawn(traced(**values)):
        assert part.x >= 0
        assert 0 < part.width <= waterfall.WHOLE
        assert part.x + part.width <= waterfall.WHOLE + 0.02


# --- Usage -------------------------------------------------------------------------------------


def use(lab: Lab, *lines: dict[str, Any]) -> None:
    texts = [json.dumps({"claims": "{}", "over": "", **one}) for one in lines]
    Books(lab.state).take("local", lambda _: (texts, "1"))


def test_usage_is_added_up_and_drawn(lab: Lab, ask: Ask) -> None:
    now = time.time()
    team = json.dumps({"team": "red"})
    use(
        lab, logged(1, at=now, tokens_in=300, tokens_out=100, cost=2_500_000, claims=team),
        logged(2, at=now, tokens_in=200, tokens_out=0, subject="eve", settled=0),
    )  # fmt: skip
    page = ask("usage")
    for told in (">500<", ">2.50 EUR<", 'width="75.0"', "tokens in", "Estimated", ">2.50<"):
        assert told in page.text
    assert page.text.index(">bob<") < page.text.index(">eve<")
    assert ">red<" in ask("usage", by="claim:team").text
    assert '<option value="claim:team">' in page.text
    assert '<option value="claim:unit" selected>' in ask("usage", by="claim:unit").text
    rows = [Row("bob", 1, 0, 0, 300, 100, 2.5), Row("eve", 1, 0, 1, 200, 0, 0.0)]
    assert ask("usage.json").json() == [vars(one) for one in rows]
    table = ask("usage.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[1:] == ["bob,1,0,0,300,100,2.5", "eve,1,0,1,200,0,0.0"]


def test_without_tokens_requests_are_drawn(lab: Lab, ask: Ask) -> None:
    lab.nginx_conf.write_text("nothing of tokens")
    use(lab, logged(1, at=time.time(), tokens_in=0, tokens_out=0))
    page = ask("usage").text
    assert "bars: requests" in page
    assert "logs nothing of what is used" in page


def test_what_was_not_used_says_so_and_what_is_no_period_is_refused(ask: Ask) -> None:
    assert "Nothing was used within 7 days." in ask("usage").text
    assert ask("usage.csv").text == "name,requests,refused,estimated,tokens_in,tokens_out,cost\n"
    for query in ({"since": "soon"}, {"by": "!"}):
        assert ask("usage", **query).status_code == 400
        assert ask("usage.csv", **query).status_code == 400


# --- What is followed --------------------------------------------------------------------------


def test_only_what_is_followed_is_kept_up_to_date(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmlab.engines.choice import engine_named

    monkeypatch.setattr(
        "llmlab.console.watching.running_engine", lambda of: engine_named("local", of)
    )
    log(lab, logged(1))
    ask = asking(lab, "operator")
    assert "data-live" not in ask("requests").text
    page = ask("requests", live="1", subject="bob", minutes=str(60 * 24 * 365 * 50))
    assert 'data-live="/console/requests/live"' in page.text
    log(lab, logged(2), logged(3, subject="eve"))
    assert shown(ask("requests", live="1", subject="bob")) == ["r002", "r001"]
    assert "data-live" not in ask("requests", live="1", before="1796000001.5:x").text
    assert len(pages.following) > 0
