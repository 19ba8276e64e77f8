"""The one tree of errors that llmlab raises on purpose.

Every error says what happened and why in its message, and how to go on in
``fix``. Each class carries the exit code that the CLI ends with; a traceback is
shown only for what is not in this tree.
"""

from __future__ import annotations


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
