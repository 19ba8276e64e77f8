"""The request of an answer in the playground, as one would send it oneself: no token is in it."""

from __future__ import annotations

import shlex
from pathlib import Path

from llmlab.client import chat_snippets, snippets
from llmlab.client.connection import Trust
from llmlab.console.asked import Asked, Kind
from llmlab.names import SUMMARIZE

FILE = Path("text.txt")  # what a text is called there
LONGEST = 20_000  # characters of a conversation that is told again


def as_code(asked: Asked, side: int, url: str, trust: Trust) -> dict[str, str]:
    """{language: code}; empty of a conversation that is too long to be read."""
    choice = asked.whom[side]
    if asked.kind is Kind.SUMMARY:
        model = None if choice.what == "route" and choice.name == SUMMARIZE else choice.name
        options = {"model": model, **asked.options}
        return {
            "curl": snippets.as_curl(url, FILE, options, trust=trust),
            "Python": snippets.as_python(url, FILE, options, trust=trust),
            "llmlab": _summarize(model, asked),
        }
    messages, options = asked.messages(side), dict(asked.options)
    if sum(len(one["content"]) for one in messages) > LONGEST:
        return {}
    told = {
        "curl": chat_snippets.as_curl(url, choice.name, messages, options, trust=trust),
        "Python": chat_snippets.as_openai(url, choice.name, messages, options, trust=trust),
        "llmlab": chat_snippets.as_command(choice.name, messages, options),
    }
    return {language: code for language, code in told.items() if code}


def _summarize(model: str | None, asked: Asked) -> str:
    words = ["llmlab", "summarize", str(FILE), *(["--model", model] if model else [])]
    for name, value in asked.options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
