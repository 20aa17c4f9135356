"""Replies held to a JSON schema on a real llama.cpp: what cannot be one is a clear failure, never a free reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from prentice.errors import ModelError
from prentice.models.chat import tool_call_schema
from prentice.models.local import LocalModel
from prentice.records import Message, Request, Sampling, Tool
from prentice.tasks.tools import describe


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/definitions/missing"}}},
        {"type": "nonsense"},
        {"anyOf": 3},
        {"type": "string", "pattern": "(?=a)b"},
    ],
)
async def test_a_schema_that_a_model_cannot_be_held_to_is_named(smollm2: Path, schema: dict[str, Any]) -> None:
    model = LocalModel(smollm2, threads=1)
    request = Request(function="f", messages=(Message(role="user", content="Hi"),), response_schema=schema)
    try:
        with pytest.raises(ModelError) as caught:
            await model.generate(request, Sampling(max_tokens=8))
    finally:
        await model.close()
    assert "no model can be held to the response schema: " in str(caught.value)


async def test_tools_that_a_model_cannot_be_held_to_are_named(smollm2: Path) -> None:
    model = LocalModel(smollm2, threads=1)
    tool = Tool(name="t", parameters={"type": "object", "properties": {"a": {"type": "nonsense"}}})
    request = Request(function="f", messages=(Message(role="user", content="Hi"),), tools=(tool,))
    try:
        with pytest.raises(ModelError, match=r"no model can be held to the tools' schemas: .*nonsense"):
            await model.generate(request, Sampling(max_tokens=8))
    finally:
        await model.close()


class Leg(BaseModel):
    """Part of a journey."""

    to: Literal["Oslo", "Bonn"]


def book(legs: list[Leg]) -> str:
    """Book a journey."""
    return str(legs)


async def test_a_tool_whose_arguments_have_types_of_their_own_holds_the_model_to_them(smollm2: Path) -> None:
    model = LocalModel(smollm2, threads=1)
    tools = (describe(book), Tool(name="other", parameters={"$defs": {"Leg": {"type": "string"}}}))
    asked = (Message(role="user", content="Book me a journey to Bonn, then to Oslo. Call the tool."),)
    try:
        reply = await model.generate(Request(function="f", messages=asked, tools=tools), Sampling(max_tokens=60))
    finally:
        await model.close()
    schema = tool_call_schema(tools)
    assert schema["$defs"]["book.Leg"]["properties"] == {
        "to": {"enum": ["Oslo", "Bonn"], "title": "To", "type": "string"}
    }
    assert schema["$defs"]["other.Leg"] == {"type": "string"}
    for call in reply.message.tool_calls:
        if call.name == "book":
            assert all(leg["to"] in ("Oslo", "Bonn") for leg in json.loads(call.arguments)["legs"])
