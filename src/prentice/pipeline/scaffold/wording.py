"""The texts of a new project: its instructions, its `prentice.toml`, its `grader.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import Template

from pydantic import JsonValue

from prentice.pipeline.project import TASK
from prentice.pipeline.scaffold.guesses import guess_point
from prentice.pipeline.schema import SCHEMA_FILE
from prentice.tasks.graders import GRADERS
from prentice.tasks.text import ANSWER_KEY

FEW_ROWS = 2000
"""Below this many rows a student needs more steps than the default batch gives it."""

OBJECTS = ("json", "entities")
"""Graders whose answers are JSON objects."""

INSTRUCTIONS = {
    "number": "What is the $output? Answer with the number alone, without a currency or any other word.",
    "label": "Which $output does this text have?",
    "json": "Read the text and answer with a JSON object with the fields $fields, and nothing else.",
    "entities": "What of these does the text name: $fields? Answer with a JSON object, kind to texts; leave out "
    "kinds of which there is none.",
    "exact": "What is the $output of this text? Answer with it alone.",
    "regex": "What is the $output of this text? Answer with it alone.",
    "python": "What is the $output of this text? Answer with it alone.",
    "command": "What is the $output of this text? Answer with it alone.",
    "judge": "Write the $output for this text.",
}

CODE = {
    "python": '''"""How a reply is graded. What `grade` raises is counted as its own failure, never as a wrong reply."""


def grade(reply: str, expected: str | None, inputs: dict[str, str]) -> bool:
    """Return true or false, a number, or a dict of flags and numbers with `success` among them."""
    return reply.strip().lower() == (expected or "").strip().lower()
''',
    "command": '''"""How a reply is graded: reads reply, expected and inputs; ends with code 0 (right) or 1 (wrong)."""

import json
import sys

asked = json.load(sys.stdin)
right = asked["reply"].strip().lower() == (asked["expected"] or "").strip().lower()
sys.exit(0 if right else 1)
''',
}

GRADE = {
    "regex": "pattern = '^(.+)$'   # the first group must be the expected text",
    "python": 'function = "grader.py:grade"',
    "command": 'command = ["python3", "grader.py"]',
}

TOML = Template(
    """#:schema ./$schema
# What is to be learnt, who does it today, who shall learn it. `prentice check` says what is wrong here.

[task]
kind = "text"
cases = "cases.csv"                # id, split, what comes in, what should come out
instructions = "instructions.md"
prompt = $prompt

[task.grade]
kind = "$grade"$more

[teacher]
model = $teacher

[student]
base = "smollm2-135m"

[rollout]
max_tokens = $max_tokens                    # the longest reply

[curate]
keep = "success"                   # what the student learns from
$train$evaluate"""
)

TRAIN = """
[train.sft]
batch = 8                          # few rows: more and smaller steps
"""

EVALUATE = """
[evaluate]
policies = ["base", "student"]     # the answer key is always right: there is nothing to compare
"""


def instructions(grade: str, output: str, keys: Sequence[str]) -> str:
    """A first wording of what is to be done.

    Raises: UnknownNameError for a grader that is none.
    """
    GRADERS.load(grade)
    fields = ", ".join(_fields(keys)) if grade in OBJECTS else ""
    return Template(INSTRUCTIONS.get(grade, INSTRUCTIONS["exact"])).substitute(
        output=output.replace("_", " "), fields=fields
    )


def toml(grade: str, teacher: str, inputs: Sequence[str], keys: Sequence[str]) -> str:
    """The text of `prentice.toml`.

    Args:
        inputs: columns of cases.csv that the prompt shows.
        keys: the answers; the longest says how long a reply may be.
    """
    prompt = "{text}" if len(inputs) == 1 else "\n".join(f"{name}: {{{name}}}" for name in inputs)
    return TOML.substitute(
        schema=SCHEMA_FILE.as_posix(),
        prompt=_quoted(prompt),
        grade=grade,
        more="".join(f"\n{line}" for line in _grade_lines(grade, teacher, keys)),
        teacher=_quoted(teacher),
        max_tokens=_longest(grade, keys),
        train=TRAIN if len(keys) < FEW_ROWS else "",
        evaluate=EVALUATE if teacher == f"{TASK}{ANSWER_KEY}" else "",
    )


def _grade_lines(grade: str, teacher: str, keys: Sequence[str]) -> list[str]:
    given = [key for key in keys if key]
    if grade == "number" and guess_point(given) == ",":
        return ['decimal = ","']
    if grade == "json" and given:
        return [f"response_schema = {_toml(_schema(given))}   # holds replies to this form"]
    if grade == "judge":
        return [
            f"model = {_quoted(teacher)}   # better another one than the teacher",
            'rubric = "The reply does what was asked, is true to the text, and adds nothing."',
        ]
    return [GRADE[grade]] if grade in GRADE else []


def _longest(grade: str, keys: Sequence[str]) -> int:
    """Tokens for the longest answer: two characters a token and half as much again, for JSON one a character."""
    if grade == "judge" or not any(keys):
        return 256
    characters = max(map(len, keys))
    least, tokens = (64, characters) if grade in OBJECTS else (24, 3 * characters // 4)
    return max(least, -(-tokens // 8) * 8)


def _fields(keys: Sequence[str]) -> list[str]:
    objects = [json.loads(key) for key in keys if key]
    return list(dict.fromkeys(name for value in objects for name in value))


def _schema(keys: Sequence[str]) -> JsonValue:
    objects = [json.loads(key) for key in keys]
    properties: dict[str, JsonValue] = {}
    for name in _fields(keys):
        kinds = sorted({_kind(value[name]) for value in objects if name in value})
        properties[name] = {"type": kinds[0] if len(kinds) == 1 else list(kinds)} if kinds else {}
    required: list[JsonValue] = [name for name in properties if all(name in value for value in objects)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _kind(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return "array"
    if value is None:
        return "null"
    return "string" if isinstance(value, str) else "object"


def _toml(value: JsonValue) -> str:
    """A value on one line of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_quoted(name)} = {_toml(v)}" for name, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    # a string of JSON is one of TOML, but for this one character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
