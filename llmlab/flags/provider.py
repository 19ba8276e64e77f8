"""The lab's flags for OpenFeature (https://openfeature.dev), for programs that use its SDK:

    from openfeature import api
    from llmlab.flags.provider import LabProvider

    api.set_provider(LabProvider())
    if api.get_client().get_boolean_value("short-summaries", False): ...

Needs ``pip install 'llmlab[flags]'``. A flag is evaluated at the gateway, for the subject and
the claims of a token, so attributes of the evaluation context play no part. A targeting key is a
subject: another one than the token's needs a lab on this machine, whose keys mint a token for
it; elsewhere it is the error INVALID_CONTEXT.

Reasons: TARGETING_MATCH if the gateway was just asked, CACHED and STALE for a kept answer (see
``Asker``), else ERROR and the caller's default. Nothing is raised.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata

from llmlab.errors import LlmlabError, unreadable
from llmlab.flags.asking import Asker, Known, OtherSubject

NAME = "llmlab"
REASONS = {"new": Reason.TARGETING_MATCH, "kept": Reason.CACHED, "stale": Reason.STALE}
T = TypeVar("T")


class LabProvider(AbstractProvider):
    """Flags of a lab. All of them are boolean.

    Args:
        where: url and token, as of ``llmlab.Client``.
        options: lab, keep, stale, timeout, as of ``Asker``.
    """

    def __init__(self, *where: str | None, **options: Any) -> None:
        super().__init__()
        self._asker = Asker(*where, **options)

    def get_metadata(self) -> Metadata:
        return Metadata(name=NAME)

    def shutdown(self) -> None:
        self._asker.close()

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        known = self._known(flag_key, default_value, evaluation_context)
        if isinstance(known, FlagResolutionDetails):
            return known
        on = known.flags[flag_key]
        return FlagResolutionDetails(
            on, reason=REASONS[known.freshness], variant="on" if on else "off"
        )

    async def resolve_boolean_details_async(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        # The loop goes on while the gateway is asked.
        return await asyncio.to_thread(
            self.resolve_boolean_details, flag_key, default_value, evaluation_context
        )

    def _mismatch(
        self,
        flag_key: str,
        default_value: T,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[T]:
        known = self._known(flag_key, default_value, evaluation_context)
        if isinstance(known, FlagResolutionDetails):
            return known
        return _failed(default_value, ErrorCode.TYPE_MISMATCH, f"the flag {flag_key} is on or off")

    resolve_string_details = _mismatch
    resolve_integer_details = _mismatch
    resolve_float_details = _mismatch
    resolve_object_details = _mismatch

    def _known(
        self, flag: str, default: T, context: EvaluationContext | None
    ) -> Known | FlagResolutionDetails[T]:
        """The flags, this one among them; or the answer that says why not."""
        subject = (context.targeting_key if context else None) or ""
        try:
            known = self._asker.flags(subject)
        except OtherSubject as error:
            return _failed(default, ErrorCode.INVALID_CONTEXT, error.message)
        except LlmlabError as error:
            return _failed(default, ErrorCode.GENERAL, error.message)
        except Exception as error:  # whatever it is, the program that asks goes on
            return _failed(default, ErrorCode.GENERAL, unreadable(error))
        if flag not in known.flags:
            return _failed(default, ErrorCode.FLAG_NOT_FOUND, f"the lab has no flag {flag}")
        return known


def _failed(default: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(
        default, reason=Reason.ERROR, error_code=code, error_message=message
    )
