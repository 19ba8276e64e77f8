"""Copies of some requests for a deployment whose answers nobody sees.

NGINX copies a request by `mirror`. A client has its own answer without the copy's, but on the
same connection its next request is looked at only once the copy is over. So the deployment says
202 before it reads the text, and one that does not say anything is left soon.
"""

from __future__ import annotations

from llmlab.gateway.quoting import percentage
from llmlab.names import SUMMARIZE
from llmlab.traffic import Shadow, Traffic

PATH = "/shadow/"  # of the API, for a copy of a request to /summarize/
PATIENCE = "200ms"


def mirror(traffic: Traffic) -> list[str]:
    """What the location says whose requests are copied."""
    return ["mirror /.shadow;"] if _share(_copied(traffic)) else []


def shadow(traffic: Traffic) -> list[str]:
    """The location that the copies go to. The chance is drawn for each request."""
    copied = _copied(traffic)
    if copied is None or not _share(copied):
        return []
    return [
        "location = /.shadow {",
        "    internal;",
        "    auth_jwt off;                       # the request itself was judged",
        '    if ($lab_shadowed = "") {',
        "        return 204;",
        "    }",
        f"    proxy_pass http://model_{copied.deployment}{PATH};",
        f"    proxy_connect_timeout {PATIENCE};",
        f"    proxy_send_timeout {PATIENCE};",
        f"    proxy_read_timeout {PATIENCE};",
        "    proxy_next_upstream off;",
        "    proxy_ignore_headers X-Accel-Redirect;  # of a link that is away: it leads to others",
        "    error_page 502 504 @problem;        # and nobody else gets it",
        "}",
    ]


def shadow_maps(traffic: Traffic) -> list[str]:
    """$lab_shadowed: 1 for a request that is copied."""
    share = _share(_copied(traffic))
    if not share:
        return []
    return [
        "# Of the texts to be summarized, so many are copied to the shadow.",
        f'split_clients "shadow:$request_id" $lab_drawn {{ {share} 1; * ""; }}',
        'map "$request_method $endpoint" $lab_shadowed '
        '{ "POST /summarize/" $lab_drawn; default ""; }',
    ]


def _copied(traffic: Traffic) -> Shadow | None:
    """The shadow of summarize: of other routes nothing is copied."""
    return traffic.route(SUMMARIZE).shadow


def _share(shadow: Shadow | None) -> str:
    return percentage(shadow.percent) if shadow else ""
