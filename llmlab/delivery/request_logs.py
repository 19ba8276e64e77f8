"""What the logs of a lab say of some requests: the gateway's, and the APIs'.

The files are read as a whole, each once for however many requests, and searched before they are
parsed: 40 MB, as many as a log may have, take a fraction of a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlab.delivery.charging import is_settlement
from llmlab.engines.local.programs import API_PREFIX, GATEWAY

if TYPE_CHECKING:
    from llmlab.engines.base import Engine

# Ids hold no quotes, and what else a client says is escaped: so this matches ids only.
REQUEST = re.compile(rb'"(?:request_id|settles)": ?"([A-Za-z0-9._:-]{1,128})"')
LOG = re.compile(r"(.+)\.log(?:\.(\d+))?")  # supervisord's names: .1 is newer than .2
LINES = 200_000  # of a container's log; it keeps 30 MB

Line = dict[str, Any]


@dataclass
class Found:
    """Lines about the requests that were asked for, in no order, and what was searched.

    ``since``: the time of the oldest line of the gateway; "" if there is none. ``late``: lines that
    say what they have used after all.
    """

    gateway: list[Line] = field(default_factory=list)
    api: list[Line] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    since: str = ""
    late: list[Line] = field(default_factory=list)

    def __add__(self, other: Found) -> Found:
        since = min((one for one in (self.since, other.since) if one), default="")
        return Found(
            [*self.gateway, *other.gateway], [*self.api, *other.api],
            [*self.searched, *other.searched], since, [*self.late, *other.late],
        )  # fmt: skip


def in_files(folder: Path, ids: Collection[str]) -> Found:
    """In the files that supervised processes wrote, whether they run or not."""
    gateway = _rotated(folder, GATEWAY)
    apis = _rotated(folder, f"{API_PREFIX}*")
    since = next((at for file in reversed(gateway) if (at := _first_time(file))), "")
    searched = [str(file) for file in (*gateway, *apis)]
    return _found(_in_all(gateway, ids), _in_all(apis, ids), searched, since)


def in_containers(engine: Engine, ids: Collection[str]) -> Found:
    """In what the containers of a lab that runs have printed."""
    lines, _ = engine.requests_since("0")
    told = engine.logs(follow=False, lines=LINES, only=API_PREFIX)
    apis = (line.partition(" | ")[2] for line in told)
    since = next((str(line["time"]) for line in map(_parsed, lines) if "time" in line), "")
    return _found(
        _matching("\n".join(lines).encode(), ids), _matching("\n".join(apis).encode(), ids),
        ["the logs of the containers"], since,
    )  # fmt: skip


def _found(gateway: list[Line], apis: list[Line], searched: list[str], since: str) -> Found:
    requests = [one for one in gateway if "request_id" in one]
    late = [one for one in gateway if "request_id" not in one]
    return Found(requests, apis, searched, since, late)


def _rotated(folder: Path, process: str) -> list[Path]:
    """The logs of processes and what they were rotated to, of each the newest first: what is
    rotated meanwhile is read twice then, and not missed."""
    found = [
        (name[1], int(name[2] or 0), file)
        for file in folder.glob(f"{process}.log*")
        if (name := LOG.fullmatch(file.name)) and not name[1].endswith(".error")
    ]
    return [file for _, _, file in sorted(found)]


def _in_all(files: Iterable[Path], ids: Collection[str]) -> list[Line]:
    found: dict[str, Line] = {}
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:  # rotated away
            continue
        for line in _matching(content, ids):
            found.setdefault(json.dumps(line), line)
    return list(found.values())


def _matching(content: bytes, ids: Collection[str]) -> list[Line]:
    wanted = {one.encode() for one in ids}
    found = []
    for hit in REQUEST.finditer(content):
        if hit[1] in wanted:
            start = content.rfind(b"\n", 0, hit.start()) + 1
            end = content.find(b"\n", hit.end())
            line = _parsed(content[start : end if end >= 0 else len(content)])
            if line.get("request_id") == hit[1].decode() or _settles(line, hit[1].decode()):
                found.append(line)
    return found


def _settles(line: Line, request_id: str) -> bool:
    return "request_id" not in line and is_settlement(line) and line["settles"] == request_id


def _parsed(line: bytes | str) -> Line:
    """A line; an empty one if it is not whole, or no JSON object."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _first_time(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            for line in opened:
                if at := _parsed(line).get("time"):
                    return str(at)
    except FileNotFoundError:
        pass
    return ""
