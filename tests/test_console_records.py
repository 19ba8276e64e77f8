"""The console's flags, budgets and ledger: what they show, to whom, and what they change."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

import llmlab.console as console_package
from llmlab.config.budgets import Budget
from llmlab.console.app import build_app
from llmlab.console.budgets import BudgetsFound
from llmlab.console.desk import Desk
from llmlab.console.ledger import PAGE, wanted
from llmlab.console.pages import rendered
from llmlab.console.visitor import Role, Visitor
from llmlab.errors import UsageError
from llmlab.flags import changing
from llmlab.flags.wanting import Wanted, put
from llmlab.lab import Lab
from llmlab.ledger import exported
from llmlab.ledger.changes import differences
from llmlab.ledger.searching import Search, search
from llmlab.ledger.store import FILE, Store
from llmlab.usage.refusals import Refusal, Refusals
from llmlab.usage.standing import standings

SCRIPT = "<script>alert(1)</script>"
OPERATOR, VIEWER = ({"X-Subject": f"{role}-1", "X-Role": role} for role in ("operator", "viewer"))
OWN = {**OPERATOR, "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def console(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Of a lab that does not run: what is written down of it is there all the same."""
    monkeypatch.setattr(Desk, "cookie", "llmlab_console_8000")
    monkeypatch.setattr("llmlab.console.flags.deployments", lambda lab: ("textrank", "second"))
    app = build_app(lab, lambda: "1")
    return TestClient(app, headers=OPERATOR, follow_redirects=False)


def hardened(page: str) -> str:
    """A page that keeps what its policy forbids out of itself."""
    assert SCRIPT not in page
    assert not re.search(r"<[^>]*\s(?:style|on[a-z]+)=", page)
    assert "<style" not in page
    assert not re.search(r"<script(?! src=)", page)
    return page


# --- Flags --------------------------------------------------------------------------------------


def test_flags_are_shown_as_they_are_and_to_a_viewer_without_what_changes_them(
    lab: Lab, console: TestClient
) -> None:
    put(lab, "short", Wanted(percent=12.5, audience=["plan=<b>"], max_length=40), SCRIPT)
    shown = hardened(console.get("/console/flags").text)
    assert "12.5 %" in shown
    assert "plan=&lt;b&gt;" in shown
    assert "flags/change?flag=short" in shown
    viewed = hardened(console.get("/console/flags", headers=VIEWER).text)
    assert "flags/change" not in viewed
    assert console.get("/console/flags/change", headers=VIEWER).status_code == 403
    (flag,) = console.get("/console/flags.json", headers=VIEWER).json()
    assert flag == json.loads(json.dumps(changing.as_document(Store(lab).traffic().flags[0])))


def test_where_there_is_no_flag_the_page_says_how_to_make_one(console: TestClient) -> None:
    shown = hardened(console.get("/console/flags").text)
    assert "llmlab flag set short-summaries --percent 10" in shown
    assert "Is it on for somebody?" not in shown


def test_a_flag_is_made_and_changed_and_removed_with_who_and_why(
    lab: Lab, console: TestClient
) -> None:
    form = {"flag": "short", "on_for": "some", "percent": "25", "audience": "plan=trial\r\n",
            "max_length": "40", "min_length": "", "strategy": "", "deployment": "",
            "why": "a try"}  # fmt: skip
    made = console.post("/console/flags/set", data=form, headers=OWN)
    assert (made.status_code, made.headers["Location"]) == (303, "/console/flags")
    (flag,) = Store(lab).traffic().flags
    assert (flag.percent, flag.audience, flag.decoding) == (
        25.0, (("plan", "trial"),), {"max_length": 40},
    )  # fmt: skip
    assert 'value="25"' in console.get("/console/flags/change?flag=short").text
    # All of a flag is in its form: what is empty there is taken out.
    form |= {"on_for": "everybody", "max_length": "", "why": "for all"}
    console.post("/console/flags/set", data=form, headers=OWN)
    (flag,) = Store(lab).traffic().flags
    assert (flag.percent, flag.audience, flag.decoding) == (100.0, (), {})
    console.post("/console/flags/remove", data={"flag": "short", "why": "done"}, headers=OWN)
    assert not Store(lab).traffic().flags
    assert [(one.who, one.why) for one in Store(lab).entries()] == [
        ("operator-1", "a try"), ("operator-1", "for all"), ("operator-1", "done"),
    ]  # fmt: skip
    told = console.get("/console/flags/history.json").json()
    assert [one["why"] for one in told] == ["a try", "for all", "done"]


