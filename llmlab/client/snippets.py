"""The equivalent of a call in other languages. A token never appears in them.

Neither does it go astray: a proxy that is set for the internet must not see a request to this
machine, and no .netrc replaces the token.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlab.client.connection import NOBODY, Trust
from llmlab.client.protocol import path_for
from llmlab.errors import UsageError
from llmlab.names import SUMMARIZE
from llmlab.network import is_loopback


def as_curl(
    url: str, file: Path, options: Mapping[str, Any], *, lab: Path | None = None,
    trust: Trust = NOBODY,
) -> str:  # fmt: skip
    """A command for bash or zsh; needs curl and jq."""
    extras = {
        name: value for name, value in options.items() if name != "model" and value is not None
    }
    program = "{text: .}" + (f" + {json.dumps(extras)}" if extras else "")
    source = "" if str(file) == "-" else f" {_quoted(str(file))}"
    return (
        f"jq -Rs {shlex.quote(program)}{source} |\n"
        f"  curl {curl_options(url, trust)}-sS -H @<({shlex.join(called(lab))} token --header) "
        "--json @- \\\n"
        f"  {shlex.quote(url + path_for(options.get('model')))}"
    )


def curl_options(url: str, trust: Trust = NOBODY) -> str:
    """What curl has to be told of an address before all else."""
    known = [("--cacert", trust.ca), ("--cert", trust.certificate)]
    told = "".join(f"{option} {shlex.quote(str(file))} " for option, file in known if file)
    past = "--noproxy '*' " if is_loopback(url) else ""
    return past + (told if url.startswith("https:") else "")


def as_python(
    url: str, file: Path, options: Mapping[str, Any], *, lab: Path | None = None,
    trust: Trust = NOBODY,
) -> str:  # fmt: skip
    """A Python program; needs requests."""
    extras = {
        name: value for name, value in options.items() if name != "model" and value is not None
    }
    read = (
        "sys.stdin.read()" if str(file) == "-" else f"open({str(file)!r}, encoding='utf-8').read()"
    )
    fields = "".join(f", {name!r}: {value!r}" for name, value in extras.items())
    imports = "import subprocess, sys" if str(file) == "-" else "import subprocess"
    address, here = url + path_for(options.get("model")), is_loopback(url)
    known = {"verify": trust.ca, "cert": trust.certificate} if address[:6] == "https:" else {}
    files = {name: str(file) for name, file in known.items() if file}
    asked = "".join(f"\nsession.{name} = {file!r}" for name, file in files.items())
    checks = "".join(f"\n    {name}={file!r}," for name, file in files.items() if not here)
    return f"""\
{imports}

import requests  # pip install requests

token = subprocess.check_output({[*called(lab), "token"]!r}, text=True).strip()
text = {read}
{HERE + asked if here else ELSEWHERE}
response = {"session" if here else "requests"}.post(
    {address!r},
    json={{"text": text{fields}}},
    {'headers={"Authorization": f"Bearer {token}"}' if here else "auth=with_token"},
    timeout=150,{checks}
)
response.raise_for_status()
print(response.json()["summary"])"""


def as_openai(
    url: str, file: Path, options: Mapping[str, Any], *, lab: Path | None = None,
    trust: Trust = NOBODY,
) -> str:  # fmt: skip
    """A Python program; needs openai. A model that only summarizes passes over the first message.

    Raises:
        UsageError: OpenAI's dialect has no word for one of the options.
    """
    for name in ("min_length", "strategy"):
        if options.get(name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"OpenAI's dialect has no {option}", fix="--as python, or leave it out"
            )
    here, stdin = is_loopback(url), str(file) == "-"
    context = context_lines(trust) if url.startswith("https:") else ""
    sets = {PAST: here, "verify=context": bool(context)}
    told = ", ".join(one for one, wanted in sets.items() if wanted)
    imports = ("import ssl\n" if context else "") + f"import subprocess{', sys' if stdin else ''}"
    noted = "  # this machine: no proxy sees the token" if here else ""
    http = f"\n    http_client=DefaultHttpxClient({told}),{noted}" if told else ""
    read = "sys.stdin.read()" if stdin else f"open({str(file)!r}, encoding='utf-8').read()"
    model, most = options.get("model") or SUMMARIZE, options.get("max_length")
    length = f"\n    max_tokens={most}," if most else ""
    return f"""\
{imports}

from openai import {"DefaultHttpxClient, " if told else ""}OpenAI  # pip install openai

token = subprocess.check_output({[*called(lab), "token"]!r}, text=True).strip()
text = {read}
{context}client = OpenAI(
    base_url={url + "/v1"!r},
    api_key=token,
    timeout=150,{http}
)
answer = client.chat.completions.create(
    model={model!r},
    messages=[
        {{"role": "system", "content": {INSTRUCTION!r}}},
        {{"role": "user", "content": text}},
    ],{length}
)
print(answer.choices[0].message.content)"""


def context_lines(trust: Trust) -> str:
    """Lines that make one of ``ssl``; none where the machine's own does."""
    if not trust:
        return ""
    ca = f"cafile={str(trust.ca)!r}" if trust.ca else ""
    own = f"context.load_cert_chain({str(trust.certificate)!r})\n" if trust.certificate else ""
    return f"context = ssl.create_default_context({ca})\n{own}"


INSTRUCTION = "Summarize the text in a few sentences."
PAST = "trust_env=False"
HERE = """\
session = requests.Session()
session.trust_env = False  # this machine: no proxy sees the token, and no .netrc replaces it"""
ELSEWHERE = """\


def with_token(request):  # as headers=, it would be replaced by a .netrc
    request.headers["Authorization"] = f"Bearer {token}"
    return request

"""


def _quoted(name: str) -> str:
    """A file's name for a shell; one that is not UTF-8 is spelt byte by byte."""
    if name.isprintable():
        return shlex.quote(name)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(name)) + "'"


def called(lab: Path | None) -> list[str]:
    """The command, for the lab that was named."""
    return ["llmlab", "--lab", str(lab)] if lab else ["llmlab"]
