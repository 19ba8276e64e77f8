"""Labs for a class: so many folders, each a lab of its own with an address and a token.

Models of a hub, and what they were converted to, are shared by all labs of a user anyway (the hub
library's cache and $LLMLAB_HOME). Registry, keys and ledger are each lab's own: names and versions
of registered models would else be everybody's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from llmlab.auth import Claims, KeyStore, describe, mint
from llmlab.config import load_config
from llmlab.course.resetting import GIVEN, with_given
from llmlab.delivery.noting import keys_changed
from llmlab.errors import EnvironmentFailure, LlmlabError, UsageError, unreadable
from llmlab.files import write_atomically
from llmlab.lab import Lab, checked_root, init_lab
from llmlab.ledger.store import Store
from llmlab.near import hint
from llmlab.network import port_is_free

FILE = "class.json"
TOKEN = "token"  # noqa: S105  a file's name
HOST = "127.0.0.1"
PORTS = 2  # of one lab: its gateway, and its JupyterLab


@dataclass(frozen=True)
class Seat:
    """One lab of a class. ``name`` is its folder and the subject of its token."""

    name: str
    port: int
    notebook_port: int


class ClassLabs(TypedDict):
    labs: list[Seat]


@dataclass(frozen=True)
class Class:
    """A folder with labs."""

    root: Path
    seats: tuple[Seat, ...]

    @classmethod
    def read(cls, root: Path) -> Class:
        """Raises UsageError: there is no class."""
        file = root / FILE
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls(root, tuple(Seat(**one) for one in found["labs"]))
        except FileNotFoundError:
            raise UsageError(
                f"there is no class in {root}", fix=f"llmlab course class create 20 --dir {root}"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LlmlabError(f"{file} cannot be read: {unreadable(error)}") from None

    def lab(self, seat: Seat) -> Lab:
        return Lab(self.root / seat.name)

    def only(self, names: Sequence[str]) -> tuple[Seat, ...]:
        """The labs of these names; all of them without one.

        Raises:
            UsageError: one does not exist.
        """
        known = {seat.name: seat for seat in self.seats}
        for name in names:
            if name not in known:
                raise UsageError(
                    f"there is no lab {name!r} in {self.root}{hint(name, known)}",
                    fix="llmlab course class status",
                )
        return tuple(known[name] for name in names) if names else self.seats

    def as_json(self) -> dict[str, Any]:
        return {"labs": [asdict(one) for one in self.seats]}


def create(
    root: Path, count: int, ports: range, *, model: str, ttl: int, say: Callable[[str], None]
) -> Class:
    """Lay out a class: all of it, or nothing.

    Args:
        ports: each lab gets two of them that are free now.
        model: the stable model of each lab.
        ttl: seconds for which the tokens are valid.

    Raises:
        UsageError: the folder is there already.
        EnvironmentFailure: there are too few free ports, or the disk refuses.
    """
    checked_root(root)
    if root.exists() or root.is_symlink():
        raise UsageError(
            f"{root} is there already, so no class was made",
            fix="another --dir; or, if it may go: llmlab course class down, then rm -r "
            + str(root),
        )
    seats = _seats(count, ports)
    with _whole_or_not(root) as staged:
        for number, seat in enumerate(seats, 1):
            say(f"lab {number} of {count}")
            _lay_out(Lab(staged / seat.name), seat, model, ttl)
        made = Class(root, seats)
        write_atomically(staged / FILE, json.dumps(made.as_json(), indent=1) + "\n")
    return made


@contextmanager
def _whole_or_not(root: Path) -> Iterator[Path]:
    """A folder beside ``root`` that becomes ``root`` in one step, or vanishes."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{root.name}.part-", dir=root.parent))
    except OSError as error:
        raise EnvironmentFailure(f"{root} cannot be made: {error.strerror}") from None
    try:
        yield staged
        staged.chmod(0o755)
        staged.rename(root)
    except OSError as error:
        raise EnvironmentFailure(f"{root} cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _seats(count: int, ports: range) -> tuple[Seat, ...]:
    wanted = PORTS * count
    free = [port for port in ports if port_is_free(HOST, port)][:wanted]
    if len(free) < wanted:
        raise EnvironmentFailure(
            f"{count} labs take {wanted} ports, for gateways and notebooks, and of "
            f"{ports.start}-{ports.stop - 1} only {len(free)} are free",
            fix=f"a wider range, such as --ports {ports.start}-{ports.start + 3 * wanted}",
        )
    gateways, notebooks = free[:count], free[count:]
    digits = max(2, len(str(count)))
    return tuple(
        Seat(f"lab-{number:0{digits}}", gateway, notebook)
        for number, (gateway, notebook) in enumerate(zip(gateways, notebooks, strict=True), 1)
    )


def _lay_out(lab: Lab, seat: Seat, model: str, ttl: int) -> None:
    init_lab(lab.root)
    with (lab.root / ".gitignore").open("a") as ignored:
        ignored.write(f"{TOKEN}\n")
    settings: dict[str, str | int] = {
        "routes.summarize": model, "routes.chat": "",  # a language model each would be too many
        "gateway.port": seat.port, "jupyter.port": seat.notebook_port,
    }  # fmt: skip
    text = with_given(lab.config_file.read_text(encoding="utf-8"), settings)
    write_atomically(lab.config_file, text, mode=0o644)
    load_config(lab.config_file)  # whether there is such a model
    lab.make_state()
    write_atomically(lab.state / GIVEN, json.dumps(settings) + "\n")
    write_token(lab, seat.name, ttl)


def write_token(lab: Lab, subject: str, ttl: int) -> None:
    """A token in a file that only its owner can read, by the key that the lab signs with now."""
    store = KeyStore(lab.keys_file)
    before = store.read()
    keys = store.ensure()
    keys_changed(Store(lab), "made", before, keys)
    token = mint(keys.signing, Claims(sub=subject, ttl=ttl))
    write_atomically(lab.root / TOKEN, token + "\n")


def token_holds(lab: Lab) -> bool:
    """Whether the lab's gateway would take the token in its file."""
    try:
        token = (lab.root / TOKEN).read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return describe(token, KeyStore(lab.keys_file).read()).valid