def test_a_reason_is_one_line_and_a_long_one_of_elsewhere_is_cut_where_there_are_many(
    lab: Lab, console: TestClient
) -> None:
    form = {"flag": "short", "on_for": "everybody", "why": " a try\r\nof  mine "}
    console.post("/console/flags/set", data=form, headers=OWN)
    put(lab, "short", Wanted(percent=50), "words " * 20_000)
    assert Store(lab).entries()[0].why == "a try of mine"
    for path in ("flags", "flags/history", "ledger"):
        shown = console.get(f"/console/{path}").text
        assert "words words" in shown
        assert len(shown) < 20_000
    assert "words " * 20_000 in console.get("/console/ledger/entry?no=2").text


@pytest.mark.parametrize(
    ("changed", "headers", "status"),
    [
        ({}, {**VIEWER, "Sec-Fetch-Site": "same-origin"}, 403),
        ({}, {**OPERATOR, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"why": " "}, OWN, 400),
        ({"why": "x" * 1001}, OWN, 400),
        ({"percent": ""}, OWN, 400),
        ({"percent": "0", "audience": " "}, OWN, 400),
        ({"percent": "much"}, OWN, 400),
        ({"percent": "nan"}, OWN, 400),
        ({"max_length": "1.5"}, OWN, 400),
        ({"on_for": ""}, OWN, 400),
        ({"flag": SCRIPT}, OWN, 400),
        ({"strategy": SCRIPT}, OWN, 400),
        ({"audience": "plan"}, OWN, 400),
    ],
)
def test_what_is_not_to_be_changes_nothing(
    lab: Lab, console: TestClient, changed: dict[str, str], headers: dict[str, str], status: int
) -> None:
    form = {"flag": "short", "on_for": "some", "percent": "25", "why": "a try", **changed}
    answer = console.post("/console/flags/set", data=form, headers=headers)
    assert answer.status_code == status
    hardened(answer.text)
    assert not Store(lab).entries()


def test_a_flag_is_explained_for_a_subject_and_its_claims(lab: Lab, console: TestClient) -> None:
    put(lab, "short", Wanted(percent=0, audience=["plan=trial"]))
    asked = {"flag": "short", "sub": SCRIPT, "claim": "plan=trial\nteam=<b>"}
    assert "short</code> is on" in hardened(
        console.get("/console/flags/explain", params=asked).text
    )
    told = console.get("/console/flags/explain.json", params=asked).json()
    assert told == {
        "flag": "short", "on": True, "rule": "audience", "why": "its audience names plan=trial",
        "claims": {"plan": "trial", "team": "<b>", "sub": SCRIPT},
    }  # fmt: skip
    off = console.get("/console/flags/explain", params={**asked, "claim": ""})
    assert "short</code> is off" in off.text
    for other in ({"sub": ""}, {"claim": "plan"}):
        assert console.get("/console/flags/explain", params={**asked, **other}).status_code == 400


def test_a_flag_that_is_not_there_is_missing_unless_it_was_once(
    lab: Lab, console: TestClient
) -> None:
    put(lab, "gone", Wanted(percent=50), "a try")
    changing.remove(Store(lab), "gone", "done")
    assert len(console.get("/console/flags/history.json?flag=gone").json()) == 2
    for path in ("explain?sub=bob&flag=gone", "history?flag=other", "history?flag=%3Cb%3E",
                 "change?flag=gone"):  # fmt: skip
        answer = console.get(f"/console/flags/{path}")
        assert answer.status_code == 404
        assert "llmlab flag list" in answer.text or "%3C" in path


