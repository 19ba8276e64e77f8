"""Lead-3: the first three sentences, the baseline that a news summary has to beat."""

from __future__ import annotations

from llmlab.evaluate.text import sentences


def lead(text: str, count: int = 3) -> str:
    """The first ``count`` sentences of a text, white space collapsed."""
    return " ".join(sentences(text)[:count])
