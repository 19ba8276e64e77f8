"""How the packages of llmlab lie upon each other: what imports what, read from the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import llmlab

PACKAGE = Path(llmlab.__file__).parent
Imports = dict[str, set[str]]  # of each module
# Programs of a lab that an engine starts, and that then ask it what runs. It has nothing of them
# but their names: they are no layer below it.
ATTENDANTS = {"llmlab.console", "llmlab.scaling.process", "llmlab.rollout.controller"}
LISTS = "llmlab.processes"  # names all programs, to tell them from a person's own


def modules() -> dict[str, Path]:
    """Every module of llmlab by its dotted name."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = ["llmlab", *file.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts).removesuffix(".__init__")] = file
    return found


def graph(*, typing: bool) -> Imports:
    """The modules of llmlab that each module imports, inside functions too, or starts as a program:
    those that it names in a string.

    Args:
        typing: with those that only a type checker follows.
    """
    known = modules()
    found: Imports = {}
    for name, file in known.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = {one for node in nodes(tree, typing) for one in named_by(node, name)}
        if name != LISTS:
            named |= started_by(tree) & known.keys() - {*ATTENDANTS, "llmlab"}
        found[name] = {module_of(one, known) for one in named if one.split(".")[0] == "llmlab"}
    return found


def nodes(tree: ast.AST, typing: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing:
            continue
        yield node
        yield from nodes(node, typing)


def named_by(node: ast.AST, module: str) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module} imports relatively"
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def started_by(tree: ast.AST) -> set[str]:
    """All strings, but for names of loggers."""
    if isinstance(tree, ast.Constant):
        return {tree.value} if isinstance(tree.value, str) else set()
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) == "logging.getLogger":
        return set()
    return {name for node in ast.iter_child_nodes(tree) for name in started_by(node)}


def module_of(name: str, known: dict[str, Path]) -> str:
    """`llmlab.a.b` is a module, or a name in the module `llmlab.a`."""
    return name if name in known else name.rpartition(".")[0]


def between_packages(imports: Imports) -> Imports:
    """The same between what lies at the top, each package as one."""
    found: Imports = defaultdict(set)
    for module, others in imports.items():
        found[top(module)] |= {top(other) for other in others} - {top(module)}
    return found


def top(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("typing", [False, True], ids=["when it runs", "for types as well"])
def test_packages_lie_upon_each_other_and_none_imports_back_up(typing: bool) -> None:
    packages = between_packages(graph(typing=typing))
    assert {"llmlab.cli", "llmlab.engines", "llmlab.errors"} <= packages.keys()
    assert "llmlab.engines" in packages["llmlab.delivery"]  # it sees what is imported
    try:
        TopologicalSorter(packages).prepare()
    except CycleError as error:
        # Each of its list is imported by the next one.
        cycle = error.args[1][::-1]
        pytest.fail("  ->  ".join(cycle))


def test_a_cycle_would_be_seen() -> None:
    packages = between_packages({"llmlab.a.x": {"llmlab.b"}, "llmlab.b.y": {"llmlab.a.z"}})
    with pytest.raises(CycleError):
        TopologicalSorter(packages).prepare()


def test_what_is_started_by_its_name_counts_as_imported() -> None:
    imports = graph(typing=False)
    assert "llmlab.links.start" in imports["llmlab.links.server"]
    assert "llmlab.service" not in imports["llmlab.runtimes.native"]  # a logger
    programs = started_by(ast.parse((PACKAGE / "processes.py").read_text(encoding="utf-8")))
    assert programs >= ATTENDANTS


def test_service_and_runtimes_never_import_cli_engines_or_rollout() -> None:
    imports = graph(typing=True)
    todo = [name for name in imports if name.startswith(("llmlab.service", "llmlab.runtimes"))]
    assert len(todo) > 8
    reached = set(todo)
    while todo:
        new = imports[todo.pop()] - reached - {"llmlab"}
        reached |= new
        todo += new
    assert "llmlab.config.schema" in reached  # the walk goes on from module to module
    upper = ("llmlab.cli", "llmlab.engines", "llmlab.rollout")
    assert not sorted(name for name in reached if name.startswith(upper))
