"""The playground of the console: whom one may ask, what is asked, and what comes of it."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from llmlab.client import Client
from llmlab.client.connection import NOBODY
from llmlab.compare.comparison import Mark, Stretch, steps_to_compare
from llmlab.config import Model, read_config
from llmlab.config.budgets import Price
from llmlab.console import answering, playground_asks
from llmlab.console.answering import (
    MOST_STEPS,
    NOT_COMPARED,
    NOT_SEARCHED,
    Answered,
    Marked,
    Marking,
)
from llmlab.console.app import build_app
from llmlab.console.asked import Asked, Choice, Kind, Turn, asked_of, told_turns, turns_of
from llmlab.console.pages import rendered
from llmlab.console.playground import Shown
from llmlab.console.playground_asks import Places, so_far
from llmlab.console.same_request import as_code
from llmlab.engines.base import Plan
from llmlab.engines.record import Record
from llmlab.errors import UsageError
from llmlab.evaluate.facts import Details, details
from llmlab.lab import Lab, init_lab
from llmlab.service.schemas import Progress
from llmlab.service.settings import Settings
from tests.conftest import LabUnderTest, wait_until

EVIL = "<script>alert('x')</script>"
OWN = {"Sec-Fetch-Site": "same-origin"}
LINES = {"Accept": "application/x-ndjson"}
ROUTE = Choice("route", "chat", "words", "words", "scripted", True)
WORDS = Choice("deployment", "words", "words", "words", "scripted", True, Price(input=2, output=4))
TEXTRANK = Choice("deployment", "textrank", "textrank", "textrank", "extractive", False)
STABLE = Choice("route", "summarize", "textrank", "textrank", "extractive", False)
KNOWN = (STABLE, ROUTE, TEXTRANK, WORDS)


def recorded(root: Path) -> Lab:
    """A lab that is written down as running; nothing of it does."""
    init_lab(root)
    lab = Lab(root)
    config = read_config(lab.config_file, environ={}).config
    model = Model(runtime="scripted", source="embedded:script", price=Price(input=2, output=4))
    deployments = (
        Settings(deployment="textrank", name="textrank", model=config.models["textrank"]),
        Settings(deployment="words", name="words", model=model),
    )
    plan = Plan(config, "textrank", deployments, further={"chat": "words"})
    lab.state.mkdir(parents=True, exist_ok=True)
    Record.of(plan, "local", "nginx").write(lab)
    return lab


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return recorded(tmp_path_factory.mktemp("playground"))


def visiting(lab: Lab, token: str = "", role: str = "operator") -> TestClient:
    headers = {"X-Subject": "alice", "X-Role": role}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    app = build_app(lab, lambda: "1")
    return TestClient(app, "http://lab.test", headers=headers, raise_server_exceptions=False)


def ask(client: TestClient, headers: dict[str, str] | None = None, **fields: str) -> Any:
    return client.post("/console/playground/ask", data=fields, headers={**OWN, **(headers or {})})


def told(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "whom"),
    [("chat", ["route:chat", "deployment:words"]),
     ("summary", ["route:summarize", "deployment:textrank", "deployment:words"])],
)  # fmt: skip
def test_one_chooses_among_those_that_can(written: Lab, kind: str, whom: list[str]) -> None:
    client = visiting(written, role="viewer")
    page = client.get(f"/console/playground?kind={kind}").text
    first = page[page.index('id="one"') : page.index('id="two"')]
    assert re.findall('<option value="([^"]*)"', first) == whom
    document = client.get(f"/console/playground.json?kind={kind}").json()
    assert [f"{one['what']}:{one['name']}" for one in document["choices"]] == whom
    assert document["texts"] == ["founding.txt"]
    assert "system" not in document
    assert "<button" in page and " style=" not in page and not re.search(r"\son\w+=", page)
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []


def test_a_text_of_the_lab_is_put_into_the_field_and_nothing_else_is_read(written: Lab) -> None:
    client = visiting(written)
    page = client.get("/console/playground?kind=summary&text=founding.txt&two=deployment:words")
    assert "In the middle of the 1990s" in page.text
    assert '<option value="deployment:words" selected>' in page.text
    for name in ("../lab.toml", "/etc/passwd", EVIL):
        answer = client.get("/console/playground", params={"kind": "summary", "text": name})
        assert answer.status_code == 400
        assert "There is no text" in answer.text and EVIL not in answer.text
    assert client.get("/console/playground?kind=poem").status_code == 400


def test_a_lab_in_which_nobody_chats_says_how_somebody_would(tmp_path: Path) -> None:
    lab = recorded(tmp_path / "lab")
    record = json.loads((lab.state / "running.json").read_text())
    record |= {"settings": record["settings"][:1], "configured": ["textrank"], "further": {}}
    (lab.state / "running.json").write_text(json.dumps(record))
    page = visiting(lab).get("/console/playground").text
    assert "No deployment of this lab holds a conversation" in page and "llmlab up --model" in page
    (lab.state / "running.json").unlink()
    away = visiting(lab).get("/console/playground")
    assert away.status_code == 502 and "llmlab up" in away.text


# --- what is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"one": "route:chat"}, "There is no question"),
        ({"one": "route:chat", "said": " \r\n "}, "There is no question"),
        ({"said": "x"}, "Nobody is asked"),
        ({"one": "deployment:textrank", "said": "x"}, "cannot be asked for a chat"),
        ({"one": "route:chat", "two": "deployment:" + EVIL, "said": "x"}, "cannot be asked"),
        ({"one": "route:chat", "said": "x", "seed": "many"}, "Seed should be a number"),
        ({"one": "route:chat", "said": "x", "turns": "{"}, "That is no conversation"),
        ({"one": "route:chat", "said": "x", "turns": '[{"said": 1, "answers": []}]'}, "That is no"),
        ({"kind": "summary", "one": "route:chat", "said": "x"}, "cannot be asked for a summary"),
        ({"kind": "poem", "one": "route:chat", "said": "x"}, "One asks for a chat"),
    ],
)
def test_what_cannot_be_asked_is_said(written: Lab, fields: dict[str, str], said: str) -> None:
    answer = ask(visiting(written, "t"), LINES, **fields)
    assert answer.status_code == 400
    assert said in answer.text and EVIL not in answer.text


def test_only_a_page_of_the_console_asks_and_only_by_its_form(written: Lab) -> None:
    client, form = visiting(written, "t"), {"one": "route:chat", "said": "x"}
    assert ask(client, {"Sec-Fetch-Site": "cross-site"}, **form).status_code == 403
    assert client.post("/console/playground/ask", data=form).status_code == 403
    elsewhere = {"Sec-Fetch-Site": "", "Origin": "http://evil.test"}
    assert ask(client, elsewhere, **form).status_code == 403
    path = "/console/playground/ask"
    assert client.post(path, json=form, headers=OWN).status_code == 415
    long = client.post(path, data={**form, "said": "x" * (1 << 20)}, headers=OWN)
    assert long.status_code == 413
    nobody = TestClient(client.app, "http://lab.test", raise_server_exceptions=False)
    assert ask(nobody, **form).status_code == 401


def test_without_a_token_of_their_own_nobody_asks_by_the_labs(
    written: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMLAB_TOKEN", "the-labs-own")
    events = told(ask(visiting(written), LINES, one="route:chat", said="x"))
    (event,) = events
    assert event["ended"] is False and "let in without a token" in event["html"]
    whole = ask(visiting(written), one="route:chat", two="deployment:words", said=EVIL)
    assert whole.status_code == 200 and whole.text.count("let in without a token") == 2
    assert EVIL not in whole.text and "&lt;script&gt;" in whole.text


def test_so_many_ask_at_a_time_and_no_more(written: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playground_asks, "places", Places(0, 4))
    (event,) = told(ask(visiting(written, "t"), LINES, one="route:chat", said="x"))
    assert "as many answers under way as it may" in event["html"]
    monkeypatch.setattr(playground_asks, "places", Places(1, 1))
    for _ in range(2):  # each gives its place back
        (event,) = told(ask(visiting(written), LINES, one="route:chat", said="x"))
        assert "without a token" in event["html"]


def test_nobody_has_all_the_places() -> None:
    places = Places(3, 2)
    with places.one("ada"), places.one("ada"):
        with pytest.raises(HTTPException, match="You have 2 questions"), places.one("ada"):
            pass
        with places.one("zuse"), pytest.raises(HTTPException, match="as many"), places.one("bob"):
            pass
        with places.one("bob"):  # whose place is given back, whatever happened
            pass
    with pytest.raises(ZeroDivisionError), places.one("ada"):
        raise ZeroDivisionError
    with places.one("ada"), places.one("ada"):
        pass


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999", "warm"])
def test_a_parameter_is_a_number_that_can_be_sent(value: str) -> None:
    with pytest.raises(UsageError, match="temperature should be a number"):
        asked_of({"one": "route:chat", "said": "x", "temperature": value}, KNOWN)


def test_a_conversation_goes_on_with_each_as_it_was_with_that_one() -> None:
    turns = (Turn("First?", ("A1", "B1")), Turn("Second?", ("", "B2")))
    form = {"one": "route:chat", "two": "deployment:words", "said": "Third?\r\nReally?",
            "system": "Be short.", "source": "A text.", "turns": told_turns(turns),
            "temperature": "0.5", "seed": "7", "max_length": "9"}  # fmt: skip
    asked = asked_of(form, KNOWN)
    assert asked.options == {"temperature": 0.5, "seed": 7}
    said = [(one["role"], one["content"]) for one in asked.messages(0)]
    assert said == [
        ("system", "Be short."), ("user", "A text.\n\nFirst?"), ("assistant", "A1"),
        ("user", "Third?\nReally?"),
    ]  # fmt: skip
    assert [one["role"] for one in asked.messages(1)] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert asked.given.startswith("A text.") and "Third?" in asked.given
    assert asked_of({**form, "source": ""}, KNOWN).given == ""
    assert turns_of(told_turns(turns)) == turns
    with pytest.raises(UsageError, match="at most 200"):
        turns_of(told_turns([turns[0]] * 201))


# --- what is shown ------------------------------------------------------------------------------


def test_names_that_nobody_gave_and_words_of_one_alone_are_marked() -> None:
    asked = Asked(Kind.SUMMARY, (STABLE, TEXTRANK), "Ada Lovelace wrote in 1843.")
    other = "Ada Lovelace wrote in 1843 with care."
    found = Marking(asked).of("Ada Lovelace wrote in 1999 with Zuse.", other)
    assert found.unsupported == ("1999", "Zuse")
    marks = {part.text: part.mark for part in found.parts if part.mark is not Mark.PLAIN}
    assert marks["1999"] is Mark.UNSUPPORTED and marks["Zuse"] is Mark.UNSUPPORTED
    chat = Asked(Kind.CHAT, (ROUTE,), "Who?")
    plain = Marked((Stretch("Konrad Zuse.", Mark.PLAIN),), None)
    assert Marking(chat).of("Konrad Zuse.", "") == plain


@pytest.mark.parametrize(
    ("given", "text", "other", "notes"),
    [("Ada.", "a " * 1000, "a " * 1000, {NOT_COMPARED}), ("Ada.", "a " * 1000, "", set()),
     ("Ada.", "a b " * 600, "b a " * 600, {NOT_COMPARED}), ("Ada.", "a " * 300, "a " * 99, set()),
     ("Ada.", "word " * 10_000, "b", {NOT_SEARCHED, NOT_COMPARED}),
     ("Ada.", "b", "word " * 10_000, {NOT_COMPARED}), ("a " * 50_001, "b", "", {NOT_SEARCHED}),
     ("Ab " * 8_001, "b", "", {NOT_SEARCHED}), ("b", "Ab " * 8_001, "", {NOT_SEARCHED})],
)  # fmt: skip
def test_what_would_hold_up_everybodys_pages_is_left_unmarked_and_that_is_said(
    given: str, text: str, other: str, notes: set[str]
) -> None:
    asked = Asked(Kind.SUMMARY, (STABLE, TEXTRANK), given)
    found = Marking(asked).of(text, other)
    assert set(found.notes) == notes
    assert "".join(part.text for part in found.parts) == text
    assert (found.unsupported is None) is (NOT_SEARCHED in notes)


def test_answers_of_a_page_in_plain_words_are_compared() -> None:
    page = " ".join(f"word{number % 700} and" for number in range(700))
    assert steps_to_compare(page, page) > MOST_STEPS  # every other word is the same one
    page = " ".join(f"word{number % 100}" for number in range(1500))
    assert steps_to_compare(page, page) <= MOST_STEPS


def test_each_answer_is_looked_through_for_names_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(source: str, text: str) -> Details:
        seen.append(text)
        return details(source, text)

    monkeypatch.setattr(answering, "details", counted)
    marking = Marking(Asked(Kind.SUMMARY, (STABLE, TEXTRANK), "Ada."))
    for text, other in (("Ada.", ""), ("Bob.", ""), ("Ada.", "Bob."), ("Bob.", "Ada.")):
        marking.of(text, other)
    assert seen == ["Ada.", "Bob."]


def test_whatever_a_model_says_is_text_on_the_page() -> None:
    answered = Answered(EVIL, EVIL, EVIL, EVIL, "tokens", 1, 2, 0.000014, 0.5, 1.0, 2.0, EVIL,
                        (EVIL,))  # fmt: skip
    parts = tuple(Stretch(EVIL, mark) for mark in Mark)
    shown = Shown(ROUTE, answered, marked=Marked(parts, (EVIL,)), code={"curl": EVIL})
    card = rendered("playground_answer.html.j2", one=shown)
    assert "<script" not in card and card.count("&lt;script&gt;") > 8
    assert "0.000014" in card and "500 ms" in card and "2 tokens/s" in card
    wrong = rendered("playground_answer.html.j2", one=Shown(ROUTE, error=(EVIL, EVIL)))
    assert "<script" not in wrong and 'role="alert"' in wrong
    empty = Answered("", "m", "", "d", "words", 0, 0, None, None, 1.0, None, "")
    card = rendered("playground_answer.html.j2", one=Shown(ROUTE, empty, marked=Marked((), None)))
    assert "(nothing)" in card and "no price" in card and "unknown" in card


def test_the_same_request_can_be_sent_by_oneself() -> None:
    url, said = "http://127.0.0.1:8000", "What's $HOME? \"\n" + EVIL
    asked = Asked(Kind.CHAT, (ROUTE,), said, "Be short.", options={"temperature": 0.5, "seed": 7})
    code = as_code(asked, 0, url, NOBODY)
    words = shlex.split(code["llmlab"])
    assert words[:4] == ["llmlab", "chat", "--model", "chat"] and words[-1] == said
    body = json.loads(shlex.split(code["curl"].replace("<(", "(").replace("@(", "@"))[-1])
    assert body["messages"] == asked.messages(0) and body["temperature"] == 0.5
    (call,) = [
        node for node in ast.walk(ast.parse(code["Python"]))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("completions.create")
    ]  # fmt: skip
    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert given["messages"] == asked.messages(0) and given["seed"] == 7
    # What llmlab chat cannot say, it is not said to.
    for other in (
        Asked(Kind.CHAT, (ROUTE,), "x", options={"top_p": 0.5}),
        Asked(Kind.CHAT, (ROUTE,), "x", turns=(Turn("First?", ("A1",)),)),
    ):
        assert list(as_code(other, 0, url, NOBODY)) == ["curl", "Python"]
    assert as_code(Asked(Kind.CHAT, (ROUTE,), "x" * 30_000), 0, url, NOBODY) == {}
    summary = Asked(Kind.SUMMARY, (STABLE, TEXTRANK), "x" * 30_000, options={"max_length": 9})
    assert as_code(summary, 0, url, NOBODY)["llmlab"] == "llmlab summarize text.txt --max-length 9"
    assert "/models/textrank/summarize/" in as_code(summary, 1, url, NOBODY)["curl"]
    ast.parse(as_code(summary, 1, url, NOBODY)["Python"])


def test_progress_is_told_in_words() -> None:
    assert so_far(Progress(done=1, windows=3, reading=1)) == "1 of 3 windows read"
    assert so_far(Progress(done=1, windows=2, reading=2)) == "1 of 2 windows of the summaries read"


# --- a lab that runs ----------------------------------------------------------------------------

SCRIPTED = """
[models.words]
runtime = "scripted"
source = "embedded:script"
price = { input = 2.0, output = 4.0 }
"""


@pytest.fixture(scope="module")
def running(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    lab = make_lab(gateway__rate_limit__enabled="false", routes__chat='"words"')
    file = lab.root / "configs" / "lab.toml"
    file.write_text(file.read_text() + SCRIPTED)
    lab.ok("up", "--engine", "local")
    return lab


def test_two_answer_beside_each_other_and_a_viewer_may_ask(running: LabUnderTest) -> None:
    client = visiting(running.lab, running.token("ada"), role="viewer")
    script = json.dumps({"say": "Konrad Zuse built the Z3."})
    events = told(ask(client, LINES, one="route:chat", two="deployment:words", said=script,
                      source="Konrad Zuse built a machine."))  # fmt: skip
    for side in (0, 1):
        pieces = [one["piece"] for one in events if one["side"] == side and "piece" in one]
        assert "".join(pieces).startswith("Konrad Zuse") and len(pieces) > 2
        ended = [one for one in events if one["side"] == side and "html" in one]
        assert len(ended) == 2 and all(one["ended"] for one in ended)
        card = ended[-1]["html"]
        assert "First token" in card and "/console/requests/show?id=" in card
        assert re.search(r"<dt[^>]*>Cost[^<]*</dt><dd>0\.0000\d", card)
    whole = ask(client, kind="summary", one="route:summarize", two="deployment:words",
                said="A ship came in. It left in 1901.")  # fmt: skip
    assert whole.status_code == 200
    assert "→ textrank" in whole.text and "A ship came in. It left in 1901." in whole.text
    again = ask(client, LINES, kind="summary", one="route:summarize",
                said="A ship came in. It left in 1901.")  # fmt: skip
    assert "the lab had kept this answer" in told(again)[-1]["html"]
    usage = running.json("usage", "--by", "subject")
    assert "ada" in json.dumps(usage)


def test_what_the_gateway_and_the_model_refuse_is_shown_beside_what_came(
    running: LabUnderTest,
) -> None:
    (event,) = told(ask(visiting(running.lab, "x.y.z"), LINES, one="route:chat", said="x"))
    assert event["ended"] is False and "401" in event["html"]
    client = visiting(running.lab, running.token())
    broken = json.dumps({"say": "one two three four", "break_after": 2})
    events = told(ask(client, LINES, one="route:chat", said=broken))
    assert "".join(one.get("piece", "") for one in events).split() == ["one", "two"]
    assert events[-1]["ended"] is False and "note wrong" in events[-1]["html"]
    refused = told(ask(client, LINES, one="route:chat", said="x", temperature="7"))
    assert "temperature" in refused[-1]["html"]


def is_so(lab: LabUnderTest, what: str, mark: str) -> bool:
    """Whether the model was asked (seen), or left before its end (left)."""
    with Client(lab.url, lab.token()) as client:
        return client.chat(json.dumps({"tell": what, "of": mark})).text == "yes"


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/html"])
def test_who_leaves_ends_the_models_work(running: LabUnderTest, accept: str) -> None:
    mark = f"left {accept}"
    asyncio.run(leave(running, accept, mark))
    wait_until(lambda: is_so(running, "left", mark))


async def leave(lab: LabUnderTest, accept: str, mark: str) -> None:
    """Ask for what takes a minute, and hang up once the model is at it."""
    body = {"say": "word " * 600, "pause": 0.1, "mark": mark}
    form = urlencode({"one": "route:chat", "said": json.dumps(body)}).encode()
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "POST",
        "http_version": "1.1", "scheme": "http", "server": ("lab.test", 80), "root_path": "",
        "path": "/console/playground/ask", "raw_path": b"", "query_string": b"",
        "headers": [
            (b"x-role", b"viewer"), (b"x-subject", b"a"), (b"accept", accept.encode()),
            (b"authorization", f"Bearer {lab.token()}".encode()),
            (b"sec-fetch-site", b"same-origin"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ],
    }  # fmt: skip
    sent = [{"type": "http.request", "body": form, "more_body": False}]
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await asked.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        del message

    work = asyncio.create_task(build_app(lab.lab, lambda: "1")(scope, receive, send))  # type: ignore[arg-type]
    await asyncio.to_thread(wait_until, lambda: is_so(lab, "seen", mark))
    asked.set()
    await asyncio.wait_for(work, 30)
