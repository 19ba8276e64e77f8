from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.config import Gateway
    from llmlab.tls.store import Certificates

app = typer.Typer(
    add_completion=False,
    help="The gateway's certificate: show it, have it trusted, renew it.",
    no_args_is_help=True,
)
# How others come to trust the lab's authority, with its file in the place of {file}.
WAYS = (
    ("curl", "curl --cacert {file} {url}/health"),
    ("llmlab", "export LLMLAB_URL={url} LLMLAB_CA_FILE={file}"),
    ("openai, httpx", "export SSL_CERT_FILE={file}"),
    ("requests", "export REQUESTS_CA_BUNDLE={file}"),
    ("Node.js", "export NODE_EXTRA_CA_CERTS={file}"),
    ("Debian, Ubuntu", "sudo cp {file} /usr/local/share/ca-certificates/llmlab.crt && "
     "sudo update-ca-certificates"),
    ("Fedora", "sudo trust anchor {file}"),
    ("macOS", "sudo security add-trusted-cert -d -r trustRoot -k "
     "/Library/Keychains/System.keychain {file}"),
    ("Windows", "certutil -addstore -f Root {file}"),
    ("Chrome on Linux", "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n llmlab -i {file}"),
    ("Firefox", "Settings, Privacy & Security, View Certificates, Authorities, Import"),
)  # fmt: skip


@app.command()
def show(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """Show with which certificate the gateway speaks TLS, and until when."""
    from llmlab.engines.certificates import tls_of

    session = Session.of(context)
    gateway = _gateway(session)
    shown = tls_of(session.lab(), gateway)
    if output is Format.JSON:
        print_json(asdict(shown))
        return
    found = shown.certificate
    if found is None:
        print("TLS is on; the next llmlab up makes a certificate." if gateway.tls.enabled
              else "TLS is off. llmlab up --tls has the lab sign a certificate.")  # fmt: skip
        return
    asked = {"": "not asked for one", "optional": "may have one", "required": "need one"}
    lines = {
        "for": ", ".join(found.names),
        "signed by": f"{found.signed_by} ({'this lab' if found.ours else 'not this lab'})",
        "ends": f"{found.ends} (in {found.days_left} days)",
        "SHA-256": found.fingerprint,
        "clients": asked[found.clients],
    }
    if found.refused:
        lines["refused"] = found.refused
    for name, said in lines.items():
        print(f"{name:<10} {said}")


@app.command()
def trust(
    context: typer.Context,
    pem: Annotated[bool, switch("--pem", "Print the certificate, and nothing else.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Say how others come to trust the lab's own authority. Nothing is installed by this."""
    from llmlab.errors import UsageError

    session = Session.of(context)
    gateway, kept = _gateway(session), _kept(session)
    authority, facts = kept.authority(), kept.authority_facts()
    if gateway.tls.own:
        raise UsageError(
            "this gateway has a certificate of yours, and who trusts it is up to who signed that",
            fix="llmlab tls show says who did",
        )
    if authority is None or facts is None:
        raise UsageError("this lab has signed nothing yet", fix="llmlab up --tls")
    if output is Format.JSON:
        print_json(asdict(facts) | {"pem": authority.certificate})
        return
    if pem:
        print(authority.certificate, end="")
        return
    console = out()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(facts.file)
    say(f"  SHA-256 {facts.fingerprint}, until {facts.ends[:10]}")
    say(f"  signs for {', '.join(facts.signs_for)}, and in nobody's eyes for anything else")
    say("\nOn this machine; elsewhere with a copy of it: llmlab tls trust --pem > llmlab-ca.pem")
    file = shlex.quote(facts.file)
    for name, way in WAYS:
        say(f"  {name:<16} {way.format(file=file, url=gateway.url)}")


@app.command()
def renew(
    context: typer.Context,
    authority: Annotated[
        bool,
        switch("--authority", "Another authority as well, which everybody has to trust anew."),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Sign another certificate now; take over one of yours from its files.

    The lab does both by itself: 10 days before the end of its own, and when your files change.
    """
    from llmlab.cli.documents import Renewed
    from llmlab.engines.choice import running_engine
    from llmlab.errors import UsageError

    session = Session.of(context)
    gateway, kept = _gateway(session), _kept(session)
    if not gateway.tls.enabled:
        raise UsageError("this lab speaks no TLS", fix="llmlab up --tls")
    engine = running_engine(session.lab())
    with kept.or_as_before():
        changed = kept.keep(gateway, anew=True, authority_too=authority)
        taken = engine.reload_certificate() if engine else False
    facts = kept.facts()
    assert facts  # it was kept just now
    ends = facts.ends.isoformat(timespec="seconds")
    if output is Format.JSON:
        print_json(Renewed(changed=changed, taken_over=taken, ends=ends))
        return
    did = "Another certificate" if changed else "The same certificate as before"
    where = ", which the gateway has taken over" if taken else ""
    err().print(f"[bold green]✓[/] {did}{where}; it ends on {ends[:10]}.", highlight=False)


def _gateway(session: Session) -> Gateway:
    """As it runs, which may differ from lab.toml by a flag; else as it would be."""
    from llmlab.engines.choice import running_engine
    from llmlab.engines.record import Record

    record = Record.read(session.lab())
    if record and running_engine(session.lab()):
        return record.plan().config.gateway
    return session.load().config.gateway


def _kept(session: Session) -> Certificates:
    from llmlab.tls.store import Certificates

    return Certificates(session.lab())
