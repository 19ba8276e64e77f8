"""protocol, third part: what lies behind the gateway is not reached by a trick, and what it says
no with is a document that tells nothing of its inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from llmlab.proving.answers import Answer, shortened
from llmlab.proving.checks.desync import FRAMING
from llmlab.proving.findings import (
    Evidence,
    Finding,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import CHAT, SUMMARIZE, Target

PROTOCOL = FRAMING
OPERATORS = ("/metrics", "/shadow/answers", "/stub_status", "/nginx_status", "/server-status",
             "/api/9/nginx", "/debug/pprof/", "/.env", "/.git/config", "/actuator/env")  # fmt: skip
EXPOSED = re.compile(r"^# (HELP|TYPE) \w+", re.MULTILINE)
FILES = re.compile(r"root:[x*]?:0:0:|\[core\]\s+repository|worker_processes\s")
STACK = re.compile(
    r'Traceback \(most recent|File "[^"]+\.py", line \d+|\bat [\w.$]+\(\w+\.java:\d+|'
    r"node_modules/|panic: runtime error|/site-packages/"
)
VERSION = re.compile(r"(nginx|openresty|uvicorn|gunicorn|hypercorn|python|envoy|apache|express|php)"
                     r"[/ -]v?\d+[.\d]*", re.IGNORECASE)  # fmt: skip


def tricks(target: Target) -> Iterator[str]:
    """Addresses that mean /metrics or /shadow to somebody who reads them otherwise."""
    inside = ["/health", "/docs", "/v1/models", *(f"/models/{one}" for one in target.names[:4])]
    for place in ("metrics", "shadow/answers"):
        yield from (
            f"//{place}", f"/./{place}", f"/%2e/{place}", f"/x/../{place}", f"/x/%2e%2e/{place}",
            f"/..;/{place}", f"/x/..;/{place}", f"/%2f{place}", f"/{place}/", f"/{place}%00",
            f"/{place}%20", f"/{place};x=1", f"/{place}%3fx", f"/{place}%23x", f"/{place}.json",
            f"/{place.upper()}", f"/%6d{place[1:]}" if place == "metrics" else f"/%73{place[1:]}",
            f"/x%2f..%2f{place}", f"/x%252f..%252f{place}", f"/\\{place}", f"/..%5c{place}",
        )  # fmt: skip
        yield from (f"{one}/../{place}" for one in inside)
        yield from (f"{one}/..%2f{place}" for one in inside)
        yield from (f"{one}/{place}" for one in inside)


def leak(answer: Answer) -> str:
    """What an answer shows that is none of the client's business; "" for nothing."""
    if answer.good and EXPOSED.search(answer.text):
        return "the metrics"
    if answer.good and isinstance(document := answer.json(), dict) and "dropped" in document:
        return "what the shadow wrote"
    return "a file of the machine" if FILES.search(answer.text) else ""


@PROTOCOL.check(
    "operators-addresses",
    "What is for the operator is not answered to clients.",
    requests=2 * len(OPERATORS),
    fix="return 404 for these addresses, and have them on a socket of their own",
)
async def operators(target: Target) -> Finding:
    token = await target.token("operator")
    for path in OPERATORS:
        for who in ("", token):
            answer = await target.ask("GET", path, token=who)
            if answer.good and (found := leak(answer) or _plain(answer)):
                return failed(f"{path} shows {found}", answer)
    return passed(
        f"{len(OPERATORS)} addresses are asked with and without a token, and show nothing"
    )


def _plain(answer: Answer) -> str:
    """Some of these say it in words of their own; an API that answers any address says JSON."""
    return "text of its own" if answer.header("content-type").startswith("text/plain") else ""


@PROTOCOL.check(
    "path-tricks",
    "No spelling of an address leads past the gateway's rules.",
    requests=62,
    fix="match locations on the normalized path, and pass that on",
)
async def path_tricks(target: Target) -> Finding:
    token, asked = await target.token("tricks"), 0
    for path in tricks(target):
        asked += 1
        answer = await target.ask("GET", path, token=token)
        if found := leak(answer):
            return failed(f"{path} shows {found}", answer)
    return passed(f"{asked} spellings of two addresses show nothing")


@PROTOCOL.check("files", "No address leads to a file of the machine.", requests=6,
                fix="alias and root with a slash at both ends, or none at all")  # fmt: skip
async def files(target: Target) -> Finding:
    token = await target.token("files")
    deep = "../" * 8
    for path in (f"/{deep}etc/passwd", f"/docs/{deep}etc/passwd", "/docs../nginx.conf",
                 "/..%2f..%2f..%2f..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
                 "/nginx.conf"):  # fmt: skip
        answer = await target.ask("GET", path, token=token)
        if found := leak(answer):
            return failed(f"{path} shows {found}", answer)
    return passed("six ways to a file lead nowhere")


@PROTOCOL.check("null-in-address", "An address with NUL is refused.",
                fix="NGINX answers it with 400")  # fmt: skip
