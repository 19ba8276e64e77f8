from __future__ import annotations


def build() -> None:
    """Build the lab's container images. (They come with the compose engine.)"""
    from llmlab.errors import EnvironmentFailure

    raise EnvironmentFailure(
        "this version has no container images to build: the compose engine is not part of it",
        fix="llmlab up --engine local",
    )
