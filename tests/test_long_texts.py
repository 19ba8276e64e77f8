"""Texts that are longer than the model's window, through the whole lab: real NGINX, real
processes, a tiny T5 that was converted, and the embedded model beside it."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from llmlab import Client
from llmlab.client import Progress, UpstreamError, UsageError
from llmlab.runtimes.sentences import split_sentences
from tests.conftest import LabUnderTest
from tests.test_gateway import eventually

PAGES, WORDS_A_PAGE = 50, 500
MIB = 1 << 20


@pytest.fixture(scope="module")
def lab(make_tiny_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_tiny_lab()
    one.ok("up")
    assert one.json("status")["deployments"][0]["runtime"] == "ctranslate2"
    return one


Write = Callable[[int], str]


@pytest.fixture(scope="module")
def write(article: str) -> Write:
    """Writes a text of so many pages that nobody has read before."""
    sentences = list(split_sentences(article))
    chance = random.Random(3)

    def write(pages: int) -> str:
        text: list[str] = []
        words = 0
        while words < pages * WORDS_A_PAGE:
            text.append(chance.choice(sentences))
            words += len(text[-1].split())
        return " ".join(text)

    return write


@pytest.fixture(scope="module")
def book(lab: LabUnderTest, write: Write) -> Path:
    """A file with a text of 50 pages."""
    file = lab.root / "book.txt"
    file.write_text(write(PAGES))
    assert len(file.read_text().split()) >= 25_000
    return file


# --- A text of 50 pages ---------------------------------------------------------------


def test_the_command_summarizes_a_text_of_50_pages(lab: LabUnderTest, book: Path) -> None:
    (told,) = lab.json("summarize", book.name)["results"]
    usage = told["usage"]
    assert told["model"]["name"] == "tiny"
    assert 0 < usage["output_tokens"] <= 100
    assert told["summary"]
    assert not usage["truncated"]
    # Every window has 64 tokens at most, and all of the text is in one of them.
    assert usage["windows"] * 64 >= usage["input_tokens"] > 25_000


def test_the_embedded_model_reads_it_at_once(lab: LabUnderTest, book: Path) -> None:
    (told,) = lab.json("summarize", book.name, "--model", "textrank")["results"]
    assert told["usage"]["windows"] == 1
    assert told["usage"]["input_tokens"] > 25_000
    assert not told["usage"]["truncated"]
    assert all(one in book.read_text() for one in split_sentences(told["summary"]))


def test_a_text_within_the_window_is_one_window(lab: LabUnderTest) -> None:
    usage = json.loads(lab.ok("summarize", "-", "-o", "json", stdin="The lamp is lit."))
    assert usage["results"][0]["usage"]["windows"] == 1


def test_the_longest_text_passes_the_gateway_however_it_is_escaped_and_never_touches_a_disk(
    lab: LabUnderTest,
) -> None:
    text = ("🗼" * 99 + " ") * 2_000  # 200,000 characters, the default limit
    body = json.dumps({"text": text}).encode()
    assert len(body) > 2_000_000
    log = lab.lab.logs / "gateway.error.log"
    before = log.read_text()
    with lab.client() as client:
        response = client.post("/models/textrank/summarize/", content=body)
        assert response.status_code == 200, response.text
        longer = json.dumps({"text": text + "."}).encode()
        refused = client.post("/models/textrank/summarize/", content=longer)
    assert (refused.status_code, "service.max_text_chars" in refused.text) == (413, True)
    assert log.read_text() == before  # it warns of a body that goes to a temporary file


def test_memory_does_not_grow_with_the_books_that_were_read(
    lab: LabUnderTest, write: Write
) -> None:
    """What a book needs is given back: its windows, its summaries, its events."""
    api = psutil.Process(lab.json("status")["deployments"][0]["pid"])

    def read(books: int) -> int:
        texts = [write(PAGES) for _ in range(books)]
        with lab.client() as client:
            failed: list[str] = []

            def ask(text: str) -> None:
                headers = {"Accept": "text/event-stream"}
                answer = client.post("/summarize/", json={"text": text}, headers=headers)
                if "event: summary" not in answer.text:
                    failed.append(answer.text[-300:])

            threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not failed, failed
        return api.memory_info().rss

    first = read(1)
    for _ in range(2):
        assert read(3) < first + 100 * MIB


# --- The strategies -------------------------------------------------------------------


def test_with_truncate_only_the_first_window_is_read_and_everybody_is_told(
    lab: LabUnderTest, book: Path
) -> None:
    done = lab.run("summarize", book.name, "--strategy", "truncate")
    assert done.returncode == 0
    assert " ".join(done.stderr.split()) == (
        "Note: book.txt is longer than the model's window; only its first 64 tokens were read "
        "(--strategy auto reads all of it)."
    )
    (told,) = lab.json("summarize", book.name, "--strategy", "truncate")["results"]
    assert told["usage"]["truncated"]
    assert (told["usage"]["windows"], told["usage"]["input_tokens"]) == (1, 64)


def test_with_full_a_text_is_read_at_once_as_far_as_that_is_safe(
    lab: LabUnderTest, book: Path, write: Write
) -> None:
    page = lab.root / "page.txt"
    page.write_text(write(1))
    (told,) = lab.json("summarize", page.name, "--strategy", "full")["results"]
    assert (told["usage"]["windows"], told["usage"]["truncated"]) == (1, False)
    assert told["usage"]["input_tokens"] > 500
    refused = lab.run("summarize", book.name, "--strategy", "full")
    assert refused.returncode == 2
    assert "422" in refused.stderr


def test_auto_is_what_is_done_by_default(lab: LabUnderTest, book: Path) -> None:
    by_default, named = (
        lab.json("summarize", book.name, *options)["results"][0]
        for options in ((), ("--strategy", "auto"))
    )
    assert by_default["summary"] == named["summary"]
    assert by_default["usage"] == named["usage"]


# --- Progress -------------------------------------------------------------------------


def on_a_terminal(lab: LabUnderTest, *arguments: str) -> tuple[str, str]:
    """What the command writes to stdout, a pipe, and to stderr, a terminal."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", *arguments], cwd=lab.root,
        env=lab.env | {"TERM": "xterm", "COLUMNS": "120"}, stdout=subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()

    def watch() -> None:
        try:
            while part := os.read(terminal, 65_536):
                shown.extend(part)
        except OSError:  # the other end was closed
            pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate(timeout=120)
    watcher.join(20)
    os.close(terminal)
    assert process.returncode == 0, shown.decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return out.decode(), plain


