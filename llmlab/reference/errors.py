"""errors.md: what errors say and how one goes on, as the code raises them.

Read from the source: every call that makes an error of the tree. What the text takes from the
situation is shown in capitals, or as three dots. A text that is put together elsewhere is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llmlab
from llmlab.reference.exit_codes import errors
from llmlab.reference.frequent import FREQUENT
from llmlab.reference.markdown import page, table, text

INTRODUCTION = """What the command says when something is wrong, and the `Fix:` below it, by
[exit code](exit-codes.md). Words in capitals, and `...`, stand for what depends on the situation.
`llmlab doctor` looks at the machine and the lab, and says what it finds. What the lab answers over
HTTP is in [HTTP API](http.md#problems)."""
# What an error quotes rather than names.
QUOTED = {"error", "strerror", "message", "reason", "why", "problem", "said", "found", "last"}
LEAST = 8  # letters of its own; less is a frame around another error's text


@dataclass(frozen=True, order=True)
class Told:
    """An error's text, its class, and how to go on; "" where that depends."""

    message: str
    error: str
    fix: str


@cache
def told() -> tuple[Told, ...]:
    """All of them, in the order of their texts."""
    names = {one.__name__ for one in errors()}
    found = set()
    for file in Path(llmlab.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found |= set(_Reader(_constants(tree)).told(tree, names))
    return tuple(sorted(found, key=lambda one: (_letters(one.message).lower(), one)))


def _constants(tree: ast.Module) -> dict[str, str]:
    """The strings that a module names at its top."""
    return {
        target.id: value
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
        for target in one.targets
        if isinstance(target, ast.Name) and isinstance(value := one.value.value, str)
    }


class _Reader:
    """Reads what a module's errors say.

    Args:
        constants: names of the module that are strings.
    """

    def __init__(self, constants: dict[str, str]) -> None:
        self._constants = constants

    def told(self, tree: ast.AST, names: set[str]) -> Iterator[Told]:
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            if call.func.id not in names or not call.args:
                continue
            message = _short(self._text(call.args[0]))
            if len(_letters(re.sub(r"\b[A-Z_]+\b", "", message))) < LEAST:
                continue
            fix = next(
                (_short(self._text(one.value)) for one in call.keywords if one.arg == "fix"), ""
            )
            yield Told(message, call.func.id, fix if _letters(fix) else "")

    def _text(self, node: ast.expr) -> str:
        """What an expression of strings says."""
        match node:
            case ast.Constant(value=str(said)):
                return said
            case ast.Name(id=name) if name in self._constants:
                return self._constants[name]
            case ast.JoinedStr(values=parts):
                return "".join(self._text(one) for one in parts)
            case ast.FormattedValue(value=inner):
                return self._placeholder(inner)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._text(left) + self._text(right)
            case ast.IfExp(body=first, orelse=second):
                both = [one for one in (self._text(first), self._text(second)) if _letters(one)]
                return ", or: ".join(both) if len(both) == 2 else "..."
        return "..."

    def _placeholder(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name) if name in self._constants:
                return self._constants[name]
            case ast.Name(id=name) | ast.Attribute(attr=name):
                word = name.strip("_")
                return "..." if word in QUOTED or len(word) == 1 else word.upper()
            case ast.Constant(value=value):
                return str(value)
        return "..."


def _short(said: str) -> str:
    """In one line, and without dots behind dots."""
    return re.sub(r"(\.\.\.)(, |, or: )?(\.\.\.)+", "...", " ".join(said.split()))


def _letters(said: str) -> str:
    return re.sub(r"[^A-Za-z]", "", said)


def markdown() -> str:
    frequent = table(("it says", "why, and what to do"), FREQUENT)
    parts = ["## Those that people meet most", frequent]
    for code in sorted({one.exit_code for one in errors()}):
        names = {one.__name__ for one in errors() if one.exit_code == code}
        rows = [(text(one.message), text(one.fix)) for one in told() if one.error in names]
        parts += [f"## Exit code {code}", table(("it says", "Fix"), rows)]
    return page("Errors", INTRODUCTION, *parts)
