"""Who may ask the console at all: the gateway, and nobody beside it.

The gateway says who a visitor is, and the console believes it. Who may open the socket is not
enough to go by: under the local engine as root that is the group of NGINX's workers, in which other
daemons may be as well. So the gateway proves itself by a secret that the lab's owner alone can
read: it is in the gateway's configuration, and in a file that the console reads.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from llmlab.engines.console import read_secret
from llmlab.gateway.console import PROOF
from llmlab.lab import Lab

REFUSED = "Only the lab's gateway asks here.\n"


class FrontDoor:
    """Lets in what comes from the gateway of this lab. Anything else is 403."""

    def __init__(self, app: ASGIApp, lab: Lab) -> None:
        self._app, self._lab = app, lab

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_the_gateway(scope):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(REFUSED, 403)(scope, receive, send)

    def _is_the_gateway(self, scope: Scope) -> bool:
        # Read each time: it may be another one since the last `llmlab up`.
        secret = read_secret(self._lab)
        said = Headers(scope=scope).get(PROOF, "")
        return bool(secret) and hmac.compare_digest(said.encode("latin-1"), secret.encode())
