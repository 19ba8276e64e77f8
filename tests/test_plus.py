"""The edition for NGINX Plus. There is no licence here, so no NGINX Plus runs in these tests.

What stands in for it: a list of the directives that Plus documents, against which the whole
configuration is held; and the open nginx, which runs that very configuration (less the mgmt
block) with the open auth_jwt module, whose directives of the same name do the same.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmlab.auth import demo
from llmlab.auth.keys import Key
from llmlab.config import Config, Gateway, RateLimit
from llmlab.engines.compose.edition import PLUS_IMAGE, compose_files, gateway_image
from llmlab.gateway import GatewayPlan, render
from tests.conftest import LabUnderTest
from tests.test_gateway import (
    BAD_TOKENS,
    PUBLISHED,
    EchoGateway,
    Files,
    Forge,
    ask,
    assert_problem,
    assert_unauthorized,
    echo_gateway,
    eventually,
    headers_of,
    hmac_by_attacker,
    soon,
    statuses,
)
from tests.test_gateway_rendering import NGINX_CONF, ONE_MODEL, PLUS_PLANS

LIST = Path(__file__).parent / "plus_directives.txt"
CONTAINED = replace(PLUS_PLANS["plus"], metrics="9113", scraped_at="nginx:9113")

# --- What Plus documents -------------------------------------------------------------

# What stands in these blocks are values, not directives.
TABLES = {"map", "types", "geo", "split_clients"}
TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|[^\s{};\\])+""")


def directives(text: str) -> Iterator[str]:
    """The names of all directives in a piece of configuration."""
    words: list[str] = []
    blocks: list[str] = []
    for token in TOKEN.findall(text):
        if token.startswith("#"):
            continue
        if token not in "{};":
            words.append(token)
            continue
        if words and not (blocks and blocks[-1] in TABLES):
            yield words[0]
        if token == "{":
            blocks.append(words[0])
        elif token == "}":
            blocks.pop()
        words = []
    assert not blocks


def documented() -> set[str]:
    lines = LIST.read_text().splitlines()
    return {word for line in lines if line[:1] not in ("#", "[") for word in line.split()}


def whole(plan: GatewayPlan) -> str:
    parts = [text for name, text in render(plan).items() if name.endswith(".conf")]
    return "\n".join([NGINX_CONF.read_text(), *parts])


@pytest.mark.parametrize("plan", [*PLUS_PLANS.values(), CONTAINED], ids=[*PLUS_PLANS, "contained"])
def test_every_directive_is_one_that_nginx_plus_documents(plan: GatewayPlan) -> None:
    used = set(directives(whole(plan)))
    assert {"mgmt", "license_token", "auth_jwt", "auth_jwt_require", "limit_req_zone"} <= used
    assert used - documented() == set()


def test_what_is_not_of_plus_is_only_in_the_files_of_the_open_edition() -> None:
    assert set(directives(NGINX_CONF.read_text())) - documented() == set()
    assert set(directives(whole(replace(ONE_MODEL, demo_kid="0001")))) - documented() == {
        "auth_jwt_phase", "auth_jwt_validate_exp", "auth_jwt_www_authenticate", "js_body_filter",
        "js_content", "js_import", "js_preload_object", "js_set", "js_shared_dict_zone", "js_var",
    }  # fmt: skip


def test_every_variable_of_a_token_is_one_that_nginx_plus_documents() -> None:
    names = set(re.findall(r"\$(jwt_\w+)", whole(CONTAINED)))
    assert "jwt_claim_sub" in names
    assert all(re.fullmatch(r"jwt_(claim|header)_[a-z]+", name) for name in names)


def test_no_script_is_rendered_for_plus() -> None:
    assert not [name for name in render(CONTAINED) if not name.endswith(".conf")]


# --- The same configuration on the open nginx ----------------------------------------


def without_licence(files: Files) -> Files:
    main = files["lab/main.conf"]
    assert main.count("mgmt {") == 1
    return files | {"lab/main.conf": re.sub(r"mgmt \{.*\}\n", "", main)}


# Plus reads claims whenever somebody asks for them, before anybody looked at the signature.
EARLY = """
function sub(r) {
    try {
        const token = r.headersIn.Authorization.split(' ')[1];
        return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).sub || '';
    } catch (e) { return ''; }
}
export default { sub };
"""