def test_on_a_terminal_a_bar_shows_the_windows_and_then_that_they_are_put_together(
    lab: LabUnderTest, write: Write
) -> None:
    (lab.root / "new.txt").write_text(write(20))
    summary, shown = on_a_terminal(lab, "summarize", "new.txt", "--max-length", "30")
    seen = [
        (int(done), int(windows))
        for done, windows in re.findall(r"reading new\.txt \S+ +(\d+)/(\d+) windows", shown)
    ]
    windows = seen[0][1]
    assert windows > 100
    assert seen == sorted(seen)
    assert {all_of_them for _, all_of_them in seen} == {windows}
    assert "new.txt: putting together" in shown.partition("reading new.txt")[2]
    assert re.search(rf"tiny \(ctranslate2\), \d+ tokens in {windows} windows, \d+ out", shown)
    assert summary.count("\n") == 1
    assert "windows" not in summary


def test_of_several_texts_each_that_is_long_has_a_bar_of_its_own(
    lab: LabUnderTest, write: Write
) -> None:
    for number in range(2):
        (lab.root / f"long-{number}.txt").write_text(write(20))
    (lab.root / "short.txt").write_text("The lamp is lit.")
    names = ["long-0.txt", "short.txt", "long-1.txt"]
    _, shown = on_a_terminal(lab, "summarize", *names, "-o", "json")
    assert "reading long-0.txt" in shown
    assert "reading long-1.txt" in shown
    assert "reading short.txt" not in shown
    assert re.search(r"summarizing \S+ +\d/3 texts", shown)


