"""Judging summaries: suites, measures, statistics and gates. Pure: no model, no network.

What is measured on words (ROUGE, coverage, unsupported names and numbers, novelty, ...) is a
*proxy*: it compares strings. It shows that something changed and where to look, not whether a
sentence is true. Everything random takes a seed, so two runs give the same numbers.
"""
