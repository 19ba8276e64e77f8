"""Guards: what looks at texts before a model reads them, and before anybody reads its answer.

A kind of guard is a class with one method (``base.Guard``). Four are built in; others come from
installed packages, by the entry point group ``llmlab.guards``. Nothing here knows of HTTP, nor
of models.
"""