def with_early_claims(files: Files) -> Files:
    changed = {name: text.replace("$jwt_claim_sub", "$early_sub") for name, text in files.items()}
    assert changed != files
    changed["lab/http.conf"] += "js_import early from lab/early.js;\njs_set $early_sub early.sub;\n"
    return without_licence(changed) | {"lab/early.js": EARLY}


BURST = 3
LIMIT = RateLimit(rate="1r/m", burst=BURST)
PLUS = {"edition": "plus", "license": "/nowhere/license.jwt"}


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoGateway]:
    """Without a rate limit."""
    folder = tmp_path_factory.mktemp("plus")
    with echo_gateway(folder, change=without_licence, **PLUS) as one:
        yield one


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limited") / "log"


@pytest.fixture(scope="module")
def limited(log: Path) -> Iterator[EchoGateway]:
    with echo_gateway(log.parent, change=with_early_claims, rate_limit=LIMIT, **PLUS) as one:
        yield one


# Why the open nginx lets these in where Plus is configured.
LET_IN = {
    # Plus itself checks nbf (see auth_jwt_leeway in its reference); the open module does not.
    "nbf in the future", "nbf as a string", "nbf null", "nbf true",
    # Nobody checks: it takes njs. Only the holder of a key can make such a token.
    "crit, an empty string",
    "sub that is a list", "sub that is an object", "sub that is a number", "sub that is null",
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_TOKENS)
def test_a_bad_token_is_refused_but_for_what_is_plus_own_part(plus: EchoGateway, what: str) -> None:
    reply = ask(plus.port, token=BAD_TOKENS[what](plus.forge))
    if what in LET_IN:
        assert reply.status == 200
    else:
        assert_unauthorized(reply)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
def test_the_scheme_of_an_authorization_has_no_case_and_spaces_behind_it(
    plus: EchoGateway, scheme: str
) -> None:
    token = plus.forge.token(sub="alice")
    reply = ask(plus.port, "/", ("Authorization", f"{scheme} {token}"))
    assert headers_of(reply)["x-subject"] == ["alice"]


def test_a_request_without_a_token_is_challenged_once(plus: EchoGateway) -> None:
    for path in ("/", "/models/echo", "/models/echo/", "/openapi.json", "/.stable", "/@stable"):
        assert_unauthorized(ask(plus.port, path))


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        ("/", "/"),
        ("/summarize/?a=1&b=%20", "/summarize/?a=1&b=%20"),
        ("/models/echo", "/"),
        ("/models/echo/", "/"),
        ("/models/echo/summarize/?a=1", "/summarize/?a=1"),
        ("/models/echo/a%20b%3Fc%25d", "/a%20b%3Fc%25d"),
        ("/models/echo/a%0Ab", "/a%0Ab"),
        ("/health/live", "/health/live"),
    ],
)
def test_the_api_sees_the_path_without_the_gateways_part(
    plus: EchoGateway, asked: str, heard: str
) -> None:
    reply = plus.heard(path=asked)
    assert reply.status == 200
    assert reply.json()["path"] == heard


def test_the_open_edition_passes_the_same_paths_on(tmp_path: Path) -> None:
    with echo_gateway(tmp_path) as gateway:
        for odd in ("a%20b%3Fc%25d", "a%0Ab"):
            assert gateway.heard(path=f"/models/echo/{odd}").json()["path"] == f"/{odd}"


def test_a_body_arrives_whole_behind_the_second_location(plus: EchoGateway) -> None:
    body = json.dumps({"text": "a wave " * 40_000}).encode()
    reply = ask(plus.port, "/summarize/", method="POST", body=body, token=plus.forge.token())
    heard = headers_of(reply)
    assert reply.json()["method"] == "POST"
    assert heard["content-length"] == [str(len(body))]
    assert heard["x-subject"] == ["tester"]
    assert "authorization" not in heard


def test_an_api_that_is_away_is_a_problem_document(plus: EchoGateway) -> None:
    assert_problem(plus.heard(path="/models/gone/summarize/"), 502)


def test_each_subject_has_a_limit_of_its_own_over_all_paths(limited: EchoGateway) -> None:
    eager = limited.forge.token(sub="eager")
    assert statuses(limited.port, eager, BURST + 3) == [200] * (BURST + 1) + [429] * 2
    reply = ask(limited.port, "/models/echo/", token=limited.forge.token(sub="eager", n=2))
    assert_problem(reply, 429)
    assert ask(limited.port, token=limited.forge.token(sub="patient")).status == 200


