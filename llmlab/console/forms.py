"""What a form of the console sends: names and values, of a bounded size."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

KIND = "application/x-www-form-urlencoded"  # files are sent by no form of the console
LONGEST = 1 << 20  # bytes, of a whole form: as much as the gateway lets through
FIELDS = 100


async def form_of(request: Request) -> dict[str, str]:
    """Its fields; of those with the same name the last.

    Raises:
        HTTPException: 400, 413 or 415: it is nothing that a form of the console would send.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != KIND:
        raise HTTPException(415, f"A form is sent as {KIND}.")
    sent = bytearray()
    async for part in request.stream():
        sent += part
        if len(sent) > LONGEST:
            raise HTTPException(413, f"A form of more than {LONGEST:,} bytes is not taken.")
    try:
        text = sent.decode()
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS))
    except ValueError:  # UnicodeDecodeError is one
        raise HTTPException(
            400, f"These are no fields of a form in UTF-8, or more than {FIELDS}."
        ) from None
