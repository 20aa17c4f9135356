"""Local inference: a GGUF file on llama.cpp's own server, inside this process.

Replies can be held to a list of choices, to a JSON schema, or to calls of the given tools. The text of the prompt is
ours (`chat.py`), so that a student sees in service exactly what it saw in training.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from prentice.errors import MissingExtraError, ModelError, PrenticeError
from prentice.models.chat import CLOSE, OPEN, ChatFormat, parse_reply, tool_call_schema
from prentice.models.choices import Trie, walk
from prentice.models.openmp import release_idle_threads
from prentice.models.slots import Slots
from prentice.records import Message, Reply, Request, Sampling, TokenLogprob, Tool, Usage, digest

ONLY_THESE = 100.0
"""Added to the logits of allowed tokens: far above any difference between logits, so nothing else is ever drawn."""


@dataclass(frozen=True)
class Drawn:
    """A reply as the model itself draws it, held to nothing, token by token.

    Args:
        prompt: ids of what it read.
        tokens: ids of what it wrote, the one that ends the reply included; without that one it was cut.
        logprobs: of each of `tokens`, as the model had it; () where llama.cpp does not tell all of them: it leaves out
            tokens that are a part of a letter.
        reply: the same as text.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    reply: Reply


class LocalModel:
    """A policy on llama.cpp.

    A drawn reply repeats with its seed where the prompt is read the same way; beside other cached prompts the last bits
    of the probabilities differ, and a draw may fall between them. Greedy replies do not depend on that.

    Args:
        gguf: the model file.
        name: how records call it.
        slots: chats served at once (continuous batching); each keeps its own prompt cache.
        functions: kinds of prompts with instructions of their own; for each of them every slot keeps a cache.
        context: tokens of context per slot and function.
        threads: computing threads; None = as many as there are idle cores.
    """

    def __init__(
        self,
        gguf: Path,
        *,
        name: str = "",
        slots: int = 1,
        functions: int = 1,
        context: int = 4096,
        threads: int | None = None,
    ) -> None:
        self.name = name or f"local:{gguf.name}"
        self.slots = slots
        self.threads = threads or idle_cores()
        self._server: Any = _start(gguf, slots * functions, context, self.threads)
        self._slots = Slots(slots * functions, at_once=slots)
        # a call blocks its thread; more threads than slots would only wait for each other
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="llama")
        self._tries: dict[tuple[str, ...], Trie] = {}
        self._meter = _CpuMeter()
        properties = self._http("/props")
        self._bos = str(properties.get("bos_token") or "")
        self._eos = str(properties.get("eos_token") or "")
        self._end = self._raw_tokens(self._eos)[-1] if self._eos else None
        self.chat = ChatFormat(str(properties["chat_template"]), self._bos, self._eos)
        # llama.cpp puts the begin token before every prompt of some models; a template that writes it would double it
        self._adds_bos = bool(self._http("/tokenize", {"content": "", "add_special": True})["tokens"])

    def tokens(self, text: str) -> list[int]:
        """Token ids of a prompt's text as this server reads it (special tokens parsed, begin token as it would be)."""
        body = {"content": self._without_bos(text), "add_special": True, "parse_special": True}
        return [int(t) for t in self._http("/tokenize", body)["tokens"]]

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Answer within the request's choices, schema or tools, if it names any."""
        prompt = self._without_bos(self.chat.prompt(request.messages, request.tools))
        begun = time.perf_counter()
        async with self._slots.take(prompt) as slot:
            with self._meter.call() as cpu:
                call = _Call(self._server, self._threads, prompt, slot, sampling)
                if request.choices:
                    message, finish = await self._choose(call, request.choices), "stop"
                else:
                    message, finish = await self._write(call, request)
        return Reply(
            message=message,
            model=self.name,
            finish_reason=finish,
            usage=Usage(
                input_tokens=call.input_tokens, cached_tokens=call.cached_tokens, output_tokens=call.output_tokens
            ),
            latency_s=time.perf_counter() - begun,
            processing_s=cpu[0],
            token_logprobs=tuple(call.logprobs),
        )

    async def draw(self, request: Request, sampling: Sampling) -> Drawn:
        """Answer freely: no choices, no schema, no grammar of tools, so that the draw is the model's own.

        Raises: ModelError if the prompt does not fit into the context.
        """
        text = self._without_bos(self.chat.prompt(request.messages, request.tools))
        begun, running = time.perf_counter(), asyncio.get_running_loop()
        async with self._slots.take(text) as slot:
            with self._meter.call() as cpu:
                call = _Call(self._server, self._threads, text, slot, sampling)
                prompt = await running.run_in_executor(self._threads, self.tokens, text)
                answer = await running.run_in_executor(self._threads, self._complete, call.free(prompt))
        tokens = tuple(answer["tokens"])
        rows = [float(row["logprob"]) for row in answer.get("completion_probabilities", [])]
        written = str(answer["content"])
        message = parse_reply(written) if request.tools else Message(role="assistant", content=written)
        finish = "length" if answer["stop_type"] == "limit" else "tool_calls" if message.tool_calls else "stop"
        usage = Usage(
            input_tokens=len(prompt), cached_tokens=int(answer["timings"]["cache_n"]), output_tokens=len(tokens)
        )
        seconds = time.perf_counter() - begun
        reply = Reply(
            message=message,
            model=self.name,
            finish_reason=finish,
            usage=usage,
            latency_s=seconds,
            processing_s=cpu[0],
        )
        return Drawn(tuple(prompt), tokens, tuple(rows) if len(rows) == len(tokens) else (), reply)

    async def warm_up(self, request: Request) -> None:
        """Read the request once on every slot, so that the instructions it begins with are in each slot's cache."""
        prompt = self._without_bos(self.chat.prompt(request.messages, request.tools))
        if request.choices:
            self._trie(request.choices)
        for slot in range(self.slots):
            await _Call(self._server, self._threads, prompt, slot, Sampling(max_tokens=1)).write("")

    async def close(self) -> None:
        """Free the model's memory."""
        self._server = None
        self._threads.shutdown(wait=False)

    async def _choose(self, call: _Call, choices: tuple[str, ...]) -> Message:
        text, _ = await walk(self._trie(choices), call.pick)
        return Message(role="assistant", content=text)

    def _trie(self, choices: tuple[str, ...]) -> Trie:
        if choices not in self._tries:
            if self._end is None:
                raise ModelError(f"{self.name} names no token that ends a reply, so it cannot be held to choices")
            self._tries[choices] = Trie.build([(c, self._raw_tokens(c)) for c in choices], self._end)
        return self._tries[choices]

    async def _write(self, call: _Call, request: Request) -> tuple[Message, str]:
        text, finish = await call.write(_grammar(request, self._end))
        message = parse_reply(text) if request.tools else Message(role="assistant", content=text)
        return message, "tool_calls" if message.tool_calls else finish

    def _raw_tokens(self, text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": True}
        return [int(t) for t in self._http("/tokenize", body)["tokens"]]

    def _without_bos(self, text: str) -> str:
        return text.removeprefix(self._bos) if self._adds_bos else text

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Of llama.cpp's own endpoint, which names every token."""
        try:
            return self._http("/completion", body)
        except HTTPError as error:
            raise _refused(json.loads(error.read()).get("error", error)) from error

    def _http(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = HttpRequest(self._server.listening_address + path, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=600) as answer:
            return cast("dict[str, Any]", json.load(answer))


class _Call:
    """One request on one slot: asks the server for tokens and adds up what that took."""

    def __init__(self, server: Any, threads: Executor, prompt: str, slot: int, sampling: Sampling) -> None:
        self._server, self._threads = server, threads
        self._prompt, self._slot, self._sampling = prompt, slot, sampling
        self.input_tokens = self.cached_tokens = self.output_tokens = 0
        self.logprobs: list[TokenLogprob] = []

    async def pick(self, path: Sequence[int], allowed: Sequence[int]) -> int:
        """The model's next token among `allowed`, after the prompt and the tokens of `path`."""
        body = self._body(path) | {"n_predict": 1, "n_probs": 1, "logit_bias": [[t, ONLY_THESE] for t in allowed]}
        answer = await self._ask(body, first=not self.output_tokens)
        token = int(answer["choices"][0]["logprobs"]["content"][0]["id"])
        if token not in allowed:
            raise ModelError(f"llama.cpp drew token {token}, which was not allowed")
        return token

    async def write(self, grammar: str) -> tuple[str, str]:
        """Free text (or text that fits `grammar`) and why it ended."""
        body = self._body(()) | {"n_predict": self._sampling.max_tokens}
        if grammar:
            body["grammar"] = grammar
        if self._sampling.logprobs:
            body["n_probs"] = 1
        choice = (await self._ask(body, first=True))["choices"][0]
        return str(choice["text"]), str(choice["finish_reason"])

    def free(self, prompt: Sequence[int]) -> dict[str, Any]:
        """What llama.cpp's own endpoint is asked for a free reply and its tokens."""
        asked = {"prompt": list(prompt), "n_predict": self._sampling.max_tokens, "n_probs": 1, "return_tokens": True}
        return self._body(()) | asked

    def _body(self, path: Sequence[int]) -> dict[str, Any]:
        return {
            "prompt": [self._prompt, *path],
            "id_slot": self._slot,
            "cache_prompt": True,
            "temperature": self._sampling.temperature,
            "seed": int(digest([self._sampling.seed, self._prompt, list(path)])[:7], 16),
            # the distribution as the model has it: no truncation that nobody asked for
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
        }

    async def _ask(self, body: dict[str, Any], *, first: bool) -> dict[str, Any]:
        running = asyncio.get_running_loop()
        answer: dict[str, Any] = await running.run_in_executor(self._threads, self._server.handle_completions, body)
        if "error" in answer:
            raise _refused(answer["error"])
        usage = answer["usage"]
        if first:
            self.input_tokens = int(usage["prompt_tokens"])
            self.cached_tokens = int(usage["prompt_tokens_details"]["cached_tokens"])
        self.output_tokens += int(usage["completion_tokens"])
        if self._sampling.logprobs:
            rows = (answer["choices"][0].get("logprobs") or {}).get("content") or []
            self.logprobs += [TokenLogprob(token=row["token"], logprob=row["logprob"]) for row in rows]
        return answer


class _CpuMeter:
    """CPU-seconds of this process, shared equally among the calls in flight while they were spent."""

    def __init__(self) -> None:
        self._active: list[list[float]] = []
        self._last = 0.0

    @contextmanager
    def call(self) -> Iterator[list[float]]:
        """Yield a one-element list that holds this call's CPU-seconds when the block has ended."""
        spent = [0.0]
        self._share()
        self._active.append(spent)
        try:
            yield spent
        finally:
            self._share()
            # by identity: two calls that spent the same are still two calls
            self._active = [other for other in self._active if other is not spent]

    def _share(self) -> None:
        now = time.process_time()
        for spent in self._active:
            spent[0] += (now - self._last) / len(self._active)
        self._last = now


def _refused(said: Any) -> ModelError:
    """What llama.cpp says of a request that it cannot answer."""
    if not isinstance(said, dict):
        return ModelError(f"llama.cpp: {said}")
    is_long = said.get("type") == "exceed_context_size_error"
    return ModelError(f"llama.cpp: {said.get('message', said)}", "raise `context` in prentice.toml" if is_long else "")


def idle_cores() -> int:
    """Cores that nothing is using now, at least one: more threads than that only wait for each other."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = float(psutil.cpu_percent(interval=0.2)) / 100
    return max(1, round(cores * (1 - busy)))


def _start(gguf: Path, slots: int, context: int, threads: int) -> Any:
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "local models need llama.cpp, which is not installed", 'pip install "prentice[local]"'
        ) from error
    if not gguf.is_file():
        raise PrenticeError(f"{gguf}: no such model file", "`prentice models list` names the models to get")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_ctx, parameters.n_parallel = context * slots, slots
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads, cpu.poll = threads, 0
    parameters.verbosity = -1
    parameters.warmup = False
    release_idle_threads()
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise PrenticeError(
            f"{gguf}: llama.cpp cannot load this file; it may be cut short",
            "remove it and run `prentice models get` again",
        ) from error


def _grammar(request: Request, end: int | None) -> str:
    """What the reply is held to.

    Args:
        end: id of the token that ends a reply, where the model has one.
    """
    import xllamacpp

    if request.response_schema is not None:
        return _sound(str(xllamacpp.json_schema_to_grammar(json.dumps(request.response_schema))), "response schema")
    if request.tools:
        return _sound(_tools_grammar(request.tools, end), "tools' schemas")
    return ""


@cache
def _sound(grammar: str, what: str) -> str:
    """The grammar; llama.cpp says nothing of one that it cannot read, and answers freely.

    Raises: ModelError saying what is wrong with the schema behind it.
    """
    from llguidance import LLMatcher

    problem = LLMatcher.validate_grammar(grammar)
    if problem:
        where, _, reason = re.split(r"\n\s+\d+ \|", problem)[0].replace("\n", " ").partition(": ")
        del where  # a line of the grammar, which nobody has written
        raise ModelError(f"no model can be held to the {what}: {reason}", "write it with simpler JSON schema keywords")
    return grammar


def _tools_grammar(tools: Sequence[Tool], end: int | None) -> str:
    # of several tokens that may end a reply llama.cpp tells its grammar one, and it need not be the model's own
    own_end = "" if end is None else f" <[{end}]>?"
    schema = json.dumps(tool_call_schema(tools))
    return "\n".join(
        [
            "%llguidance {}",
            f"start: (call+ | text){own_end}",
            f'call: "{OPEN}" body "{CLOSE}" /\\n?/',
            f"body: %json {schema}",
            r"text: /[^<](.|\n)*/",
        ]
    )
