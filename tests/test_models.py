"""Models: their identity, local folders, and a model hub that is played on loopback."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.config import Model
from llmlab.models import availability, content_id
from llmlab.models.identity import damaged_files, short_id
from llmlab.models.sources import pull
from tests.conftest import LabUnderTest, free_port
from tests.http_server import Server

REVISION = "feedfacefeedfacefeedfacefeedfacefeedface"
WEIGHTS = "model.safetensors"


def git_id(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


# --- identity ----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of a small model; nothing in it can be loaded."""
    folder = tmp_path / "a-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / WEIGHTS).write_bytes(b"weights")
    return folder


def test_the_id_of_a_model_is_a_hash_that_people_can_shorten(folder: Path) -> None:
    model_id = content_id(folder)
    kind, _, digits = model_id.partition(":")
    assert (kind, len(digits)) == ("sha256", 64)
    assert short_id(model_id) == digits[:12]


def test_the_id_changes_with_every_byte(folder: Path) -> None:
    before = content_id(folder)
    (folder / WEIGHTS).write_bytes(b"Weights")
    assert content_id(folder) != before


def test_the_id_changes_with_a_files_name(folder: Path) -> None:
    before = content_id(folder)
    (folder / WEIGHTS).rename(folder / "other.safetensors")
    assert content_id(folder) != before