async def null(target: Target) -> Finding:
    answer = await target.open_at("/%00")
    return insist(400 <= answer.status < 500, f"it is refused with {answer.status}",
                  f"the answer is {answer.status}", answer)  # fmt: skip


# --- what it says no with ---------------------------------------------------------------------


async def refusals(target: Target) -> list[tuple[str, Answer]]:
    """Answers of the gateway's own: what it was asked, and the answer. Asked once."""
    if known := target.kept.get("refusals"):
        return list(known)
    token = await target.token("refused")
    asked: list[tuple[str, bytes, str]] = [
        ("no token", target.request("GET", target.guarded), "GET"),
        ("nothing there", target.request("GET", "/nothing/here", token=token), "GET"),
        ("TRACE", target.request("TRACE", target.guarded, token=token), "TRACE"),
        ("a long address", target.request("GET", f"/?{'a' * 20_000}", token=token), "GET"),
        ("a long header", target.request("GET", "/", token=token,
                                         headers={"X-Long": "a" * 20_000}), "GET"),
        ("a huge body", target.request("POST", SUMMARIZE, token=token,
                                       headers={"Content-Length": str(1 << 40)}), "POST"),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n", "GET"),
    ]  # fmt: skip
    found = []
    for what, data, method in asked:
        heard = await target.raw(data, methods=(method,), patience=3.0)
        if heard.first and heard.first.status >= 400:
            found.append((what, heard.first))
    target.kept["refusals"] = found
    return found


@PROTOCOL.check("problem-documents", "What the gateway refuses it refuses by a document.",
                requests=7, fix="error_page for all of them, with application/problem+json "
                "(RFC 9457) or the field's own error")  # fmt: skip
async def documents(target: Target) -> Finding:
    found = await refusals(target)
    if len(found) < 4:
        return undecided(f"only {len(found)} of 7 odd requests were refused")
    odd = [(what, one) for what, one in found if what_is_wrong(one)]
    if not odd:
        return passed(f"{len(found)} refusals are documents, each with its status")
    told = ", ".join(f"{what} ({one.status}: {what_is_wrong(one)})" for what, one in odd)
    return failed(f"no document: {told}", odd[0][1])


def what_is_wrong(answer: Answer) -> str:
    """Why a refusal is no problem document, nor an error of OpenAI's; "" if it is one."""
    kind = answer.header("content-type").partition(";")[0]
    document = answer.json()
    if not isinstance(document, dict):
        return kind or "no type"
    if isinstance(error := document.get("error"), dict):
        return "" if {"message", "type", "param", "code"} <= error.keys() else "half an error"
    if kind != "application/problem+json":
        return kind
    return "" if document.get("status") == answer.status else "another status"


@PROTOCOL.check("no-versions", "Nobody is told which versions run.", requests=9,
                fix="server_tokens off; proxy_hide_header Server, X-Powered-By")  # fmt: skip
async def versions(target: Target) -> Finding:
    seen = [answer for _, answer in await refusals(target)]
    seen.append(await target.open(await target.token("versions")))
    seen.append(await target.open_at("/"))
    for answer in seen:
        said = [answer.header(name) for name in ("server", "x-powered-by", "via", "x-runtime")]
        body = "" if answer.good else answer.text
        if found := VERSION.search("\n".join([*said, body])):
            got = f"{answer.status} {'; '.join(filter(None, said))} {body}"
            return failed(f"it says {found[0]}", Evidence(answer.sent, shortened(got)))
    return passed(f"{len(seen)} answers name none")


@PROTOCOL.check("no-inside", "An error tells nothing of the inside.", requests=5,
                fix="catch errors of the API, and answer a document")  # fmt: skip
async def inside(target: Target) -> Finding:
    token, odd = await target.token("inside"), "\ud800"
    where = CHAT if target.model else target.guarded
    bodies = [b"{", b"[" * 5000, b"\xff\xfe", b'{"messages": 1}', json.dumps({"a": odd}).encode()]
    for body in bodies:
        answer = await target.ask("POST", where, token=token, body=body)
        if answer.status >= 500:
            return failed(f"a body that is no JSON brings about {answer.status}", answer)
        if found := STACK.search(answer.text):
            return failed(f"an error says {found[0]}", answer)
    return passed("five odd bodies are refused in words")


@PROTOCOL.check("answers-have-ids", "Each refusal can be found again in the log.", requests=7,
                fix="add_header X-Request-ID ... always, in error pages as well")  # fmt: skip
async def with_ids(target: Target) -> Finding:
    found = await refusals(target)
    bare = [(what, one) for what, one in found if not one.header("x-request-id")]
    if len(bare) == len(found):
        return not_applicable("no refusal has an X-Request-ID")
    return insist(not bare, f"{len(found)} refusals have an X-Request-ID",
                  f"none has: {', '.join(what for what, _ in bare)}",
                  *(one for _, one in bare[:1]))  # fmt: skip
