"""verbs.md: every verb, argument and option, from the tree that the command is made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any, get_args, get_origin, get_type_hints

from typer.main import get_command
from typer.models import ParameterInfo

from llmlab.reference.markdown import anchor, code, page, table, text

INTRODUCTION = """Every verb with its arguments and options, as `llmlab VERB --help` shows them.
What a verb prints with `-o json` is in [What -o json prints](json.md), and how it
ends in [Exit codes](exit-codes.md)."""
MOVED_VERBS = """The spellings from before go on working, with the same options, output and exit
codes. In a terminal they say where the verb is now."""
COMPLETION = ("install_completion", "show_completion")  # Typer's own, of which the page says less


@dataclass(frozen=True)
class Parameter:
    """An argument or an option. ``names`` as they are typed; ``value`` is what stands for it."""

    names: tuple[str, ...]
    value: str
    default: str
    help: str
    required: bool
    is_option: bool


@dataclass(frozen=True)
class Verb:
    """``name`` without ``llmlab``; "" is the command itself. A group may be a verb, too."""

    name: str
    help: str
    panel: str
    parameters: tuple[Parameter, ...]
    is_group: bool
    runs: bool

    @property
    def usage(self) -> str:
        said = ["llmlab", *self.name.split()]
        said += ["[OPTIONS]"] if any(one.is_option for one in self.parameters) else []
        if self.is_group:
            said += ["[COMMAND]"] if self.runs else ["COMMAND"]
        for one in self.parameters:
            if not one.is_option:
                said.append(one.value if one.required or "[" in one.value else f"[{one.value}]")
        return " ".join(said)


def verbs() -> list[Verb]:
    """All of them, in the order of the help."""
    from llmlab.cli.app import app

    return list(_walk(get_command(app), ""))


def _walk(command: Any, name: str, panel: str = "") -> Iterator[Verb]:
    panel = getattr(command, "rich_help_panel", None) or panel
    inner = getattr(command, "commands", None)
    # A group that is built later hands its context to the real one.
    real = command.make_context(name or "llmlab", [], resilient_parsing=True).command
    yield Verb(
        name=name,
        help=inspect.cleandoc(command.help or ""),
        panel=panel if isinstance(panel, str) else "",
        parameters=tuple(_parameters(real)),
        is_group=inner is not None,
        runs=inner is None or bool(getattr(real, "invoke_without_command", False)),
    )
    for below, one in (inner or {}).items():
        if not one.hidden:
            yield from _walk(one, f"{name} {below}".strip(), panel)


def _parameters(command: Any) -> Iterator[Parameter]:
    if command.callback is None:
        return
    function = inspect.unwrap(command.callback)
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters
    for one in command.params:
        if one.name in COMPLETION or getattr(one, "hidden", False):
            continue
        annotation, info = _split(hints[one.name])
        is_option = one.param_type_name == "option"
        yield Parameter(
            names=(*one.opts, *one.secondary_opts) if is_option else (_value(one, annotation),),
            value=_value(one, annotation),
            default=_default(signature[one.name].default),
            help=_said(one.help or "", info),
            required=one.required,
            is_option=is_option,
        )


def _split(hint: Any) -> tuple[Any, ParameterInfo | None]:
    """(the type, without None; what Typer is told of it)."""
    extras = get_args(hint)[1:] if hasattr(hint, "__metadata__") else ()
    info = next((one for one in extras if isinstance(one, ParameterInfo)), None)
    bare = get_args(hint)[0] if extras else hint
    inner = [one for one in get_args(bare) if one is not type(None)]
    if inner and get_origin(bare) is not list and len(inner) == 1:
        bare = inner[0]
    if get_origin(bare) is list:
        bare = get_args(bare)[0]
    return bare, info


def _value(one: Any, annotation: Any) -> str:
    """What stands for the value: the verb's own word, the choices, or nothing for a switch."""
    if one.metavar is not None:
        return str(one.metavar)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(choice.value) for choice in annotation)
    if annotation is bool:
        return ""
    return str(one.name).upper()


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty or value is None or value is False or value == "":
        return ""
    if isinstance(value, Enum):
        return str(value.value)
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def _said(help_text: str, info: ParameterInfo | None) -> str:
    low, high = (info.min, info.max) if info else (None, None)
    match low, high:
        case None, None:
            return help_text
        case _, None:
            return f"{help_text} At least {low:g}."
        case None, _:
            return f"{help_text} At most {high:g}."
    return f"{help_text} From {low:g} to {high:g}."


def markdown() -> str:
    known = _by_panel(verbs())
    return page(
        "Verbs and options",
        INTRODUCTION,
        _index(known),
        *(_section(one) for one in known),
        _moved(),
    )


def _moved() -> str:
    from llmlab.cli.moved import MOVED

    rows = [(code(f"llmlab {old}"), code(f"llmlab {new}")) for old, new in MOVED.items()]
    return f"## Moved\n\n{MOVED_VERBS}\n\n{table(('before', 'now'), rows)}"


def _by_panel(known: list[Verb]) -> list[Verb]:
    panels = list(dict.fromkeys(one.panel for one in known))
    return sorted(known, key=lambda one: panels.index(one.panel))


def _index(known: list[Verb]) -> str:
    parts = []
    for panel, group in groupby((one for one in known if one.name), key=lambda one: one.panel):
        rows = [
            (f"[{code(one.name)}](#{anchor(_heading(one))})", text(_first(one.help)))
            for one in group
        ]
        parts += [f"**{panel}**", table(("verb", "what it does"), rows)]
    return "\n\n".join(parts)


def _heading(verb: Verb) -> str:
    return f"llmlab {verb.name}".strip()


def _first(help_text: str) -> str:
    """Its first sentence."""
    paragraph = help_text.split("\n\n")[0].replace("\n", " ")
    head, dot, _ = paragraph.partition(". ")
    return head + "." if dot else paragraph


def _either(value: str) -> str:
    """`FILE` or `-`: a bar would end the cell of a table."""
    return " or ".join(code(one) for one in value.split("|") if one)


def _section(verb: Verb) -> str:
    arguments = [one for one in verb.parameters if not one.is_option]
    options = [one for one in verb.parameters if one.is_option]
    parts = [
        f"## {_heading(verb)}",
        f"    {verb.usage}",
        text(verb.help),
        table(
            ("argument", "default", "what it is for"),
            ((_either(one.value), code(one.default), text(one.help)) for one in arguments),
        )
        if arguments
        else "",
        table(
            ("option", "value", "default", "what it is for"),
            (
                (", ".join(map(code, one.names)), _either(one.value), code(one.default),
                 text(one.help) + (" Required." if one.required else ""))
                for one in options
            ),
        )
        if options
        else "",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)
