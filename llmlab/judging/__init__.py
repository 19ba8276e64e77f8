"""A judge: a language model that says which of two answers is better, and how far it can be trusted
with that.

Nothing here believes a judge. It is asked in both orders, and held against pairs whose answers are
known (``calibration``) before what it prefers may count (``kept``).
"""
