"""Asking models about many texts or questions, to compare what they say: through a lab's
gateway, or without a lab."""

from llmlab.answers.asking import Ask, Asked, ask_all

__all__ = ["Ask", "Asked", "ask_all"]
