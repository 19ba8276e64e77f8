"""Which llmlab this is. A leaf, for those that the package itself imports."""

__version__ = "0.1.0"
