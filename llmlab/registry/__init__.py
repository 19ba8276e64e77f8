"""The registry: models of a lab, each under a content id, with a record of how it came to be.

    .llmlab/registry/registry.db         records, evaluations, and every move of an alias
    .llmlab/registry/models/<digits>/    the files of one model, under the digits of its content id
    .llmlab/registry/writer.lock         held while files come or go

A folder is complete on the disk before its row is written, and its row is gone before its
folder is removed: so a row never points to something missing, whenever a process is killed.
What such a process leaves has no row, and the next writer removes it.
"""

from llmlab.registry.record import Base, Data, Facts, Overlap, Record
from llmlab.registry.registry import Added, Registry

__all__ = ["Added", "Base", "Data", "Facts", "Overlap", "Record", "Registry"]
