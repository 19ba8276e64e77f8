"""tls: who listens in hears nothing, and who answers is who the name says.

Each check has connections of its own; none but the last ones says anything on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmlab.proving.findings import (
    Evidence,
    Finding,
    Group,
    Run,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import Target
from llmlab.proving.wire import CONNECT

TLS = Group("tls")
PLAIN = "the gateway speaks plain HTTP here"
INTERMEDIATE = "ssl_protocols TLSv1.2 TLSv1.3; and the ciphers of Mozilla's intermediate settings"
# In OpenSSL's words. Without forward secrecy, without a name, or broken.
WEAK = "aNULL:eNULL:EXPORT:LOW:RC4:3DES:SEED:IDEA:kRSA:kPSK:@SECLEVEL=0"
DAYS = 7  # a certificate that ends sooner is not renewed by itself
DAY = 86_400
Made = Callable[[ssl.SSLContext], None]


def context(make: Made = lambda _: None) -> ssl.SSLContext:
    """One that takes any certificate: what is asked is how it is spoken."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what is asked for
        make(made)
    return made


async def handshake(target: Target, made: ssl.SSLContext) -> ssl.SSLObject | Exception:
    """What was agreed upon, or why nothing was."""
    wire = replace(target.wire, tls=made)
    try:
        async with asyncio.timeout(CONNECT), wire.open() as (_, writer):
            agreed: Any = writer.get_extra_info("ssl_object")
            assert isinstance(agreed, ssl.SSLObject)
            return agreed
    except Exception as error:
        return error


def _secure(run: Run) -> Run:
    async def only(target: Target) -> Finding:
        return not_applicable(PLAIN) if target.wire.tls is None else await run(target)

    return only


def tls(name: str, proves: str, *, fix: str) -> Callable[[Run], Run]:
    """As ``Group.check``, of what there is where TLS is spoken."""

    def add(run: Run) -> Run:
        TLS.add(name, proves, _secure(run), fix=fix)
        return run

    return add


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error.__cause__ or error or "no answer")[:120]


@tls("old-versions", "Nothing older than TLS 1.2 is spoken.", fix=INTERMEDIATE)
async def old_versions(target: Target) -> Finding:
    def old(made: ssl.SSLContext) -> None:
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.maximum_version = ssl.TLSVersion.TLSv1_1
        made.set_ciphers("ALL:@SECLEVEL=0")

    found = await handshake(target, context(old))
    if isinstance(found, ssl.SSLObject):
        return failed(f"{found.version()} is agreed upon", Evidence("TLS 1.0 to 1.1", "agreed"))
    if "no protocols available" in _why(found).lower().replace("_", " "):
        return undecided("this machine's OpenSSL does not speak them itself")
    return passed("an older client is refused", Evidence("TLS 1.0 to 1.1", _why(found)))


@tls("version-1.3", "TLS 1.3 is spoken.", fix=INTERMEDIATE)
async def version_1_3(target: Target) -> Finding:
    def new(made: ssl.SSLContext) -> None:
        made.minimum_version = ssl.TLSVersion.TLSv1_3

    found = await handshake(target, context(new))
    if isinstance(found, Exception):
        return failed(f"it is not: {_why(found)}", Evidence("TLS 1.3 only", _why(found)))
    return passed(f"with {(found.cipher() or ('?',))[0]}")


@tls("weak-ciphers", "No cipher is agreed upon that can be read later.", fix=INTERMEDIATE)
async def weak_ciphers(target: Target) -> Finding:
    def weak(made: ssl.SSLContext) -> None:
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(WEAK)

    try:
        made = context(weak)
    except ssl.SSLError:
        return undecided("this machine's OpenSSL knows none of them itself")
    found = await handshake(target, made)
    if isinstance(found, ssl.SSLObject):
        name = (found.cipher() or ("?",))[0]
        return failed(f"{name} is agreed upon", Evidence(WEAK, name))
    return passed("none of the weak ones is", Evidence(WEAK, _why(found)))


@tls("certificate", "The certificate is by somebody known, and of this name.",
     fix="a certificate of a known authority for this name, with all that stand between; of an "
     "authority of your own, give --ca-file")  # fmt: skip
