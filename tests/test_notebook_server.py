"""`llmlab notebook`: a real JupyterLab beside a running lab, and who gets into it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import psutil
import pytest
from tornado.httpclient import HTTPRequest
from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

from llmlab.lab import Lab
from llmlab.notebook import access
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, free_port, wait_until

MakeLab = Callable[..., LabUnderTest]


def start(lab: LabUnderTest, *arguments: str) -> str:
    """Start the notebook server on a free port unless one is named; gives its URL."""
    port = () if "--port" in arguments else ("--port", str(free_port()))
    return lab.ok("notebook", "--no-browser", *port, *arguments).strip()


def server(lab: LabUnderTest) -> psutil.Process:
    (found,) = lab_processes(lab.lab.state, "llmlab.notebook.launch")
    return found


def token_in(url: str) -> str:
    return parse_qs(urlsplit(url).query)["token"][0]


def status(url: str, token: str) -> int:
    """What the server says to a request for something that is not for everybody."""
    parts = urlsplit(url)
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        return httpx2.get(
            f"http://{parts.netloc}/api/status", headers=headers, timeout=5, trust_env=False
        ).status_code
    except httpx2.HTTPError:
        return 0


def printed_by_a_kernel(url: str, code: str) -> str:
    """Start a kernel on the server, run ``code`` in it, and give what it printed."""
    base, headers = urlsplit(url).netloc, {"Authorization": f"token {token_in(url)}"}
    kernel = httpx2.post(
        f"http://{base}/api/kernels", json={}, headers=headers, timeout=60, trust_env=False
    ).json()["id"]
    header = {
        "msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3",
        "username": "", "session": uuid.uuid4().hex,
    }  # fmt: skip
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    request = {
        "header": header, "parent_header": {}, "metadata": {}, "content": content,
        "channel": "shell", "buffers": [],
    }  # fmt: skip

    async def talk() -> str:
        channels = f"ws://{base}/api/kernels/{kernel}/channels"
        connection = await websocket_connect(HTTPRequest(channels, headers=headers))
        await connection.write_message(json.dumps(request))
        printed = ""
        while True:
            message = json.loads(await connection.read_message())
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            content = message["content"]
            assert message["msg_type"] != "error", content
            printed += content.get("text", "")
            if content.get("execution_state") == "idle":  # comes after all that was printed
                connection.close()
                return printed

    return IOLoop().run_sync(talk, timeout=60)


@pytest.fixture(scope="module")
def url(lab: LabUnderTest) -> str:
    """A notebook server beside the module's lab."""
    return start(lab)


@pytest.fixture
def fresh(make_lab: MakeLab) -> Iterator[LabUnderTest]:
    one = make_lab(gateway__rate_limit__enabled="false")
    yield one
    one.run("down")


def test_the_url_and_nothing_else_is_printed(lab: LabUnderTest, url: str) -> None:
    assert lab.ok("notebook", "url") == f"{url}\n"
    assert lab.json("notebook", "url") == {"url": url}


def test_only_who_has_the_token_gets_in(lab: LabUnderTest, url: str) -> None:
    assert status(url, token_in(url)) == 200
    assert status(url, "") == status(url, "nginxrocks!") == 403
    page = httpx2.get(url, timeout=20, trust_env=False)
    assert (page.status_code, "<title>JupyterLab</title>" in page.text) == (200, True)


