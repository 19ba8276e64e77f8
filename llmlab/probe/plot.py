"""A run drawn into a file: HTML that needs nothing, or PNG by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.files import write_atomically
from llmlab.probe.load import Run
from llmlab.probe.page import html
from llmlab.probe.picture import need_matplotlib, png

HTML, PNG = (".html", ".htm"), ".png"


def check_plot(file: Path) -> None:
    """Whether a plot can be drawn there: better before a run than after.

    Raises:
        UsageError: neither HTML nor PNG, or no folder that can be written to.
        EnvironmentFailure: PNG without matplotlib.
    """
    if file.suffix.lower() not in (*HTML, PNG):
        raise UsageError(
            f"--plot {file} is neither HTML nor PNG by its name", fix="--plot load.html"
        )
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise UsageError(f"--plot {file} cannot be written", fix="name a file in a folder of yours")
    if file.suffix.lower() == PNG:
        need_matplotlib()


def draw(run: Run, title: str, notes: Sequence[str], file: Path) -> None:
    """Raises EnvironmentFailure if the file cannot be written."""
    page = png(run, title) if file.suffix.lower() == PNG else html(run, title, notes)
    try:
        write_atomically(file, page, mode=0o644)
    except OSError as error:
        raise EnvironmentFailure(f"{file} cannot be written: {error.strerror}") from None
