"""One NGINX of links: what it goes by, how it is started, and how it goes by something else.

A configuration is a release, as a gateway's is: a folder with the certificates that it names,
checked by ``nginx -t`` before the link to the current one moves.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from llmlab.errors import ConfigError, EnvironmentFailure, LlmlabError
from llmlab.gateway.binary import Nginx
from llmlab.gateway.releases import Releases
from llmlab.lab import private_folder
from llmlab.links.conf import LOG, sockets
from llmlab.processes import nginx_workers, take_requests
from llmlab.rotation import is_full, rotate

DEADLINE = 20.0  # seconds until it goes by what it was told
POLL = 0.02  # seconds between two looks
EMERGENCY = "[emerg]"
# It tries several times for an address that is in use, and is at it meanwhile: the word that ends
# that is another one.
TRIES_AGAIN = ": bind() to "
STARTER = "llmlab.links.start"


class Server:
    """
    Args:
        prefix: its own folder, and the one in which it works.
        pid: says of its master, whenever it is asked; None while it does not run.
    """

    def __init__(self, prefix: Path, nginx: Nginx, pid: Callable[[], int | None]) -> None:
        self.prefix = prefix
        self._nginx, self._pid = nginx, pid
        self._releases = Releases(prefix / "releases", prefix)

    @property
    def log(self) -> Path:
        """What it has to say of links that fail, one line for each connection."""
        return self.prefix / LOG

    @property
    def command(self) -> tuple[str, ...]:
        """Starts it in the foreground; SIGQUIT ends it when what is under way has ended."""
        conf = self._releases.conf
        return (sys.executable, "-P", "-m", STARTER,
                *self._nginx.command(self.prefix, conf, "-e", "stderr"))  # fmt: skip

    def go_by(self, text: str, files: Mapping[str, str]) -> bool:
        """Have it go by a configuration; one that does not run reads it when it starts.
        Connections under way go on by the one from before.

        Args:
            text: of nginx.conf, as ``links.conf`` renders it.
            files: {name: PEM} that it names.

        Returns:
            Whether it is another one than before.

        Raises:
            EnvironmentFailure: NGINX does not take it, and goes on with the one from before.
        """
        private_folder(self.prefix)
        before = self._releases.active()
        # Where nobody knows whether it went by the last one, it may listen nowhere.
        listened = self._listened() if self._releases.taken() else set()
        moved = self._releases.activate(self._staged(text, files))
        if self._pid() is None:
            return moved
        full = is_full(self.log)  # it is opened anew at a reload
        if full:
            rotate(self.log)
        if not moved and self._releases.taken() and not full:
            return False
        try:
            self._take_over(listened)
        except BaseException:
            if moved and before:
                self._releases.activate(before)
                with contextlib.suppress(LlmlabError):
                    self._take_over(set(sockets(text)))
            raise
        self._releases.mark_taken()
        self._releases.keep_only_current()  # the others hold keys, too
        return moved

    def wait_until_it_listens(self) -> None:
        """After a start.

        Raises:
            EnvironmentFailure: it does not within 20 s.
        """
        said, wanted = self._said(), self._listened()
        self._until(lambda: self._takes() and _all_answer(wanted), said)
        self._releases.mark_taken()

    def _staged(self, text: str, files: Mapping[str, str]) -> str:
        try:
            return self._releases.stage({"nginx.conf": text, **files}, self._nginx)
        except ConfigError as error:
            raise EnvironmentFailure(
                "NGINX does not take the configuration of links, and goes on with the one from "
                "before",
                fix="correct what NGINX says, such as an address that this machine does not have",
                log=error.log,
            ) from None

    def _takes(self) -> bool:
        return take_requests(nginx_workers(self._pid()))

    def _take_over(self, listened: set[Path]) -> None:
        said, wanted = self._said(), self._listened()
        self._until(self._takes, said)  # a signal would end it before it is NGINX
        new = wanted - listened
        for path in new:
            _remove_dead(path)
        master = self._pid()
        before = nginx_workers(master)
        with contextlib.suppress(psutil.Error):  # another one is started, and reads it
            if master:
                psutil.Process(master).send_signal(signal.SIGHUP)
        self._until(
            lambda: (
                not take_requests(before)
                and self._takes()
                and _all_answer(new)
                and not any(one.exists() for one in listened - wanted)
            ),
            said,
        )

    def _until(self, holds: Callable[[], bool], said: Callable[[], list[str]]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not holds():
            wrong = [line for line in said() if EMERGENCY in line]
            refused = any(TRIES_AGAIN not in line for line in wrong)
            if refused or time.monotonic() > deadline:
                raise EnvironmentFailure(
                    "NGINX does not go by the configuration of links",
                    fix=f"correct what NGINX says; all of it stands in {self.log}",
                    log="\n".join(wrong or said()[-12:]),
                )
            time.sleep(POLL)

    def _said(self) -> Callable[[], list[str]]:
        """What it says from now on."""
        seen = self.log.stat().st_size if self.log.exists() else 0

        def lines() -> list[str]:
            with contextlib.suppress(OSError), self.log.open("rb") as file:
                file.seek(seen)
                return file.read().decode(errors="replace").splitlines()
            return []

        return lines

    def _listened(self) -> set[Path]:
        """The sockets of the current configuration."""
        with contextlib.suppress(OSError):
            return set(sockets(self._releases.conf.read_text(encoding="utf-8")))
        return set()


def _all_answer(paths: Iterable[Path]) -> bool:
    return all(_answers(path) for path in paths)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1)
        one.connect(str(path))
        return True
    return False


def _remove_dead(path: Path) -> None:
    """A socket that somebody who ended has left: NGINX could not listen there."""
    if path.is_socket() and not _answers(path):
        path.unlink(missing_ok=True)
