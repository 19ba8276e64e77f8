"""Groups of verbs that are imported and built when one of them is asked for.

Typer builds every verb on every start, its parameters included, and that is most of what
`llmlab --help` takes. Most calls are about one group, or none.
"""

from __future__ import annotations

import inspect
import re
from functools import cached_property
from importlib import import_module
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command


class Later(TyperGroup):
    """A group that knows its name and its help, and hands everything else to the real one:
    the ``app`` of its module."""

    def __init__(self, name: str, text: str, module: str, panel: str) -> None:
        super().__init__(name=name, help=text, rich_help_panel=panel)
        self._module = module

    @cached_property
    def _built(self) -> TyperGroup:
        group = get_command(import_module(self._module).app)
        assert isinstance(group, TyperGroup)
        group.name = self.name
        flow(group)
        return group

    def make_context(self, *args: Any, **extra: Any) -> Any:
        return self._built.make_context(*args, **extra)

    @property
    def commands(self) -> Any:
        """Its verbs, for whoever looks through the tree."""
        return self._built.commands

    @commands.setter
    def commands(self, _: object) -> None:
        """Of its own it has none."""


def flow(group: TyperGroup) -> None:
    """Have the help of its verbs break where a terminal ends, and not where our source does."""
    for one in (group, *group.commands.values()):
        paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(one.help or ""))
        one.help = "\n\n".join(re.sub(r"\n(?=\S)", " ", text) for text in paragraphs)
        if one is not group and isinstance(one, TyperGroup):
            flow(one)
