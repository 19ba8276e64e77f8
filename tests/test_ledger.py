"""The ledger: entries follow on each other, a change shows, and no kill breaks the chain."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmlab.cli.deliver.ledger import print_entries
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.ledger import chain, exported
from llmlab.ledger.chain import GENESIS, Entry
from llmlab.ledger.store import FILE, Store
from llmlab.ledger.telling import told
from llmlab.ledger.verifying import verify_file, verify_store
from llmlab.traffic import Flag, Traffic
from tests.conftest import LabUnderTest, clean_env


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Lab(tmp_path))


@contextmanager
def forced(store: Store) -> Iterator[sqlite3.Connection]:
    """The database for somebody who can write the file, and takes the triggers away."""
    connection = sqlite3.connect(store.database.file)
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    yield connection
    connection.commit()
    connection.close()


def with_flag(name: str) -> Callable[[Traffic], Traffic]:
    return lambda traffic: Traffic(flags=(*traffic.flags, Flag(name)))


# --- The chain -----------------------------------------------------------------


def test_each_entry_follows_on_the_one_before(store: Store) -> None:
    first = store.note("key", {"did": "made", "kid": "1"}, "the first")
    second = store.note("key", {"did": "revoked", "kid": "1"}, who="alice")
    assert (first.seq, first.previous) == (1, GENESIS)
    assert (second.seq, second.previous, second.who) == (2, first.hash, "alice")
    assert store.entries() == [first, second]
    assert verify_store(store) == chain.Verdict(2, second.hash, ())


def test_a_hash_covers_all_that_an_entry_says(store: Store) -> None:
    entry = store.note("key", {"did": "made"}, "because")
    link = chain.Link(
        entry.seq, entry.at, entry.who, entry.kind, chain.canonical(entry.document), entry.why,
        entry.previous, entry.hash,
    )  # fmt: skip
    assert link.digest == entry.hash
    for name in ("seq", "at", "who", "kind", "text", "why", "previous"):
        other = 9 if name == "seq" else f"{getattr(link, name)}x"
        assert link.__class__(**{**vars(link), name: other}).digest != entry.hash


def test_a_change_of_the_traffic_and_its_entry_are_one(store: Store) -> None:
    traffic = store.change("flag", {"flag": "a"}, with_flag("a"))
    (entry,) = store.entries()
    assert traffic.revision == entry.seq == 1
    assert Traffic.parse(json.dumps(entry.document["traffic"])) == traffic == store.traffic()
    assert store.change("flag", {}, lambda same: same) == traffic
    assert len(store.entries()) == 1


def test_what_is_done_meanwhile_and_fails_leaves_no_entry(store: Store) -> None:
    with pytest.raises(OSError), store.noting("drill", {}):
        raise OSError
    assert store.entries() == []


def test_entries_are_found_by_kind_and_the_newest_are_given(store: Store) -> None:
    for number in range(5):
        store.note("key" if number % 2 else "lab", {"n": number})
    assert [one.document["n"] for one in store.entries(kind="lab")] == [0, 2, 4]
    assert [one.document["n"] for one in store.entries(kind="lab", last=2)] == [2, 4]
    assert [one.document["n"] for one in store.entries(last=2)] == [3, 4]
    entry = store.entry(3)
    assert entry and entry.document == {"n": 2}
    assert store.entry(99) is None


def test_only_what_is_asked_for_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        store.note("flag", {"flag": f"f{number % 5}", "number": number})
    read: list[str] = []
    parse = json.loads
    monkeypatch.setattr(json, "loads", lambda text: read.append(text) or parse(text))
    found = store.entries(kind="flag", last=3, about={"flag": "f2"})
    assert [one.document["number"] for one in found] == [37, 42, 47]
    assert len(read) == 3
    assert store.entries(kind="flag", about={"flag": 'f"2'}) == []


def test_a_table_for_a_pipe_is_plain_lines(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rich measures and folds every cell: 10,000 entries would take it six seconds."""
    store.note("lab", {"did": "down", "engine": "local"}, "for\x1b[31m now")
    store.note("lab", {"did": "down", "engine": "compose"})
    monkeypatch.setattr("rich.table.Table.add_row", None)
    print_entries(store.entries())
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["no", "when", "who", "kind", "what", "why"]
    assert first.endswith("  for\\x1b[31m now")
    assert first.index("down") == second.index("down") == head.index("what")


