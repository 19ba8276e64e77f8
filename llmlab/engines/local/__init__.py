"""The local engine: supervised processes on this machine, no Docker."""
