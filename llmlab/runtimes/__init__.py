"""How a model generates; nothing here knows where its files came from."""

from llmlab.runtimes.base import Encoded, Generation, Runtime, Strategy, Summary, TextTooLong

__all__ = ["Encoded", "Generation", "Runtime", "Strategy", "Summary", "TextTooLong"]
