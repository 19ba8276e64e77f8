"""A replica on its node: an API process, kept running, and the door at which the gateway's machine
reaches it.

Ray has it as an actor. Whoever places it gives it what it serves (``serve``), and looks at it again
and again (``look``). Both processes end with the actor, however that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from llmlab.engines import probe
from llmlab.engines.local.access_log import lines_since
from llmlab.engines.local.folders import WORKER
from llmlab.engines.ray.cluster import FOLDER, models_below
from llmlab.engines.ray.door import Door, Place
from llmlab.engines.ray.held import hold
from llmlab.engines.ray.kept import Kept
from llmlab.engines.ray.shelf import Shelf, used_by
from llmlab.errors import LlmlabError, unreadable
from llmlab.files import write_atomically
from llmlab.lab import SETTLEMENTS_SOCKET, private_folder
from llmlab.links.conf import Settlements
from llmlab.recording.order import orders_file
from llmlab.recording.sampling import sample_file
from llmlab.runtimes.cores import held_to
from llmlab.service.drill import drill_file
from llmlab.service.settings import SETTLEMENTS, Settings
from llmlab.shell import clean_environment, last_lines
from llmlab.version import __version__

CANNOT_LOAD = 78  # llmlab.service's exit code when a model cannot be loaded
SOCKET = "api.sock"
NAMED = 24  # letters of a process in its folder's name: a socket's path may have 107
DOOR_PATIENCE = 5.0  # seconds for the door's last connections, once the API has ended

Phase = Literal["empty", "starting", "ready", "failed", "ending"]


@dataclass(frozen=True)
class Serving:
    """What a replica is given.

    Args:
        settings: of its API, JSON; its ``folder`` is where the lab has the model.
        files: {name below that folder: SHA-256}; they are on the node's shelf by then.
        certificate: of the key that the replica has made, PEM.
        trusted: PEM of who signs for the gateway: nobody else is let in.
        ports: the first and the last at which it may listen.
        settlements: host and port of whom its API tells what it has used.
        longest: seconds of its longest answer.
        cores: that its API may use. ``memory`` in bytes, 0 for all that there is.
    """

    settings: str
    files: Mapping[str, str]
    certificate: str
    trusted: str
    ports: tuple[int, int]
    settlements: tuple[str, int]
    longest: float
    cores: float = 1.0
    memory: int = 0


@dataclass(frozen=True)
class Look:
    """How it is.

    Args:
        incarnation: another one has another key, and knows nothing of what this one was given.
        node: Ray's id of it; ``host``: its address.
        why: it has failed; its last words.
        port: where it is reached; 0 as long as it is not.
        due: seconds of the epoch, when its certificate is to be replaced.
        since: seconds of the epoch, of the last start of its API.
        memory: bytes, of its API.
        orders: a digest of the small files that it goes by.
        lines: that its API has logged since the last look; ``cursor`` is where they end.
    """

    incarnation: str
    node: str
    host: str
    version: str
    phase: Phase = "empty"
    why: str = ""
    port: int = 0
    due: float = 0.0
    pid: int = 0
    since: float = 0.0
    starts: int = 0
    memory: int = 0
    orders: str = ""
    lines: tuple[str, ...] = ()
    cursor: str = "0"


def models_folder() -> Path:
    """Where a node keeps models."""
    named = os.environ.get(FOLDER)
    return models_below(Path(named) if named else Path.home() / ".local/state/llmlab-node")


def runs_folder() -> Path:
    """What replicas of a machine need while they run: a short path, for it has sockets."""
    base = private_folder(Path(tempfile.gettempdir(), f"llmlab-{os.geteuid()}"), _reachable())
    return private_folder(base / "runs", _reachable())


def _reachable() -> int:
    """Where a door's workers are another user, they have to walk to its sockets."""
    return 0o711 if os.geteuid() == 0 else 0o700


def _sockets_in(folder: Path) -> Path:
    """A folder for sockets that a door's workers reach, and nobody else."""
    made = private_folder(folder / "own", 0o710 if os.geteuid() == 0 else 0o700)
    if os.geteuid() == 0:
        os.chown(made, 0, pwd.getpwnam(WORKER).pw_gid)
    return made


