"""Answers of models to many texts, to be compared: through a lab's gateway, or without a lab."""

from llmlab.answers.answer import Answer, Respondent
from llmlab.answers.asking import Ask, Asked, ask_all

__all__ = ["Answer", "Ask", "Asked", "Respondent", "ask_all"]
