"""What the gateway does with a request whose API ended, is not there, or is loading: real NGINX of
both editions, in front of processes that are played here."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from llmlab.gateway import Upstream
from llmlab.links.away import TURNED_AWAY
from llmlab.traffic import Shadow
from tests.conftest import wait_until
from tests.summarizing import summarizing
from tests.test_gateway import (
    Echo,
    EchoGateway,
    EchoServer,
    Reply,
    ask,
    assert_problem,
    echo_gateway,
)
from tests.test_plus import PLUS, without_licence

EDITIONS: dict[str, dict[str, Any]] = {"open": {}, "plus": {**PLUS, "change": without_licence}}
both = pytest.mark.parametrize("edition", EDITIONS)
POISON, MEDICINE = "poison", "medicine"


BREAKS_OFF = 0  # a status: what a process "answers" that is about to end
AWAY = -503  # likewise: of a link whose replica is gone
DIES = -1  # with its machine, of the first request: then that is away


class Process:
    """An API process: a text of POISON ends it, and all connections with it. One that BREAKS_OFF is
    about to end: it still takes connections and requests, and answers none."""

    def __init__(self, path: Path, status: int = 200) -> None:
        self.path, self.status = path, status
        self.texts: list[str] = []
        self.dead = False
        self._open: list[socket.socket] = []
        process = self

        class Handler(Echo):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                process.texts.append(json.loads(body)["text"])
                if process.texts[-1] == POISON:
                    process.end()
                    self.close_connection = True
                    return
                if process.status in (BREAKS_OFF, DIES):
                    process.status = AWAY if process.status == DIES else BREAKS_OFF
                    self.close_connection = True
                    return
                self.send_response(abs(process.status))
                self.send_header("Content-Length", "0")
                if process.status == AWAY:
                    self.send_header("X-Accel-Redirect", TURNED_AWAY)
                self.end_headers()

        class Server(EchoServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                process._open.append(request)
                super().process_request(request, client_address)

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        """It is gone; its socket's file stays, as after ``kill -9``."""
        if self.dead:
            return
        self.dead = True
        self._server.shutdown()
        self._server.server_close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Replicas:
    """Processes of one deployment behind a gateway."""

    def __init__(self, gateway: EchoGateway, processes: list[Process]) -> None:
        self.gateway, self.processes = gateway, processes

    def ask(self, text: str, path: str = "/summarize/") -> Reply:
        body = json.dumps({"text": text}).encode()
        token = self.gateway.forge.token()
        return ask(self.gateway.port, path, method="POST", body=body, token=token)

    def heard(self, text: str) -> int:
        return sum(one.texts.count(text) for one in self.processes)

    @property
    def dead(self) -> int:
        return sum(one.dead for one in self.processes)


Start = Callable[..., Replicas]


@pytest.fixture
def start(tmp_path: Path, edition: str) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def one(*statuses: int, spares: int = 0, **plan: Any) -> Replicas:
            """Processes that answer with these statuses; so many of the last ones are spares."""
            processes = [Process(tmp_path / f"{n}.sock", one) for n, one in enumerate(statuses)]
            for process in processes:
                stack.callback(process.end)
            addresses = tuple(f"unix:{process.path}" for process in processes)
            first = len(addresses) - spares
            upstream = Upstream("echo", addresses[:first], addresses[first:], replicas=first)
            changes = {"upstreams": (upstream,), **EDITIONS[edition], **plan}
            gateway = stack.enter_context(echo_gateway(tmp_path, **changes))
            return Replicas(gateway, processes)

        yield one


@both
@pytest.mark.parametrize("path", ["/summarize/", "/models/echo/summarize/"])
def test_a_request_that_ends_processes_ends_two_and_the_third_goes_on(
    start: Start, path: str
) -> None:
    replicas = start(200, 200, 200)
    assert [replicas.ask(MEDICINE, path).status for _ in range(6)] == [200] * 6
    reply = replicas.ask(POISON, path)
    assert "broke off" in assert_problem(reply, 502)["detail"]
    assert reply.all("Retry-After") == []  # nobody knows when it would be better
    assert (replicas.heard(POISON), replicas.dead) == (2, 2)
    assert [replicas.ask(MEDICINE, path).status for _ in range(6)] == [200] * 6
    assert replicas.heard(MEDICINE) == 12