def test_text_that_is_no_text_is_written_all_the_same(store: Store) -> None:
    store.note("lab", {"name": "\udcff"}, "because of \udcff")
    assert verify_store(store).whole


def test_a_number_that_json_does_not_have_is_refused(store: Store) -> None:
    with pytest.raises(ValueError):
        store.note("verdict", {"p": float("nan")})
    assert store.entries() == []


# --- Tampering -----------------------------------------------------------------


@pytest.fixture
def five(store: Store) -> Store:
    for number in range(5):
        store.note("key", {"n": number}, f"number {number}")
    return store


@pytest.mark.parametrize(
    "statement",
    ["UPDATE entries SET why = 'x' WHERE seq = 1", "DELETE FROM entries WHERE seq = 5",
     "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE seq = 2"],
)  # fmt: skip
def test_an_entry_is_not_changed_by_mistake(five: Store, statement: str) -> None:
    with sqlite3.connect(five.database.file) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("column", ["at", "who", "kind", "document", "why", "hash"])
def test_a_changed_entry_is_found(five: Store, column: str) -> None:
    value = '{"n":99}' if column == "document" else "0" * 64
    with forced(five) as connection:
        connection.execute(f"UPDATE entries SET {column} = ? WHERE seq = 3", (value,))
    assert "entry 3 is not as it was written" in verify_store(five).problems


def test_a_document_that_was_written_otherwise_is_found(five: Store) -> None:
    with forced(five) as connection:
        connection.execute("UPDATE entries SET document = '{\"n\": 2}' WHERE seq = 3")
    assert verify_store(five).problems == ("entry 3 is not as it was written",)


def test_an_entry_that_was_taken_out_is_found(five: Store) -> None:
    with forced(five) as connection:
        connection.execute("DELETE FROM entries WHERE seq IN (2, 3)")
    assert verify_store(five).problems == (
        "entries 2 to 3 are missing", "entry 4 does not follow on the one before",
    )  # fmt: skip


def test_a_chain_that_was_cut_or_replaced_is_found_by_the_hash_that_was_noted_down(
    five: Store, tmp_path: Path
) -> None:
    head = verify_store(five).head
    assert verify_store(five, head).whole
    assert verify_store(five, head[:12]).whole
    with forced(five) as connection:
        connection.execute("DELETE FROM entries WHERE seq = 5")
    assert verify_store(five).whole  # nothing else could tell
    assert verify_store(five, head).problems == (f"no entry has the hash {head}",)


def test_an_older_hash_still_holds_when_the_chain_has_grown(five: Store) -> None:
    head = verify_store(five).head
    five.note("key", {"n": 5})
    assert verify_store(five, head).whole


def test_routes_that_the_ledger_does_not_tell_of_are_found(store: Store) -> None:
    store.change("flag", {"flag": "a"}, with_flag("a"))
    store.note("key", {"did": "made"})
    assert verify_store(store).whole
    with forced(store) as connection:
        connection.execute(
            "UPDATE state SET document = ?", (store.traffic().dump().replace('"a"', '"b"'),)
        )
    (problem,) = verify_store(store).problems
    assert "are not those of entry 1" in problem


# --- As a file -----------------------------------------------------------------


def test_an_exported_chain_can_be_verified_and_so_can_what_was_done_to_it(
    five: Store, tmp_path: Path
) -> None:
    five.change("flag", {"flag": "größer"}, with_flag("a"), "wegen „Größe“")
    file = tmp_path / "ledger.jsonl"
    file.write_text("".join(exported.lines(five.entries())))
    assert verify_file(file) == verify_store(five)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines).replace("number 3", "number 4"))
    assert verify_file(file).problems == ("entry 4 is not as it was written",)
    file.write_text("".join(lines[:2] + lines[3:]))
    assert "entries 3 to 3 are missing" in verify_file(file).problems
    file.write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert not verify_file(file).whole


@pytest.mark.parametrize(
    "line", ["", "no", "[]", "{}", '{"seq": "1"}', "\x00", "[" * 100_000]
)  # fmt: skip
def test_a_file_that_is_no_ledger_is_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(UsageError, match="is no entry of a ledger"):
        verify_file(file)


