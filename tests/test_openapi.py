"""The OpenAPI document: pure, of an app whose model is never loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from fastapi.testclient import TestClient

from llmlab.config import Model
from llmlab.service.app import build_app
from llmlab.service.documentation import PAGES
from llmlab.service.settings import Settings
from tests.api import JSON, PROBLEM, TEXTRANK

EVENTS = "text/event-stream"
APP = build_app(Settings(deployment="blue", name="textrank", model=Model(**TEXTRANK)))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return APP.openapi()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)


def resolve(document: dict[str, Any], node: Any) -> Any:
    """What a reference leads to; everything else is itself."""
    if not (isinstance(node, dict) and "$ref" in node):
        return node
    found: Any = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def parameters(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [resolve(document, one) for one in operation["parameters"]]
    return {one["name"]: one for one in found}


# --- As a whole ------------------------------------------------------------------


@pytest.mark.slow
def test_the_document_is_valid_and_the_same_for_every_deployment(document: dict[str, Any]) -> None:
    from openapi_spec_validator import validate  # takes seconds, wherever this file is collected

    validate(document)
    other = Settings(deployment="green", name="other", model=Model(**TEXTRANK))
    assert build_app(other).openapi() == document


def test_it_lists_what_the_gateway_lets_through_and_each_address_once(
    document: dict[str, Any],
) -> None:
    assert set(document["paths"]) == {
        "/", "/summarize/", "/models/{deployment}/summarize/", "/flags", "/v1/models",
        "/v1/models/{name}", "/v1/chat/completions", "/v1/completions", "/v1/embeddings",
        "/health", "/health/live", "/health/ready",
    }  # fmt: skip


def test_every_reference_leads_somewhere_and_no_component_is_left_over(
    document: dict[str, Any],
) -> None:
    found = set(references(document))
    for reference in found:
        assert resolve(document, {"$ref": reference}), reference
    for kind in ("schemas", "responses", "parameters", "headers"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in found, name


def test_every_operation_says_what_it_is_and_has_a_name_of_its_own(
    document: dict[str, Any],
) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    tags = {one["name"] for one in document["tags"]}
    for path, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags, path


def test_a_token_is_wanted_everywhere_but_at_the_health_checks(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["security"] == [{"token": []}]
    for path, operation in operations(document):
        assert (operation.get("security") == []) == path.startswith("/health")


# --- Requests --------------------------------------------------------------------


def test_it_describes_the_fields_of_a_request(document: dict[str, Any]) -> None:
    body = document["paths"]["/summarize/"]["post"]["requestBody"]["content"][JSON]["schema"]
    schema = resolve(document, body)
    assert schema["required"] == ["text"]
    assert schema["additionalProperties"] is False
    fields = schema["properties"]
    assert set(fields) == {"text", "max_length", "min_length", "strategy"}
    assert all(field["description"] for field in fields.values())
    assert fields["strategy"]["default"] == "auto"
    limits = fields["max_length"]["anyOf"][0]
    assert (limits["type"], limits["minimum"], limits["maximum"]) == ("integer", 1, 4096)
    assert resolve(document, fields["strategy"])["enum"] == ["auto", "truncate", "full"]


def test_it_describes_the_headers_of_a_request(document: dict[str, Any]) -> None:
    paths = document["paths"]
    asked = parameters(document, paths["/summarize/"]["post"])
    assert set(asked) == {"X-Request-Timeout", "X-Request-ID", "X-Model", "Cache-Control"}
    assert "dropped" in asked["X-Request-Timeout"]["description"]
    assert set(parameters(document, paths["/flags"]["get"])) == {"X-Request-ID", "X-Model"}
    assert set(parameters(document, paths["/health"]["get"])) == {"X-Request-ID"}
    which = parameters(document, paths["/models/{deployment}/summarize/"]["post"])["deployment"]
    assert re.fullmatch(which["schema"]["pattern"], which["schema"]["examples"][0])


def test_nothing_is_filled_in_that_somebody_did_not_choose(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        for name, one in parameters(document, operation).items():
            assert "example" not in one, f"{path} {name}: /docs would send it"


def test_a_header_that_is_a_number_is_a_number_and_nothing_else(document: dict[str, Any]) -> None:
    seconds = parameters(document, document["paths"]["/summarize/"]["post"])["X-Request-Timeout"]
    assert (seconds["schema"]["type"], seconds["schema"]["exclusiveMinimum"]) == ("number", 0)
    assert document["components"]["headers"]["Retry-After"]["schema"]["type"] == "integer"
    for one in (*document["components"]["headers"].values(), seconds):
        assert not one["schema"].keys() & {"anyOf", "oneOf", "gt", "default"}


# --- Answers ---------------------------------------------------------------------


def test_every_answer_has_an_id_and_those_of_a_model_its_name(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        by_a_model = not path.startswith("/v1/models")
        for status, answer in operation["responses"].items():
            headers = set(resolve(document, answer)["headers"])
            assert "X-Request-ID" in headers, f"{path} {status}"
            asked = by_a_model or status != "200"
            assert ("X-Deployment" in headers) == asked, f"{path} {status}"
            named = status in ("403", "422", "500") or (status == "200" and by_a_model)
            assert ("X-Model" in headers) == named, f"{path} {status}"
    shared = document["components"]["headers"]
    assert shared["X-Request-ID"]["required"] is True


def test_whatever_can_go_wrong_is_a_document_of_one_schema_and_under_v1_of_openais(
    document: dict[str, Any],
) -> None:
    everywhere = {"200", "400", "413", "414", "429", "431", "500", "502", "503", "504"}
    for path, operation in operations(document):
        wanted = set(everywhere)
        wanted |= set() if path.startswith("/health") else {"401", "404"}
        wanted |= {"403", "415", "422"} if "requestBody" in operation else set()
        assert set(operation["responses"]) == wanted, path
        dialect = path.startswith("/v1/")
        kind, schema = (JSON, "ErrorDocument") if dialect else (PROBLEM, "ProblemDocument")
        for status in wanted - {"200"}:
            assert list(operation["responses"][status]) == ["$ref"], "written once"
            found = resolve(document, operation["responses"][status])
            assert found["content"] == {
                kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}
            }
            assert ("X-Should-Retry" in found["headers"]) == dialect


def test_it_says_what_each_problem_means_and_when_to_ask_again(document: dict[str, Any]) -> None:
    problems = {
        name.removeprefix("Problem"): one
        for name, one in document["components"]["responses"].items()
        if name.startswith("Problem")
    }
    assert {k for k, v in problems.items() if "Retry-After" in v["headers"]} == {
        "429", "502", "503",
    }  # fmt: skip
    assert {k for k, v in problems.items() if "WWW-Authenticate" in v["headers"]} == {"401"}
    assert "queue" in problems["429"]["description"]
    assert "X-Request-Timeout" in problems["504"]["description"]
    assert "X-Model" in problems["404"]["description"]
    assert len({one["description"] for one in problems.values()}) == len(problems)


def test_it_describes_a_summary_and_its_events(document: dict[str, Any]) -> None:
    ok = document["paths"]["/summarize/"]["post"]["responses"]["200"]
    answer = resolve(document, ok["content"][JSON]["schema"])
    assert set(answer["properties"]) == {"summary", "model", "usage"}
    assert set(ok["headers"]) == {
        "X-Cache", "Server-Timing", "X-Recorded", "X-Model", "X-Deployment", "X-Request-ID",
    }  # fmt: skip
    stream = ok["content"][EVENTS]["example"]
    names = [line for line in stream.splitlines() if line.startswith("event: ")]
    assert names == ["event: progress"] * 3 + ["event: summary"]
    for name in ("progress", "summary", "problem"):
        assert f"`{name}`" in ok["description"]


def test_it_describes_a_conversation_and_its_chunks(document: dict[str, Any]) -> None:
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert "X-Recorded" in chat["responses"]["200"]["headers"]
    asked = resolve(document, chat["requestBody"]["content"][JSON]["schema"])
    assert asked["required"] == ["messages"]
    assert {"model", "max_completion_tokens", "tools"} <= set(asked["properties"])
    ok = chat["responses"]["200"]
    answer = resolve(document, ok["content"][JSON]["schema"])
    assert set(answer["required"]) == set(answer["properties"]) == {
        "id", "object", "created", "model", "system_fingerprint", "choices", "usage",
    }  # fmt: skip
    *chunks, done = ok["content"][EVENTS]["example"].strip().split("\n\n")
    assert done == "data: [DONE]"
    told = [json.loads(one.removeprefix("data: "))["choices"][0] for one in chunks]
    assert [one["finish_reason"] for one in told] == [None, None, "stop"]
    assert "[DONE]" in ok["description"] and "include_usage" in ok["description"]


def test_links_lead_from_one_operation_to_the_next(document: dict[str, Any]) -> None:
    names = {operation["operationId"] for _, operation in operations(document)}
    linking = set()
    for path, operation in operations(document):
        for link in operation["responses"]["200"].get("links", {}).values():
            linking.add(path)
            assert link["operationId"] in names
    assert linking == {
        "/summarize/", "/models/{deployment}/summarize/", "/health", "/health/ready",
    }  # fmt: skip


# --- /docs -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(APP)  # not entered: so no model is loaded


def test_the_page_loads_nothing_from_elsewhere_and_nothing_may_be_loaded(
    client: TestClient,
) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {f"/{one}" for one in wanted if one != "data:,"} == set(PAGES) - {"/docs"}
    for address in PAGES:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == PAGES[address][0]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_swagger_ui_is_what_the_page_says_by_its_hash(client: TestClient) -> None:
    page = client.get("/docs").text
    named = dict(re.findall(r'(?:src|href)="docs/(swagger\S+)"\s+integrity="sha384-([^"]+)"', page))
    assert set(named) == {"swagger-ui.css", "swagger-ui-bundle.js"}
    for file, hashed in named.items():
        content = resources.files("fastapi_swagger.resources").joinpath(file).read_bytes()
        assert base64.b64encode(hashlib.sha384(content).digest()).decode() == hashed, file
