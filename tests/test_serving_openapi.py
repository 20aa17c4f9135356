"""The endpoint against its own OpenAPI document: whatever fits it, or does not, is answered as the document says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from prentice.models import ScriptedModel
from prentice.pipeline.recording import Recording
from prentice.serving.access import Access
from prentice.serving.endpoint import make_app
from prentice.serving.openapi import document
from prentice.serving.upstream import Answering
from records_examples import json_values

LOCAL = {"host": "localhost"}
HELD = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
OPERATIONS = [("/v1/chat/completions", "POST"), ("/v1/feedback", "POST"), ("/health", "GET")]


class Lasting:
    """An application that is not ended after each request, as the client of schemathesis would have it."""

    def __init__(self, app: Starlette) -> None:
        self.app, self.routes = app, app.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass requests on."""
        if scope["type"] == "http":
            await self.app(scope, receive, send)
            return
        while True:
            said = (await receive())["type"]
            await send({"type": f"{said}.complete"})
            if said == "lifespan.shutdown":
                return


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    """An endpoint in front of a script that is called `echo`."""
    recording = Recording.of(tmp_path_factory.mktemp("desk"))
    recorder = recording.recorder()
    upstream = Answering(ScriptedModel(lambda _: "yes"), "echo")
    yield Lasting(make_app(upstream, recorder, Access(recording.home, "127.0.0.1"), recording.config))
    recorder.close()


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_one_that_the_document_knows(
    app: Lasting, path: str, method: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=LOCAL)
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        return  # nothing can be said to it, so nothing wrong either

    @given(case=schema[path][method].as_strategy(mode))
    @FEW
    def holds(case: Case[Any]) -> None:
        case.call_and_validate(headers=LOCAL, checks=HELD)

    holds()


def test_the_document_is_valid_and_names_what_the_application_serves(app: Lasting) -> None:
    described = document()
    served = {getattr(route, "path", "") for route in app.routes}
    assert set(described["paths"]) == {path for path, _ in OPERATIONS}
    assert set(described["paths"]) < served
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


FIELDS = st.dictionaries(
    st.sampled_from(["model", "messages", "stream", "tools", "response_format", "max_tokens", "n", "prentice", "seed"]),
    json_values,
)
ASKED = st.fixed_dictionaries(
    {
        "model": st.just("echo"),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": json_values},
                optional={"tool_calls": json_values, "tool_call_id": json_values, "name": json_values},
            ),
            min_size=1,
            max_size=3,
        ),
    }
)


@given(asked=ASKED, over=FIELDS)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_request_of_any_content_is_answered_or_refused_in_openais_form(
    app: Lasting, asked: dict[str, Any], over: dict[str, Any]
) -> None:
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=True)
    answer = client.post(
        "/v1/chat/completions", content=json.dumps(asked | over), headers={"content-type": "application/json"}
    )
    assert answer.status_code < 500
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert "Traceback" not in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/nope", 404),
        ("PUT", "/v1/chat/completions", 405),
        ("PATCH", "/v1/feedback", 405),
        ("POST", "/health", 405),
        ("GET", "/v1/models", 200),
    ],
)
def test_other_paths_and_methods_are_answered_in_openais_form(
    app: Lasting, method: str, path: str, status: int
) -> None:
    answer = TestClient(app, base_url="http://localhost").request(method, path)
    assert answer.status_code == status
    assert status == 200 or set(answer.json()["error"]) == {"message", "type", "param", "code"}
