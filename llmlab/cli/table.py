"""Tables for a terminal of any width, in which words and names stay whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmlab.cli.output import out

if TYPE_CHECKING:
    from rich.text import Text

GAP = 2  # columns between two cells


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows on stdout. In a pipe the columns are always the same; on a terminal those are left out
    in which nobody has anything.

    Where a terminal is too narrow for the words, each row is a paragraph: a name that is cut
    or broken in two is none that one can copy.

    Args:
        rows: cells in rich's markup.
    """
    from rich.table import Table
    from rich.text import Text

    console = out()
    cells = [[Text.from_markup(cell) for cell in row] for row in rows]
    used = [
        number for number in range(len(titles))
        if not console.is_terminal or any(row[number].plain for row in cells)
    ]  # fmt: skip
    columns = [[Text(titles[number]), *(row[number] for row in cells)] for number in used]
    widths = fitted(
        [max(map(_longest_word, column)) for column in columns],
        [max(one.cell_len for one in column) for column in columns],
        console.width - GAP * (len(columns) - 1),
    )
    if widths is None:
        for row in cells:
            console.print(row[0], style="bold", highlight=False, soft_wrap=True)
            for number in used[1:]:
                if row[number].plain:
                    console.print(Text.assemble(f"  {titles[number]}: ", row[number]), style="")
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for number, width in zip(used, widths, strict=True):
        table.add_column(titles[number], width=width)
    for row in cells:
        table.add_row(*(row[number] for number in used))
    console.print(table)


def fitted(least: Sequence[int], most: Sequence[int], room: int) -> list[int] | None:
    """Widths of columns. Those that want little get it; the others share what is left.

    Args:
        least: what a column needs for its longest word.
        most: what it needs for its longest line.

    Returns:
        None if there is no room even for the words.
    """
    widths, spare = list(least), room - sum(least)
    if spare < 0:
        return None
    by_need = sorted(range(len(widths)), key=lambda number: most[number] - least[number])
    for place, number in enumerate(by_need):
        more = min(most[number] - least[number], spare // (len(by_need) - place))
        widths[number] += more
        spare -= more
    return widths


def _longest_word(text: Text) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.plain.split()), default=0)