async def certificate(target: Target) -> Finding:
    assert target.wire.tls is not None
    found = await handshake(target, target.wire.tls)
    if isinstance(found, ssl.SSLObject):
        return passed("it is verified")
    return failed(_why(found), Evidence(f"TLS for {target.wire.host}", _why(found)))


async def _chain(target: Target) -> Any:
    """The certificate itself; None where there is none to be had."""
    from cryptography import x509

    found = await handshake(target, context())
    if isinstance(found, Exception):
        return None
    raw = found.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(raw) if raw else None


@tls("renewal", f"The certificate holds for more than {DAYS} days.",
     fix="renew it by itself, and have the gateway take it over")  # fmt: skip
async def renewal(target: Target) -> Finding:
    found = await _chain(target)
    if found is None:
        return undecided("there is no certificate to look at")
    life = found.not_valid_after_utc - found.not_valid_before_utc
    left = found.not_valid_after_utc.timestamp() - time.time()
    # Of one that lives for days only, as those that are renewed by themselves, a third.
    least = min(DAYS * DAY, life.total_seconds() / 3)
    return insist(left > least, f"it holds for {left / DAY:.0f} more days",
                  f"it ends in {left / DAY:.1f} days" if left > 0 else "it has ended")  # fmt: skip


@tls("key", "The key and the signature of the certificate are strong ones.",
     fix="P-256, or RSA of 2048 bits and more; SHA-256")  # fmt: skip
async def key(target: Target) -> Finding:
    found = await _chain(target)
    if found is None:
        return undecided("there is no certificate to look at")
    public, signed = found.public_key(), found.signature_hash_algorithm
    bits, kind = getattr(public, "key_size", 256), type(public).__name__.lstrip("_")
    weak = bits < (2048 if "RSA" in kind else 256) or (signed and signed.name in ("sha1", "md5"))
    said = f"{kind} of {bits} bits, {signed.name if signed else 'its own hash'}"
    return insist(not weak, said, said)


@tls("compression", "Nothing is compressed before it is encrypted.", fix="OpenSSL 1.1 or newer")
async def compression(target: Target) -> Finding:
    def old(made: ssl.SSLContext) -> None:
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.options &= ~ssl.OP_NO_COMPRESSION

    found = await handshake(target, context(old))
    if isinstance(found, Exception):
        return passed("TLS 1.3 knows none")
    return insist(not found.compression(), "it is not", f"{found.compression()} is agreed upon")


@tls("plain-text", "Who speaks plain HTTP to it is answered nothing of worth.",
     fix="error_page 497 with 400, or a redirect to https")  # fmt: skip
async def plain_text(target: Target) -> Finding:
    await target.pace.turn()
    wire = replace(target.wire, tls=None)
    heard = await wire.talk(
        target.request("GET", target.guarded, token=await target.token("plain")), patience=5.0
    )
    if heard.status in (301, 302, 307, 308):
        where = heard.answers[0].header("location")
        return insist(where.startswith("https://"), f"it is sent to {where}", f"to {where}", heard)
    return insist(heard.status >= 400 or not heard.answers, "it is refused",
                  f"it is answered with {heard.status}", heard)  # fmt: skip


@tls("hsts", "Whether browsers are to come by TLS only is said always, or never.",
     fix="add_header Strict-Transport-Security ... always, in error pages as well")  # fmt: skip
async def hsts(target: Target) -> Finding:
    found = {}
    for what, token in (("with a token", await target.token("hsts")), ("without", "")):
        found[what] = (await target.ask("GET", target.guarded, token=token)).header(
            "strict-transport-security"
        )
    said = set(found.values())
    if said == {""}:
        return passed("it is never said")
    if len(said) > 1:
        silent = ", ".join(what for what, value in found.items() if not value)
        return failed(f"answers differ; those {silent} do not say it")
    ages = [one for one in said.pop().replace(" ", "").split(";") if one.startswith("max-age=")]
    good = False
    with contextlib.suppress(ValueError, IndexError):
        good = int(ages[0].partition("=")[2]) > 0
    return insist(good, "always", "it has no max-age")
