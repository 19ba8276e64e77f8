"""GGUF models: what a file says, how much of a machine one gets, and that nobody else is let in."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from llmlab.config import Model
from llmlab.errors import ModelUnavailable
from llmlab.models.identity import digests, version_id
from llmlab.models.loading import load_chat
from llmlab.runtimes import Generation, Strategy, TextTooLong, llamacpp, native
from llmlab.runtimes.gguf import Shape, shape
from llmlab.runtimes.llamacpp import LlamaCpp, start
from llmlab.runtimes.prompt import Prompt
from llmlab.runtimes.prompted import Prompted
from llmlab.runtimes.room import Room, fitting
from tests.api import PROMPT, wait_until

GIB = 1 << 30
SMALL = Shape(context=8192, token_bytes=23_040, weights=98 << 20, embeds=False)
LARGE = Shape(context=131_072, token_bytes=131_072, weights=8 * GIB, embeds=False)
STORY = [{"role": "user", "content": "Write a very long story."}]
STAND_IN = Path(__file__).parent / "llama_server.py"


@pytest.fixture(scope="module")
def weights(smollm2: Path) -> Path:
    (file,) = smollm2.glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def model(weights: Path) -> Iterator[LlamaCpp]:
    one = start(weights, server=llamacpp.HERE, context=512, slots=2)
    yield one
    one.end()


@pytest.fixture
def llama_server(tmp_path: Path) -> str:
    program = tmp_path / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    program.chmod(0o755)
    return str(program)


# --- a file ----------------------------------------------------------------------


def test_a_file_says_what_its_model_was_made_for(weights: Path) -> None:
    found = shape(weights)
    assert (found.context, found.token_bytes, found.embeds) == (8192, 23_040, False)
    assert found.weights == weights.stat().st_size


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04", b"GGUF" + b"\xff" * 64])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"a\.gguf is no GGUF file"):
        shape(tmp_path / "a.gguf")


# --- how much of a machine it gets -----------------------------------------------


@pytest.mark.parametrize(
    ("of", "memory", "cores", "asked", "context", "slots"),
    [
        (SMALL, 24 * GIB, 2, {}, 8192, 8),
        (SMALL, 2 * GIB, 2, {}, 5560, 4),  # a container's usual limit: shorter, but four
        (SMALL, GIB // 2, 2, {}, 2355, 2),
        (SMALL, GIB // 8, 2, {}, 2048, 1),
        (LARGE, 16 * GIB, 8, {}, 4096, 4),
        (SMALL, 24 * GIB, 2, {"slots": 2}, 8192, 2),
        (SMALL, 24 * GIB, 2, {"context": 1000}, 1000, 8),
        (SMALL, GIB // 8, 2, {"context": 4096, "slots": 3}, 4096, 3),  # asked for is asked for
    ],
)
def test_slots_and_context_fit_cores_and_memory(
    of: Shape, memory: int, cores: int, asked: dict[str, int], context: int, slots: int
) -> None:
    room = fitting(of, memory, cores, **asked)
    assert room.slots == slots
    assert room.context == pytest.approx(context, rel=0.02)
    assert room.threads == cores
    assert room.kept <= room.slots * room.context * of.token_bytes  # as much as is at work


# --- nobody else is let in -------------------------------------------------------


def test_nobody_gets_past_the_gateway(model: LlamaCpp) -> None:
    (home,) = Path(tempfile.gettempdir()).glob(f"{llamacpp.PREFIX}{os.getpid()}-*")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    listening = [one for one in psutil.Process().net_connections("inet") if one.status == "LISTEN"]
    assert listening == []
    over = httpx2.HTTPTransport(uds=str(home / llamacpp.SOCKET), verify=False)
    with httpx2.Client(transport=over, base_url="http://model") as stranger:
        answer = stranger.post("/v1/chat/completions", json={"messages": STORY})
    assert answer.status_code == 401


@pytest.mark.parametrize("chunks", [0, 3])
def test_it_stops_at_once_when_nobody_listens(model: LlamaCpp, chunks: int) -> None:
    async def once() -> float:
        body: dict[str, Any] = {"messages": STORY, "logit_bias": {"2": -100}}
        async with model.stream("chat/completions", body) as stream:
            for _ in range(chunks):
                await anext(stream)
            assert await model.busy()
        start = time.monotonic()
        while await model.busy():
            assert time.monotonic() - start < 10
        return time.monotonic() - start

    async def work() -> float:
        # It looks between two steps, and a step takes long where others want the cores as well.
        return min([await once() for _ in range(4)])

    assert asyncio.run(work()) < 0.2


def test_what_was_left_by_a_killed_process_is_removed(model: LlamaCpp) -> None:
    left = Path(tempfile.mkdtemp(prefix=f"{llamacpp.PREFIX}999999999-"))
    llamacpp._sweep()
    assert not left.exists()


# --- summaries by a prompt -------------------------------------------------------


def test_a_prompt_is_a_part_of_what_is_counted(model: LlamaCpp, article: str) -> None:
    prompt = Prompt.parse(PROMPT.read_text())
    encoder = Prompted(model, prompt, max_length=40, min_length=5, decoding={})
    short = encoder.encode("A lamp.", Generation())
    assert not short.truncated and short.window == model.context - 40
    assert short.content["max_tokens"] == 40 and short.content["temperature"] == 0
    long = encoder.encode(article, Generation(max_length=10))
    assert long.truncated and long.whole > 1700 and long.tokens <= long.window
    assert model.count_prompt(long.content["messages"]) <= long.tokens
    with pytest.raises(TextTooLong):
        encoder.encode(article, Generation(strategy=Strategy.FULL))


# --- a version of a model --------------------------------------------------------


def test_a_version_is_weights_prompt_and_decoding(weights: Path) -> None:
    about = {"runtime": "llamacpp", "source": "path:x", "context": 256, "slots": 1}
    model = Model.model_validate(about | {"decoding": {"temperature": 0.5}})
    server, found = load_chat(model, weights.parent, "a prompt", server=llamacpp.HERE)
    asyncio.run(server.close())
    files = digests([weights])
    assert found == version_id(files, "a prompt", {"temperature": 0.5})
    assert found != version_id(files, "another", {"temperature": 0.5})
    assert found != version_id(files, "a prompt", {})
    another = Model.model_validate(about | {"content_id": "sha256:" + "0" * 64})
    with pytest.raises(ModelUnavailable, match="is expected"):
        load_chat(another, weights.parent, "a prompt", server=llamacpp.HERE)


# --- a native server -------------------------------------------------------------


def test_a_native_server_is_told_no_secrets_on_its_command_line() -> None:
    room = Room(context=100, slots=3, threads=2, kept=5 << 20)
    command = native.command("llama-server", Path("a.gguf"), SMALL, room, Path("/x/model.sock"))
    assert command == [
        "llama-server", "--model", "a.gguf", "--host", "/x/model.sock", "--ctx-size", "300",
        "--parallel", "3", "--threads", "2", "--threads-batch", "2", "--jinja", "--no-webui",
    ]  # fmt: skip
    assert native.environment(room, "key")["LLAMA_API_KEY"] == "key"
    assert native.environment(room, "key")["LLAMA_ARG_CACHE_RAM"] == "5"


def test_a_native_server_is_found_by_its_path_or_on_path(llama_server: str) -> None:
    folder = str(Path(llama_server).parent)
    assert native.find("", {"PATH": folder}) == llama_server
    assert native.find(llama_server, {"PATH": ""}) == llama_server
    assert native.find("", {"PATH": "/nowhere"}) is None
    with pytest.raises(ModelUnavailable, match="no program /nowhere/x"):
        native.find("/nowhere/x")


def test_a_native_server_answers_and_ends_with_its_user(weights: Path, llama_server: str) -> None:
    one = start(weights, server=llama_server, context=256, slots=1)

    async def work() -> list[Any]:
        body = {"messages": STORY, "max_tokens": 2}
        async with one.stream("chat/completions", body) as chunks:
            return [chunk async for chunk in chunks]

    assert one.kind == "llama-server"
    assert asyncio.run(work())[-1]["usage"]["completion_tokens"] == 2
    children = psutil.Process().children()  # a test process may have others
    (child,) = (each for each in children if STAND_IN.name in " ".join(each.cmdline()))
    one.end()
    assert not child.is_running()


def test_a_native_server_that_cannot_start_says_why(weights: Path, tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'error: unknown argument: --jinja' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ModelUnavailable, match="ended at its start") as raised:
        start(weights, server=str(program))
    assert "unknown argument" in (raised.value.log or "")


def test_what_a_native_server_prints_takes_no_room_however_much_it_is() -> None:
    says = (
        "import sys, time\n"
        "for n in range(200_000): print('request', n, 'x' * 100)\n"
        "sys.stdout.write('y' * 20_000_000 + '\\nthe end\\n'); sys.stdout.flush()\n"
        "time.sleep(600)"
    )
    before = psutil.Process().memory_info().rss
    child = native.Child([sys.executable, "-c", says], {}, died=lambda _: None)
    try:
        wait_until(lambda: child.last_lines().endswith("the end"), "it has printed all", 60)
        assert psutil.Process(child.pid).is_running()
        assert len(child.last_lines()) <= native.TOLD * (native.LONGEST_LINE + 1)
        assert psutil.Process().memory_info().rss - before < 10 << 20
        assert [one.path for one in psutil.Process(child.pid).open_files()] == []
    finally:
        child.end()


def test_no_native_server_outlives_a_killed_process(weights: Path, llama_server: str) -> None:
    program = (
        "import sys, time; from pathlib import Path; from llmlab.runtimes.llamacpp import start\n"
        f"one = start(Path({str(weights)!r}), server={llama_server!r}, context=256, slots=1)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout and parent.stdout.readline() == b"ready\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([child], timeout=5)
    assert gone and not alive
