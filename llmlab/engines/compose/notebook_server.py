"""The notebook server of a lab in containers: started on demand, beside what runs."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from llmlab.auth import KeyStore
from llmlab.config.schema import Jupyter
from llmlab.engines.address import check_notebook_port
from llmlab.engines.base import Plan, Say
from llmlab.engines.compose import mounts
from llmlab.engines.compose.command import Compose
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.compose.notebook import JUPYTER, has_an_old_token
from llmlab.engines.compose.project import READY_DEADLINE, UP, Project
from llmlab.errors import LlmlabError, UsageError
from llmlab.notebook import access


class NotebookContainer:
    """See ``engines.local.notebook`` for the same as a process."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lab = project.lab

    def start(self, plan: Plan, jupyter: Jupyter, say: Say, *, port: int | None = None) -> str:
        """
        Args:
            plan: what runs.

        Returns:
            Its URL, with its token.
        """
        before = self._project.compose(plan)
        asked = self._project.notebook_variables(jupyter, port)
        image, built = asked["JUPYTER_IMAGE"], BuiltImages.read(self._lab).jupyter
        if image == built and not self._project.docker.has_images([image]):
            raise UsageError(f"the image {image} is not there yet", fix="llmlab build")
        one, wanted = self._project.container(JUPYTER), int(asked["JUPYTER_PORT"])
        at = one.published[1] if one and one.alive and one.published else None
        if at != wanted:
            check_notebook_port(wanted)
            say(f"starting JupyterLab on port {wanted}")
        mounts.write_notebook_tokens(self._lab, KeyStore(self._lab.keys_file).read())
        compose = replace(before, variables={**before.variables, **asked})
        try:
            self._bring_up(compose, say)
        except BaseException:
            # What does not start would be in the way of the next `up`.
            back = [*UP, JUPYTER] if at else ["rm", "--stop", "--force", JUPYTER]
            with contextlib.suppress(LlmlabError):
                self._project.run(before.command(*back))
            raise
        return self.url()

    def _bring_up(self, compose: Compose, say: Say) -> None:
        # Not --no-deps: Compose would take it for another container at the next `up`.
        self._project.run(compose.command(*UP, JUPYTER))
        self.follow_token(compose)
        self._project.wait([JUPYTER], READY_DEADLINE, say)

    def follow_token(self, compose: Compose) -> None:
        """Restart a server that still asks for the token from before."""
        one = self._project.container(JUPYTER)
        if one and has_an_old_token(one, mounts.notebook_folder(self._lab)):
            self._project.run(compose.command("restart", JUPYTER))

    def url(self) -> str:
        one = self._project.container(JUPYTER)
        if one is None or one.state != "running" or one.published is None:
            return ""
        return access.url(one.published[1], access.token(self._lab))
