"""What llmlab wants to be, as ratios within one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.figures import Cell
from benchmarks.shapes import IN_WORDS

Cells = Mapping[tuple[str, str, int], Cell]
# (g) beside (a), in texts/s with 32 clients.
BESIDE_THE_REFERENCE = {"greedy": 3.0, "beams": 12.0}


@dataclass(frozen=True)
class Judgement:
    """One target: what of (g) or (h) to what of another system, and what it should be."""

    what: str
    wanted: str
    found: float
    met: bool


def judged(cells: Cells) -> list[Judgement]:
    """Every target whose systems were measured."""
    decodings = dict.fromkeys(decoding for _, decoding, _ in cells)
    return [one for decoding in decodings for one in _of(cells, decoding)]


def _of(cells: Cells, decoding: str) -> Iterator[Judgement]:
    words = IN_WORDS[decoding]

    def compare(
        one: str, other: str, clients: int, what: Callable[[Cell], float], name: str,
        least: float | None = None, most: float | None = None,
    ) -> Iterator[Judgement]:  # fmt: skip
        left, right = cells.get((one, decoding, clients)), cells.get((other, decoding, clients))
        if not left or not right:
            return
        found = what(left) / what(right)
        met = (least is None or found >= least) and (most is None or found <= most)
        wanted = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
        clients_in_words = f"{clients} client{'s' if clients > 1 else ''}"
        said = f"{words}, {clients_in_words}: {name} ({one}) / ({other})"
        yield Judgement(said, wanted, found, met)

    def rate(cell: Cell) -> float:
        return cell.rate

    def p95(cell: Cell) -> float:
        return cell.p95

    def p50(cell: Cell) -> float:
        return cell.p50

    yield from compare("g", "a", 32, rate, "texts/s", least=BESIDE_THE_REFERENCE[decoding])
    yield from compare("g", "f", 32, rate, "texts/s", least=0.9)
    for peer in "de":
        yield from compare("g", peer, 32, rate, "texts/s", least=1.0)
        yield from compare("g", peer, 32, p95, "p95", most=1.0)
    yield from compare("g", "f", 1, p50, "p50", most=1.1)
    yield from compare("h", "g", 32, rate, "texts/s", least=0.97)
