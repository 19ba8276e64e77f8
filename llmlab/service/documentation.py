"""/docs: the OpenAPI document as a page that works without any network but the lab's.

The page holds nothing of a lab: whoever opens it gives it a token, and it fetches the document
with that. Swagger UI is the published one, byte for byte: the page names the hashes of the
release, and a browser runs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

# Swagger UI sets styles of its own at run time, and has its pictures in its style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src data:; font-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "max-age=3600",
}
# {address: (type, package, file)}. The gateway lets exactly these through without a token.
PAGES = {
    "/docs": ("text/html", "llmlab.service.pages", "docs.html"),
    "/docs/page.css": ("text/css", "llmlab.service.pages", "docs.css"),
    "/docs/page.js": ("text/javascript", "llmlab.service.pages", "docs.js"),
    "/docs/swagger-ui.css": ("text/css", "fastapi_swagger.resources", "swagger-ui.css"),
    "/docs/swagger-ui-bundle.js": (
        "text/javascript", "fastapi_swagger.resources", "swagger-ui-bundle.js",
    ),
}  # fmt: skip


def add_documentation(app: FastAPI) -> None:
    for address, (kind, package, file) in PAGES.items():
        answer = _answer(kind, package, file)
        app.add_api_route(address, answer, methods=["GET", "HEAD"], include_in_schema=False)


def _answer(kind: str, package: str, file: str) -> Callable[[], Response]:
    def page() -> Response:
        where = Path(str(resources.files(package).joinpath(file)))
        return FileResponse(where, media_type=kind, headers=HEADERS)

    return page
