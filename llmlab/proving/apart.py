"""A copy of a lab that is there for a probe only: the same nginx.conf and the same limits, keys of
its own, and a model that tells what it hears."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmlab.auth import KeyStore, api_keys
from llmlab.config import Config
from llmlab.config.model import EMBEDDED
from llmlab.engines.base import Say
from llmlab.engines.local.engine import LocalEngine
from llmlab.engines.planning import make_plan
from llmlab.lab import Lab, private_folder
from llmlab.names import CHAT, SUMMARIZE

NAME = "scripted"
HOST = "127.0.0.1"
# A budget that is counted like any other one, and that no probe uses up.
ROOMY = {"name": "probe", "requests_per_day": 10**9, "tokens_per_day": 10**12}
NewKey = tuple[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True)
class Apart:
    """A running copy.

    Args:
        revoke: ends the tokens of a subject.
        api_key: makes an API key of a subject, and gives what ends it; None where there can be
            none.
    """

    lab: Lab
    config: Config
    revoke: Callable[[str], Awaitable[None]]
    api_key: Callable[[str], Awaitable[NewKey]] | None

    @property
    def url(self) -> str:
        return self.config.gateway.url


@contextmanager
def apart(lab: Lab, config: Config, say: Say) -> Iterator[Apart]:
    """Bring a copy up, and remove all of it at the end of the block.

    Raises:
        LlmlabError: it cannot be brought up; nothing of it is left then, either.
    """
    root = Path(tempfile.mkdtemp(prefix="llmlab-probe-"))
    copy = Lab(root.resolve())
    engine: LocalEngine | None = None
    try:
        shutil.copytree(lab.config_file.parent, copy.config_file.parent)
        shutil.copyfile(lab.nginx_conf, copy.nginx_conf)
        private_folder(copy.state)
        KeyStore(copy.keys_file).ensure()
        plan = make_plan(scripted(config, free_port()), copy.root, say, fetch=False)
        engine = LocalEngine(copy)
        engine.up(plan, say)
        keys = None if plan.config.gateway.edition == "plus" else _making_keys(engine, copy)
        yield Apart(copy, plan.config, _revoking(engine, copy), keys)
    finally:
        if engine:
            engine.down()
        shutil.rmtree(root, ignore_errors=True)


def scripted(config: Config, port: int) -> Config:
    """The same configuration with the scripted model behind its routes, on loopback, and without
    what would lead beyond the copy: a person's certificate, identity providers, what is looked for
    in texts, and what subjects may use, which is a budget with room for all that is asked."""
    said = config.model_dump()
    # A certificate of the lab's is for the copy's address as well; one of a person's is not.
    tls = {name: said["gateway"]["tls"][name] for name in ("enabled", "hsts")}
    said |= {
        "engine": "local",
        "fallback": "",
        "deploy": [],
        "guards": [],
        "budgets": [ROOMY] if config.budgets else [],
        "routes": {SUMMARIZE: NAME, CHAT: NAME},
        "models": {NAME: {"runtime": NAME, "source": EMBEDDED["scripted"]}},
    }
    said["gateway"] |= {"host": HOST, "port": port, "tls": tls}
    said["auth"] |= {"issuers": []}
    said["observability"] |= {"enabled": False}
    return Config.model_validate(said)


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def _revoking(engine: LocalEngine, lab: Lab) -> Callable[[str], Awaitable[None]]:
    async def revoke(subject: str) -> None:
        KeyStore(lab.keys_file).end_tokens(subject, now=time.time())
        await asyncio.to_thread(engine.reload_keys)

    return revoke


def _making_keys(engine: LocalEngine, lab: Lab) -> Callable[[str], Awaitable[NewKey]]:
    store = KeyStore(lab.keys_file)

    async def make(subject: str) -> NewKey:
        key, digest = api_keys.make()
        made = api_keys.ApiKey(digest, subject, created=int(time.time()))
        store.add_api_key(made)
        await asyncio.to_thread(engine.reload_keys)

        async def end() -> None:
            store.remove_api_key(made.id)
            await asyncio.to_thread(engine.end_api_keys, [digest])
            await asyncio.to_thread(engine.reload_keys)

        return key, end

    return make
