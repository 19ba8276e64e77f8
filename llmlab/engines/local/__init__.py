"""The local engine: supervised processes on this machine, no Docker."""

from llmlab.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
