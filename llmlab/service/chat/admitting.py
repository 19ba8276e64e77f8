"""Guards of a chat: its request before anybody reads it, and where its answer has to pass."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from llmlab.guards.rules import GuardFailed
from llmlab.guards.window import Window
from llmlab.runtimes.chat import Chunk
from llmlab.service.chat.chunks import Kind
from llmlab.service.chat.errors import ApiError, cannot
from llmlab.service.chat.guarded import Open, guarded
from llmlab.service.chat.schemas import checked
from llmlab.service.guarding import (
    BLOCKED,
    FAILED,
    Guarding,
    Refusal,
    Unreadable,
    said_of,
    said_of_failure,
)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Admitting:
    guarding: Guarding

    async def request(self, asked: M, document: dict[str, Any], connection: Request) -> M:
        """A request as its model may read it.

        Args:
            asked: what the document says, checked.

        Raises:
            ApiError: 403, a guard found something, or 400, it cannot be looked at.
        """
        rules = self.guarding.of_dialect("request", connection)
        if not rules:
            return asked
        state = connection.scope["state"]
        try:
            looked = await self.guarding.document(document, rules, state)
        except Refusal as refusal:
            said = said_of(refusal.blocked, "request")
            raise ApiError(403, said, code=BLOCKED, param=refusal.param) from None
        except Unreadable as error:
            said = f"{error.param}: this lab looks at texts, and takes no numbers of tokens."
            raise ApiError(400, said, code="invalid_value", param=error.param) from None
        except GuardFailed as failure:
            raise self.failed(failure, connection) from None
        return asked if looked == document else checked(type(asked), looked)

    def opened(self, asked: BaseModel, text: str, connection: Request) -> Open | None:
        """What makes the windows for the texts of an answer; None where no guard looks at it.

        Args:
            text: what it answers.

        Raises:
            ApiError: 400, it wants the answer's tokens, beside the text.
        """
        rules = self.guarding.of_dialect("answer", connection)
        if not rules:
            return None
        if getattr(asked, "logprobs", None) not in (None, False):
            raise cannot("logprobs", "This lab looks at answers, and tells no tokens beside them.")
        state = connection.scope["state"]

        def window(strict: bool) -> Window:
            return self.guarding.window(rules, "answer", state, asked=text, strict=strict)

        return window

    def failed(self, failure: GuardFailed, connection: Request) -> ApiError:
        """What is told where a guard could not tell."""
        self.guarding.failed(failure, connection.scope["state"])
        return ApiError(
            500, said_of_failure(failure), code=FAILED, headers={"x-should-retry": "false"}
        )


def passing(
    kind: Kind, chunks: AsyncGenerator[Chunk], opened: Open | None, choices: int
) -> AsyncGenerator[Chunk]:
    """The chunks of a streamed answer, past its guards if there are any."""
    return guarded(kind, chunks, opened, choices) if opened else chunks
