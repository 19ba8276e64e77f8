"""exit-codes.md: how the command ends, from the tree of errors and the verbs' own endings."""

from __future__ import annotations

from collections.abc import Iterator

from llmlab.cli.endings import OF_VERBS
from llmlab.errors import EXIT_CODES, LlmlabError
from llmlab.reference.markdown import anchor, code, page, table, text

INTRODUCTION = """An error says what happened on stderr, and in a line `Fix:` how to go on. The
texts are in [Errors](errors.md). From Python the same errors are exceptions of `llmlab.errors`,
each with `message`, `fix` and `exit_code`."""
OF_SOME = """These verbs answer with their exit code as well, after they have printed what they
found. Where some of many texts failed, the code is that of the first failure."""


def errors(base: type[LlmlabError] = LlmlabError) -> Iterator[type[LlmlabError]]:
    """The tree, each class before those below it."""
    yield base
    for one in base.__subclasses__():
        if one.__module__ == base.__module__:
            yield from errors(one)


def markdown() -> str:
    known = list(errors())
    codes = [
        (str(number), text(said),
         ", ".join(code(one.__name__) for one in known if one.exit_code == number))
        for number, said in EXIT_CODES.items()
    ]  # fmt: skip
    endings = [
        (f"[{code(verb)}](verbs.md#{anchor(f'llmlab {verb}')})", str(number), text(said))
        for verb, known_codes in OF_VERBS.items()
        for number, said in known_codes.items()
    ]
    tree = [
        (
            code(one.__name__),
            str(one.exit_code),
            text(" ".join((one.__doc__ or "").split("\n\n")[0].split())),
        )
        for one in known
    ]
    return page(
        "Exit codes",
        INTRODUCTION,
        table(("code", "meaning", "errors"), codes),
        "## Of single verbs",
        OF_SOME,
        table(("verb", "code", "when"), endings),
        "## The tree of errors",
        table(("class", "code", "what happened"), tree),
    )
