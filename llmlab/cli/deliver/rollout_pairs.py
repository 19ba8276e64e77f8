"""`llmlab rollout pairs`: what both versions made of the same texts of clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import RouteOption
from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from rich.text import Text

    from llmlab.evaluate.facts import Mention
    from llmlab.rollout.pairs_view import PairsView

SHOWN = 600  # characters of the text itself


def pairs(
    context: typer.Context,
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="[N]", min=1, show_default=False,
            help="Of this rollout; default: the one under way, or the last one.",
        ),
    ] = None,
    route: RouteOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Show what a candidate made of clients' texts beside the stable version, and the worst pair.

    Its text is redacted, and kept sealed for as long as a recording may be."""
    from llmlab.errors import UsageError
    from llmlab.rollout.pairs_view import PairsView
    from llmlab.rollout.store import Rollouts
    from llmlab.rollout.worst_pair import WorstPairs

    lab = Session.of(context).lab()
    rollouts = Rollouts(lab)
    kept = rollouts.current(route) if number is None else rollouts.get(number)
    if kept is None:
        raise UsageError("there was no rollout yet", fix="llmlab rollout start canary MODEL")
    view = PairsView(kept, WorstPairs(lab).of(kept.rollout.number))
    if output is Format.JSON:
        print_json(view.as_json())
    else:
        _show(view)


def _show(view: PairsView) -> None:
    from llmlab.cli.table import print_table

    told = view.as_json()
    if not told["gate"]:
        err().print(
            f"Rollout {told['rollout']} pairs nothing (rollout.pairs of lab.toml).", highlight=False
        )
        return
    print_table(
        ("measure", "candidate", "stable", "pairs", "may be above by"),
        [
            (one["measure"], f"{100 * one['candidate']:.1f} %", f"{100 * one['stable']:.1f} %",
             str(one["n"]), f"{100 * one['margin']:g} points")
            for one in told["measures"]
        ],
    )  # fmt: skip
    err().print(
        f"{told['pairs']} pairs; {told['dropped']} were dropped, too long or without an answer in "
        f"time, and {told['missed']} failed, refused, or answered by a tool call.",
        highlight=False,
    )
    if judge := told["judge"]:
        silent = f" It {judge['silent']}." if judge["silent"] else ""
        err().print(
            f"The judge: {judge['judged']} judged, {judge['contradictions']} of them the other way "
            f"around in the other order, {judge['abstained']} abstained, {judge['unanswered']} "
            f"unanswered, {judge['dropped']} dropped; {judge['questions']} questions, "
            f"{judge['tokens_in']:,} tokens read and {judge['tokens_out']:,} written.{silent}",
            highlight=False, markup=False,
        )  # fmt: skip
    if worst := told["worst"]:
        mine, theirs = view.marks()
        so = "; it ".join(worst["reasons"])
        said = f": the candidate's answer {so}" if so else ""
        out().print(f"\n[bold]The worst pair[/]{said}", highlight=False)
        for title, text in (
            ("text", _plain(worst["text"])),
            ("stable", _marked(worst["stable"]["text"], theirs)),
            ("candidate", _marked(worst["candidate"]["text"], mine)),
        ):
            out().print(f"\n[bold]{title}[/]", highlight=False)
            out().print(text, highlight=False)
        if worst["judge"]:
            out().print("\n[bold]the judge[/]", highlight=False)
            out().print(_plain(worst["judge"]), highlight=False)


def _plain(text: str) -> Text:
    from rich.text import Text

    return Text(text if len(text) <= SHOWN else f"{text[:SHOWN]} …")


def _marked(answer: str, mentions: Sequence[Mention]) -> Text:
    """With what the text does not have in red, and between » and «, also where nothing has a
    color."""
    from rich.text import Text

    text, place = Text(), 0
    for one in sorted(mentions, key=lambda one: one.start):
        text.append(answer[place : one.start])
        text.append(f"»{answer[one.start : one.end]}«", style="bold red")
        place = one.end
    return text.append(answer[place:] or ("" if answer else "(empty)"))
