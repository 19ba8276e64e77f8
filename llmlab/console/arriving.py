"""What a request to the console says: whose it is, what it asks for, what its form holds."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from llmlab.console.desk import Desk
from llmlab.console.guarding import is_own
from llmlab.console.pages import Page, Query
from llmlab.console.visitor import Visitor, visitor_of
from llmlab.errors import UsageError

LONGEST_FORM = 1 << 20  # bytes; as the gateway lets through
MOST_FIELDS = 100
LONGEST_WHY = 1000  # letters
FORM = "application/x-www-form-urlencoded"


def visitor_from(request: Request, desk: Desk) -> Visitor:
    """
    Raises:
        HTTPException: 401; the gateway says of nobody who asks, or of somebody without a name.
    """
    found = visitor_of(request, desk.cookie)
    if found is None:
        raise HTTPException(401, "Nobody asks: a token for the console says whose it is (sub).")
    return found


def query_of(request: Request, page: Page) -> Query:
    """What the page asks by. Nothing else: each query is a live part of its own."""
    said = request.query_params
    return {name: said[name] for name in page.asks if name in said}


def check_own(request: Request) -> None:
    """
    Raises:
        HTTPException: 403; another page than one of this console has sent it.
    """
    if not is_own(request):
        raise HTTPException(403, "This request comes from another page than the console's.")


async def form_of(request: Request) -> Query:
    """The fields of a form, by the standard library alone: no form of the console has files.

    Raises:
        HTTPException: 400, 413 or 415; this is none of the console's forms.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"The console's forms are {FORM}.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            raise HTTPException(413, f"A form has at most {LONGEST_FORM >> 20} MiB.")
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS,
            errors="strict",
        )  # fmt: skip
    except ValueError:
        raise HTTPException(400, "This is no form.") from None
    return dict(fields)


def why_of(form: Query) -> str:
    """Why a form changes something, in one line: the ledger keeps it for ever.

    Raises:
        UsageError: nobody said why, or it is too long.
    """
    why = " ".join(form.get("why", "").split())
    if not why:
        raise UsageError(
            "a change from the console takes a reason: the ledger keeps it", fix="say why"
        )
    if len(why) > LONGEST_WHY:
        raise UsageError(
            f"a reason has at most {LONGEST_WHY:,} letters",
            fix=f"say it shorter: this one has {len(why):,}",
        )
    return why
