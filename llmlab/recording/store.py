"""The recordings of a lab: begun, ended, read and removed, each with an entry in the ledger."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from llmlab.config.recording import Recording as Limits
from llmlab.errors import LlmlabError, UpstreamError, UsageError, unreadable
from llmlab.files import locked, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.ledger.chain import user
from llmlab.ledger.store import Store
from llmlab.near import hint
from llmlab.recording import telling
from llmlab.recording.order import COUNTS, ID, LINES, Counts, Order
from llmlab.recording.sealing import KeyPair, Unopened, refuse_unopened

MANIFEST = "manifest.json"
State = Literal["recording", "full", "over", "ended"]


@dataclass(frozen=True)
class Manifest:
    """What was asked for.

    Args:
        by: who has started it.
        share: percent of the route's requests.
        redacted: whether what guards would find was replaced before it was written.
        until: when it ends by itself; times are in UTC, ISO 8601.
        ended: "" while nobody has ended it.
    """

    id: str
    route: str
    by: str
    why: str
    started: str
    until: str
    share: float
    redacted: bool
    max_bytes: int
    max_age: float
    ended: str = ""
    ended_by: str = ""


@dataclass(frozen=True)
class Recorded(Manifest):
    """A recording as it is.

    Args:
        state: full and over: it has ended by itself, by size or by time.
        requests: that are kept in it, as of a second or two ago.
        dropped: requests of which no record could be kept.
        opted_out: requests whose clients want nothing kept.
        replaced: {kind: how often guards' patterns found it}.
        answered_by: {deployment: content ids of its models}.
        bytes: on the disk.
    """

    state: State = "ended"
    requests: int = 0
    dropped: int = 0
    opted_out: int = 0
    replaced: dict[str, int] = field(default_factory=dict)
    answered_by: dict[str, list[str]] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True)
class Wish:
    """What somebody wants to record.

    Args:
        share: percent.
    """

    route: str
    share: float = 100.0
    redact: bool = True
    why: str = ""


class Recordings:
    """Of one lab. Every method may be called by several processes at once.

    Args:
        clock: gives seconds of the epoch.
    """

    def __init__(self, lab: Lab, clock: Callable[[], float] = time.time) -> None:
        self._lab, self._clock = lab, clock

    # --- what changes ------------------------------------------------------------

    def start(self, wish: Wish, limits: Limits, routes: tuple[str, ...], engine: str) -> Recorded:
        """Have a route recorded, within a second.

        Args:
            routes: that there are.
            engine: that runs the lab; "" for none.

        Raises:
            UsageError: there is no such route, nobody may record it, or it is recorded.
            UpstreamError: the lab does not run.
        """
        self._check(wish, limits, routes, engine)
        now = self._clock()
        with self._locked():
            orders = [one for one in telling.orders_of(self._lab)
                      if self.get(one.id).state == "recording"]  # fmt: skip
            if there := next((one for one in orders if one.route == wish.route), None):
                raise UsageError(
                    f"{wish.route} is recorded already, as {there.id}",
                    fix=f"llmlab record stop {there.id}",
                )
            name = self._name(wish.route, now)
            until = now + min(limits.max_seconds, limits.max_age)
            manifest = Manifest(
                name, wish.route, user(), wish.why, _moment(now), _moment(until), wish.share,
                wish.redact, limits.max_bytes, limits.max_age,
            )  # fmt: skip
            order = Order(
                id=name, route=wish.route, folder=telling.folder_of(self._lab) / name,
                share=wish.share, redact=wish.redact, until=until, max_bytes=limits.max_bytes,
                seal=self._keys().public, pseudonyms=secrets.token_hex(32),
            )  # fmt: skip
            said = {"did": "start", "recording": name, "route": wish.route,
                    "share": wish.share, "redacted": wish.redact}  # fmt: skip
            # Within the transaction: what the ledger tells of is in place by then.
            with Store(self._lab).noting("recording", said, wish.why):
                telling.make_folder(self._lab, name, shared=engine == "compose")
                self._write(manifest)
                telling.tell(self._lab, [*orders, order])
        return self.get(name)

    def stop(self, name: str, why: str = "") -> tuple[Recorded, bool]:
        """End a recording, within a second. Returns whether it was not over before.

        Raises:
            UsageError: there is none of this name.
        """
        found = self.get(name)
        with self._locked():
            orders = telling.orders_of(self._lab)
            if all(one.id != name for one in orders):
                return found, False
            said = {"did": "stop", "recording": name}  # the last of its requests are on their way
            with Store(self._lab).noting("recording", said, why):
                telling.tell(self._lab, [one for one in orders if one.id != name])
                ended = replace(self._manifest(name), ended=_moment(self._clock()),
                                ended_by=user())  # fmt: skip
                self._write(ended)
        return self.get(name), found.state == "recording"

    def remove(self, name: str, why: str = "") -> Recorded:
        """Remove a recording and all that it holds; one that goes on ends first.

        Raises:
            UsageError: there is none of this name.
        """
        found, _ = self.stop(name, why)
        with self._locked():
            said = {"did": "remove", "recording": name, "requests": found.requests}
            with Store(self._lab).noting("recording", said, why):
                shutil.rmtree(telling.folder_of(self._lab) / name)
        return found

    def expire(self) -> list[str]:
        """Remove those that are as old as they may get. Returns their names."""
        gone = []
        for one in self.all():
            age = self._clock() - datetime.fromisoformat(one.started).timestamp()
            if age >= one.max_age:
                self.remove(one.id, f"older than {one.max_age:g} s (recording.max_age)")
                gone.append(one.id)
        return gone

    # --- what there is -----------------------------------------------------------

    def all(self) -> list[Recorded]:
        """The oldest first."""
        files = telling.folder_of(self._lab).glob(f"*/{MANIFEST}")
        found = [self.get(one.parent.name) for one in files]
        return sorted(found, key=lambda one: (one.started, one.id))

    def active(self) -> list[Recorded]:
        """Those that go on, or have ended by themselves and nobody has noticed."""
        return [self.get(one.id) for one in telling.orders_of(self._lab)]

    def get(self, name: str) -> Recorded:
        """
        Raises:
            UsageError: there is none of this name.
            LlmlabError: it is damaged.
        """
        manifest = self._manifest(name)
        folder = telling.folder_of(self._lab) / name
        counts = [_counts(one) for one in sorted(folder.glob(f"*{COUNTS}"))]
        replaced: Counter[str] = Counter()
        answered: dict[str, list[str]] = {}
        for one in counts:
            replaced.update(one.redacted)
            known = answered.setdefault(one.deployment, [])
            known += [model for model in one.models if model not in known]
        return Recorded(
            **asdict(manifest),
            state=self._state(manifest, any(one.full for one in counts)),
            requests=sum(one.kept for one in counts),
            dropped=sum(one.dropped for one in counts),
            opted_out=sum(one.opted_out for one in counts),
            replaced=dict(sorted(replaced.items())),
            answered_by={name: models for name, models in answered.items() if models},
            bytes=sum(one.stat().st_size for one in folder.glob(f"*{LINES}")),
        )

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """What is kept in it, file by file.

        Raises:
            UsageError: there is none of this name.
            AuthError, LlmlabError: it cannot be opened.
        """
        self._manifest(name)
        keys = self._keys()
        for file in sorted((telling.folder_of(self._lab) / name).glob(f"*{LINES}")):
            content = file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]  # a process was killed as it wrote
            for number, line in enumerate(whole.splitlines(), start=1):
                try:
                    yield json.loads(keys.open(line, name))
                except Unopened:
                    raise refuse_unopened(file, number) from None

    # --- within ------------------------------------------------------------------

    def _check(self, wish: Wish, limits: Limits, routes: tuple[str, ...], engine: str) -> None:
        if wish.route not in routes:
            raise UsageError(
                f"there is no route {wish.route!r}, only {', '.join(routes)}"
                f"{hint(wish.route, routes)}",
                fix=f"llmlab record start --route {routes[0]}",
            )
        if wish.route in limits.never:
            raise UsageError(
                f"nobody may record {wish.route}: recording.never of lab.toml names it",
                fix="llmlab config show recording.never",
            )
        if not engine:
            raise UpstreamError(
                "the lab does not run, so there is nothing to record", fix="llmlab up"
            )

    def _name(self, route: str, now: float) -> str:
        name = f"{route}-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}"
        taken = [one.name for one in telling.folder_of(self._lab).glob(f"{name}*")]
        return f"{name}-{len(taken) + 1}" if taken else name

    def _locked(self) -> Any:
        private_folder(telling.folder_of(self._lab), telling.FOLDER_MODE)
        return locked(telling.folder_of(self._lab) / "lock", patience=10)

    def _keys(self) -> KeyPair:
        folder = private_folder(self._lab.keys_file.parent)
        return KeyPair.of(folder / "recordings.key")

    def _manifest(self, name: str) -> Manifest:
        file = telling.folder_of(self._lab) / name / MANIFEST
        if not re.fullmatch(ID, name) or not file.is_file():
            known = sorted(
                one.parent.name for one in telling.folder_of(self._lab).glob(f"*/{MANIFEST}")
            )
            raise UsageError(
                f"there is no recording {name[:80]!r}{hint(name, known)}",
                fix="llmlab record list",
            )
        try:
            return Manifest(**json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise LlmlabError(
                f"{file} is no manifest of a recording: {unreadable(error)}",
                fix=f"rm -r {file.parent}",
            ) from None

    def _write(self, manifest: Manifest) -> None:
        file = telling.folder_of(self._lab) / manifest.id / MANIFEST
        write_atomically(file, json.dumps(asdict(manifest), indent=1) + "\n")

    def _state(self, manifest: Manifest, full: bool) -> State:
        if full:
            return "full"
        if manifest.ended:
            return "ended"
        over = self._clock() >= datetime.fromisoformat(manifest.until).timestamp()
        return "over" if over else "recording"


def _counts(file: Path) -> Counts:
    try:
        return Counts.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise LlmlabError(
            f"{file} is no count of a recording: {unreadable(error)}", fix=f"rm {file}"
        ) from None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
