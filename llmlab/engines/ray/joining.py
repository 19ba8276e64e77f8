"""This machine as a node of a lab elsewhere, for as long as this process runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import psutil

from llmlab.config.ray import is_address
from llmlab.engines.ray import cluster
from llmlab.engines.ray.held import hold
from llmlab.errors import AuthError, EnvironmentFailure, UsageError, unreadable
from llmlab.lab import private_folder

REACHES = 5.0  # seconds to the head
ENDS = 20.0  # seconds in which it ends in peace: not at all while the head is away
AGAIN = 5.0  # seconds until it is started again
STARTED = "Ray runtime started"  # said by `ray start`
NOT_LET_IN = ("InvalidAuthToken", "Unauthenticated")  # likewise


@dataclass(frozen=True)
class Joining:
    """
    Args:
        address: HOST:PORT of the head.
        host: this machine's own address; "" = the one by which it reaches the head.
        token: the file with the cluster's token.
        cores: for replicas; -1 = all. ``gpus``: None = all.
        folder: where models and what runs are kept.
    """

    address: str
    host: str
    token: Path
    cores: int
    gpus: int | None
    folder: Path


def checked_address(said: str) -> str:
    """
    Raises:
        UsageError: it is none of a head.
    """
    if not is_address(said):
        raise UsageError(
            f"{said!r} is no address of a head: it takes a host and a port",
            fix="llmlab node add HOST:PORT, with ray.host and ray.port of the lab",
        )
    return said


def own_address(address: str) -> str:
    """The address of this machine by which it reaches the head.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=REACHES) as one:
        return str(one.getsockname()[0])


def join(joining: Joining, over: threading.Event, say: Callable[[str], None]) -> None:
    """Be a node until ``over``. What ends before is started again, and a head that is not there, or
    not yet, is waited for.

    Raises:
        EnvironmentFailure: it ends as soon as it is started, the first time, and the head answers.
        AuthError: the head does not know the token, or does not any more.
        UsageError: it is such a node already, or the head's address is none.
    """
    own = _own_address_once_it_is_there(joining.address, over, say)
    if not own:
        return
    joining = replace(joining, host=joining.host or own)
    session, held = _session(joining)
    environ = cluster.environment(joining.token)
    cluster.models_below(joining.folder)  # which no replica has to find out
    environ[cluster.FOLDER] = str(joining.folder)
    joined, child = False, None
    try:
        while _own_address_once_it_is_there(joining.address, over, say):
            command = cluster.node_command(
                joining.address, joining.host, joining.cores, session, joining.gpus
            )
            with tempfile.TemporaryFile("w+") as out:
                child = subprocess.Popen(
                    command, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    cwd=session.parent, start_new_session=True, pass_fds=[held],
                )  # fmt: skip
                came = _has_joined(child, out, over)
                joined = joined or came
                if came:
                    say(f"a node of {joining.address}, at {joining.host}")
                    while child.poll() is None and not over.is_set():
                        over.wait(0.5)
                if over.is_set():
                    _end(child)
                    return
                _kill(child)
                out.seek(0)
                said = "" if came else out.read()
                if _is_not_let_in(said) or (not joined and _answers(joining.address)):
                    raise _refused(joining, said)
            say("it ended, and is started again")
            over.wait(AGAIN)
    finally:
        if child:
            _kill(child)
        shutil.rmtree(session.parent, ignore_errors=True)
        os.close(held)


def _own_address_once_it_is_there(
    head: str, over: threading.Event, say: Callable[[str], None]
) -> str:
    """See ``own_address``; "" where it is over before."""
    said = False
    while not over.is_set():
        try:
            return own_address(head)
        except OSError as error:
            if not said:
                said = True
                say(
                    f"waits for the head at {head} ({unreadable(error)}): is its lab up, and "
                    "ray.host there an address that other machines reach?"
                )
            over.wait(AGAIN)
    return ""


def _answers(head: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(own_address(head))
    return False


def _has_joined(child: subprocess.Popen[bytes], out: IO[str], over: threading.Event) -> bool:
    """Wait until it says so, ends, or says that the head does not let it in: it would go on trying
    that for minutes."""
    while child.poll() is None and not over.is_set():
        out.seek(0)
        said = out.read()
        if STARTED in said:
            return True
        if _is_not_let_in(said):
            return False
        over.wait(0.2)
    return False


def _is_not_let_in(said: str) -> bool:
    return any(word in said for word in NOT_LET_IN)


def _refused(joining: Joining, said: str) -> EnvironmentFailure | AuthError:
    if _is_not_let_in(said):
        return AuthError(
            f"the head at {joining.address} does not know the token in {joining.token}",
            fix="copy .llmlab/ray/token of the lab that runs there",
        )
    return EnvironmentFailure(
        f"this machine does not become a node of {joining.address}",
        fix="the same versions of Python and ray on both machines; see what it says",
        log="\n".join(said.strip().splitlines()[-12:]),
    )


def _session(joining: Joining) -> tuple[Path, int]:
    """A short path, for Ray's sockets lie below it; and what it is held by: `ray start` has that
    as well, and outlives a `node add` that is killed."""
    base = private_folder(Path(tempfile.gettempdir(), f"llmlab-{os.geteuid()}"), 0o711)
    name = hashlib.sha256(f"{joining.host} {joining.address}".encode()).hexdigest()[:8]
    try:
        folder, held = hold(private_folder(base / "nodes"), name)
    except BlockingIOError:
        raise UsageError(
            f"this machine is a node of {joining.address} already, at {joining.host}",
            fix="llmlab node list in the lab; --host names another address of this machine",
        ) from None
    return cluster.session_below(folder), held


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(ENDS)
    _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """What is left of it: all of a node is in one session, in whatever group."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == child.pid:
                process.kill()
    child.wait()
