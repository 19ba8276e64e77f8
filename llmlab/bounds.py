"""How much one request may ask for: the API refuses more, so the gateway reserves no more."""

from __future__ import annotations

MOST_CHOICES = 16  # of a chat, or for each prompt
MOST_ANSWERS = 64  # of a completion, over all its prompts
MOST_TEXTS = 16  # of Hugging Face's dialect
LONGEST_SUMMARY = 4096  # tokens
