"""chrF (Popović 2015): shared runs of characters. It knows no words, hence suits any script."""

from __future__ import annotations

from collections import Counter

ORDER = 6  # the longest run of characters
BETA = 2  # recall counts twice as much as precision


def chrf(reference: str, summary: str) -> float:
    """The F2 of character n-grams without white space, in 0..1: sacrebleu's chrF / 100.

    Precision and recall are averaged over the lengths of which both texts have an n-gram.
    """
    a, b = "".join(reference.split()), "".join(summary.split())
    orders = range(1, min(ORDER, len(a), len(b)) + 1)
    precision = recall = 0.0
    for n in orders:
        of_reference, of_summary = _ngrams(a, n), _ngrams(b, n)
        hits = (of_reference & of_summary).total()
        precision += hits / of_summary.total() / len(orders)
        recall += hits / of_reference.total() / len(orders)
    weighted = BETA**2 * precision + recall
    return (1 + BETA**2) * precision * recall / weighted if weighted else 0.0


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[at : at + n] for at in range(len(text) - n + 1))
