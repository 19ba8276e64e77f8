"""How a model generates; nothing here knows where its files came from."""

from llmlab.runtimes.base import (
    Encoded,
    Encoder,
    Generation,
    Runtime,
    Strategy,
    Summary,
    TextTooLong,
)

__all__ = ["Encoded", "Encoder", "Generation", "Runtime", "Strategy", "Summary", "TextTooLong"]
