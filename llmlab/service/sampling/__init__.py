"""Remembers, while a rollout wants it, some texts and what was made of them."""