# --- The ledger ---------------------------------------------------------------------------------


def test_entries_are_shown_the_newest_first_fifty_a_page(lab: Lab, console: TestClient) -> None:
    for number in range(PAGE + 10):
        Store(lab).note("key", {"did": "made", "kid": f"k{number}", "alg": "HS256"}, SCRIPT)
    first = hardened(console.get("/console/ledger").text)
    assert first.index("k59 (HS256)") < first.index("k10 (HS256)")
    assert "k9 (HS256)" not in first
    (older,) = re.findall(r'href="(/console/ledger\?before=\d+)"', first)
    rest = console.get(older).text
    assert "k9 (HS256)" in rest
    assert "k10 (HS256)" not in rest
    assert ">Older</a>" not in rest
    told = console.get("/console/ledger.json").json()
    assert told == [one.as_json() for one in Store(lab).entries(last=PAGE)]


def looked_for(store: Store, **by: Any) -> list[int]:
    return [one.seq for one in search(store, Search(**by), 10)]


def test_entries_are_looked_for_by_kind_who_words_and_time(lab: Lab) -> None:
    store = Store(lab)
    store.note("key", {"did": "made", "kid": "a", "alg": "HS256"}, "der erste Schlüssel", who="bob")
    put(lab, "short", Wanted(percent=50), "shorter", who="alice")
    last = store.note("lab", {"did": "down"}, who="alice")
    assert looked_for(store) == [3, 2, 1]
    assert looked_for(store, kind="flag") == [2]
    assert looked_for(store, who="alice") == [3, 2]
    assert looked_for(store, words="SCHLÜSSEL") == [1]
    assert looked_for(store, words="is on for 50 %") == [2]  # as it is told
    assert looked_for(store, words=last.hash[:12]) == [3]
    assert looked_for(store, since=last.at) == [3]
    assert looked_for(store, since="2099") == []
    assert looked_for(store, who="alice", before=3) == [2]


def test_what_cannot_be_looked_for_is_refused() -> None:
    assert wanted({"since": "1h"}, 3600.0).since == "1970-01-01T00:00:00"
    for query in ({"since": "soon"}, {"before": "x"}, {"before": "9" * 30}, {"before": "²"}):
        with pytest.raises(UsageError):
            wanted(query, time.time())


def test_an_entry_says_what_it_changed_of_the_traffic(lab: Lab, console: TestClient) -> None:
    put(lab, "short", Wanted(percent=25))
    put(lab, "short", Wanted(percent=50), SCRIPT)
    shown = hardened(console.get("/console/ledger/entry?no=2").text)
    assert "flags › short › percent" in shown
    assert re.search(r"<del><code>25.0</code></del>.*<ins><code>50.0</code></ins>", shown, re.S)
    entry = Store(lab).entry(2)
    assert entry
    assert entry.hash in shown
    assert entry.previous in shown
    assert console.get("/console/ledger/entry.json?no=2").json() == entry.as_json()
    for number in ("3", "0", "x", "", "9" * 40, "-1"):
        answer = console.get("/console/ledger/entry", params={"no": number})
        assert answer.status_code == 404
        assert "its last one is 2" in answer.text
        assert "llmlab ledger --last" in answer.text


TWICE = [{"name": "x", "v": 1}] * 2  # by which nobody can tell them apart


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 0}, [(("a",), 1, 0)]),
        (None, {"a": 1, "b": [], "c": None, "d": ""}, [(("a",), None, 1)]),
        ({"s": [{"name": "x", "p": 5}]}, {"s": [{"name": "x", "p": 9}]}, [(("s", "x", "p"), 5, 9)]),
        ({"s": [{"deployment": "x", "p": 5}]}, {"s": []}, [(("s", "x", "p"), 5, None)]),
        ({"s": TWICE}, {"s": []}, [(("s",), TWICE, [])]),
        ({"s": [1, 2]}, {"s": [2]}, [(("s",), [1, 2], [2])]),
    ],
)  # fmt: skip
def test_documents_differ_value_by_value(before: Any, after: Any, expected: list[Any]) -> None:
    assert [(one.path, one.before, one.after) for one in differences(before, after)] == expected