class Replica:
    """One of them. Its methods are called over the network, several at once.

    Args:
        process: the name of its process on the lab's machine, and ``deployment`` whose it is.
    """

    def __init__(self, process: str, deployment: str) -> None:
        import ray

        node = ray.get_runtime_context().get_node_id()
        incarnation = secrets.token_hex(6)
        runs = runs_folder()
        self._folder, self._held = hold(runs, f"{process[:NAMED]}-{incarnation}", _reachable())
        self._own = _sockets_in(self._folder)
        self._shelf = Shelf(models_folder())
        self._shelf.tidy(used=used_by(runs))
        folder = private_folder(self._folder / "door", _reachable())
        self._door = Door(folder, process, deployment)
        self._lock = threading.Lock()
        host: str = ray.util.get_node_ip_address()
        self._told = Look(incarnation, node, host, __version__)
        self._api: Kept | None = None
        self._answered = 0  # which start of its API has answered: one that is busy is still there

    # --- before it serves -------------------------------------------------------

    def request(self, incarnation: str) -> bytes:
        """A certificate signing request, PEM, for a key that never leaves this folder.

        Raises:
            ValueError: another incarnation is meant, which has ended since it was looked at.
        """
        if incarnation != self._told.incarnation:
            raise ValueError(f"this is {self._told.incarnation}, and {incarnation} is meant")
        return self._door.request()

    def renew(self, certificate: str, trusted: str) -> None:
        """Go by this certificate, of the key that was asked for last; see ``Door.renew``."""
        self._door.renew(certificate, trusted)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Which of these files, by their SHA-256, the node does not have."""
        return [one for one in digests if not self._shelf.has(one)]

    def put(self, digest: str, offset: int, data: bytes, last: bool) -> None:
        """See ``Shelf.put``."""
        self._shelf.put(digest, offset, data, last)

    def serve(self, given: Serving) -> None:
        """Begin. Called again, it goes on as it does.

        Raises:
            LlmlabError, OSError, ValueError: it cannot, and can be asked to again.
        """
        with self._lock:
            if self._told.phase != "empty":
                return
            self._told = replace(self._told, phase="starting", why="")
        try:
            self._begin(given)
        except Exception as error:
            self._door.close(0.0)
            self._become("empty", _why(error))
            raise

    def _become(self, phase: Phase, why: str = "") -> None:
        with self._lock:
            if self._told.phase != "ending":  # which is the last one
                self._told = replace(self._told, phase=phase, why=why)

    def _begin(self, given: Serving) -> None:
        settings = Settings.model_validate_json(given.settings, strict=False)
        file = self._folder / "settings.json"
        write_atomically(file, self._here(settings, given.files).model_dump_json())
        beside = self._own / SETTLEMENTS_SOCKET
        ports = range(given.ports[0], given.ports[1] + 1)
        back = Settlements(beside, *given.settlements)
        env = clean_environment()
        place = Place(self._own / SOCKET, back, self._told.host, ports, given.longest)
        self._door.open(place, given.certificate, given.trusted, env)
        service = [sys.executable, "-P", "-m", "llmlab.service", file.name,
                   "--uds", str(self._own / SOCKET), "--log", "api.log"]  # fmt: skip
        self._api = Kept(
            self._folder, service,
            env | held_to(given.cores, given.memory) | {SETTLEMENTS: str(beside)},
            log="api.out", final_exit=CANNOT_LOAD,
        )  # fmt: skip
        self._api.start()

    def _here(self, settings: Settings, files: Mapping[str, str]) -> Settings:
        """The settings, with the paths of this machine."""
        from llmlab.models.language import native_server

        folder = settings.folder and self._shelf.lay_out(self._folder / "model", files)
        service = settings.service
        if settings.model.runtime == "llamacpp":
            native = native_server(self._folder, "")
            service = service.model_copy(update={"llama_server": str(native or "none")})
        return settings.model_copy(update={"folder": folder, "service": service})

    # --- while it serves --------------------------------------------------------

    def look(self, cursor: str, orders: Mapping[str, str] | None = None) -> Look:
        """How it is now.

        Args:
            cursor: what the look before said; "0" at first.
            orders: {name: content} of small files beside its settings, where those are new.
        """
        if orders is not None:
            self._obey(orders)
        lines, cursor = lines_since(self._folder / "api.log", cursor)
        api, told = self._api, replace(self._told, lines=tuple(lines), cursor=cursor)
        if api is None:
            return told
        told = replace(
            told, pid=api.pid, since=api.since, starts=api.starts,
            port=self._door.port, due=self._door.due,
        )  # fmt: skip
        if told.phase == "starting":
            told = self._phase_of(api, told)
        return replace(told, memory=_memory(api.pid))

    def _phase_of(self, api: Kept, told: Look) -> Look:
        if api.failed:
            said = last_lines(self._folder / "api.log") + "\n" + last_lines(api.log)
            return replace(told, phase="failed", why=said.strip())
        if api.pid and self._answered != api.starts and probe.ready(self._own / SOCKET):
            self._answered = api.starts
        if not api.pid or self._answered != api.starts:
            return told
        if not self._door.pid:  # nobody could ask it
            return replace(told, why=self._door.said)
        return replace(told, phase="ready")

    def _obey(self, orders: Mapping[str, str]) -> None:
        settings = self._folder / "settings.json"
        for file in (drill_file(settings, ""), orders_file(settings), sample_file(settings)):
            if file.name in orders:
                write_atomically(file, orders[file.name])
            else:
                file.unlink(missing_ok=True)
        with self._lock:
            self._told = replace(self._told, orders=digest_of(orders))

    def end(self, patience: float) -> None:
        """Let its API answer what it has in hand, for so many seconds, and end it."""
        self._become("ending")
        if self._api:
            self._api.end(patience)
        self._door.close(DOOR_PATIENCE)
        shutil.rmtree(self._folder, ignore_errors=True)


def _why(error: Exception) -> str:
    return error.message if isinstance(error, LlmlabError) else unreadable(error)


def digest_of(orders: Mapping[str, str]) -> str:
    """What tells them from others; "" for none."""
    said = json.dumps(dict(orders), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest() if orders else ""


def _memory(pid: int) -> int:
    from llmlab.processes import memory_of

    return memory_of(pid or None)