def test_a_forged_token_uses_up_nobodys_limit_but_its_address(limited: EchoGateway) -> None:
    forged = hmac_by_attacker(limited.forge)
    victim = limited.forge.claims()["sub"]
    seen = statuses(limited.port, forged, BURST + 3)
    assert seen == [401] * (BURST + 1) + [429] * 2
    honest = limited.forge.token(sub=victim)
    assert statuses(limited.port, honest, BURST + 2) == [200] * (BURST + 1) + [429]


def test_a_forged_token_names_no_subject_upstream_or_in_the_log(
    limited: EchoGateway, log: Path
) -> None:
    forger = Forge(limited.forge.kid, b"the secret of somebody else")
    heard = headers_of(ask(limited.port, "/health", token=forger.token(sub="made-up")))
    assert "x-subject" not in heard
    assert ask(limited.port, token=forger.token(sub="made-up")).status in (401, 429)
    assert headers_of(limited.heard(sub="known"))["x-subject"] == ["known"]
    eventually(lambda: '"subject":"known"' in log.read_text())
    assert "made-up" not in log.read_text()


@pytest.mark.slow
def test_in_demo_mode_only_the_published_token_may_lack_exp(tmp_path: Path) -> None:
    def like_plus(files: Files) -> Files:
        server = files["lab/server.conf"] + "auth_jwt_validate_exp off;\n"
        return without_licence(files) | {"lab/server.conf": server}

    for kid, status in ((demo.KID, 200), ("", 401)):
        folder = tmp_path / f"demo-{kid}"
        folder.mkdir()
        with echo_gateway(
            folder, key=Key(demo.JWK), change=like_plus, demo_kid=kid, **PLUS
        ) as gateway:
            assert ask(gateway.port, token=PUBLISHED).status == status
    with echo_gateway(tmp_path, change=like_plus, demo_kid=demo.KID, **PLUS) as gateway:
        assert ask(gateway.port, token=gateway.forge.carrying({"sub": "a"})).status == 401
        assert ask(gateway.port, token=gateway.forge.carrying({"exp": soon()})).status == 200


# --- What containers mount -----------------------------------------------------------

LICENSE = "the licence, which is secret"


@pytest.fixture
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(gateway__edition='"plus"', gateway__license='"license.jwt"')
    (one.root / "license.jwt").write_text(LICENSE)
    (one.root / "license.jwt").chmod(0o600)
    return one


def test_the_licence_is_mounted_beside_the_configuration_that_names_it(lab: LabUnderTest) -> None:
    lab.ok("keys", "init")
    current = lab.lab.state / "compose" / "nginx" / "current"
    assert (current / "license.jwt").read_text() == LICENSE
    named = re.findall(r'license_token "(.*)"', (current / "lab" / "main.conf").read_text())
    assert named == ["/etc/nginx/lab/current/license.jwt"]
    assert stat.S_IMODE((current / "license.jwt").stat().st_mode) == 0o644
    assert stat.S_IMODE(lab.lab.state.stat().st_mode) == 0o700