def test_the_id_does_not_depend_on_the_place_or_on_what_is_no_part_of_the_model(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("a card")
    (copy / "sample.png").write_bytes(b"picture")
    assert content_id(copy) == content_id(folder)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot as the hub's cache lays it out: links to blobs that are named by their hash."""
    repository = tmp_path / "models--tiny--t5"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / REVISION
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, data, digest in (
        (WEIGHTS, b"weights" * 99, hashlib.sha256(b"weights" * 99).hexdigest()),
        ("config.json", b'{"d_model": 32}', git_id(b'{"d_model": 32}')),
    ):
        (blobs / digest).write_bytes(data)
        (snapshot / name).symlink_to(blobs / digest)
    return snapshot


def test_an_intact_snapshot_has_no_damaged_files(snapshot: Path) -> None:
    assert list(damaged_files(snapshot)) == []


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda data: b""]
)
def test_a_damaged_file_of_a_snapshot_is_found_without_the_network(
    snapshot: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    blob = (snapshot / name).resolve()
    blob.write_bytes(damage(blob.read_bytes()))
    assert list(damaged_files(snapshot)) == [snapshot / name]


# --- folders -----------------------------------------------------------------


def looked_at(source: str, lab_root: Path) -> Any:
    return availability("mine", Model(runtime="transformers", source=source), lab_root)


@pytest.mark.parametrize("tokenizer", ["tokenizer.json", "spiece.model"])
def test_a_folder_is_found_relative_to_the_lab(folder: Path, tokenizer: str) -> None:
    (folder / "tokenizer.json").rename(folder / tokenizer)
    found = looked_at("path:a-model", folder.parent)
    assert (found.ready, found.folder, found.reason) == (True, folder, "")
    assert looked_at(f"path:{folder}", Path("/nowhere")).ready


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def only_a_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def a_copy_of_links(folder: Path) -> None:
    """What ``cp -r`` makes of a snapshot in the hub's cache."""
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("../../blobs/ab12")


def weights_from_elsewhere(folder: Path) -> None:
    """transformers reads what the index names, and the content id would not cover it."""
    (folder.parent / "evil").mkdir()
    shutil.copy(folder / WEIGHTS, folder.parent / "evil" / WEIGHTS)
    index = {"weight_map": {"shared.weight": f"../evil/{WEIGHTS}"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def no_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (weights_from_elsewhere, f"has no ../evil/{WEIGHTS}"),
        (no_index, "is no index of weights"),
        (no_folder, "there is no folder"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / WEIGHTS).unlink(), "has no *.safetensors"),
        (only_a_pickle, "other weight formats can run code and are refused"),
        (a_copy_of_links, "has no *.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    ],
)
def test_a_folder_that_is_no_model_says_what_it_lacks(
    folder: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(folder)
    found = looked_at("path:a-model", folder.parent)
    assert not found.ready
    assert found.folder is None
    assert says in found.reason
    assert str(folder) in found.reason
    assert "models.mine.source" in found.fix


def test_an_embedded_model_is_always_there(tmp_path: Path) -> None:
    embedded = Model(runtime="extractive", source="embedded:textrank")
    assert availability("textrank", embedded, tmp_path).ready
    assert pull("textrank", embedded, tmp_path, say=lambda _: None) is None


# --- a hub on loopback -------------------------------------------------------


@dataclass
class Hub:
    """Plays a model hub with one repository, over plain HTTP; misbehaves when it is told to."""

    files: dict[str, bytes]
    port: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    refuses: tuple[int, dict[str, str]] | None = None  # every request: status and headers
    cuts: set[str] = field(default_factory=set)  # files that break off half-way, once
    stalls: set[str] = field(default_factory=set)  # files that stop half-way and stay silent
    swaps: dict[str, bytes] = field(default_factory=dict)  # content that is not what was announced
    halfway: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for since the last look."""
        paths = [path for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]
        self.asked.clear()
        return [path.partition(f"/resolve/{REVISION}/")[2] for path in paths]

    def ranges(self, name: str) -> list[str]:
        wanted = f"/tiny/t5/resolve/{REVISION}/{name}"
        return [asked for method, path, asked in self.asked if (method, path) == ("GET", wanted)]

    def entry(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        entry: dict[str, Any] = {
            "type": "file",
            "path": name,
            "size": len(data),
            "oid": git_id(data),
        }
        if name.endswith((".safetensors", ".bin", ".gguf")):
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
        return entry


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_GET(self) -> None:
        hub, (path, _, query) = self.server.hub, self.path.partition("?")
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if hub.refuses:
            self.answer(hub.refuses[0], b"", hub.refuses[1])
        elif path == f"/api/models/tiny/t5/revision/{REVISION}":
            self.answer_json({"id": "tiny/t5", "sha": REVISION, "siblings": []})
        elif path == f"/api/models/tiny/t5/tree/{REVISION}":
            deep = "recursive=true" in query.lower()
            names = [name for name in hub.files if deep or "/" not in name]
            self.answer_json([hub.entry(name) for name in names])
        elif path.startswith(f"/tiny/t5/resolve/{REVISION}/"):
            self.file(path.partition(f"/resolve/{REVISION}/")[2])
        elif path.startswith(("/api/models/tiny/t5/", "/tiny/t5/")):
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def file(self, name: str) -> None:
        hub, entry = self.server.hub, self.server.hub.entry(name)
        headers = {"X-Repo-Commit": REVISION, "ETag": f'"{entry["oid"]}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers["X-Linked-Etag"] = f'"{entry["lfs"]["oid"]}"'
            headers["X-Linked-Size"] = str(entry["size"])
        data, status = hub.swaps.get(name, hub.files[name]), 200
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        if self.command == "GET" and name in hub.cuts | hub.stalls:
            self.half(name, data, headers)
        else:
            self.answer(status, data, headers)

    def half(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        hub = self.server.hub
        self.head(200, len(data), headers)
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        hub.halfway.set()
        if name in hub.stalls:
            hub.released.wait(60)
        hub.cuts.discard(name)
        self.close_connection = True

    def answer_json(self, document: object) -> None:
        self.answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class HubServer(Server):
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", hub.port), HubHandler)
        hub.port = self.server_port


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Hub]:
    """A hub with these files."""
    hub = Hub(dict(files))
    server = HubServer(hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield hub
    hub.released.set()
    server.shutdown()
    server.server_close()


NOT_PART_OF_IT = {
    "README.md": b"# A card",
    "pytorch_model.bin": b"a pickle that could run code",
    "original/model.safetensors": b"another format of the same weights",
}


@pytest.fixture
def hub(tiny_t5: Path) -> Iterator[Hub]:
    files = {file.name: file.read_bytes() for file in tiny_t5.iterdir()}
    with serving(files | NOT_PART_OF_IT) as hub:
        yield hub


TINY = f"""
[models.tiny]
runtime = "transformers"
source = "hub:tiny/t5"
revision = "{REVISION}"
max_length = 20
min_length = 2
"""


def add_tiny(lab: LabUnderTest, table: str = TINY) -> LabUnderTest:
    with lab.lab.config_file.open("a") as file:
        file.write(table)
    return lab


@pytest.fixture(scope="module")
def idle(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that is not running and defines the hub's model."""
    return add_tiny(make_lab())


@pytest.fixture
def pulling(idle: LabUnderTest, hub: Hub, tmp_path: Path) -> LabUnderTest:
    """That lab with an empty cache, pointed at the hub."""
    return LabUnderTest(idle.root, idle.port, idle.env | hub_env(hub.url, tmp_path / "hf"))


def hub_env(url: str, cache: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip


def cached(lab: LabUnderTest) -> Path:
    snapshots = Path(lab.env["HF_HOME"]) / "hub" / "models--tiny--t5" / "snapshots"
    return snapshots / REVISION


def test_pull_fetches_a_model_verifies_it_and_prints_its_folder(
    pulling: LabUnderTest, hub: Hub, tiny_t5: Path
) -> None:
    done = pulling.run("models", "pull", "tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{cached(pulling)}\n"
    assert "every file verified" in done.stderr
    assert hub.url in done.stderr
    assert content_id(cached(pulling)) == content_id(tiny_t5)


def test_pull_fetches_nothing_that_is_no_part_of_the_model(pulling: LabUnderTest, hub: Hub) -> None:
    pulling.ok("models", "pull", "tiny")
    fetched = hub.fetched()
    assert sorted(fetched) == sorted(set(hub.files) - set(NOT_PART_OF_IT))


def test_a_second_pull_fetches_no_file_again(pulling: LabUnderTest, hub: Hub) -> None:
    first = pulling.ok("models", "pull", "tiny")
    assert WEIGHTS in hub.fetched()
    assert pulling.ok("models", "pull", "tiny") == first
    assert hub.fetched() == []


def test_a_pulled_model_is_ready_and_shows_what_it_is(pulling: LabUnderTest, tiny_t5: Path) -> None:
    before = {row["name"]: row for row in pulling.json("models", "list")}
    assert before["tiny"].keys() == {
        "name", "registered", "id", "aliases", "role", "runtime", "source", "origin", "ready",
        "reason", "fix",
    }  # fmt: skip
    assert (before["tiny"]["ready"], before["textrank"]["ready"]) == (False, True)
    assert before["tiny"]["fix"] == "llmlab models pull tiny"
    assert "not on disk" in pulling.ok("models", "show", "tiny")

    pulling.ok("models", "pull", "tiny")
    after = {row["name"]: row for row in pulling.json("models", "list")}
    assert (after["tiny"]["ready"], after["tiny"]["reason"]) == (True, "")
    shown = pulling.json("models", "show", "tiny")
    assert shown["id"] == content_id(tiny_t5)
    assert shown["folder"] == str(cached(pulling))
    assert shown["decoding"]["prefix"] == "summarize: "
    assert {"name": WEIGHTS, "bytes": (tiny_t5 / WEIGHTS).stat().st_size} in shown["files"]
    assert WEIGHTS in pulling.ok("models", "show", "tiny")


@pytest.fixture
def large(hub: Hub) -> int:
    """Weights of some size (nothing can load them): the hub's library keeps pieces of 10 MiB."""
    hub.files[WEIGHTS] = bytes(range(256)) * (24 << 12)
    return len(hub.files[WEIGHTS])


def start_of(asked: str) -> int:
    """Where a Range begins; 0 without one."""
    return int(asked.removeprefix("bytes=").rstrip("-") or 0)


def test_a_download_that_is_cut_goes_on_where_it_was(
    pulling: LabUnderTest, hub: Hub, large: int
) -> None:
    hub.cuts.add(WEIGHTS)
    pulling.ok("models", "pull", "tiny")
    first, second = hub.ranges(WEIGHTS)
    assert first == ""
    assert 0 < start_of(second) <= large // 2


@pytest.fixture
def halfway(pulling: LabUnderTest, hub: Hub, large: int) -> Iterator[subprocess.Popen[bytes]]:
    """A pull that has half of the weights and gets no more."""
    hub.stalls.add(WEIGHTS)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "models", "pull", "tiny"],
        cwd=pulling.root, env=pulling.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert hub.halfway.wait(60)
        wait_for(lambda: bytes_on_disk(pulling) >= 10 << 20)
        yield process
    finally:
        process.kill()
        process.wait()


def bytes_on_disk(lab: LabUnderTest) -> int:
    files = [file for file in Path(lab.env["HF_HOME"]).rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def test_a_pull_that_was_killed_is_taken_up_by_the_next_one(
    halfway: subprocess.Popen[bytes], pulling: LabUnderTest, hub: Hub, large: int
) -> None:
    halfway.kill()
    halfway.wait()
    complete = {file.name for file in cached(pulling).glob("*")}
    hub.stalls.clear()
    hub.asked.clear()
    pulling.ok("models", "pull", "tiny")
    (asked,) = hub.ranges(WEIGHTS)
    assert 0 < start_of(asked) <= large // 2, "what was there of the weights is not fetched again"
    assert not complete & set(hub.fetched()), "nor what was complete"


def test_ctrl_c_ends_a_pull_at_once(halfway: subprocess.Popen[bytes]) -> None:
    halfway.send_signal(signal.SIGINT)
    assert halfway.wait(15) == 130


def wait_for(condition: Callable[[], bool], *, patience: float = 30) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_not_as_announced_is_refused_removed_and_fetched_again(
    pulling: LabUnderTest, hub: Hub
) -> None:
    hub.swaps[WEIGHTS] = hub.files[WEIGHTS][::-1]
    done = pulling.run("models", "pull", "tiny")
    assert (done.returncode, done.stdout) == (5, "")
    assert f"{WEIGHTS} of tiny did not have the content that the hub announced" in flat(done.stderr)
    assert "Fix: llmlab models pull tiny" in done.stderr
    assert not (cached(pulling) / WEIGHTS).exists()

    hub.swaps.clear()
    hub.asked.clear()
    pulling.ok("models", "pull", "tiny")
    assert hub.fetched() == [WEIGHTS]


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_file_that_went_bad_on_disk_is_found_and_repaired(
    pulling: LabUnderTest, hub: Hub, tiny_t5: Path, name: str
) -> None:
    pulling.ok("models", "pull", "tiny")
    blob = (cached(pulling) / name).resolve()
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")

    assert pulling.run("models", "pull", "tiny").returncode == 5
    hub.asked.clear()
    pulling.ok("models", "pull", "tiny")
    assert hub.fetched() == [name]
    assert content_id(cached(pulling)) == content_id(tiny_t5)


def test_offline_a_model_in_the_cache_is_used_and_nobody_is_asked(
    pulling: LabUnderTest, hub: Hub
) -> None:
    first = pulling.ok("models", "pull", "tiny")
    hub.asked.clear()
    done = pulling.run("models", "pull", "tiny", env={"HF_HUB_OFFLINE": "1"})
    assert (done.returncode, done.stdout) == (0, first)
    assert hub.asked == []


def test_offline_a_model_that_is_not_in_the_cache_is_an_error_that_says_so(
    pulling: LabUnderTest, hub: Hub
) -> None:
    done = pulling.run("models", "pull", "tiny", env={"HF_HUB_OFFLINE": "1"})
    assert (done.returncode, done.stdout) == (5, "")
    assert "HF_HUB_OFFLINE" in done.stderr
    assert "Fix: " in done.stderr
    assert hub.asked == []


def flat(text: str) -> str:
    """Output without line breaks and frames, to look for sentences in."""
    return " ".join(text.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())


@pytest.mark.parametrize(
    ("refusal", "env", "says"),
    [
        (None, {"LLMLAB_MODELS_TINY_SOURCE": "hub:no/body"}, "repository"),
        (None, {"LLMLAB_MODELS_TINY_REVISION": "0" * 40}, "revision"),
        ((401, {"X-Error-Code": "GatedRepo"}), {}, "gated"),
        ((403, {"X-Error-Code": "GatedRepo"}), {}, "gated"),
        ((401, {"X-Error-Code": "RepoNotFound"}), {}, "private"),
        ((500, {}), {}, "500"),
    ],
    ids=["no repository", "no revision", "401 gated", "403 gated", "private", "500"],
)
def test_a_hub_that_refuses_is_quoted_with_its_reason(
    pulling: LabUnderTest,
    hub: Hub,
    refusal: tuple[int, dict[str, str]] | None,
    env: dict[str, str],
    says: str,
) -> None:
    hub.refuses = refusal
    done = pulling.run("models", "pull", "tiny", env=env)
    assert (done.returncode, done.stdout) == (5, "")
    assert "Traceback" not in done.stderr
    told = flat(done.stderr)
    assert hub.url in told
    assert says in told.lower()
    assert "Fix: " in told
    if refusal and refusal[0] in (401, 403):
        assert "HF_TOKEN" in told, "how one gets in"
    elif refusal is None:
        assert "where the hub can be reached" not in told, "the network is not to blame"


def test_a_hub_that_accepts_and_stays_silent_is_given_up_on(
    pulling: LabUnderTest,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=16)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        done = pulling.run("models", "pull", "tiny", env={"HF_ENDPOINT": url})
        assert time.monotonic() - start < 30
    assert (done.returncode, done.stdout) == (5, "")
    assert f"{url} cannot give it" in flat(done.stderr)
    assert "time" in flat(done.stderr) or "within 10 s" in flat(done.stderr)


def test_pull_of_a_folder_says_where_it_is(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path
) -> None:
    lab = make_lab()
    shutil.copytree(tiny_t5, lab.root / "mine")
    add_tiny(lab, '\n[models.mine]\nruntime = "transformers"\nsource = "path:mine"\n')
    assert lab.ok("models", "pull", "mine") == f"{lab.root / 'mine'}\n"
    (lab.root / "mine" / WEIGHTS).unlink()
    done = lab.run("models", "pull", "mine")
    assert done.returncode == 5
    assert "safetensors" in done.stderr
    assert "Fix: correct models.mine.source" in flat(done.stderr)


def test_pull_of_what_is_embedded_has_nothing_to_do(idle: LabUnderTest) -> None:
    done = idle.run("models", "pull", "textrank")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to fetch" in done.stderr


@pytest.mark.parametrize("verb", ["pull", "show"])
def test_a_model_that_is_not_defined_is_a_usage_error(idle: LabUnderTest, verb: str) -> None:
    done = idle.run("models", verb, "nope")
    assert (done.returncode, done.stdout) == (2, "")
    known = "falconsai, textrank, smollm2, tiny"
    assert f"no model 'nope' is defined; defined: {known}" in flat(done.stderr)
    assert "Fix: add [models.nope]" in done.stderr


# --- up, with the hub and without --------------------------------------------


def summarize(lab: LabUnderTest, article: str) -> httpx2.Response:
    with lab.client() as client:
        return client.post("/summarize/", json={"text": article[:400]})


def metrics(lab: LabUnderTest, deployment: str) -> str:
    transport = httpx2.HTTPTransport(uds=str(lab.lab.api_socket(deployment)))
    with httpx2.Client(transport=transport, base_url="http://api") as client:
        return client.get("/metrics").text


def test_up_fetches_the_stable_model_and_serves_it(
    make_lab: Callable[..., LabUnderTest], hub: Hub, tmp_path: Path, tiny_t5: Path, article: str
) -> None:
    lab = add_tiny(make_lab(routes__summarize='"tiny"'))
    lab.env |= hub_env(hub.url, tmp_path / "hf")
    done = lab.run("up")
    assert done.returncode == 0, done.stderr
    assert "Note" not in done.stderr

    answer = summarize(lab, article)
    assert answer.status_code == 200, answer.text
    expected = {"name": "tiny", "id": content_id(tiny_t5), "runtime": "transformers"}
    assert answer.json()["model"] == expected
    assert answer.json()["summary"]
    assert answer.headers["X-Model"] == "tiny"

    (deployment,) = lab.json("status")["deployments"]
    shown = {key: deployment[key] for key in ("name", "model", "model_id", "runtime", "healthy")}
    assert shown == {
        "name": "tiny", "model": "tiny", "model_id": expected["id"], "runtime": "transformers",
        "healthy": True,
    }  # fmt: skip
    lab.ok("down")


def test_without_the_hub_the_embedded_model_serves_until_the_hub_is_back(
    make_lab: Callable[..., LabUnderTest], hub: Hub, tmp_path: Path, article: str
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    lab = add_tiny(make_lab(routes__summarize='"tiny"'))
    lab.env |= hub_env(away, tmp_path / "hf")
    done = lab.run("up")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Note: ") == 1
    panel = flat(done.stderr)
    assert "tiny cannot serve, so textrank answers in its place." in panel
    assert f"tiny/t5 is not on disk and {away} cannot give it" in panel
    assert "refused" in panel
    assert "Fix: try again where the hub can be reached" in panel
    assert "textrank (extractive) answers" in done.stdout

    answer = summarize(lab, article)
    assert answer.status_code == 200
    model = answer.json()["model"]
    assert (model["name"], model["runtime"]) == ("textrank", "extractive")
    assert answer.headers["X-Model"] == "textrank"
    status = lab.json("status")
    (deployment,) = status["deployments"]
    told = {key: deployment[key] for key in ("name", "model", "runtime", "healthy", "weight")}
    assert told == {
        "name": "textrank", "model": "textrank", "runtime": "extractive", "healthy": True,
        "weight": 100,
    }  # fmt: skip
    note = "tiny cannot serve, so textrank answers in its place."
    assert status["warnings"] == [note], "why, `up` has said at length"
    assert 'model="textrank"' in metrics(lab, "textrank")
    assert note in flat(lab.ok("status"))

    lab.env["HF_ENDPOINT"] = hub.url
    again = lab.run("up")
    assert again.returncode == 0, again.stderr
    assert "Note" not in again.stderr
    assert summarize(lab, article).json()["model"]["name"] == "tiny"
    assert lab.json("status")["warnings"] == []
    lab.ok("down")


def test_without_a_fallback_a_model_that_cannot_be_had_is_an_error_and_nothing_runs(
    make_lab: Callable[..., LabUnderTest], tmp_path: Path
) -> None:
    lab = add_tiny(make_lab(routes__summarize='"tiny"', fallback='""'))
    lab.env |= hub_env(f"http://127.0.0.1:{free_port()}", tmp_path / "hf")
    done = lab.run("up")
    assert done.returncode == 5
    assert "tiny/t5 is not on disk" in flat(done.stderr)
    assert "Fix: try again where the hub can be reached" in flat(done.stderr)
    assert lab.run("status").returncode == 1