def test_without_a_terminal_there_is_no_bar_and_no_stream(lab: LabUnderTest, book: Path) -> None:
    done = lab.run("summarize", book.name)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_short_text_has_no_bar(lab: LabUnderTest) -> None:
    (lab.root / "lamp.txt").write_text("The lamp is lit.")
    _, shown = on_a_terminal(lab, "summarize", "lamp.txt")
    assert "windows" not in shown
    assert re.search(r"tiny \(ctranslate2\), \d+ tokens, \d+ out", shown)


def test_progress_passes_the_gateway_while_the_text_is_being_read(
    lab: LabUnderTest, write: Write
) -> None:
    done = lab.metric("tiny", "llmlab_answers_total")
    told: list[tuple[Progress, float]] = []

    def tell(progress: Progress) -> None:
        if not told:
            told.append((progress, lab.metric("tiny", "llmlab_answers_total")))

    with Client(lab=lab.root) as client:
        summary = client.summarize(write(PAGES), progress=tell)
    ((first, answers),) = told
    assert answers == done  # it had no answer yet
    assert (first.done, first.reading) == (0, 1)
    assert first.windows == summary.usage.windows
    assert lab.metric("tiny", "llmlab_answers_total") == done + 1


def test_windows_are_counted_for_the_operator(lab: LabUnderTest, write: Write) -> None:
    count, total = (lab.metric("tiny", f"llmlab_windows_{name}") for name in ("count", "sum"))
    with Client(lab=lab.root) as client:
        usage = client.summarize(write(2)).usage
    assert lab.metric("tiny", "llmlab_windows_count") == count + 1
    assert lab.metric("tiny", "llmlab_windows_sum") == total + usage.windows > total + 10


# --- Nobody waits any more ------------------------------------------------------------


def idle(lab: LabUnderTest) -> bool:
    names = ("llmlab_queue_texts", "llmlab_running_texts", "llmlab_queue_waiting")
    return not any(lab.metric("tiny", name) for name in names)


def test_a_text_that_takes_longer_than_the_client_waits_is_dropped(
    lab: LabUnderTest, write: Write
) -> None:
    with Client(lab=lab.root, timeout=0.3) as client, pytest.raises(UpstreamError) as caught:
        client.summarize(write(PAGES))
    assert "504: No summary within 0.3 s (X-Request-Timeout)" in str(caught.value)
    assert "--timeout" in (caught.value.fix or "")
    eventually(lambda: idle(lab), within=10)


def test_a_reader_that_leaves_a_stream_ends_the_work_on_its_text(
    lab: LabUnderTest, write: Write
) -> None:
    class Enough(Exception):
        pass

    def tell(_: Progress) -> None:
        raise Enough

    read = lab.metric("tiny", "llmlab_batch_texts_sum")
    with Client(lab=lab.root) as client, pytest.raises(Enough):
        client.summarize(write(PAGES), progress=tell)
    eventually(lambda: idle(lab), within=10)
    assert lab.metric("tiny", "llmlab_batch_texts_sum") - read < 1_000  # of 1,400 windows


def test_a_text_above_the_limit_is_refused_before_it_is_read(lab: LabUnderTest) -> None:
    with Client(lab=lab.root) as client, pytest.raises(UsageError, match="413"):
        client.summarize("a " * 100_001, progress=lambda _: None)


def test_a_stream_says_what_a_document_would(lab: LabUnderTest, write: Write) -> None:
    text = write(1)
    with lab.client() as client:
        document = client.post("/summarize/", json={"text": text})
        headers = {"Accept": "text/event-stream"}
        stream = client.post("/summarize/", json={"text": text}, headers=headers)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["x-cache"] == "hit"
    name, data = stream.text.strip().split("\n")
    assert name == "event: summary"
    assert json.loads(data.removeprefix("data: ")) == document.json()
