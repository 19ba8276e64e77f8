"""Runs a GGUF model by llama.cpp: its own server, on a unix socket that nobody else reaches.

A native ``llama-server`` where there is one, else the library of xllamacpp inside this process.
Either way it listens in a folder that only this user may enter, and wants a key that is made
anew each time: there is no way around the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2

from llmlab.errors import EnvironmentFailure, ModelUnavailable
from llmlab.runtimes import native
from llmlab.runtimes.chat import Abilities, Body, Chunk, Message, ModelServer, Refused
from llmlab.runtimes.gguf import Shape, shape
from llmlab.runtimes.room import MIB, Room, room_for
from llmlab.runtimes.wire import Wire

log = logging.getLogger("llmlab.service")

HERE = "none"  # instead of a native server: the library
PREFIX = "llmlab-model-"
URL = "http://model/v1/"
SOCKET = "model.sock"  # llama.cpp takes what does not end so for the name of a host
# It closes a connection that is kept after 5 s, or after some requests, just when the next one
# comes. One over a unix socket costs nothing to make.
KEEP_NONE = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
CONNECTIONS = 10_000  # no bound: who may ask at once is decided before
FURTHER_CONNECTIONS = 8  # beside those that write: to count tokens


class LlamaCpp(ModelServer):
    """A model that runs here.

    Args:
        socket: where its server listens.
        end: has it end.
        kind: "llama-server" or "xllamacpp", for people.
    """

    def __init__(
        self,
        socket: Path,
        key: str,
        *,
        room: Room,
        shape: Shape,
        patience: float,
        end: Callable[[], None],
        kind: str,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}
        client = httpx2.AsyncClient(
            transport=Wire(most=CONNECTIONS, idle=0, uds=str(socket)), base_url=URL,
            headers=headers, trust_env=False,
        )  # fmt: skip
        # For threads: the other one belongs to an event loop.
        self._plain = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(socket), verify=False, limits=KEEP_NONE),
            base_url="http://model/", headers=headers, timeout=patience, trust_env=False,
        )  # fmt: skip
        self._end = end
        self.kind = kind
        props = self._get("props")
        caps = props.get("chat_template_caps", {})
        # It rounds what it was asked for, and knows what the model was made for.
        context = props.get("default_generation_settings", {}).get("n_ctx", room.context)
        super().__init__(
            client, model="model", context=context, slots=room.slots, patience=patience,
            abilities=_abilities(caps, shape),
        )  # fmt: skip

    def _get(self, path: str) -> dict[str, Any]:
        return self._answer(self._plain.get(path))

    def _post(self, path: str, body: Body) -> dict[str, Any]:
        return self._answer(self._plain.post(path, json=dict(body)))

    def _answer(self, response: httpx2.Response) -> dict[str, Any]:
        said: dict[str, Any] = response.json()
        if response.status_code != 200:
            error = said.get("error", {})
            raise Refused(str(error.get("message")), status=response.status_code)
        return said

    def count_text(self, text: str) -> int:
        return len(self.read_text(text))

    def count_prompt(self, messages: Sequence[Message]) -> int:
        return len(self.read_prompt(messages))

    def read_text(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self._post("tokenize", {"content": text})["tokens"])

    def read_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation up to where the model's answer begins."""
        prompt = self._post("apply-template", {"messages": list(messages)})["prompt"]
        whole = {"content": prompt, "add_special": True, "parse_special": True}
        return list(self._post("tokenize", whole)["tokens"])

    def prepared(self, body: Body) -> Body:
        """Templates know no developer, who says the same as the system. How long a prompt is
        comes at its start, so that it is known though the client leaves before the end."""
        if "messages" not in body:
            return {**body, "return_progress": True}
        said = [
            {**one, "role": "system"} if one["role"] == "developer" else one
            for one in body["messages"]
        ]
        return {**body, "messages": said, "return_progress": True}

    async def _chunks(self, response: httpx2.Response) -> AsyncGenerator[Chunk]:
        async with aclosing(super()._chunks(response)) as chunks:
            async for chunk in chunks:
                progress = chunk.pop("prompt_progress", None)
                if progress is None:
                    yield chunk
                else:
                    yield {"choices": [], "usage": {"prompt_tokens": progress["total"]}}

    async def busy(self) -> int:
        """Slots at work."""
        found = await asyncio.to_thread(self._plain.get, "slots")
        return sum(bool(one["is_processing"]) for one in found.json())

    async def close(self) -> None:
        await super().close()
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        self._plain.close()
        self._end()


