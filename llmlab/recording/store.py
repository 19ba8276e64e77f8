"""The recordings of a lab: begun, ended, read and removed, each with an entry in the ledger."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmlab.config.recording import Recording as Limits
from llmlab.errors import LlmlabError, UpstreamError, UsageError
from llmlab.files import locked
from llmlab.lab import Lab, private_folder
from llmlab.ledger.chain import user
from llmlab.ledger.store import Store
from llmlab.near import hint
from llmlab.recording import telling
from llmlab.recording.manifest import (
    MANIFEST,
    Manifest,
    Recorded,
    moment,
    read_manifest,
    recorded_in,
    seconds_of,
    write_manifest,
)
from llmlab.recording.order import ID, LINES, WRITTEN, Order
from llmlab.recording.reading import count_lines, files_in, lines
from llmlab.recording.record import record_in
from llmlab.recording.sealing import KeyPair, Unopened, refuse_unopened


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
            AuthError: the key of what was recorded before is lost.
        """
        self._check(wish, limits, routes, engine)
        now = self._clock()
        with self._locked():
            orders = [one for one in telling.orders_of(self._lab) if not self._why_over(one.id)]
            if there := next((one for one in orders if one.route == wish.route), None):
                raise UsageError(
                    f"{wish.route} is recorded already, as {there.id}",
                    fix=f"llmlab record stop {there.id}",
                )
            name = self._name(wish.route, now)
            # A lost one is not replaced while there is anything that only it opens.
            keys = (KeyPair.of if self._names() else KeyPair.made)(self._key_file())
            until = now + min(limits.max_seconds, limits.max_age)
            manifest = Manifest(
                name, wish.route, user(), wish.why, moment(now), moment(until), wish.share,
                wish.redact, limits.max_bytes, limits.max_age,
            )  # fmt: skip
            order = Order(
                id=name, route=wish.route, folder=telling.folder_of(self._lab) / name / WRITTEN,
                share=wish.share, redact=wish.redact, until=until, max_bytes=limits.max_bytes,
                seal=keys.public, pseudonyms=secrets.token_hex(32),
            )  # fmt: skip
            said = {"did": "start", "recording": name, "route": wish.route,
                    "share": wish.share, "redacted": wish.redact}  # fmt: skip
            # Within the transaction: what the ledger tells of is in place by then.
            with (
                self._undone(name),
                Store(self._lab).noting("recording", said, wish.why),
            ):
                telling.make_folder(self._lab, name, shared=engine == "compose")
                write_manifest(telling.folder_of(self._lab) / name, manifest)
                telling.tell(self._lab, [*orders, order])
        return self.get(name)

    def stop(self, name: str, why: str = "") -> tuple[Recorded, bool]:
        """End a recording, within a second. Returns whether it was not over before.

        Raises:
            UsageError: there is none of this name.
        """
        found = self.get(name)
        self._end(name, why)
        return self.get(name), found.state == "recording"

    def remove(self, name: str, why: str = "") -> Recorded:
        """Remove a recording and all that it holds; one that goes on ends first.

        Raises:
            UsageError: there is none of this name.
            LlmlabError: it is damaged.
        """
        found = self.get(name)
        self._remove(name, why)
        return found

    def expire(self) -> list[str]:
        """End those that have ended by themselves, so that the key of their subjects' names goes;
        remove those that are as old as they may get, whatever their processes have counted.
        Returns the names of these.

        Raises:
            LlmlabError, OSError: one cannot be removed, or nobody can tell of it how old it is or
                whether it goes on; with the others it is done.
        """
        self._bring_back()
        gone, failures = [], []
        for name in self._names():
            try:
                one = read_manifest(self._folder(name))
                if self._clock() - seconds_of(one.started) >= one.max_age:
                    self._remove(name, f"older than {one.max_age:g} s (recording.max_age)")
                    gone.append(name)
            except (LlmlabError, OSError) as error:
                failures.append(error)
        for order in telling.orders_of(self._lab):
            try:
                if why := self._why_over(order.id):
                    self._end(order.id, why)
            except (LlmlabError, OSError) as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return gone

    # --- what there is -----------------------------------------------------------

    def all(self) -> list[Recorded]:
        """The oldest first."""
        return sorted(map(self.get, self._names()), key=lambda one: (one.started, one.id))

    def active(self) -> list[Recorded]:
        """Those that go on, or have ended by themselves and nobody has noticed."""
        orders = telling.orders_of(self._lab)
        return [self.get(one.id) for one in orders if self._is_there(one.id)]

    def get(self, name: str) -> Recorded:
        """
        Raises:
            UsageError: there is none of this name.
            LlmlabError: it is damaged.
        """
        return recorded_in(self._folder(name), self._clock())

    def records(self, name: str) -> Iterator[dict[str, Any] | None]:
        """What is kept in it, file by file; None for what is sealed for it and is no record.

        Raises:
            UsageError: there is none of this name.
            AuthError, LlmlabError: it cannot be opened.
        """
        folder, keys = self._folder(name), KeyPair.of(self._key_file())
        most = read_manifest(folder).max_bytes
        for file in files_in(folder, LINES):
            for number, line in enumerate(lines(file, most), start=1):
                try:
                    yield record_in(keys.open(line, name))
                except Unopened:
                    raise refuse_unopened(file, number) from None

    # --- within ------------------------------------------------------------------

    @contextmanager
    def _undone(self, name: str) -> Iterator[None]:
        """What was begun and cannot be told of is none."""
        try:
            yield
        except BaseException:
            shutil.rmtree(telling.folder_of(self._lab) / name, ignore_errors=True)
            raise

    def _end(self, name: str, why: str) -> None:
        """Unless nobody is told of it any more."""
        with self._locked():
            orders = telling.orders_of(self._lab)
            if all(one.id != name for one in orders):
                return
            said = {"did": "stop", "recording": name}  # the last of its requests are on their way
            with Store(self._lab).noting("recording", said, why):
                telling.tell(self._lab, [one for one in orders if one.id != name])
                if not self._is_there(name):  # somebody has removed it by hand
                    return
                folder, now = self._folder(name), moment(self._clock())
                ended = replace(read_manifest(folder), ended=now, ended_by=user())
                write_manifest(folder, ended)

    def _why_over(self, name: str) -> str:
        """Why one of which the APIs are told does not go on; "" if it does."""
        if not self._is_there(name):
            return "there is nothing of it any more"
        if self._clock() >= seconds_of(read_manifest(self._folder(name)).until):
            return "it has lasted long enough (recording.max_seconds)"
        return "it is full (recording.max_bytes)" if self.get(name).state == "full" else ""

    def _is_there(self, name: str) -> bool:
        return (telling.folder_of(self._lab) / name / MANIFEST).is_file()

    def _remove(self, name: str, why: str) -> None:
        self._end(name, why)
        with self._locked():
            folder = self._folder(name)
            kept = count_lines(folder, read_manifest(folder).max_bytes)
            said = {"did": "remove", "recording": name, "requests": kept}
            with Store(self._lab).noting("recording", said, why):
                self._clear(folder)

    def _bring_back(self) -> None:
        """Whose removal has ended halfway, with its process."""
        folder = telling.folder_of(self._lab)
        if not any(folder.glob("*.gone")):
            return
        with self._locked():
            for away in folder.glob("*.gone"):
                if (away / MANIFEST).exists():
                    away.rename(away.with_suffix(""))
                else:
                    shutil.rmtree(away, ignore_errors=True)

    def _clear(self, folder: Path) -> None:
        """Away first, so that nobody adds to it by its name. What is there until the last is the
        manifest: what cannot be removed whole stays in the list, and is tried again."""
        away = folder.with_name(f"{folder.name}.gone")
        folder.rename(away)
        shutil.rmtree(away / WRITTEN, ignore_errors=True)
        if (away / WRITTEN).exists():
            away.rename(folder)
            raise LlmlabError(
                f"{folder.name} cannot be removed whole: something in {folder / WRITTEN} belongs "
                "to the user of a container",
                fix=f"sudo rm -r {folder}",
            )
        shutil.rmtree(away)

    def _names(self) -> list[str]:
        files = telling.folder_of(self._lab).glob(f"*/{MANIFEST}")
        return sorted(one.parent.name for one in files if re.fullmatch(ID, one.parent.name))

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
        if engine == "ray":
            raise UsageError(
                "nothing is recorded under the engine ray: what replicas on other machines would "
                "write does not come back to the lab",
                fix="llmlab down, then llmlab up --engine local",
            )

    def _name(self, route: str, now: float) -> str:
        name = f"{route}-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}"
        taken = [one.name for one in telling.folder_of(self._lab).glob(f"{name}*")]
        return f"{name}-{len(taken) + 1}" if taken else name

    def _locked(self) -> Any:
        private_folder(telling.folder_of(self._lab), telling.FOLDER_MODE)
        # Not in that folder, which containers see: who can read a lock can hold it.
        return locked(self._lab.state / "recordings.lock", patience=10)

    def _key_file(self) -> Path:
        return private_folder(self._lab.keys_file.parent) / "recordings.key"

    def _folder(self, name: str) -> Path:
        folder = telling.folder_of(self._lab) / name
        if not re.fullmatch(ID, name) or not self._is_there(name):
            raise UsageError(
                f"there is no recording {name[:80]!r}{hint(name, self._names())}",
                fix="llmlab record list",
            )
        return folder