def test_it_listens_on_loopback_only(lab: LabUnderTest, url: str) -> None:
    listening = [
        (one.laddr.ip, one.laddr.port)
        for one in server(lab).net_connections()
        if one.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", urlsplit(url).port)]


def test_a_page_of_another_name_cannot_talk_to_it(url: str) -> None:
    headers = {"Host": "example.org", "Authorization": f"token {token_in(url)}"}
    answer = httpx2.get(
        f"http://{urlsplit(url).netloc}/api/status", headers=headers, trust_env=False
    )
    assert answer.status_code == 403


def test_the_token_is_in_no_command_line_environment_or_log(lab: LabUnderTest, url: str) -> None:
    token = token_in(url)
    for process in lab_processes(lab.lab.state):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            assert token not in " ".join(process.cmdline())
            assert token not in str(process.environ())
    readable = [*lab.lab.logs.glob("*"), lab.lab.state / "supervisord.conf"]
    assert "jupyter.error.log" in {file.name for file in readable}
    assert all(token not in file.read_text(errors="replace") for file in readable)
    file = lab.lab.state / "jupyter" / "token"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (token, 0o600)


def test_a_kernel_has_the_client_and_finds_the_lab(lab: LabUnderTest, url: str) -> None:
    printed = printed_by_a_kernel(
        url,
        "import sys; from llmlab import Client; client = Client()\n"
        "print(sys.executable, client.url, client.summarize('One. Two. Three.').model.name)",
    )
    assert printed == f"{sys.executable} {lab.url} textrank\n"


def test_what_a_kernel_prints_goes_through_no_port(lab: LabUnderTest, url: str) -> None:
    code = "from ipykernel.connect import get_connection_info; print(get_connection_info())"
    channels = json.loads(printed_by_a_kernel(url, code))
    assert channels["transport"] == "ipc"
    folder = lab.lab.runtime_dir / "jupyter"
    assert Path(channels["ip"]).parent == folder
    assert folder.stat().st_mode & 0o077 == 0


def test_status_names_the_notebook_without_its_token(lab: LabUnderTest, url: str) -> None:
    address = url.partition("?")[0]
    assert lab.json("status")["notebook"] == address
    shown = lab.ok("status")
    assert f"notebook {address}" in shown
    assert token_in(url) not in shown


def test_a_second_call_gives_the_same_server(lab: LabUnderTest, url: str) -> None:
    before = server(lab).pid
    assert lab.ok("notebook", "--no-browser").strip() == url
    assert server(lab).pid == before


def test_a_second_up_keeps_it(lab: LabUnderTest, url: str) -> None:
    before = server(lab).pid
    again = lab.run("up")
    assert "nothing changed" in again.stderr
    assert server(lab).pid == before
    assert lab.ok("notebook", "url").strip() == url


def test_it_can_move_to_another_port_and_the_lab_goes_on(lab: LabUnderTest, url: str) -> None:
    gateway = lab.json("status")["gateway"]["pid"]
    moved = start(lab)
    try:
        assert urlsplit(moved).port != urlsplit(url).port
        assert status(moved, token_in(moved)) == 200
        assert status(url, token_in(url)) == 0
        assert lab.json("status")["gateway"]["pid"] == gateway
    finally:
        assert start(lab, "--port", str(urlsplit(url).port)) == url


def test_killed_hard_it_comes_back(lab: LabUnderTest, url: str) -> None:
    before = server(lab)
    before.kill()
    wait_until(lambda: status(url, token_in(url)) == 200, 40)
    assert server(lab).pid != before.pid


def test_the_browser_is_given_a_private_file_and_not_the_token(
    lab: LabUnderTest, url: str, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/given\n')
    browser.chmod(0o755)
    done = lab.run("notebook", env={"BROWSER": str(browser)})
    assert (done.returncode, done.stdout) == (0, f"{url}\n")
    wait_until(lambda: (tmp_path / "given").exists() and (tmp_path / "given").read_text() != "")
    given = (tmp_path / "given").read_text().strip()
    assert token_in(url) not in given
    page = Path(urlsplit(given).path)
    assert url in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600


def test_every_lab_has_a_token_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    labs = [Lab(tmp_path / name) for name in ("one", "two")]
    for one in labs:
        one.root.mkdir()
    first, second = map(access.token, labs)
    assert first != second
    assert len(first) == 48
    assert access.token(labs[0]) == first


def test_an_emptied_token_file_is_filled_again_for_empty_means_open(tmp_path: Path) -> None:
    file = access.token_file(Lab(tmp_path))
    file.write_text("")
    assert access.token(Lab(tmp_path))
    assert stat.S_IMODE(access.token_file(Lab(tmp_path)).stat().st_mode) == 0o600


def test_in_demo_mode_the_token_is_the_published_one_until_the_demo_ends(
    fresh: LabUnderTest,
) -> None:
    fresh.ok("up", "--demo")
    demo = start(fresh)
    assert demo.endswith("/lab?token=nginxrocks!")
    assert status(demo, "nginxrocks!") == 200
    fresh.ok("keys", "revoke", "0001")
    wait_until(lambda: status(demo, "nginxrocks!") == 403, 30)
    after = fresh.ok("notebook", "url").strip()
    assert "nginxrocks" not in after
    assert status(after, token_in(after)) == 200


def test_down_leaves_neither_server_nor_kernel_and_the_next_up_starts_none(
    fresh: LabUnderTest,
) -> None:
    fresh.ok("up")
    url = start(fresh)
    kernel = psutil.Process(int(printed_by_a_kernel(url, "import os; print(os.getpid())")))
    fresh.ok("down")
    wait_until(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE)
    assert lab_processes(fresh.lab.state) == []
    assert status(url, token_in(url)) == 0
    fresh.ok("up")
    assert fresh.json("status")["notebook"] == ""


def test_a_server_whose_supervisor_was_killed_is_ended_by_down(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    url = start(fresh)
    os.kill(int((fresh.lab.runtime_dir / "supervisord.pid").read_text()), signal.SIGKILL)
    fresh.ok("down")
    assert status(url, token_in(url)) == 0


def test_without_a_running_lab_it_says_what_to_do(fresh: LabUnderTest) -> None:
    for arguments, fix in (("open", "llmlab up"), ("url", "llmlab notebook")):
        done = fresh.run("notebook", arguments)
        assert (done.returncode, done.stdout) == (5, "")
        assert f"Fix: {fix}\n" in done.stderr


def test_a_taken_port_is_an_error_that_names_who_holds_it(lab: LabUnderTest, url: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = lab.run("notebook", "--no-browser", "--port", str(port))
    assert done.returncode == 3
    assert f"port {port} is taken by" in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert status(url, token_in(url)) == 200


def test_a_server_that_does_not_start_shows_its_log_and_the_lab_goes_on(
    fresh: LabUnderTest,
) -> None:
    folder = fresh.root / "notebooks"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("no folder")
    fresh.ok("up")
    done = fresh.run("notebook", "--no-browser", "--port", str(free_port()))
    assert done.returncode == 3
    assert "jupyter does not start" in done.stderr
    assert "No such directory" in done.stderr
    assert fresh.json("status")["healthy"]
    assert fresh.json("status")["notebook"] == ""
    assert lab_processes(fresh.lab.state, "notebook") == []


def test_without_jupyterlab_the_fix_is_the_extra(lab: LabUnderTest, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['jupyterlab'] = None\n")
    done = lab.run("notebook", "--no-browser", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 3
    assert "Fix: pip install 'llmlab[notebook]'" in done.stderr


def test_url_takes_no_port(lab: LabUnderTest) -> None:
    done = lab.run("notebook", "url", "--port", "8889")
    assert done.returncode == 2


@pytest.mark.slow
def test_looking_at_the_command_starts_no_jupyter() -> None:
    code = (
        "import sys; from llmlab.cli.app import app; import llmlab.engines.local; "
        "print([name for name in sys.modules if name.startswith('jupyter')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
