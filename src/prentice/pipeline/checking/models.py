"""Teacher, judge and student: whether they can be had, and what is known of their price. None of them is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from prentice.errors import PrenticeError
from prentice.models.bases import find
from prentice.models.catalogue import listing
from prentice.models.prices import in_words
from prentice.models.specs import LOCAL, RECORDED, price_of, recording_files
from prentice.pipeline.checking.cases import Seen
from prentice.pipeline.checking.findings import Finding, bad, doubtful, from_error, good
from prentice.pipeline.project import TASK, Project
from prentice.records import Request
from prentice.tasks.text import ANSWER_KEY

CHARACTERS_PER_TOKEN = 4


def look_at_models(project: Project, judge: str | None) -> Iterator[Finding]:
    """Teacher, judge if there is one, student."""
    teacher = project.config.teacher.model
    yield from _model("teacher", teacher, project)
    if judge is not None:
        yield from _model("judge", judge, project)
        if judge == teacher:
            yield doubtful("judge", "the judge is the teacher: it grades its own work", "name another model")
    if teacher == f"{TASK}{ANSWER_KEY}" and "teacher" in project.config.evaluate.policies:
        yield doubtful(
            "teacher",
            "the answer key as teacher is always right and costs nothing: no student can win against it",
            'set [evaluate] policies = ["base", "student"]',
        )
    yield from _student(project)


def _model(topic: str, spec: str, project: Project) -> Iterator[Finding]:
    try:
        if spec.startswith(RECORDED):
            files = recording_files(spec, project.folder)
            yield good(topic, f"{spec}: {len(files)} files")
        elif spec.startswith(TASK):
            project.open_policy(spec)
            yield good(topic, f"{spec}: brought by the task, costs nothing")
        elif spec.startswith(LOCAL):
            yield _local(topic, spec, project)
        else:
            yield from _remote(topic, spec, project)
    except PrenticeError as error:
        yield from_error(topic, error)


def _local(topic: str, spec: str, project: Project) -> Finding:
    name = spec.removeprefix(LOCAL)
    if name.endswith(".gguf"):
        place = next((p for p in (project.folder / name, Path(name).expanduser()) if p.is_file()), None)
        if place is None:
            return bad(topic, f"{name}: no such model file", "`prentice models list` names the models to get")
        return good(topic, f"{spec}: a file of {place.stat().st_size / 1e6:,.0f} MB, runs on this machine")
    base = find(name)
    if find_spec("xllamacpp") is None:
        return bad(topic, f"{spec}: llama.cpp is not installed", 'pip install "prentice[local]"')
    if {b.name: here for b, here in listing()}[base.name]:
        return good(topic, f"{spec}: on this machine, no dollars")
    return _not_here(topic, base.name, base.gguf_bytes, project)


def _not_here(topic: str, name: str, size: int, project: Project) -> Finding:
    text = f"{name} is not on this machine ({size / 1e6:,.0f} MB)"
    step = f"prentice models get {name}"
    return (
        bad(topic, f"{text}, and `offline` forbids to fetch it", step)
        if project.config.offline
        else doubtful(topic, f"{text}: it is fetched when it is needed", step)
    )


def _remote(topic: str, spec: str, project: Project) -> Iterator[Finding]:
    project.open_policy(spec)  # makes no call; says which key is missing
    price = price_of(spec, project.config.providers)
    limit = project.config.rollout.budget_usd
    if price is not None:
        known = f"${price.input_usd:g} to read, ${price.output_usd:g} to write a million tokens ({in_words(price)})"
        yield good(topic, f"{spec}: key set, {known}")
    elif limit is not None:
        step = f'[providers."{spec}"] price = {{input_usd = ..., output_usd = ...}}'
        yield bad(topic, f"{spec}: its price is unknown, so budget_usd cannot be kept", step)
    else:
        yield doubtful(topic, f"{spec}: its price is unknown", "the report will not say what it costs; see [providers]")
    if limit is None:
        yield doubtful("budget", f"nothing limits what {spec} may cost", "set [rollout] budget_usd")
    else:
        yield good("budget", f"at most ${limit:,.2f} a run")


def _student(project: Project) -> Iterator[Finding]:
    topic, name = "student", project.base
    if Path(name).is_dir():
        weights = list(Path(name).glob("*.safetensors"))
        yield (
            good(topic, name)
            if weights
            else bad(topic, f"{name}: holds no safetensors", "save it with `save_pretrained`")
        )
        return
    try:
        base = find(name)
    except PrenticeError as error:
        yield from_error(topic, error)
        return
    if not base.trainable:
        able = ", ".join(b.name for b, _ in listing() if b.trainable)
        yield bad(topic, f"{name} cannot be trained: it comes as GGUF only", f"[student] base = one of: {able}")
    elif find_spec("torch") is None:
        yield bad(topic, "torch is not installed, so nothing can be trained here", 'pip install "prentice[local]"')
    elif {b.name: here for b, here in listing()}[name]:
        yield good(topic, f"{name}: on this machine")
    else:
        yield _not_here(topic, name, base.gguf_bytes, project)


def look_at_lengths(project: Project, requests: Sequence[tuple[Seen, Request]]) -> Iterator[Finding]:
    """Prompts that the student cannot be trained on, or that do not fit its context; tokens are estimated."""
    if not requests:
        return
    reply = project.config.rollout.max_tokens
    sizes = sorted(
        (sum(len(m.content) for m in request.messages) // CHARACTERS_PER_TOKEN, seen.line or 0, str(seen))
        for seen, request in requests
    )
    tokens, _, where = sizes[-1]
    longest = project.config.train.sft.max_tokens
    if tokens + min(reply, longest) > project.config.context:
        room = f"a model's context has {project.config.context:,}"
        yield bad("lengths", f"{where}: about {tokens:,} tokens, and {room}", "shorten or drop it, or raise `context`")
    elif tokens > longest:
        yield bad(
            "lengths",
            f"{where}: about {tokens:,} tokens, more than [train.sft] max_tokens = {longest:,}",
            f"set [train.sft] max_tokens = {tokens * 5 // 4}",
        )
    else:
        yield good("lengths", f"the longest prompt of the student has about {tokens:,} tokens")