def _abilities(caps: dict[str, Any], shape: Shape) -> Abilities:
    return Abilities(
        tools=bool(caps.get("supports_tools")), embeddings=shape.embeds,
        reasoning=bool(caps.get("supports_reasoning_effort")),
    )  # fmt: skip


def start(
    file: Path,
    *,
    context: int = 0,
    slots: int = 0,
    threads: int = 0,
    server: str = "",
    patience: float = 120.0,
    died: Callable[[int], None] = lambda _: None,
) -> LlamaCpp:
    """Load a model. Blocks until it can answer.

    Args:
        file: the GGUF.
        context, slots, threads: 0 for what fits this machine.
        server: the native server to run; "" for one on PATH, "none" for none.
        patience: seconds of silence after which an answer is given up.
        died: called when a native server ends by itself.

    Raises:
        ModelUnavailable: there is no such file, or llama.cpp cannot load it.
        EnvironmentFailure: there is neither a native server nor the library.
    """
    found = shape(file)
    room = room_for(found, context=context, slots=slots, threads=threads)
    program = None if server == HERE else native.find(server)
    _sweep()
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))  # mode 0700
    socket, key = home / SOCKET, secrets.token_urlsafe(32)
    try:
        run = _run_native if program else _run_here
        end = run(program or "", file, found, room, socket, key, died)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise

    def end_all() -> None:
        end()
        shutil.rmtree(home, ignore_errors=True)

    kind = native.PROGRAM if program else "xllamacpp"
    log.info(
        "%s by %s: %d slots of %d tokens, %d threads",
        file.name, program or kind, room.slots, room.context, room.threads,
    )  # fmt: skip
    return LlamaCpp(socket, key, room=room, shape=found, patience=patience, end=end_all, kind=kind)


def _run_native(
    program: str,
    file: Path,
    shape: Shape,
    room: Room,
    socket: Path,
    key: str,
    died: Callable[[int], None],
) -> Callable[[], None]:
    child = native.Child(
        native.command(program, file, shape, room, socket), native.environment(room, key), died
    )

    def answers() -> bool:
        try:
            over = httpx2.HTTPTransport(uds=str(socket), verify=False)
            with httpx2.Client(transport=over, timeout=5) as client:
                return client.get("http://model/health").status_code == 200
        except httpx2.TransportError:
            return False

    child.until(answers)
    return child.end


def _run_here(
    _: str,
    file: Path,
    shape: Shape,
    room: Room,
    socket: Path,
    key: str,
    died: Callable[[int], None],
) -> Callable[[], None]:
    os.environ.setdefault(*native.PASSIVE)  # read once, when the library is loaded
    try:
        import xllamacpp
    except ImportError as error:
        raise EnvironmentFailure(
            "GGUF models need the package xllamacpp, or llama-server on PATH",
            fix="pip install 'llmlab[chat]'",
        ) from error
    asked = xllamacpp.CommonParams()
    asked.model.path = str(file)
    asked.n_ctx, asked.n_parallel = room.context * room.slots, room.slots
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = room.threads
    asked.cache_ram_mib = room.kept // MIB
    asked.hostnames, asked.api_keys, asked.ui = [str(socket)], [key], False
    asked.n_threads_http = 2 * room.slots + FURTHER_CONNECTIONS
    asked.embedding, asked.offline = shape.embeds, True
    asked.verbosity = 1  # errors, on stderr
    try:
        held = [xllamacpp.Server(asked)]
    except Exception as error:  # whatever llama.cpp throws, told in its own words
        raise ModelUnavailable(
            f"llama.cpp cannot load {file}: {error}", fix="llmlab models verify"
        ) from error
    return held.clear  # its threads end with the last reference


def _sweep() -> None:
    """Remove what processes of this user that were killed left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid() and not _lives(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