def test_the_ledger_is_verified_and_says_what_is_wrong_with_it(
    lab: Lab, console: TestClient
) -> None:
    put(lab, "short", Wanted(percent=25), "a try")
    last = put(lab, "short", Wanted(percent=50), "more") and Store(lab).entries()[-1]
    assert "✓ Whole" in hardened(console.get("/console/ledger/verify").text)
    told = console.get(f"/console/ledger/verify.json?head={last.hash[:12]}").json()
    assert told == {"whole": True, "entries": 2, "head": last.hash, "problems": []}
    assert "no entry has the hash" in console.get("/console/ledger/verify?head=" + "0" * 12).text
    assert console.get("/console/ledger/verify?head=zz").status_code == 400
    with sqlite3.connect(lab.state / FILE) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE entries SET why = 'nothing' WHERE seq = 1")
    shown = hardened(console.get("/console/ledger/verify").text)
    assert "✗ Broken" in shown
    assert "entry 1 is not as it was written" in shown


def test_who_may_read_each_entry_has_the_ledger_exported_as_the_verb_does(
    lab: Lab, console: TestClient
) -> None:
    put(lab, "short", Wanted(percent=25), "é")
    answer = console.get("/console/ledger/export")
    assert answer.text == "".join(exported.lines(Store(lab).entries()))
    assert "ledger.jsonl" in answer.headers["Content-Disposition"]
    assert console.get("/console/ledger/export", headers=VIEWER).text == answer.text
    assert "ledger/export" in console.get("/console/ledger", headers=VIEWER).text
    nobody = console.get("/console/ledger/export", headers={"X-Subject": "", "X-Role": ""})
    assert nobody.status_code in (401, 403)


def test_an_empty_ledger_says_what_writes_into_it(console: TestClient) -> None:
    assert "llmlab up" in hardened(console.get("/console/ledger").text)
    assert console.get("/console/ledger.json").json() == []


# --- Budgets ------------------------------------------------------------------------------------

NOON = 1_796_040_010.0  # 2026-11-30 12:00:10 UTC
MINUTE, DAY, MONTH = 1_796_040_000_000, 1_795_996_800_000, 1_793_491_200_000


def test_what_the_gateway_counts_in_this_window_is_told_of_who_has_used_most() -> None:
    budgets = [
        Budget(tokens_per_minute=1000, requests_per_day=10),
        Budget(name="purse", by="claim:team", money_per_month=2.0, currency="EUR", shadow=True),
    ]
    counts = {
        f"subject tokens_per_minute {MINUTE} alice": 900,
        f"subject tokens_per_minute {MINUTE} bob": 0,
        f"subject tokens_per_minute {MINUTE - 60_000} carol": 999,  # of the minute before
        f"subject tokens_per_minute {MINUTE} %3Cb%3E%20x": 1200,
        f"purse money_per_month {MONTH} ": 500_000, f"other requests_per_day {DAY} eve": 1,
        **{f"subject requests_per_day {DAY} s{number}": number for number in range(9)},
    }  # fmt: skip
    text = json.dumps({key: {"value": value, "expire": 1} for key, value in counts.items()})
    subject, purse = standings(budgets, text, NOON)
    tokens, requests = subject.limits
    assert [(one.name, one.used, one.left, one.percent) for one in tokens.nearest] == [
        ("<b> x", 1200, 0, 120), ("alice", 900, 100, 90),
    ]  # fmt: skip
    assert tokens.resets == "2026-11-30T12:01:00+00:00"
    assert requests.holders == 8
    assert [one.name for one in requests.nearest] == ["s8", "s7", "s6", "s5", "s4"]
    (money,) = purse.limits
    assert money.resets == "2026-12-01T00:00:00+00:00"
    assert [(one.name, one.used, one.left) for one in money.nearest] == [("", 0.5, 1.5)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"subject requests_per_day": {}}'])
def test_counts_that_cannot_be_read_are_none(text: str) -> None:
    ((limit,),) = (one.limits for one in standings([Budget(requests_per_day=5)], text, NOON))
    assert (limit.holders, limit.nearest) == (0, ())


