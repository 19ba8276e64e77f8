from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli import completing
from llmlab.cli.endings import INTERRUPTED
from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, escaped, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.client import Client, Reply
    from llmlab.client.chat import Message

PROMPT = "[bold cyan]>[/] "


def chat(
    context: typer.Context,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT|-]...", help="What to say; - is what stdin says."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="NAME", autocompletion=completing.names,
            show_default=False, help="A route or a deployment; default: the route chat.",
        ),
    ] = "",
    system: Annotated[
        str, typer.Option(metavar="TEXT", help="What the model is told beforehand.")
    ] = "",
    temperature: Annotated[
        float | None, typer.Option(metavar="T", min=0, max=2, help="0 for always the same.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="The same one draws the same words.")
    ] = None,
    json_schema: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON schema that the answer has to fit."),
    ] = None,
    interactive: Annotated[
        bool, switch("--interactive -i", "Go on asking; the model is told all that was said.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds for one try.")
    ] = 150.0,
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Ask a language model through the lab's gateway. The answer comes word by word; Ctrl-C ends
    the model's work."""
    from llmlab.client import Client

    session = Session.of(context)
    said = _said(prompt or [], interactive)
    options = {
        "model": model or None, "system": system, "temperature": temperature,
        "max_tokens": max_tokens, "seed": seed,
        "json_schema": _schema(json_schema) if json_schema else None,
    }  # fmt: skip
    with Client(lab=session.folder, timeout=timeout) as client:
        if interactive:
            _converse(client, said, options)
            return
        reply, _ = _answer(client, [{"role": "user", "content": said}], options, output)
    if reply is None:
        raise typer.Exit(INTERRUPTED)
    if output is Format.JSON:
        from dataclasses import asdict

        print_json(asdict(reply))


def _said(parts: list[str], interactive: bool) -> str:
    """What is asked: the arguments, one below the other."""
    from llmlab.errors import UsageError

    if not parts and not interactive:
        raise UsageError("there is no question", fix='llmlab chat "A question?", or llmlab chat -i')
    if interactive and "-" in parts:
        raise UsageError("with -i, stdin is where the questions come from", fix="leave - out")
    said = "\n\n".join(sys.stdin.read() if part == "-" else part for part in parts)
    if not said.strip() and not interactive:
        raise UsageError("the question is empty", fix='llmlab chat "A question?"')
    return said


def _schema(file: Path) -> dict[str, Any]:
    import json

    from llmlab.errors import UsageError, unreadable

    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {unreadable(error)}") from None
    if not isinstance(schema, dict):
        raise UsageError(f"{file} is no JSON schema: it holds no object")
    return schema


def _converse(client: Client, first: str, options: dict[str, Any]) -> None:
    """Ask for one question after the other, until there is none. An answer that was interrupted
    is part of the conversation as far as it got."""
    import readline  # noqa: F401  input() edits lines, and knows the ones before

    from llmlab.cli.output import show_error
    from llmlab.errors import LlmlabError

    messages: list[Message] = []
    said = first
    while True:
        if said.strip():
            try:
                asked: list[Message] = [*messages, {"role": "user", "content": said}]
                reply, text = _answer(client, asked, options, Format.TEXT)
                messages = [*asked, {"role": "assistant", "content": reply.text if reply else text}]
            except LlmlabError as error:
                show_error(error)  # the next question may fare better
        try:
            err().print(PROMPT, end="")
            said = input()
        except EOFError:
            err().print()
            return
        except KeyboardInterrupt:
            err().print()
            raise typer.Exit(INTERRUPTED) from None


def _answer(
    client: Client, messages: list[Message], options: dict[str, Any], output: Format
) -> tuple[Reply | None, str]:
    """What came of it, and how far it got; no reply if somebody has interrupted it."""
    pieces: list[str] = []
    try:
        with client.stream(messages, **options) as stream, _shown(output) as show:
            for piece in stream:
                pieces.append(piece)
                show(piece)
            reply = stream.reply()
    except KeyboardInterrupt:
        err().print("[yellow]Interrupted[/]", highlight=False)
        return None, "".join(pieces)
    if output is Format.TEXT:
        _note(reply)
    return reply, reply.text


def _shown(output: Format) -> Any:
    """Where pieces go: Markdown on a terminal, as they are into a pipe, nowhere for JSON."""
    from llmlab.cli.use.writing import as_it_is, as_markdown, nowhere

    if output is Format.JSON:
        return nowhere()
    console = out()
    return as_markdown(console) if console.is_terminal else as_it_is()


def _note(reply: Reply) -> None:
    """Who answered, for a person who watches; that it was cut off, for everybody."""
    console = err()
    if console.is_terminal:
        by = f" by {escaped(reply.deployment)}" if reply.deployment else ""
        console.print(
            f"[dim]{escaped(reply.model)}{by}, {reply.usage.prompt} tokens in, "
            f"{reply.usage.completion} out[/]",
            highlight=False,
        )
    if reply.finish_reason == "length":
        console.print("[yellow]Note:[/] the answer was cut off (--max-tokens).", highlight=False)
