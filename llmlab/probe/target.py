"""The lab that is put under load, and the tokens with which it is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import httpx2

from llmlab.client import credentials, protocol
from llmlab.client.connection import NOBODY, Trust, connect
from llmlab.client.credentials import LabTokens, TokenSource
from llmlab.client.events import is_stream
from llmlab.errors import UsageError
from llmlab.probe.load import Profile

MOST_SUBJECTS = 1000
HELLO = "A lab that is asked for a summary of this answers, or says why it does not."


@dataclass(frozen=True)
class Target:
    """A lab, and one source of tokens for each subject, who ask in turn."""

    url: str
    tokens: tuple[TokenSource, ...]
    trust: Trust = NOBODY

    @classmethod
    def find(cls, url: str | None, lab: Path | None, subjects: int) -> Target:
        """The lab at ``url`` or around here, by the rules of the client library.

        Raises:
            UsageError: several subjects, but a token that was given and has one.
            AuthError: an address elsewhere, and no token for it.
        """
        found = credentials.resolve(url, None, lab)
        if subjects == 1:
            return cls(found.url, (found.token,), found.trust)
        if not isinstance(found.token, LabTokens):
            raise UsageError(
                f"--subjects {subjects} needs the key of the lab, and LLMLAB_TOKEN or "
                "LLMLAB_TOKEN_FILE gives a token instead, which has one subject",
                fix="unset it, or leave --subjects out",
            )
        several = (found.token.of(f"load-{number}") for number in range(1, subjects + 1))
        return cls(found.url, tuple(several), found.trust)

    def headers(self, number: int) -> dict[str, str]:
        """Those of the n-th request."""
        return {"Authorization": f"Bearer {self.tokens[number % len(self.tokens)]()}"}

    def check(self, profile: Profile) -> None:
        """Ask once, and leave it to the load what a lab that is busy or loading answers.

        Raises:
            LlmlabError: it cannot be reached, refuses the token, or is no lab.
        """
        outcome: httpx2.Response | httpx2.RequestError
        patience = httpx2.Timeout(profile.timeout, connect=5.0)
        asked = replace(profile, talk=profile.talk and replace(profile.talk, most=1))
        with connect(httpx2.Client, self.url, trust=self.trust, timeout=patience) as http:
            try:
                body = asked.body(HELLO)
                outcome = http.post(profile.path, json=body, headers=self.headers(0))
            except httpx2.RequestError as error:
                outcome = error
        if not isinstance(outcome, httpx2.RequestError) and _busy(outcome):
            return
        if not profile.talk:
            protocol.summary_of(outcome, self.url, self.tokens[0].advice)
        elif not is_stream(protocol.answered(outcome, self.url, self.tokens[0].advice)):
            raise protocol.refused(outcome, self.url)


def _busy(response: httpx2.Response) -> bool:
    return response.status_code == 429 or response.status_code >= 500
