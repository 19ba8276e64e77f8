"""The command line: verbs parse and print; what they do lives in the packages beside this one.

Nothing heavy is imported here or at the top of a verb's module: `llmlab --help`
must stay fast.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``llmlab`` command."""
    from llmlab.cli.app import app
    from llmlab.cli.output import take_any_text
    from llmlab.errors import LlmlabError

    take_any_text()
    try:
        app(prog_name="llmlab")
    except LlmlabError as error:
        from llmlab.cli.output import show_error

        show_error(error)
        sys.exit(error.exit_code)
