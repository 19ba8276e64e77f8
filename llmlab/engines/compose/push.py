"""Publishing the images in a registry."""

from __future__ import annotations

import re

from llmlab.engines.compose.images import streamed
from llmlab.errors import UpstreamError, UsageError

# [host/]path, as Docker reads it: only what has a dot or a port, or is localhost, is a host.
# https://docs.docker.com/reference/cli/docker/image/tag/
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:localhost|{_LABEL}(?:\.{_LABEL})+)(?::\d+)?|{_LABEL}:\d+"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"(?:(?:{_HOST})/)?{_PART}(?:/{_PART})*")


def checked_repository(text: str) -> str:
    """Where images go, without a trailing slash.

    Raises:
        UsageError: Docker would take it for something else.
    """
    repository = text.rstrip("/")
    # A host by itself is one too: what follows it is an image's name.
    if not REPOSITORY.fullmatch(f"{repository}/image"):
        raise UsageError(
            f"--push {text!r} is no place for images",
            fix="name it like registry.example.com/team, without a scheme",
        )
    return repository


def push_commands(name: str, tag: str, repository: str) -> list[list[str]]:
    """The argument lists that publish one image as ``repository/name:tag``."""
    target = f"{repository}/{name}:{tag}"
    return [["docker", "tag", f"{name}:{tag}", target], ["docker", "push", target]]


def push_image(name: str, tag: str, repository: str) -> str:
    """Publish an image. Returns the name that it has in the registry.

    Raises:
        EnvironmentFailure: there is no docker.
        UpstreamError: the registry does not take it.
    """
    for command in push_commands(name, tag, repository):
        if code := streamed(command):
            host = repository.partition("/")[0]
            raise UpstreamError(
                f"{command[-1]} was not pushed: docker {command[1]} failed with exit code {code}; "
                "its output is above",
                fix=f"docker login {host}, or correct --push",
            )
    return command[-1]
