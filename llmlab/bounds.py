"""How much one request may ask for: the API refuses more, so the gateway reserves no more."""

from __future__ import annotations

MOST_CHOICES = 16  # of a chat, or for each prompt
MOST_ANSWERS = 64  # of a completion, over all its prompts
MOST_TEXTS = 16  # of Hugging Face's dialect
LONGEST_SUMMARY = 4096  # tokens
# That budgets have at the gateway: 16 MB, of which one takes 256 bytes unless its holder's name is
# long. Each limit has one for each holder and window, for as long as that and an answer last.
MOST_COUNTS = 65_000