# --- Killed, and several at once -----------------------------------------------

WRITER = """
import sys
from pathlib import Path
from llmlab.ledger.store import Store
from llmlab.lab import Lab
from llmlab.traffic import Flag, Traffic

store = Store(Lab(Path(sys.argv[1])))
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    if number % 2:
        store.note("key", {"n": number, "by": sys.argv[3]})
    else:
        store.change("flag", {"n": number}, lambda _: Traffic(flags=(Flag(f"f{number}"),)))
    print(number, flush=True)
"""


def writer(lab: Lab, times: int, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(lab.root), str(times), name],
        stdout=subprocess.PIPE, text=True, env=clean_env(),
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_a_chain_that_holds_and_all_that_it_had_told_of(
    tmp_path: Path,
) -> None:
    chance = random.Random(7)
    lab = Lab(tmp_path)
    store, told_of = Store(lab), 0
    for turn in range(12):
        process = writer(lab, 10_000, str(turn))
        time.sleep(chance.uniform(0.0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        assert process.stdout
        told_of += sum(line.endswith("\n") for line in process.stdout.read().splitlines(True))
        process.wait()
        verdict = verify_store(store)
        assert verdict.whole, verdict.problems
        # One more may have been written, and its writer killed before it could say so.
        assert told_of <= verdict.entries <= told_of + 1
        told_of = verdict.entries
    assert told_of > 20, "none of them wrote anything"


@pytest.mark.slow
def test_several_writers_at_once_make_one_chain(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    processes = [writer(lab, 20, name) for name in ("one", "other", "third")]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    verdict = verify_store(Store(lab))
    assert (verdict.entries, verdict.problems) == (60, ())


# --- In words ------------------------------------------------------------------


def entry(kind: str, document: dict[str, Any]) -> Entry:
    return Entry(1, "2026-01-01T00:00:00.000Z", "alice", kind, document, "", GENESIS, "")


ROUTES = {"stable": "", "split": None, "matches": [], "shadow": None}


@pytest.mark.parametrize(
    ("kind", "document", "words"),
    [
        ("key", {"did": "made", "kid": "ab", "alg": "HS256"}, "ab (HS256) made"),
        ("key", {"did": "made", "kid": "0001", "alg": "HS256", "demo": True},
         "0001 (HS256, published) made"),
        ("lab", {"did": "down", "engine": "local"}, "down"),
        ("lab", {"did": "up", "engine": "local", "url": "http://127.0.0.1:8000",
                 "deployments": {"textrank": {"model_id": "sha256:0123456789abcdef"}}},
         "up at http://127.0.0.1:8000 (local): textrank 0123456789ab"),
        ("drill", {"deployment": "a", "drill": {"kind": "slow", "seconds": 2.0}},
         "slow for a, seconds=2.0"),
        ("drill", {"deployment": "a", "drill": None}, "off for a"),
        ("flag", {"flag": "short", "definition": None}, "short is gone"),
        ("rollout", {"did": "start", "number": 3, "traffic": {"stable": "a"}}, "start, number=3"),
        ("deployment", {"did": "deploy", "deployment": "b", "model": "tuned:1"},
         "deploy b of tuned:1"),
        ("deployment", {"did": "scale", "deployment": "b", "replicas": 3}, "scale b to 3"),
        ("rollout", {"event": "started", "of": "canary", "rollout": 3, "stable": "a",
                     "candidates": {"b": "tuned:1"}, "phase": "starting", "step": 0},
         "rollout 3: canary of b, beside a"),
        ("rollout", {"event": "judged", "rollout": 3, "phase": "progressing", "percent": 25.0,
                     "step": 2}, "rollout 3, step 2: progressing, 25 %"),
        ("rollout", {"event": "settled", "rollout": 3, "phase": "aborted", "percent": 0.0,
                     "step": 2}, "rollout 3, step 2: aborted"),
        ("verdict", {"rollout": 3, "step": 2, "outcome": "fail", "findings": []},
         "rollout 3, step 2: fail"),
        ("route", {"rollout": 3, "step": 0, "traffic": ROUTES}, "all to the stable deployment"),
        ("route", {"rollout": 3, "step": 2, "traffic": ROUTES | {
            "split": {"shares": [{"deployment": "b", "percent": 25.0}]}, "stable": "a",
            "matches": [{"kind": "claim", "name": "plan", "value": "pro", "deployment": "c"}],
            "shadow": {"deployment": "d", "percent": 20.0}}},
         "claim plan=pro to c, 25 % to b, the rest to a, copies of 20 % to d"),
        ("route", {"rollout": 3, "step": 0, "traffic": {"routes": {}}}, "as in lab.toml"),
        ("route", {"rollout": 3, "step": 0, "traffic": {"routes": {"summarize": ROUTES}}},
         "all to the stable deployment"),
        ("route", {"rollout": 3, "step": 0, "traffic": {"routes": {"chat": ROUTES}}},
         "chat: all to the stable deployment"),
        ("route", {"rollout": 3, "step": 2, "traffic": {"routes": {
            "chat": ROUTES | {"split": {"shares": [{"deployment": "b", "percent": 25.0}]}},
            "summarize": ROUTES | {"stable": "a"}}}},
         "chat: 25 % to b, the rest to the stable deployment; summarize: all to a"),
        ("key", {"of": "another version"}, "of=another version"),
    ],
)  # fmt: skip
def test_entries_are_told_in_words(kind: str, document: dict[str, Any], words: str) -> None:
    assert told(entry(kind, document)) == words


# --- The verb ------------------------------------------------------------------


@pytest.fixture(scope="module")
def used(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab whose keys were changed a few times."""
    lab = make_lab()
    lab.ok("keys", "init", "--demo")
    lab.ok("keys", "rotate")
    (first, *_) = lab.json("keys", "list")
    lab.ok("keys", "revoke", first["kid"])
    lab.ok("keys", "init", "--demo")  # changes nothing
    return lab


def test_key_changes_are_in_the_ledger_without_their_secrets(used: LabUnderTest) -> None:
    entries = used.json("ledger", "--kind", "key")
    done = [(one["document"]["did"], one["document"].get("demo", False)) for one in entries]
    assert done == [("made", False), ("made", True), ("made", False), ("revoked", False)]
    assert entries[0]["document"]["kid"] == entries[3]["document"]["kid"]
    secrets = [key["k"] for key in json.loads(used.lab.keys_file.read_text())["keys"]]
    database = (used.lab.state / FILE).read_bytes()
    assert not any(secret.encode() in database for secret in secrets)
    assert (used.lab.state / FILE).stat().st_mode & 0o777 == 0o600


def test_the_table_names_who_what_and_when(used: LabUnderTest) -> None:
    out = used.ok("ledger")
    assert out.splitlines()[0].split() == ["no", "when", "who", "kind", "what", "why"]
    assert "0001 (HS256, published) made" in out
    assert used.ok("ledger", "show") == out
    assert len(used.ok("ledger", "--last", "2").splitlines()) == 3


def test_verify_prints_the_hash_to_note_down(used: LabUnderTest) -> None:
    head = used.ok("ledger", "verify").strip()
    assert head == used.json("ledger")[-1]["hash"]
    assert used.json("ledger", "verify", "--head", head)["whole"] is True
    done = used.run("ledger", "verify", "--head", "0123456789ab")
    assert done.returncode == 1
    assert "no entry has the hash 0123456789ab" in done.stdout
    assert used.run("ledger", "verify", "--head", "short").returncode == 2


def test_an_exported_file_is_verified_wherever_it_is(used: LabUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    used.ok("ledger", "export", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert used.json("ledger", "verify", str(file)) == used.json("ledger", "verify")
    file.write_text(file.read_text().replace("revoked", "made"))
    done = used.run("ledger", "verify", str(file))
    assert done.returncode == 1
    assert "entry 4 is not as it was written" in done.stdout


def test_up_and_down_are_in_the_ledger(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab()
    lab.ok("up")
    lab.ok("up")  # changes nothing
    (one,) = lab.json("status")["deployments"]
    lab.ok("down")
    lab.ok("down")
    up, down = (entry["document"] for entry in lab.json("ledger", "--kind", "lab"))
    assert up == {
        "did": "up", "engine": "local", "url": lab.url, "routes": {"summarize": "textrank"},
        "deployments": {
            "textrank": {
                "model": "textrank", "model_id": one["model_id"], "runtime": "extractive",
            }
        },
    }  # fmt: skip
    assert down == {"did": "down", "engine": "local"}
