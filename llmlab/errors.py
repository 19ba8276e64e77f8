"""The one tree of errors that llmlab raises on purpose.

Every error says what happened and why in its message, and how to go on in
``fix``. Each class carries the exit code that the CLI ends with; a traceback is
shown only for what is not in this tree.
"""

from __future__ import annotations

import json
from typing import Any

SHOWN = 3  # of what is wrong with a document
NAME = 40  # letters; a missing member with a longer name is not named

EXIT_CODES = {
    0: "All went well.",
    1: "It failed in another way than those below.",
    2: "The command line, an input file or the configuration is wrong.",
    3: "This machine lacks something: a program, a package, a free port, room on a disk.",
    4: "A key or a token is missing, refused or not valid.",
    5: "The lab, an API or a model hub did not answer, or not as it should.",
    8: "What was measured does not meet a threshold.",
    130: "Interrupted by Ctrl-C.",
}


class LlmlabError(Exception):
    """Base of all expected failures.

    Args:
        message: What happened and why, in one or two sentences.
        fix: What to do about it; a command where there is one.
        log: Last lines of the log that explains it, if any.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str | None = None, log: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.log = log


class UsageError(LlmlabError):
    """The command line, an input file or the lab's layout is not as it must be."""

    exit_code = 2


class ConfigError(UsageError):
    """A value of the configuration is unknown, of the wrong type or out of range."""


class EnvironmentFailure(LlmlabError):
    """The machine lacks something: a program, a package, a free port, disk space."""

    exit_code = 3


class AuthError(LlmlabError):
    """A key or a token is missing, refused or cannot be read."""

    exit_code = 4


class UpstreamError(LlmlabError):
    """A service on the other end failed: the lab's gateway, an API, a model hub."""

    exit_code = 5


class ModelUnavailable(UpstreamError):
    """A configured model is not on disk and cannot be fetched, or cannot be run here."""


class GateFailure(LlmlabError):
    """What was measured does not meet the threshold that was asked for."""

    exit_code = 8


def unreadable(error: BaseException) -> str:
    """Why something that was read is not what it should be: what and where, never its content.

    An exception may carry all of it: ``repr`` of a UnicodeDecodeError has every byte of the file,
    the message of a ValueError or of a ValidationError the value. What is read may be a key, a
    token or a client's text, and messages go to terminals and logs.
    """
    match error:
        case UnicodeDecodeError():
            return f"byte {error.start} is not {error.encoding.upper()}"
        case json.JSONDecodeError():
            return f"no JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        case OSError():
            return error.strerror or type(error).__name__
        case KeyError() if error.args and str(error.args[0]).isidentifier():
            return f"it has no {str(error.args[0])[:NAME]}"
        case RecursionError():
            return "it is nested too deeply"
    wrong: Any = getattr(error, "errors", None)  # of pydantic, which is not imported for this
    if callable(wrong):
        problems = wrong(include_input=False, include_context=False, include_url=False)
        told = [_problem(one) for one in problems[:SHOWN]]
        more = len(problems) - len(told)
        return "; ".join(told) + (f"; and {more} more" if more else "")
    return f"it is not built as it should be ({type(error).__name__})"


def _problem(problem: dict[str, Any]) -> str:
    """``path: what it should be``. Of a rule of our own the message may quote the value."""
    path = ".".join(str(part)[:NAME] for part in problem["loc"]) or "it"
    own = problem["type"] in ("value_error", "assertion_error")
    return f"{path}: {'is not allowed' if own else problem['msg']}"