def test_without_its_licence_nothing_is_laid_out_and_the_way_on_is_said(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(gateway__edition='"plus"')
    done = lab.run("keys", "init")
    assert done.returncode == 0
    assert "NGINX Plus in a container needs its licence" in " ".join(done.stderr.split())
    assert "Fix: set gateway.license" in done.stderr
    assert not (lab.lab.state / "compose" / "nginx" / "current").exists()


def test_a_key_that_containers_would_go_on_to_accept_is_an_error(lab: LabUnderTest) -> None:
    lab.ok("keys", "init")
    (lab.root / "license.jwt").unlink()
    done = lab.run("keys", "rotate")
    assert done.returncode == 3
    assert "mounts holds the ones from before" in " ".join(done.stderr.split())
    assert "license.jwt cannot be read" in " ".join(done.stderr.split())


def test_the_open_edition_needs_no_licence(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab(gateway__license='"license.jwt"')
    lab.ok("keys", "init")
    current = lab.lab.state / "compose" / "nginx" / "current"
    assert not (current / "license.jwt").exists()
    assert "mgmt" not in (current / "lab" / "main.conf").read_text()


def test_the_edition_decides_over_compose_files_and_image() -> None:
    plus, built = Gateway(edition="plus"), "llmlab-nginx:v1"
    assert compose_files(Config()) == ["docker-compose.yml"]
    assert compose_files(Config(gateway=plus)) == [
        "docker-compose.yml", "configs/docker/plus.compose.yml",
    ]  # fmt: skip
    assert gateway_image(Config(), built) == built
    assert gateway_image(Config(gateway=plus), built) == PLUS_IMAGE
    for edition in ("open", "plus"):
        own = Gateway(edition=edition, image="registry.example.com/nginx:r36")
        assert gateway_image(Config(gateway=own), built) == "registry.example.com/nginx:r36"


@pytest.mark.slow
@pytest.mark.parametrize("path", ['a"; worker_processes 1; #', "a\\b", "a$b", "a\nb"])
def test_a_licence_whose_path_would_be_more_than_a_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="should be a path"):
        Gateway(license=path)


# --- With a Docker engine ------------------------------------------------------------

TAG = "plus-test"
# An image that stands in for NGINX Plus's: the open nginx under that name, which shows that
# it can read the licence and write its state, and leaves out the mgmt block.
STAND_IN = f"""\
FROM llmlab-nginx:{TAG}
COPY nginx /usr/local/bin/nginx
RUN chmod 755 /usr/local/bin/nginx && mkdir -p /var/lib/nginx/state
"""
STAND_IN_NGINX = r"""#!/bin/bash
set -e
current=/etc/nginx/lab/current copy=/run/llmlab/copy
file=$(sed -n 's/.*license_token "\(.*\)".*/\1/p' $current/lab/main.conf)
echo "the licence is: $(cat "$file")"
touch /var/lib/nginx/state/reported
cp -rL $current $copy
sed -i /^mgmt/d $copy/lab/main.conf
exec nginx-lab "${@/#$current/$copy}"
"""


CONF = "/etc/nginx/lab/current/nginx.conf"


def compose(lab: LabUnderTest, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    files = compose_files(Config(gateway=Gateway(edition="plus")))
    options = [word for file in files for word in ("--file", file)]
    return subprocess.run(
        ["docker", "compose", *options, *arguments], cwd=lab.root,
        env=lab.env | {"LLMLAB_PORT": str(lab.port)} | env,
        text=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.mark.containers
def test_compose_takes_the_image_of_nginx_plus_unless_told_another(lab: LabUnderTest) -> None:
    lab.ok("keys", "init")
    for env, image in (
        ({}, PLUS_IMAGE),
        ({"NGINX_IMAGE": "registry.example.com/plus:r36"}, "registry.example.com/plus:r36"),
    ):
        done = compose(lab, "config", "--format", "json", **env)
        assert (done.returncode, done.stderr) == (0, "")
        service = json.loads(done.stdout)["services"]["nginx"]
        assert service["image"] == image
        assert service["read_only"]
        assert service["user"] == "10101:10101"
        assert len(service["tmpfs"]) == 2


@pytest.mark.containers
def test_the_plus_edition_comes_up_in_containers_of_an_image_that_stands_in(
    lab: LabUnderTest, article: str, tmp_path: Path
) -> None:
    lab.ok("build", "--extra", "none", "--tag", TAG)
    (tmp_path / "Dockerfile").write_text(STAND_IN)
    (tmp_path / "nginx").write_text(STAND_IN_NGINX)
    build = ["docker", "build", "--tag", f"stand-in:{TAG}", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    lab.ok("keys", "init")
    images = {"NGINX_IMAGE": f"stand-in:{TAG}", "LLMAPI_IMAGE": f"llmapi:{TAG}"}
    try:
        done = compose(lab, "up", "-d", "--wait", "llmapi", "nginx", **images)
        said = compose(lab, "logs", "nginx", **images).stdout
        assert done.returncode == 0, done.stderr + said
        assert f"the licence is: {LICENSE}" in said
        told = lab.run("summarize", "-", stdin=article, env={"LLMLAB_URL": lab.url})
        assert told.returncode == 0, told.stderr
        assert ask(lab.port).status == 401
        checked = compose(
            lab, "run", "--rm", "--no-deps", "-T", "nginx", "-c", CONF, "-t", **images
        )
        assert checked.returncode == 0, checked.stderr
    finally:
        compose(lab, "down", "--volumes", **images)
        names = [f"stand-in:{TAG}", f"llmapi:{TAG}", f"llmlab-nginx:{TAG}"]
        subprocess.run(["docker", "rmi", "--force", *names], capture_output=True)
