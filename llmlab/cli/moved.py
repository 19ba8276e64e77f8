"""Verbs that had a place of their own at the top, and are in a group now.

The old spelling goes on working, but neither the help nor the shell's completion offers it.
"""

from __future__ import annotations

import sys

import typer

MOVED = {
    "openapi": "config openapi",
    "suite": "models suite",
    "scale": "deployment scale",
    "undeploy": "deployment stop",
    "class": "course class",
}


def say_where(old: str) -> None:
    """Tell a person the new spelling; a program that reads stderr is not disturbed."""
    if sys.stderr.isatty():
        typer.echo(f"llmlab {old} is llmlab {MOVED[old]} now; both work.", err=True)