def line(**said: Any) -> str:
    told = {"at": 5.0, "subject": "alice", "over": "", "status": 429, "deployment": "",
            "path": "/summarize/", "request_id": "r1", **said}  # fmt: skip
    return json.dumps(told, separators=(",", ":"))


def test_each_line_of_the_log_is_read_once_for_who_was_refused() -> None:
    over, cursors = "subject tokens_per_minute", []
    batches = [
        [line(), line(over=over), "{no line", line(over=over, at=1.0)],
        [line(over=over, status=200, deployment="textrank", request_id="r2")],
    ]

    def since(cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        cursors.append(cursor)
        return batches[len(cursors) - 1], str(len(cursors))

    log, followed = SimpleNamespace(requests_since=since), Refusals()
    refused = Refusal(5.0, "alice", "subject", "tokens_per_minute", True, "/summarize/", "r1")
    assert followed.newest(log, 2.0) == (refused,)
    passed = Refusal(5.0, "alice", "subject", "tokens_per_minute", False, "/summarize/", "r2")
    assert followed.newest(log, 2.0) == (refused, passed)
    assert cursors == ["0", "1"]


def test_what_a_budget_let_pass_has_no_true_refusal_forgotten() -> None:
    over = "subject tokens_per_minute"
    many = [line(over=over, status=200, deployment="textrank", at=6.0 + at) for at in range(50)]
    log = SimpleNamespace(requests_since=lambda *_, **__: ([line(over=over), *many], "1"))
    found = Refusals().newest(log, 0.0)
    assert [one.refused for one in found] == [True, *[False] * 20]
    page = shown(BudgetsFound(standings([Budget(name="trial", requests_per_day=10)], "{}", NOON),
                              found, "", None))  # fmt: skip
    assert page.index("refused, 429") < page.index("Let pass by a budget that only tells")
    assert "Nobody was refused" not in page
    assert page.count("<caption>") == 2


def shown(found: BudgetsFound) -> str:
    from llmlab.console import menu

    page = next(one for one in menu.PAGES if one.path == "budgets")
    visitor = Visitor("v", Role.VIEWER)
    return hardened(rendered(
        page.template, page=page, visitor=visitor, query={}, menu=[], lab="lab", found=found
    ))  # fmt: skip


def test_budgets_are_shown_with_words_beside_their_bars() -> None:
    budget = Budget(name="trial", who=[SCRIPT], requests_per_day=10)
    counts = {f"trial requests_per_day {DAY} %3Cscript%3E": {"value": 10}}
    found = standings([budget], json.dumps(counts), NOON)
    refusal = Refusal(NOON, SCRIPT, "trial", "requests_per_day", True, f"/{SCRIPT}", "r1")
    page = shown(BudgetsFound(found, (refusal,), "lab.toml has other budgets", (3, "2026-11-30")))
    assert ">full</span>" in page
    assert "refused, 429" in page
    assert "lab.toml has other budgets" in page
    assert "ledger/entry?no=3" in page


def test_a_bar_of_the_budgets_has_a_colour_whatever_it_says() -> None:
    sheet = (Path(console_package.__file__).parent / "static" / "console.css").read_text()
    own = sheet[sheet.index("main.budgets {") :].partition("\n}")[0]
    assert all(f"svg .{look} {{ fill: var(" in own for look in ("fill", "near", "full"))


def test_headings_of_tables_and_names_of_facts_begin_with_a_capital() -> None:
    folder = Path(console_package.__file__).parent / "templates"
    found = [
        (one.name, each)
        for one in folder.glob("*.j2")
        for each in re.findall(r"<(?:dt|th scope=\"col\")[^>]*>([a-z][^<]*)<", one.read_text())
    ]
    assert not found


def test_where_there_are_no_budgets_the_page_says_how_to_have_one() -> None:
    page = shown(BudgetsFound((), (), "", None))
    assert "tokens_per_minute = 20_000" in page
    assert "What did not fit" not in page
