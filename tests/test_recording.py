"""Recordings: what is kept of requests, and of whose; how it is sealed; when it ends."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmlab.config.recording import Recording as Limits
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.ledger.telling import told
from llmlab.recording import telling
from llmlab.recording.order import COUNTS, Order, Orders
from llmlab.recording.reading import lines
from llmlab.recording.redacting import UNSEEN, Redacting, guards
from llmlab.recording.sealing import KeyPair, Seal, Unopened
from llmlab.recording.store import Recordings, Wish
from llmlab.replaying.cases import NO_RECORD, questions
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.drill import Drill, Drills, Kind
from llmlab.service.metrics import Metrics
from llmlab.service.recording import reel as reeling
from llmlab.service.recording import writer as writing
from llmlab.service.recording.recorder import Recorder
from llmlab.service.recording.transcript import (
    LONGEST_ANSWER,
    LONGEST_REQUEST,
    Tape,
    pseudonym,
    record_of,
)
from llmlab.service.recording.writer import Writer
from tests.api import wait_until
from tests.gateways import ScriptedApi

CARD = "4111 1111 1111 1111"
ROUTES = ("summarize", "chat")
HOURS = itertools.count()


@pytest.fixture(scope="module")
def api() -> Iterator[ScriptedApi]:
    one = ScriptedApi()
    try:
        yield one.start().until_ready()  # type: ignore[misc]
    finally:
        one.stop()


class Kept:
    """The recordings of a lab without a gateway: its API is told what the lab would tell it."""

    def __init__(self, api: ScriptedApi, root: Path) -> None:
        self.api, self.lab = api, Lab(root)
        self.lab.make_state()
        # Each has a name of its own, for the API's log tells of all.
        later = next(HOURS) * 3600
        self.recordings = Recordings(self.lab, lambda: time.time() + later)

    def start(self, wish: Wish, **limits: Any) -> str:
        name = self.recordings.start(wish, Limits(**limits), ROUTES, "local").id
        self.tell()
        wait_until(lambda: f"recording {name}: what" in self.api.stdout, "it is recorded")
        return name

    def tell(self) -> None:
        fresh = self.api.home / "fresh"
        fresh.write_text(Orders(orders=telling.orders_of(self.lab)).model_dump_json())
        fresh.rename(self.api.home / "recording.json")

    def ask(self, text: str, route: str = "chat", **more: Any) -> Any:
        headers = {"X-Route": route, "X-Subject": "alice", **more.pop("headers", {})}
        body = {"messages": [{"role": "user", "content": text}], **more}
        return self.api.request("POST", "/v1/chat/completions", json=body, headers=headers)

    def records(self, name: str, count: int) -> list[dict[str, Any]]:
        """What is kept once so many requests are counted."""
        wait_until(lambda: self.recordings.get(name).requests >= count, f"{count} are kept")
        return [one for one in self.recordings.records(name) if one]


@pytest.fixture
def kept(api: ScriptedApi, tmp_path: Path) -> Iterator[Kept]:
    one = Kept(api, tmp_path)
    yield one
    (api.home / "recording.json").unlink(missing_ok=True)


# --- what is kept --------------------------------------------------------------------


def test_answers_are_kept_whole_and_redacted_and_their_clients_are_told(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    asked = f"The card {CARD} of anna@example.com."
    whole = kept.ask(asked, user="anna", temperature=0.5)
    stream = kept.ask(asked, stream=True)
    assert {whole.headers["X-Recorded"], stream.headers["X-Recorded"]} == {name}
    assert CARD in whole.json()["choices"][0]["message"]["content"]  # the client's own answer
    first, second = kept.records(name, 2)
    redacted = "The card [card] of [email]."
    for one in (first, second):
        assert one["request"]["messages"] == [{"role": "user", "content": redacted}]
        assert one["choices"] == [{"text": redacted, "finish_reason": "stop"}]
        assert (one["kind"], one["broken"]) == ("chat", False)
        assert one["subject"] == first["subject"] != "alice"
        assert "request_id" not in one  # by which the gateway's log tells whose it was
    assert first["request"]["temperature"] == 0.5
    assert "user" not in first["request"]
    found = kept.recordings.get(name)
    assert found.replaced == {"card": 4, "email": 4}
    assert list(found.answered_by) == ["scripted"]


def test_a_text_and_its_summary_are_kept(kept: Kept) -> None:
    name = kept.start(Wish("summarize"))
    text = "The keeper lit the lamp. A ship far out at sea read its light."
    said = kept.api.summarize(text, max_length=20)
    (one,) = kept.records(name, 1)
    assert one["request"] == {"text": text, "max_length": 20}
    assert one["choices"] == [{"text": said.json()["summary"], "finish_reason": "stop"}]


def test_a_stream_that_breaks_off_is_kept_as_far_as_it_came(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    script = json.dumps({"say": "one two three", "break_after": 2})
    kept.ask(script, stream=True)
    (one,) = kept.records(name, 1)
    assert one["broken"]
    assert one["choices"] == [{"text": "one two ", "finish_reason": None}]


def test_a_stream_whose_client_leaves_is_kept_as_far_as_it_came(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    script = json.dumps({"say": "one two three four", "pause": 2})
    body = {"messages": [{"role": "user", "content": script}], "stream": True}
    headers = {"X-Route": "chat"}
    with (
        kept.api.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        next(line for line in answer.iter_lines() if "one" in line)
    (one,) = kept.records(name, 1)
    assert one["broken"]
    assert one["choices"][0]["text"] == "one "


def test_without_redaction_texts_are_as_they_were(kept: Kept) -> None:
    name = kept.start(Wish("chat", redact=False))
    kept.ask(f"The card {CARD}.")
    (one,) = kept.records(name, 1)
    assert one["request"]["messages"][0]["content"] == f"The card {CARD}."


def test_who_wants_nothing_kept_is_left_out_and_counted(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    for how in ({"headers": {"Cache-Control": "no-store"}}, {"store": False}):
        assert "X-Recorded" not in kept.ask("Keep nothing.", **how).headers
    lines = [("Cache-Control", "max-age=0"), ("Cache-Control", "No-Store"), ("X-Route", "chat")]
    body = {"messages": [{"role": "user", "content": "Keep nothing."}]}
    with kept.api.client() as client:
        answer = client.post("/v1/chat/completions", json=body, headers=lines)
    assert answer.status_code == 200 and "X-Recorded" not in answer.headers
    kept.ask("Keep this.", store=True)
    (one,) = kept.records(name, 1)
    assert one["request"]["messages"][0]["content"] == "Keep this."
    assert kept.recordings.get(name).opted_out == 3


def test_only_the_route_is_recorded_and_only_what_was_answered(kept: Kept) -> None:
    kept.start(Wish("chat"))
    refused = kept.ask(json.dumps({"refuse": 503}))
    for answer in (refused, kept.ask("x", route="scripted"), kept.ask("x", route=""),
                   kept.api.summarize("A text."), kept.api.get("/v1/models")):  # fmt: skip
        assert "X-Recorded" not in answer.headers


def test_a_share_is_exact_and_in_turn(kept: Kept) -> None:
    kept.start(Wish("chat", share=25))
    told_of = ["X-Recorded" in kept.ask("x").headers for _ in range(8)]
    assert told_of == [False, False, False, True] * 2


# --- how it ends ---------------------------------------------------------------------


def test_a_full_one_ends_by_itself_and_says_so(kept: Kept) -> None:
    name = kept.start(Wish("chat"), max_bytes=10_000)
    wait_until(
        lambda: "X-Recorded" not in kept.ask("word " * 300).headers, "it is full", seconds=20
    )
    found = wait_until(lambda: kept.recordings.get(name), "counted")
    assert wait_until(lambda: kept.recordings.get(name).state == "full", "it says so")
    assert 0 < found.bytes <= 10_000
    assert f"recording {name} is full" in kept.api.stdout


def test_it_ends_when_nobody_wants_it_any_more(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    ended, changed = kept.recordings.stop(name, "enough")
    assert (ended.state, changed) == ("ended", True)
    kept.tell()
    wait_until(lambda: f"recording {name} has ended" in kept.api.stdout, "it has ended")
    assert "X-Recorded" not in kept.ask("x").headers
    assert kept.recordings.stop(name)[1] is False


def test_what_is_no_order_records_nothing(kept: Kept) -> None:
    kept.start(Wish("chat"))
    (kept.api.home / "recording.json").write_text('{"orders": [{"route": "chat"}]}')
    wait_until(lambda: "X-Recorded" not in kept.ask("x").headers, "it has ended")
    assert "says nothing to record" in kept.api.stdout


def test_where_nothing_can_be_sealed_no_client_is_told_that_anything_is_kept(
    tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    class Without:
        def __init__(self, *_: object) -> None:
            raise ModuleNotFoundError("No module named 'cryptography'")

    monkeypatch.setattr(reeling, "Seal", Without)
    file = tmp_path / "recording.json"
    file.write_text(Orders(orders=(order(tmp_path, keys),)).model_dump_json())
    recorder = Recorder(file, "d", Drills(), Metrics(deployment="d"))
    recorder.look()
    assert recorder.orders == {}
    assert "nothing can be kept here: No module named 'cryptography'" in caplog.text


# --- what is dropped -----------------------------------------------------------------


def order(folder: Path, keys: KeyPair, **more: Any) -> Order:
    said = {"id": "chat-20261130-120000", "route": "chat", "folder": folder,
            "until": time.time() + 60, "max_bytes": 10**6, "seal": keys.public,
            "pseudonyms": "0" * 64}  # fmt: skip
    return Order(**{**said, **more})


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return KeyPair.made(tmp_path / "key")


def tape(told: Order, answer: bytes = b"") -> Tape:
    asked = ChatRequest.model_validate({"messages": [{"role": "user", "content": "x"}]})
    one = Tape(told, asked, "alice", "d", "sha256:1", time.time(), is_stream=False)
    body = {"choices": [{"message": {"content": "y"}, "finish_reason": "stop"}]}
    one.hear(answer or json.dumps(body).encode(), more=False)
    return one


def counted(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob(f"*{COUNTS}")
    found = json.loads(file.read_bytes())
    assert isinstance(found, dict)
    return found


def test_what_finds_no_room_is_dropped_and_counted_and_no_request_waits(
    tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WAITING_BYTES", 0)
    told_to = order(tmp_path, keys)
    one = Writer("d")
    assert not one.put(tape(told_to))
    assert not one.put(tape(told_to, b"x" * (LONGEST_ANSWER + 1)))
    one.close()
    assert (counted(tmp_path)["kept"], counted(tmp_path)["dropped"]) == (0, 2)


def test_what_a_request_holds_takes_room_as_well(
    tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_to = order(tmp_path, keys)
    monkeypatch.setattr(writing, "WAITING_BYTES", 1000)
    one = Writer("d")
    large = tape(told_to)
    large.asked_bytes = 1000
    assert not one.put(large)
    assert one.put(tape(told_to))
    one.close()
    assert (counted(tmp_path)["kept"], counted(tmp_path)["dropped"]) == (1, 1)


def test_a_long_request_is_dropped_and_its_client_is_told_of_nothing(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    assert "X-Recorded" not in kept.ask("word " * (LONGEST_REQUEST // 5 + 1)).headers
    assert "X-Recorded" in kept.ask("word").headers
    (one,) = kept.records(name, 1)
    assert one["request"]["messages"][0]["content"] == "word"
    assert kept.recordings.get(name).dropped == 1


def test_a_link_to_nothing_ends_no_writer(tmp_path: Path, keys: KeyPair) -> None:
    (tmp_path / "another.jsonl").symlink_to("nothing")
    one = Writer("d")
    assert one.put(tape(order(tmp_path, keys)))
    one.close()
    assert counted(tmp_path)["kept"] == 1


def test_a_record_that_cannot_be_looked_at_is_dropped(
    tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Redacting):
        def text(self, text: str, where: Any = "request") -> str:
            raise RuntimeError(text)

    monkeypatch.setattr(reeling, "Redacting", Broken)
    one = Writer("d")
    assert one.put(tape(order(tmp_path, keys)))
    one.close()
    assert counted(tmp_path)["dropped"] == 1
    assert not list(tmp_path.glob("*.jsonl"))


def test_nothing_is_recorded_while_a_drill_is_on(tmp_path: Path, keys: KeyPair) -> None:
    drills = Drills()
    recorder = Recorder(None, "d", drills, Metrics(deployment="d"))
    recorder.orders = {"chat": order(tmp_path, keys)}
    asked = ChatRequest.model_validate({"messages": [{"role": "user", "content": "x"}]})
    scope = {"type": "http", "path": "/v1/chat/completions", "headers": [(b"x-route", b"chat")],
             "state": {"asked": asked, "request_id": "r1"}}  # fmt: skip
    assert recorder.tape(scope, False)
    drills.current = Drill(kind=Kind.EMPTY)
    assert recorder.tape(scope, False) is None
    recorder.writer.close()


def test_the_key_of_an_ended_recording_is_given_up(
    tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "TELLS", 0.05)
    one, told_to = Writer("d"), order(tmp_path, keys)
    one.keep_only({told_to.pseudonyms})
    assert one.put(tape(told_to))
    one.keep_only(set())
    wait_until(lambda: told_to.pseudonyms not in one._reels, "it is given up")
    wait_until(lambda: any(tmp_path.glob(f"*{COUNTS}")), "what it kept is told")
    assert counted(tmp_path)["kept"] == 1
    assert one.put(tape(told_to))  # an answer that was on its way
    one.close()
    assert sum(json.loads(file.read_bytes())["kept"] for file in tmp_path.glob(f"*{COUNTS}")) == 2


def test_where_nobody_may_write_no_client_is_told_that_anything_is_kept(
    tmp_path: Path, keys: KeyPair, caplog: Any
) -> None:
    file = tmp_path / "recording.json"
    told_to = order(tmp_path / "none", keys)
    file.write_text(Orders(orders=(told_to,)).model_dump_json())
    recorder = Recorder(file, "d", Drills(), Metrics(deployment="d"))
    recorder.look()
    assert recorder.orders == {}
    assert "none is closed to this process, or is not there" in caplog.text


# --- sealed and redacted -------------------------------------------------------------


def test_lines_are_sealed_for_their_recording_and_open_with_the_labs_key_only(
    tmp_path: Path, keys: KeyPair
) -> None:
    line = Seal(keys.public, "chat-1").line(b"a secret")
    assert b"secret" not in line
    assert keys.open(line, "chat-1") == b"a secret"
    for other, name in ((keys, "chat-2"), (KeyPair.made(tmp_path / "another"), "chat-1")):
        with pytest.raises(Unopened):
            other.open(line, name)
    with pytest.raises(Unopened):
        keys.open(b"nonsense\n", "chat-1")


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="cannot be read: No such file"):
        KeyPair.of(tmp_path / "key")
    (tmp_path / "key").write_text("no key\n")
    with pytest.raises(AuthError, match="it is no key"):
        KeyPair.of(tmp_path / "key")


def test_files_are_for_their_owner_and_hold_no_text(kept: Kept) -> None:
    name = kept.start(Wish("chat", redact=False))
    kept.ask("An unusual sentence.")
    kept.records(name, 1)
    folder = telling.folder_of(kept.lab) / name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    written = [one for one in folder.rglob("*") if one.is_file()]
    files = [*written, kept.lab.keys_file.with_name("recordings.key")]
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    assert not any(b"unusual" in one.read_bytes() for one in written)


def test_a_line_that_was_changed_is_told_with_its_place(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    kept.ask("x")
    kept.records(name, 1)
    (file,) = (telling.folder_of(kept.lab) / name / "written").glob("*.jsonl")
    file.write_bytes(b"AAAA" + file.read_bytes())
    with pytest.raises(LlmlabError, match=r"\.jsonl:1 cannot be opened"):
        list(kept.recordings.records(name))


def test_what_is_sealed_and_is_no_record_is_told_from_what_is_one(kept: Kept) -> None:
    name = kept.start(Wish("chat"))
    kept.ask("x", temperature=0.5, response_format={"type": "json_object"})
    (one,) = kept.records(name, 1)
    file = next((telling.folder_of(kept.lab) / name / "written").glob("*.jsonl"))
    seal = Seal(KeyPair.of(kept.lab.keys_file.with_name("recordings.key")).public, name)
    with file.open("ab") as more:
        for change in (
            {"request": {}}, {"request": {"text": "y"}}, {"request": {"messages": [{}]}},
            {"at": "today"}, {"at": "2026-11-30T12:00:00"}, {"choices": [{"text": None}]},
            {"kind": "other"}, {"request": {**one["request"], "response_format": {"type": []}}},
            {"request": {**one["request"], "response_format": {"type": "json_schema"}}},
            {"request": {**one["request"], "temperature": "high"}},
        ):  # fmt: skip
            more.write(seal.line(json.dumps({**one, **change}).encode()))
        more.writelines(map(seal.line, (b"", b"[]", b"\xff", b"[" * 100_000)))
    found = list(kept.recordings.records(name))
    assert found == [one] + [None] * 14
    asked = questions(name, found)
    assert (len(asked.asked), dict(asked.left_out)) == (1, {NO_RECORD: 14})


def test_all_texts_of_a_document_are_looked_at_and_what_cannot_be_is_left_out() -> None:
    looking = Redacting(guards())
    unseen = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": "anna@example.org", "image_url": {"url": "https://example.org"}},
        {"type": "text", "text": None}, {"type": ["text"]},
    ]  # fmt: skip
    found = looking.document({"a": [f"x {CARD}", {CARD: 1, "n": 2}], "content": unseen})
    kinds = ["image_url", "video_url", "other", "other", "other"]
    assert found == {"a": ["x [card]", {"[card]": 1, "n": 2}],
                     "content": [{"type": kind, "text": UNSEEN} for kind in kinds]}  # fmt: skip
    assert looking.found == {"card": 2}


def test_parts_of_text_that_follow_each_other_are_looked_at_as_one() -> None:
    parts = [
        {"type": "text", "text": text}
        for text in ("Mine is 4111 1111 ", "1111 1111", "; hers is ", "anna@", "example.org.")
    ]
    looking = Redacting(guards())
    assert looking.document({"content": parts})["content"] == [
        {"type": "text", "text": "Mine is [card]\n; hers is \n[email]."}
    ]
    assert looking.found == {"card": 1, "email": 1}
    picture = {"type": "image_url", "image_url": "x"}
    found = looking.document({"content": [parts[2], picture, parts[2]]})["content"]
    assert [one["text"] for one in found] == ["; hers is ", UNSEEN, "; hers is "]


def test_a_pseudonym_is_of_its_recording(tmp_path: Path, keys: KeyPair) -> None:
    one, other = order(tmp_path, keys), order(tmp_path, keys, pseudonyms="1" * 64)
    assert (
        pseudonym("alice", one.pseudonyms)
        == pseudonym("alice", one.pseudonyms)
        != pseudonym("bob", one.pseudonyms)
    )
    assert pseudonym("alice", one.pseudonyms) != pseudonym("alice", other.pseudonyms)
    assert pseudonym("", one.pseudonyms) == ""


def test_a_name_of_a_message_is_not_kept_and_json_in_a_text_is_read_as_it_is_meant(
    tmp_path: Path, keys: KeyPair
) -> None:
    said = json.dumps({"text": f"line\n{CARD}\nanna@example.org"})
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": said}}
    asked = {"messages": [
        {"role": "user", "content": said, "name": "anna"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]}  # fmt: skip
    one = tape(order(tmp_path, keys), json.dumps({"choices": [
        {"message": {"content": said}, "finish_reason": "stop"}]}).encode())  # fmt: skip
    one.asked = ChatRequest.model_validate(asked)
    found = record_of(one, Redacting(guards()))
    first, second = found["request"]["messages"]
    (made,) = second["tool_calls"]
    texts = (first["content"], made["function"]["arguments"], found["choices"][0]["text"])
    assert [json.loads(text)["text"] for text in texts] == ["line\n[card]\n[email]"] * 3
    assert "name" not in first


def test_tool_calls_are_kept(tmp_path: Path, keys: KeyPair) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {"choices": [{"message": {"content": None, "tool_calls": [call]},
                         "finish_reason": "tool_calls"}]}  # fmt: skip
    found = record_of(tape(order(tmp_path, keys), json.dumps(body).encode()), None)
    assert found["choices"] == [{"text": "", "finish_reason": "tool_calls", "tool_calls": [call]}]


# --- the lab's side ------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    one = Lab(tmp_path)
    one.make_state()
    return one


@pytest.mark.parametrize(
    ("wish", "engine", "error", "said"),
    [
        (Wish("chatt"), "local", UsageError, "no route 'chatt'"),
        (Wish("chat"), "local", UsageError, "recording.never"),
        (Wish("summarize"), "", UpstreamError, "does not run"),
        (Wish("summarize"), "ray", UsageError, "does not come back to the lab"),
    ],
)
def test_what_may_not_be_recorded_is_refused(
    lab: Lab, wish: Wish, engine: str, error: type[LlmlabError], said: str
) -> None:
    with pytest.raises(error, match=said):
        Recordings(lab).start(wish, Limits(never=["chat"]), ROUTES, engine)
    assert Store(lab).entries() == []


def test_a_route_has_one_recording_at_a_time_and_the_ledger_tells_of_all(lab: Lab) -> None:
    recordings = Recordings(lab)
    name = recordings.start(Wish("chat", 50, why="exam"), Limits(), ROUTES, "local").id
    with pytest.raises(UsageError, match=f"recorded already, as {name}"):
        recordings.start(Wish("chat"), Limits(), ROUTES, "local")
    recordings.remove(name, "no more")
    assert recordings.all() == [] and telling.orders_of(lab) == ()
    assert [told(one) for one in Store(lab).entries()] == [
        f"start of {name}, 50 %, redacted",
        f"stop of {name}",
        f"remove of {name}, 0 requests",
    ]
    with pytest.raises(UsageError, match="there is no recording"):
        recordings.get(name)


def test_a_start_that_cannot_be_told_of_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(telling, "tell", full)
    with pytest.raises(OSError, match="No space"):
        Recordings(lab).start(Wish("chat"), Limits(), ROUTES, "local")
    assert Recordings(lab).all() == []
    assert Store(lab).entries() == []


def test_what_is_too_old_is_over_and_then_removed(lab: Lab) -> None:
    now = time.time()
    recordings = Recordings(lab, lambda: now)
    name = recordings.start(Wish("chat"), Limits(max_seconds=60, max_age=600), ROUTES, "local").id
    assert recordings.expire() == []
    now += 61
    assert recordings.get(name).state == "over"
    assert [one.id for one in telling.orders_of(lab)] == [name]
    assert recordings.expire() == []
    assert (recordings.get(name).state, telling.orders_of(lab)) == ("over", ())  # its key is gone
    another = recordings.start(Wish("chat"), Limits(), ROUTES, "local").id
    now += 540
    folder = telling.folder_of(lab)
    (folder / name / "written" / "d.1.counts.json").write_text("no counts")
    (folder / "chat-20200101-000000").mkdir()
    (folder / "chat-20200101-000000" / "manifest.json").write_text("{}")
    with pytest.raises(LlmlabError, match="no manifest of a recording"):
        recordings.expire()
    assert not (folder / name).exists()
    assert told(Store(lab).entries()[-1]) == f"remove of {name}, 0 requests"
    assert [one.id for one in recordings.active()] == [another]


def test_one_that_was_removed_by_hand_is_in_nobodys_way(lab: Lab) -> None:
    recordings = Recordings(lab)
    name = recordings.start(Wish("chat"), Limits(), ROUTES, "local").id
    shutil.rmtree(telling.folder_of(lab) / name)
    assert recordings.active() == []
    other = recordings.start(Wish("summarize"), Limits(), ROUTES, "local").id
    assert [one.id for one in telling.orders_of(lab)] == [other]
    shutil.rmtree(telling.folder_of(lab) / other)
    assert recordings.expire() == []
    assert (telling.orders_of(lab), told(Store(lab).entries()[-1])) == ((), f"stop of {other}")


def test_a_key_that_was_lost_is_not_made_anew_while_anything_is_sealed_for_it(lab: Lab) -> None:
    recordings = Recordings(lab)
    name = recordings.start(Wish("chat"), Limits(), ROUTES, "local").id
    key = lab.keys_file.parent / "recordings.key"
    key.unlink()
    with pytest.raises(AuthError, match="without it nobody can read them"):
        list(recordings.records(name))
    with pytest.raises(AuthError, match="without it nobody can read them"):
        recordings.start(Wish("summarize"), Limits(), ROUTES, "local")
    assert not key.exists()
    recordings.remove(name)
    recordings.start(Wish("chat"), Limits(), ROUTES, "local")
    assert key.exists()


def test_a_recording_goes_on_under_another_engine(lab: Lab) -> None:
    name = Recordings(lab).start(Wish("chat"), Limits(), ROUTES, "local").id
    (lab.state / "deployments").mkdir()
    telling.deliver(lab)
    assert (lab.state / "deployments" / "recording.json").exists()
    telling.deliver(lab, shared=True)
    folder = telling.folder_of(lab) / name
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (folder, folder / "written")]
    assert modes == [0o755, 0o777]


def test_each_container_is_told_where_it_sees_the_folder(lab: Lab) -> None:
    service = lab.state / "compose" / "llmapi"
    service.mkdir(parents=True)
    (service / "settings.json").write_text("{}")
    found = Recordings(lab).start(Wish("chat"), Limits(), ROUTES, "compose")
    (one,) = Orders.model_validate_json((service / "recording.json").read_bytes()).orders
    assert one.folder == Path("/var/lib/recordings") / found.id / "written"
    assert one.mode == 0o644
    folder = telling.folder_of(lab) / found.id
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755  # of the manifest
    assert stat.S_IMODE((folder / "written").stat().st_mode) == 0o777
    os.mkfifo(folder / "written" / "llmapi.1.jsonl")  # which a container could make
    (folder / "written" / "llmapi.1.counts.json").symlink_to("/etc/passwd")
    assert list(Recordings(lab).records(found.id)) == []
    assert Recordings(lab).get(found.id).requests == 0
    Recordings(lab).stop(found.id)
    assert not (service / "recording.json").exists()


def test_what_a_container_leaves_there_keeps_nobody_from_ending_and_removing(lab: Lab) -> None:
    recordings = Recordings(lab)
    name = recordings.start(Wish("chat"), Limits(), ROUTES, "compose").id
    folder = telling.folder_of(lab)
    written = folder / name / "written"
    assert not list(folder.glob("*lock*"))  # which a container could hold
    for file in ("llmapi.1.counts.json", "llmapi.1.jsonl"):
        with (written / file).open("wb") as sparse:
            sparse.truncate(1 << 40)  # more than memory has
    os.mkfifo(written / "llmapi.2.counts.json")
    found = recordings.get(name)
    assert (found.state, found.requests, found.damaged) == ("recording", 0, 1)
    with pytest.raises(LlmlabError, match="larger than this lab's APIs have made it"):
        list(recordings.records(name))
    assert recordings.stop(name)[1]
    recordings.remove(name)
    assert told(Store(lab).entries()[-1]) == f"remove of {name}, 0 requests"
    assert list(folder.iterdir()) == []


def test_a_file_that_becomes_a_pipe_or_a_link_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match=r"no plain file|symbolic links"):
            list(lines(tmp_path / name, 1000))


def test_one_that_cannot_be_removed_stays_in_the_list_and_is_tried_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder in it that a container's user has closed."""
    now = time.time()
    recordings = Recordings(lab, lambda: now)
    limits = Limits(max_seconds=60, max_age=600)
    stuck = recordings.start(Wish("chat"), limits, ROUTES, "compose").id
    other = recordings.start(Wish("summarize"), limits, ROUTES, "compose").id
    foreign = telling.folder_of(lab) / stuck / "written" / "closed"
    (foreign / "x").mkdir(parents=True)
    (foreign.parent / "llmapi.1.jsonl").write_text("line\n")
    rmdir = os.rmdir

    def denied(path: Any, **more: Any) -> None:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        rmdir(path, **more)

    now += 601
    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", denied)
        with pytest.raises(LlmlabError, match=f"{stuck} cannot be removed whole") as raised:
            recordings.expire()
    assert raised.value.fix == f"sudo rm -r {telling.folder_of(lab) / stuck}"
    assert [one.id for one in recordings.all()] == [stuck]
    assert not list(foreign.parent.glob("*.jsonl"))  # no text is left
    assert told(Store(lab).entries()[-1]) == f"remove of {other}, 0 requests"
    (telling.folder_of(lab) / stuck).rename(telling.folder_of(lab) / f"{stuck}.gone")  # killed
    assert recordings.expire() == [stuck]
    assert list(telling.folder_of(lab).iterdir()) == []
