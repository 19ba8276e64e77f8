"""The equivalent of a conversation in other languages; ``snippets`` has that of a summary."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from llmlab.client.chat import PATH, Message
from llmlab.client.connection import NOBODY, Trust
from llmlab.client.snippets import PAST, called, context_lines, curl_options
from llmlab.network import is_loopback

SAID = ("temperature", "max_tokens", "seed")  # of the options, what `llmlab chat` knows


def as_curl(
    url: str, model: str, messages: Sequence[Message], options: Mapping[str, Any],
    *, trust: Trust = NOBODY,
) -> str:  # fmt: skip
    """A command for bash or zsh."""
    body = {"model": model, "messages": list(messages), "stream": True, **options}
    told = json.dumps(body, ensure_ascii=False, indent=1)
    return (
        f"curl {curl_options(url, trust)}-sSN -H @<({shlex.join(called(None))} token --header) \\\n"
        f"  {shlex.quote(url + PATH)} --json {shlex.quote(told)}"
    )


def as_openai(
    url: str, model: str, messages: Sequence[Message], options: Mapping[str, Any],
    *, trust: Trust = NOBODY,
) -> str:  # fmt: skip
    """A Python program; needs openai."""
    here, context = is_loopback(url), context_lines(trust) if url.startswith("https:") else ""
    sets = {PAST: here, "verify=context": bool(context)}
    told = ", ".join(one for one, wanted in sets.items() if wanted)
    noted = "  # this machine: no proxy sees the token" if here else ""
    http = f"\n    http_client=DefaultHttpxClient({told}),{noted}" if told else ""
    said = "".join(f"        {dict(one)!r},\n" for one in messages)
    extras = "".join(f"\n    {name}={value!r}," for name, value in options.items())
    return f"""\
{"import ssl" + chr(10) if context else ""}import subprocess

from openai import {"DefaultHttpxClient, " if told else ""}OpenAI  # pip install openai

token = subprocess.check_output({[*called(None), "token"]!r}, text=True).strip()
{context}client = OpenAI(
    base_url={url + "/v1"!r},
    api_key=token,
    timeout=150,{http}
)
answer = client.chat.completions.create(
    model={model!r},
    messages=[
{said}    ],
    stream=True,{extras}
)
for chunk in answer:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)"""


def as_command(model: str, messages: Sequence[Message], options: Mapping[str, Any]) -> str:
    """``llmlab chat``; "" where that cannot say it: it knows one question, and not all options."""
    system = [str(one["content"]) for one in messages if one["role"] == "system"]
    asked = [str(one["content"]) for one in messages if one["role"] == "user"]
    if len(asked) != 1 or len(messages) > 2 or set(options) - set(SAID):
        return ""
    words = ["llmlab", "chat", "--model", model]
    words += ["--system", system[0]] if system else []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--", asked[0]])