@both
def test_a_spare_takes_such_a_request_once_and_all_others_whenever_need_be(start: Start) -> None:
    replicas = start(200, 200, spares=1)
    replicas.processes[0].end()
    assert [replicas.ask(MEDICINE).status for _ in range(4)] == [200] * 4
    assert replicas.ask(POISON).status == 502
    assert (replicas.heard(MEDICINE), replicas.heard(POISON)) == (4, 1)


@both
@pytest.mark.parametrize("broken", range(3))
def test_what_a_process_breaks_off_another_one_gets_even_if_that_one_still_listens(
    start: Start, broken: int
) -> None:
    replicas = start(*(BREAKS_OFF if n == broken else 200 for n in range(3)))
    assert [replicas.ask(f"{n}").status for n in range(6)] == [200] * 6
    texts = replicas.processes[broken].texts
    assert texts
    assert len(texts) == len(set(texts)), "it was given a request a second time"


@both
def test_what_a_process_breaks_off_while_it_is_replaced_its_spare_gets(start: Start) -> None:
    replicas = start(BREAKS_OFF, 200, spares=1)
    assert [replicas.ask(f"{n}").status for n in range(3)] == [200] * 3
    assert [one.texts for one in replicas.processes] == [["0", "1", "2"]] * 2


@both
def test_what_no_process_has_received_goes_on_until_one_takes_it(start: Start) -> None:
    replicas = start(200, 200, 200, 200, 200)
    for process in replicas.processes[:4]:
        process.end()
    assert [replicas.ask(MEDICINE).status for _ in range(6)] == [200] * 6
    replicas.processes[4].end()
    reply = replicas.ask(MEDICINE)
    assert "not answering" in assert_problem(reply, 502)["detail"]
    assert reply.header("Retry-After") == "1"
    assert replicas.heard(MEDICINE) == 6


@both
def test_what_loading_processes_turn_away_goes_on_until_one_takes_it(start: Start) -> None:
    replicas = start(503, 503, 503, 200)
    assert [replicas.ask(MEDICINE).status for _ in range(6)] == [200] * 6
    assert len(replicas.processes[3].texts) == 6


@both
@pytest.mark.parametrize("statuses", list(permutations((DIES, AWAY, 200))))
def test_what_is_broken_off_goes_past_a_link_whose_replica_is_away(
    start: Start, statuses: tuple[int, ...]
) -> None:
    """A machine that dies may have had two of three replicas."""
    replicas = start(*statuses)
    assert [replicas.ask(f"{n}").status for n in range(6)] == [200] * 6
    goes_on = replicas.processes[statuses.index(200)]
    assert sorted(goes_on.texts) == [f"{n}" for n in range(6)]


@both
def test_links_whose_replicas_are_away_do_not_lead_what_ends_processes_to_a_third(
    start: Start,
) -> None:
    replicas = start(200, AWAY, 200, AWAY, 200)
    assert replicas.ask(POISON).status == 502
    assert replicas.dead == 2
    assert [replicas.ask(MEDICINE).status for _ in range(6)] == [200] * 6


@both
def test_where_all_links_are_away_that_is_said_once(start: Start) -> None:
    replicas = start(AWAY, AWAY, AWAY)
    assert replicas.ask(MEDICINE).status == 503
    assert replicas.heard(MEDICINE) <= 2 * 3


@both
def test_a_copy_for_a_shadow_that_is_away_is_nobodys(start: Start, tmp_path: Path) -> None:
    away = Upstream("shadow", (f"unix:{tmp_path / 'shadow.sock'}",))
    here = Upstream("echo", (f"unix:{tmp_path / '0.sock'}",))
    traffic = summarizing(shadow=Shadow("shadow", 100))
    replicas = start(200, upstreams=(here, away), traffic=traffic)
    assert [replicas.ask(MEDICINE).status for _ in range(6)] == [200] * 6
    assert replicas.heard(MEDICINE) == 6


@both
def test_a_copy_for_a_shadow_behind_a_link_that_is_away_is_nobodys(
    start: Start, tmp_path: Path
) -> None:
    away = Upstream("shadow", (f"unix:{tmp_path / '1.sock'}",))
    here = Upstream("echo", (f"unix:{tmp_path / '0.sock'}",))
    traffic = summarizing(shadow=Shadow("shadow", 100))
    replicas = start(200, AWAY, upstreams=(here, away), traffic=traffic)
    assert [replicas.ask(f"{n}").status for n in range(6)] == [200] * 6
    stable, shadow = replicas.processes
    wait_until(lambda: len(shadow.texts) == 6)
    assert sorted(stable.texts) == [f"{n}" for n in range(6)]
