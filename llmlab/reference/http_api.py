"""http.md: what the lab answers over HTTP, from the API's OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmlab.config.schema import Config
from llmlab.reference.markdown import anchor, code, page, table, text

INTRODUCTION = """The lab as its clients meet it, behind its gateway: by default at
`http://127.0.0.1:8000`. `llmlab config openapi` prints the same for machines (OpenAPI 3.1), as does
`GET /openapi.json` with a token; `GET /docs` shows it in a browser, offline: an empty page until
you paste a token."""
AUTHORIZATION = """Every request but those for health and `/docs` needs the header
`Authorization: Bearer TOKEN`. `llmlab token` prints a token."""
EVENTS = "text/event-stream"
SAYS_NOTHING = "Successful Response"  # FastAPI, where nobody said more


def openapi() -> dict[str, Any]:
    """The document; the same for every lab of this version."""
    from llmlab.service.app import build_app
    from llmlab.service.settings import Settings

    config = Config()
    model = config.models[config.fallback]
    settings = Settings(deployment=config.fallback, name=config.fallback, model=model)
    return build_app(settings).openapi()


def markdown() -> str:
    document = openapi()
    # What is at several addresses is described once.
    operations: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method, one in item.items():
            operations.setdefault(one["summary"], []).append((f"{method.upper()} {path}", one))
    index = table(
        ("request", "what it does", "token"),
        (
            (code(request), f"[{text(summary)}](#{anchor(summary)})",
             "no" if one.get("security") == [] else "yes")
            for summary, known in operations.items()
            for request, one in known
        ),
    )  # fmt: skip
    components = document["components"]
    return page(
        "HTTP API",
        INTRODUCTION,
        AUTHORIZATION,
        index,
        *(_operation(summary, known, components) for summary, known in operations.items()),
        "## Problems",
        text(document["info"].get("description", "").replace("\n", " ")),
        _refusals(components["responses"], "Problem"),
        "## Errors",
        "Under `/v1`, where OpenAI's clients read no other shape: [ErrorDocument](#errordocument).",
        _refusals(components["responses"], "Error"),
        "## Headers of answers",
        _headers(components["headers"]),
        "## Documents",
        *(_schema(name, one) for name, one in components["schemas"].items()),
    )


def _operation(
    summary: str, known: list[tuple[str, dict[str, Any]]], components: dict[str, Any]
) -> str:
    one = known[0][1]
    asked = [_resolved(parameter, components) for parameter in one.get("parameters", [])]
    problems = [status for status in one["responses"] if status != "200"]
    ok = one["responses"]["200"]
    parts = [
        f"## {summary}",
        "\n".join(f"    {request}" for request, _ in known),
        text(_line(one.get("description", ""))),
        table(
            ("parameter", "in", "type", "what it is for"),
            (
                (code(each["name"]), each["in"], _type(each["schema"]),
                 text(each["description"]) + (" Required." if each.get("required") else ""))
                for each in asked
            ),
        ),
    ]  # fmt: skip
    if body := one.get("requestBody"):
        parts.append(f"Body: {', '.join(_contents(body['content']))}.")
    parts.append(f"Answer 200: {'; or '.join(_contents(ok['content']))}.")
    parts.append(text(_line(ok["description"])) if ok["description"] != SAYS_NOTHING else "")
    if example := ok["content"].get(EVENTS, {}).get("example"):
        parts.append("\n".join(f"    {line}" for line in example.strip().splitlines()))
    parts.append(f"Headers: {', '.join(code(name) for name in ok['headers'])}.")
    dialect = any(" /v1/" in request for request, _ in known)
    where = "[Errors](#errors)" if dialect else "[Problems](#problems)"
    parts.append(f"{where}: {', '.join(problems)}.")
    return "\n\n".join(part for part in parts if part)


def _contents(content: dict[str, Any]) -> Iterable[str]:
    for kind, one in content.items():
        what = "events" if kind == EVENTS else _type(one["schema"])
        yield f"{what} ({code(kind)})"


def _resolved(parameter: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in parameter:
        return parameter
    found: dict[str, Any] = components["parameters"][_name(parameter)]
    return found


def _refusals(responses: dict[str, Any], kind: str) -> str:
    rows = [
        (name.removeprefix(kind), text(_line(one["description"])),
         ", ".join(code(header) for header in one["headers"]))
        for name, one in responses.items()
        if name.startswith(kind)
    ]  # fmt: skip
    return table(("status", "when", "headers"), rows)


def _headers(headers: dict[str, Any]) -> str:
    rows = [
        (code(name), _type(one["schema"]), text(_line(one["description"])))
        for name, one in headers.items()
    ]
    return table(("header", "type", "what it says"), rows)


def _schema(name: str, schema: dict[str, Any]) -> str:
    parts = [f"### {name}", text(_line(schema.get("description", "").split("\n\n")[0]))]
    if "enum" in schema:
        parts.append(f"{_type(schema)}.")
    else:
        required = schema.get("required", [])
        rows = [
            (code(key) + ("" if key in required else " (optional)"), _type(one),
             text(_line(one.get("description", ""))))
            for key, one in schema["properties"].items()
        ]  # fmt: skip
        parts.append(table(("key", "type", "what it is"), rows))
    return "\n\n".join(part for part in parts if part)


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = _name(schema)
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema:
        return code(f'"{schema["const"]}"')
    if "enum" in schema:
        return " or ".join(code(f'"{one}"') for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("additionalProperties") is True:
        return "object"
    if schema.get("additionalProperties"):
        return f"{{string: {_type(schema['additionalProperties'])}}}"
    said = [str(schema["type"])]
    for name, sign in (
        ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"),
    ):  # fmt: skip
        if name in schema:
            said.append(f"{sign} {schema[name]:,g}")
    return ", ".join(said)


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _line(said: str) -> str:
    return " ".join(said.split())
