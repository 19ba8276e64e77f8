"""How much of a machine a language model gets: slots, the context of each, threads, memory."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from llmlab.runtimes.cores import memory_limit, usable_cores
from llmlab.runtimes.gguf import Shape

# SmolLM2-135M on two cores wrote 79, 145 and 192 tokens/s for 1, 4 and 8 clients.
SLOTS_A_CORE, MOST_SLOTS = 4, 32
FEWEST_SLOTS = 4  # rather a shorter context than fewer of them, down to ...
SHORTEST = 2048  # ... that many tokens
LONGEST = 8192  # tokens where nobody asks for more: memory that is taken, used or not
SHARE = 0.25  # of the memory beside the weights, for the cache of keys and values
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """
    Args:
        context: tokens that one request may have, prompt and answer together.
        slots: requests at once.
        threads: cores.
        kept: bytes for prompts that were read before, outside of the slots.
    """

    context: int
    slots: int
    threads: int
    kept: int


def room_for(shape: Shape, *, context: int = 0, slots: int = 0, threads: int = 0) -> Room:
    """What this process may use, of that what the model can, and what was asked for instead."""
    memory = min(memory_limit(), psutil.virtual_memory().total)
    return fitting(shape, memory, threads or usable_cores(), context=context, slots=slots)


def fitting(shape: Shape, memory: float, cores: int, *, context: int = 0, slots: int = 0) -> Room:
    """
    Args:
        memory: bytes that the process may have.
        context, slots: what was asked for; 0 for as many as fit.
    """
    share = max(0.0, memory - shape.weights) * SHARE
    tokens = int(share / max(1, shape.token_bytes))  # of all slots together
    wanted = context or min(shape.context, LONGEST)
    least = context or min(shape.context, SHORTEST)
    if not slots:
        most = min(MOST_SLOTS, SLOTS_A_CORE * cores)
        few = 1 if context else min(FEWEST_SLOTS, max(1, tokens // least))
        slots = max(few, min(most, tokens // wanted))
    wanted = max(least, min(wanted, tokens // slots))
    # As much again as the slots hold: conversations that are gone on with find what was read.
    return Room(wanted, slots, cores, int(min(share / 2, slots * wanted * shape.token_bytes)))
