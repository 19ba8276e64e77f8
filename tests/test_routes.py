"""Which deployment a request goes to: real NGINX, of both editions, in front of deployments that
say what they hear. For NGINX Plus stands the open nginx, as in test_plus.py."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmlab.errors import ConfigError
from llmlab.gateway import GatewayPlan, Upstream, render
from llmlab.traffic import Flag, Match, Route, Shadow, Share, Split, Traffic
from tests.conftest import wait_until
from tests.routing import CANARY, STABLE, THIRD, Routed, routed
from tests.summarizing import summarizing
from tests.test_gateway import assert_problem, assert_unauthorized, headers_of
from tests.test_gateway_rendering import ONE_MODEL
from tests.test_plus import PLUS, without_licence

Open = Callable[[Traffic], Routed]
EDITIONS = {"open": {}, "plus": {**PLUS, "change": without_licence}}
both = pytest.mark.parametrize("edition", EDITIONS)


@pytest.fixture
def start(tmp_path: Path, edition: str) -> Iterator[Open]:
    """Start a gateway of the edition under test with some traffic."""
    with contextlib.ExitStack() as stack:
        started = iter(range(100))

        def one(traffic: Traffic) -> Routed:
            folder = tmp_path / str(next(started))
            return stack.enter_context(routed(folder, traffic, **EDITIONS[edition]))

        yield one


# --- X-Model -------------------------------------------------------------------------


@both
def test_a_header_chooses_a_deployment_by_its_name(start: Open) -> None:
    gateway = start(Traffic())
    assert gateway.to() == STABLE
    for name in (STABLE, CANARY, THIRD):
        reply = gateway.ask(("X-Model", name))
        assert reply.header("X-Answered-By") == name
        line = gateway.line(reply)
        assert (line["rule"], line["deployment"]) == ("header", name)
        assert reply.header("X-Deployment") == name


@both
@pytest.mark.parametrize("name", ["unknown", "canary,stable", "none", "default", "~", "$stable"])
def test_a_name_that_is_no_deployment_goes_nowhere(start: Open, name: str) -> None:
    gateway = start(Traffic())
    reply = gateway.ask(("X-Model", name))
    assert "X-Model" in assert_problem(reply, 404)["detail"]
    line = gateway.line(reply)
    assert (line["status"], line["rule"], line["deployment"]) == (404, "", "")
    assert_problem(gateway.ask(("X-Model", name), path="/models/canary/summarize/"), 404)


@both
def test_without_a_token_nobody_learns_which_names_there_are(start: Open) -> None:
    gateway = start(Traffic())
    for name in (CANARY, "unknown"):
        with contextlib.closing(gateway.connection()) as connection:
            assert_unauthorized(gateway.on(connection, ("X-Model", name), token="a.b.c"))


# --- Matches -------------------------------------------------------------------------

KINDS = {
    "header": (Match("header", "X-Tenant", "acme", CANARY), {"headers": ("X-Tenant", "acme")}),
    "cookie": (Match("cookie", "group", "acme", CANARY), {"headers": ("Cookie", "group=acme")}),
    "claim": (Match("claim", "tenant", "acme", CANARY), {"claims": {"tenant": "acme"}}),
    "claim of an odd name": (
        Match("claim", "https://example.com/tenantId", "acme", CANARY),
        {"claims": {"https://example.com/tenantId": "acme"}},
    ),
    "the subject": (Match("claim", "sub", "acme", CANARY), {"claims": {"sub": "acme"}}),
}


@both
@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_one_kind_go_to_one_deployment(start: Open, kind: str) -> None:
    match, asked = KINDS[kind]
    gateway = start(summarizing(matches=(match,), revision=7))
    headers = [asked["headers"]] if "headers" in asked else []
    reply = gateway.ask(*headers, **asked.get("claims", {}))
    assert reply.header("X-Answered-By") == CANARY
    line = gateway.line(reply)
    assert (line["rule"], line["deployment"], line["revision"]) == (match.kind, CANARY, 7)
    other = gateway.ask()
    assert other.header("X-Answered-By") == STABLE
    assert gateway.line(other)["rule"] == "stable"


ODD_VALUES = ["~^.*$", "default", "a b", 'say "hi"', "it's", "$http_host", "\\", "{x};",
              "Jürgen 東京", "#", "include", "hostnames", "*.x", ".*", ""]  # fmt: skip


@both
def test_a_value_is_compared_as_it_is_whatever_it_would_mean_to_nginx(start: Open) -> None:
    values = [one for one in ODD_VALUES if one]
    matches = tuple(Match("claim", "tenant", value, CANARY) for value in values)
    gateway = start(summarizing(matches=matches))
    for value in values:
        assert gateway.to(tenant=value) == CANARY, value
        assert gateway.to(tenant=f"{value}x") == STABLE, value
    for value in ("", "acme", "DEFAULT", "jürgen 東京", "a  b", "a b\n"):
        assert gateway.to(tenant=value) == STABLE, value


@pytest.mark.parametrize("edition", ["open"])
def test_a_claim_that_is_no_plain_value_matches_nothing(start: Open) -> None:
    values = ("a,b", "a", '{"a":1}', "null")
    gateway = start(
        summarizing(matches=tuple(Match("claim", "tenant", value, CANARY) for value in values))
    )
    assert gateway.to(tenant="a,b") == CANARY
    for odd in (["a", "b"], ["a"], {"a": 1}, None):
        assert gateway.to(tenant=odd) == STABLE, odd


@both
def test_the_first_match_counts_and_a_wish_counts_before_all_of_them(start: Open) -> None:
    gateway = start(
        summarizing(
            matches=(Match("claim", "tenant", "acme", CANARY), Match("cookie", "g", "1", THIRD)),
            split=Split((Share(THIRD, 100),)),
        )
    )
    assert gateway.to(("Cookie", "g=1"), tenant="acme") == CANARY
    assert gateway.to(("Cookie", "g=1")) == THIRD
    assert gateway.to(("Cookie", "g=1"), ("X-Model", STABLE), tenant="acme") == STABLE
    assert gateway.to() == THIRD


@both
def test_a_forged_token_is_routed_by_none_of_its_claims(start: Open) -> None:
    gateway = start(summarizing(matches=(Match("claim", "tenant", "acme", CANARY),)))
    forged = replace(gateway.forge, secret=b"the key of somebody else, also 32")
    with contextlib.closing(gateway.connection()) as connection:
        reply = gateway.on(connection, token=forged.token(tenant="acme"))
    assert_unauthorized(reply)
    line = gateway.line(reply)
    assert (line["rule"], line["deployment"], line["flags"]) == ("", "", "")


# --- Shares --------------------------------------------------------------------------

SUBJECTS = [f"subject-{number}" for number in range(2000)]


def at(percent: float, salt: str = "") -> Traffic:
    return summarizing(split=Split((Share(CANARY, percent),), salt=salt))


@both
def test_a_share_is_as_large_as_it_says_and_the_same_subjects_every_time(start: Open) -> None:
    gateway = start(at(25))
    sides = gateway.sides(SUBJECTS)
    assert 23 < 100 * list(sides.values()).count(CANARY) / len(SUBJECTS) < 27
    some = SUBJECTS[:300]
    assert gateway.sides(some) == {sub: sides[sub] for sub in some}
    line = gateway.line(gateway.ask(sub=next(sub for sub in some if sides[sub] == CANARY)))
    assert (line["rule"], line["deployment"]) == ("split", CANARY)


@pytest.mark.parametrize("edition", ["open"])
def test_raising_a_weight_moves_nobody_back(start: Open) -> None:
    some = SUBJECTS[:600]
    there: set[str] = set()
    for percent in (0, 0.5, 5, 25, 50, 99.99, 100):
        sides = start(at(percent)).sides(some)
        now = {sub for sub, side in sides.items() if side == CANARY}
        assert there <= now
        assert abs(len(now) / len(some) * 100 - percent) < 6
        there = now
    assert there == set(some)


@pytest.mark.parametrize("edition", ["open"])
def test_with_another_salt_others_are_the_first_ones(start: Open) -> None:
    some = SUBJECTS[:400]
    one, other = (start(at(50, salt)).sides(some) for salt in ("rollout-1", "rollout-2"))
    same = sum(one[sub] == other[sub] for sub in some)
    assert 150 < same < 250


@both
def test_without_a_subject_the_cookie_decides_and_without_it_the_address(start: Open) -> None:
    gateway = start(at(50))

    def side(cookie: str = "", **claims: object) -> str:
        headers = [("Cookie", f"llmlab={cookie}")] if cookie else []
        return gateway.to(*headers, **claims)

    by_cookie = {name: side(name, sub="") for name in SUBJECTS[:40]}
    assert set(by_cookie.values()) == {STABLE, CANARY}
    assert by_cookie == {name: side(sub=name) for name in by_cookie}  # as a subject of that name
    assert len({side(sub="") for _ in range(10)}) == 1
    assert {side(name, sub="subject-1") for name in SUBJECTS[:20]} == {side(sub="subject-1")}


@both
@pytest.mark.parametrize("by", ["cookie:team", "claim:team"])
def test_a_split_can_be_by_a_cookie_or_a_claim(start: Open, by: str) -> None:
    gateway = start(summarizing(split=Split((Share(CANARY, 50),), by=by)))

    def side(team: str, sub: str) -> str:
        if by.startswith("claim"):
            return gateway.to(team=team, sub=sub)
        return gateway.to(("Cookie", f"team={team}"), sub=sub)

    sides = {team: {side(team, sub) for sub in "abcde"} for team in "klmnopqrst"}
    assert all(len(one) == 1 for one in sides.values())
    assert {next(iter(one)) for one in sides.values()} == {STABLE, CANARY}
    assert gateway.to(sub="alone") in (STABLE, CANARY)


@both
def test_two_shares_and_the_rest_are_three_sides(start: Open) -> None:
    gateway = start(summarizing(split=Split((Share(CANARY, 30), Share(THIRD, 30)))))
    sides = list(gateway.sides(SUBJECTS[:900]).values())
    for name, percent in ((CANARY, 30), (THIRD, 30), (STABLE, 40)):
        assert abs(100 * sides.count(name) / len(sides) - percent) < 5


@both
def test_the_stable_deployment_can_be_another_one_than_the_first(
    tmp_path: Path, edition: str
) -> None:
    with routed(tmp_path, Traffic(), stable=CANARY, **EDITIONS[edition]) as gateway:
        assert gateway.to() == CANARY
        assert gateway.ask(path="/health", method="GET").header("X-Answered-By") == CANARY
        assert gateway.to(path="/models/stable/summarize/") == STABLE


# --- Flags ---------------------------------------------------------------------------


@both
def test_a_flag_is_on_for_its_audience_and_for_a_share_of_the_others(start: Open) -> None:
    flags = (
        Flag("new-prompt", 25, (("sub", "quotes"), ("tenant", "acme"))),
        Flag("off"),
        Flag("all", 100),
    )
    gateway = start(Traffic(flags=flags))

    def told(**claims: object) -> str:
        return headers_of(gateway.ask(**claims))["x-flags"][0]

    assert told(sub="quotes") == "new-prompt=on,off=off,all=on"
    assert told(sub="subject-1", tenant="acme") == "new-prompt=on,off=off,all=on"
    on = [sub for sub in SUBJECTS[:200] if "new-prompt=on" in told(sub=sub)]
    assert 30 < len(on) < 70
    assert gateway.line(gateway.ask(sub="quotes"))["flags"] == "new-prompt=on,off=off,all=on"


@both
def test_a_flag_can_choose_a_deployment_by_itself_or_by_a_match(start: Open) -> None:
    who = (("sub", "quotes"),)
    itself = start(Traffic(flags=(Flag("beta", audience=who, deployment=CANARY),)))
    by_match = start(
        summarizing(
            flags=(Flag("beta", audience=who),), matches=(Match("flag", "beta", "on", THIRD),)
        )
    )
    for gateway, there in ((itself, CANARY), (by_match, THIRD)):
        assert gateway.to(sub="quotes") == there
        assert gateway.to(sub="other") == STABLE
        assert gateway.line(gateway.ask(sub="quotes"))["rule"] == "flag"


@both
def test_flags_set_defaults_for_decoding_and_the_first_one_counts(start: Open) -> None:
    def who(*subjects: str) -> tuple[tuple[str, str], ...]:
        return tuple(("sub", sub) for sub in subjects)

    gateway = start(
        Traffic(
            flags=(
                Flag("short", audience=who("a", "c"), decoding={"max_length": 60, "min_length": 5}),
                Flag("first", audience=who("b", "c"),
                     decoding={"max_length": 9, "strategy": "truncate"}),
            )
        )
    )  # fmt: skip

    def told(sub: str) -> list[str]:
        return headers_of(gateway.ask(sub=sub)).get("x-decoding", [])

    assert told("a") == ["max_length=60,min_length=5"]
    assert told("b") == ["max_length=9,strategy=truncate"]
    assert told("c") == ["max_length=60,min_length=5,strategy=truncate"]
    assert told("d") == []


# --- What the API is told ------------------------------------------------------------

FORGED = "forged-by-the-client"
PATHS = ["/", "/summarize/", "/models/canary/", "/health"]


@both
@pytest.mark.parametrize("path", PATHS)
def test_what_a_client_claims_of_flags_and_routes_does_not_reach_the_api(
    start: Open, path: str
) -> None:
    gateway = start(Traffic(flags=(Flag("beta"),), revision=7))
    for name in ("X-Flags", "X-Decoding", "X-Revision", "x-decoding", "X_Flags"):
        reply = gateway.ask((name, FORGED), path=path, method="GET")
        assert reply.status == 200
        assert FORGED not in reply.body.decode()
    heard = headers_of(reply)
    assert heard["x-flags"] == ["beta=off"]
    assert heard["x-revision"] == ["7"]
    assert "x-decoding" not in heard


TRACE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@both
def test_a_trace_of_the_client_goes_on_with_a_hop_of_the_gateways_own(start: Open) -> None:
    gateway = start(Traffic())
    for path in ("/summarize/", "/models/canary/summarize/"):
        reply = gateway.ask(("traceparent", GIVEN), ("tracestate", "a=1"), path=path)
        heard = headers_of(reply)
        (passed,) = heard["traceparent"]
        found = TRACE.fullmatch(passed)
        assert found
        assert (found[1], found[3]) == (GIVEN[3:35], "00")
        assert found[2] != GIVEN[36:52]
        assert heard["tracestate"] == ["a=1"]
        assert gateway.line(reply)["trace_id"] == GIVEN[3:35]


@both
@pytest.mark.parametrize(
    "given",
    ["", "00-" + "0" * 32 + GIVEN[35:], GIVEN[:36] + "0" * 16 + "-00", GIVEN.upper(), GIVEN + "-x",
     "ff" + GIVEN[2:], GIVEN[:-1], f"{GIVEN}, {GIVEN}"],
)  # fmt: skip
def test_without_a_valid_trace_one_begins_at_the_gateway(start: Open, given: str) -> None:
    gateway = start(Traffic())
    headers = [("traceparent", given), ("tracestate", "a=1")] if given else []
    reply = gateway.ask(*headers)
    heard = headers_of(reply)
    (passed,) = heard["traceparent"]
    found = TRACE.fullmatch(passed)
    assert found
    assert found[1] != GIVEN[3:35]
    assert found[3] == "01"
    assert "tracestate" not in heard
    assert gateway.line(reply)["trace_id"] == found[1]
    assert found[1] != TRACE.fullmatch(headers_of(gateway.ask())["traceparent"][0])[1]  # type: ignore[index]


@both
def test_the_log_says_when_and_how_long_and_by_which_route(start: Open) -> None:
    gateway = start(Traffic(revision=3))
    line = gateway.line(gateway.ask())
    assert abs(line["at"] - time.time()) < 10
    assert line["timing"] == "queue;dur=1.5"
    assert (line["rule"], line["deployment"], line["revision"]) == ("stable", STABLE, 3)
    line = gateway.line(gateway.ask(path="/models/third/summarize/"))
    assert (line["rule"], line["deployment"]) == ("model", THIRD)


# --- The shadow ----------------------------------------------------------------------


def shadowed(percent: float) -> Traffic:
    return summarizing(shadow=Shadow(CANARY, percent))


def eventually_seen(gateway: Routed, count: int) -> list[bytes]:
    deadline = time.monotonic() + 5
    while len(gateway.deployments[CANARY].shadows) < count:
        assert time.monotonic() < deadline, gateway.deployments[CANARY].shadows
        time.sleep(0.02)
    return gateway.deployments[CANARY].shadows


@both
def test_the_shadow_gets_a_copy_and_the_client_the_answer_of_the_stable_one(start: Open) -> None:
    gateway = start(shadowed(100))
    reply = gateway.ask()
    assert (reply.status, reply.header("X-Answered-By")) == (200, STABLE)
    assert eventually_seen(gateway, 1) == [b'{"text": "A lamp."}']
    line = gateway.line(reply)
    assert (line["rule"], line["deployment"]) == ("stable", STABLE)


@both
def test_only_texts_to_be_summarized_are_copied_and_only_of_those_who_may(start: Open) -> None:
    gateway = start(shadowed(100))
    gateway.ask(method="GET")
    gateway.ask(path="/")
    gateway.ask(path="/models/stable/summarize/")
    with contextlib.closing(gateway.connection()) as connection:
        assert gateway.on(connection, token="a.b.c").status == 401
    gateway.ask(path="/summarize/?a=1")
    eventually_seen(gateway, 1)
    time.sleep(0.2)
    assert len(gateway.deployments[CANARY].shadows) == 1


SPELLINGS = ["/summarize", "/summarize?a=1", "//summarize/", "/%73ummarize/", "/./summarize/",
             "/x/../summarize/", "/summarize/?x", "/summarize%2f"]  # fmt: skip


@both
def test_however_its_address_is_spelled_a_text_is_copied_and_logged_as_one(start: Open) -> None:
    gateway = start(shadowed(100))
    for number, path in enumerate(SPELLINGS, 1):
        reply = gateway.ask(path=path)
        query = path.partition("?")[1:]
        assert reply.json()["path"] == "".join(("/summarize/", *query)), path
        assert gateway.line(reply)["endpoint"] == "/summarize/", path
        eventually_seen(gateway, number)


@both
def test_what_only_looks_like_it_is_another_address(start: Open) -> None:
    gateway = start(shadowed(100))
    for path in ("/summarize/x", "/SUMMARIZE/", "/summarize/%0a", "/summarizer", "/%2573ummarize/"):
        reply = gateway.ask(path=path)
        assert reply.json()["path"] == path
        assert gateway.line(reply)["endpoint"] == ""
    gateway.ask()
    eventually_seen(gateway, 1)
    time.sleep(0.2)
    assert len(gateway.deployments[CANARY].shadows) == 1


@both
def test_of_all_requests_so_many_are_copied_whoever_asks(start: Open) -> None:
    gateway = start(shadowed(30))
    with contextlib.closing(gateway.connection()) as connection:
        for _ in range(400):
            assert gateway.on(connection).status == 200
    time.sleep(0.3)
    assert 85 < len(gateway.deployments[CANARY].shadows) < 155


@both
@pytest.mark.parametrize("how", ["silent", "dead"])
def test_a_shadow_that_is_ill_holds_up_no_request_of_the_connection(
    start: Open, how: str, tmp_path: Path
) -> None:
    gateway = start(shadowed(100))
    shadow = gateway.deployments[CANARY]
    shadow.silent.set()
    if how == "dead":
        shadow.socket.unlink()
    with contextlib.closing(gateway.connection()) as connection:
        for _ in range(5):
            begun = time.monotonic()
            assert gateway.on(connection).status == 200
            assert time.monotonic() - begun < 0.6
    if how == "silent":
        wait_until(lambda: len(shadow.shadows) == 5)  # the last copy may be on its way


@both
@pytest.mark.parametrize(
    "path",
    ["/shadow/", "/shadow", "/shadow/answers", "/models/canary/shadow/", "//shadow/",
     "/models/canary//shadow/answers", "/%73hadow/", "/shadow/pair",
     "/models/canary/shadow/chat", "/models/canary/x/../shadow/", "/.shadow"],
)  # fmt: skip
def test_what_the_shadow_wrote_is_not_for_clients(start: Open, path: str) -> None:
    gateway = start(shadowed(100))
    for method in ("GET", "POST"):
        reply = gateway.ask(path=path, method=method)
        assert reply.status == 404
        assert reply.all("X-Answered-By") == []
    assert gateway.deployments[CANARY].shadows == []


# --- What cannot be rendered ---------------------------------------------------------

TWO = replace(ONE_MODEL, upstreams=(*ONE_MODEL.upstreams, Upstream("b", ("127.0.0.1:1",))))
REFUSED = {
    "no deployment 'gone'": summarizing(split=Split((Share("gone", 5),))),
    "a shadow that is none": summarizing(shadow=Shadow("gone", 5)),
    "a flag that is none": summarizing(matches=(Match("flag", "gone", "on", "b"),)),
    "a line break": summarizing(matches=(Match("claim", "sub", "a\nb", "b"),)),
    "a control character": Traffic(flags=(Flag("a", audience=(("sub", "a\x00"),)),)),
    "a header's name": summarizing(matches=(Match("header", "X Y", "a", "b"),)),
    "a header's name that goes on": summarizing(matches=(Match("header", "X;\n", "a", "b"),)),
    "a cookie's name": summarizing(matches=(Match("cookie", "a-b", "a", "b"),)),
    "a claim's name": summarizing(matches=(Match("claim", 'a"b', "a", "b"),)),
    "a flag's name": Traffic(flags=(Flag("A b"),)),
    "a salt": summarizing(split=Split((Share("b", 5),), salt="$request_id")),
    "a way to split": summarizing(split=Split((Share("b", 5),), by="moon")),
    "a decoding parameter": Traffic(flags=(Flag("a", decoding={"max length": 1}),)),
    "a value for decoding": Traffic(flags=(Flag("a", decoding={"strategy": "x;y"}),)),
}


def test_what_is_shared_out_on_a_route_that_is_gone_is_not_forgotten() -> None:
    gone = Traffic().with_route("chat", Route(stable="b", rollout=4, step=1))
    with pytest.raises(ConfigError, match="on the route chat, and this lab has none") as refused:
        render(replace(TWO, traffic=gone))
    assert "llmlab up --as-configured" in (refused.value.fix or "")


def test_a_route_may_go_once_its_last_rollout_is_over() -> None:
    over = Traffic().with_route("chat", Route(rollout=4, step=1))
    assert "chat" not in render(replace(TWO, traffic=over))["lab/routes.conf"]


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("edition", EDITIONS)
def test_what_nginx_could_misread_is_not_rendered(what: str, edition: str) -> None:
    plan: GatewayPlan = replace(TWO, traffic=REFUSED[what], edition=edition)
    with pytest.raises(ConfigError) as refused:
        render(plan)
    assert refused.value.fix


def test_shares_are_rounded_so_that_they_never_sum_up_to_more_than_all() -> None:
    thirds = tuple(Share(name, 100 / 3) for name in ("b", "textrank", "b"))
    text = render(replace(TWO, traffic=summarizing(split=Split(thirds))))["lab/routes.conf"]
    assert text.count("33.33%") == 3


def test_a_share_of_nothing_is_not_rendered() -> None:
    text = render(replace(TWO, traffic=summarizing(split=Split((Share("b", 0.004),)))))
    assert text["lab/routes.conf"].count("split:b") == 0
