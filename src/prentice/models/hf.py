"""A policy on torch: a transformers folder that answers greedily, in float32.

It is the measure that exported files are held against, and runs what has no GGUF yet; for speed there is `local.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicCache

from prentice.errors import ModelError, PrenticeError
from prentice.models.chat import ChatFormat, parse_reply
from prentice.models.choices import Trie, walk
from prentice.models.floats import quiet
from prentice.records import Message, Reply, Request, Sampling, TokenLogprob, Usage


def load(folder: Path) -> Any:
    """The model of a transformers folder, in float32, without the library's progress bar."""
    with quiet():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


class HFModel:
    """Greedy replies of a transformers model.

    Args:
        folder: the model, its tokenizer and its chat template.
        name: how records call it.
        model: an already loaded model in place of the folder's weights, such as one with an adapter.
    """

    slots = 1

    def __init__(self, folder: Path, *, name: str = "", model: Any = None) -> None:
        if not (folder / "config.json").is_file():
            raise PrenticeError(f"{folder}: no transformers model (no config.json)")
        self.name = name or f"hf:{folder.name}"
        self.chat = ChatFormat.from_folder(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = model or load(folder)
        self._model.eval()
        self._ends = _end_tokens(self._model, self.tokenizer)
        self._busy = asyncio.Lock()

    def tokens(self, text: str) -> list[int]:
        """Token ids of a prompt's text, special tokens parsed, none added."""
        return [int(t) for t in self.tokenizer(text, add_special_tokens=False).input_ids]

    async def generate(self, request: Request, sampling: Sampling) -> Reply:
        """Answer greedily, within the request's choices if it names any.

        Raises: ModelError for a temperature, a schema, or log-probabilities of choices: none is honoured here.
        """
        if sampling.temperature > 0 or request.response_schema is not None:
            raise ModelError(f"{self.name} answers greedily and without a schema", "use a `local:` model")
        if sampling.logprobs and request.choices:
            raise ModelError(f"{self.name} gives no log-probabilities of choices", "use a `local:` model")
        ids = self.tokens(self.chat.prompt(request.messages, request.tools))
        async with self._busy:
            begun, cpu = time.perf_counter(), time.process_time()
            run = _Run(self._model, ids)
            if request.choices:
                trie = Trie.build([(c, self.tokens(c)) for c in request.choices], self._ends[0])
                text, _ = await walk(trie, run.pick)
                finish = "stop"
            else:
                text, finish = await asyncio.to_thread(self._write, run, sampling.max_tokens)
            spent = time.process_time() - cpu
        message = parse_reply(text) if request.tools else Message(role="assistant", content=text)
        return Reply(
            message=message,
            model=self.name,
            finish_reason="tool_calls" if message.tool_calls else finish,
            usage=Usage(input_tokens=len(ids), output_tokens=run.computed),
            latency_s=time.perf_counter() - begun,
            processing_s=spent,
            token_logprobs=self._logprobs(run) if sampling.logprobs else (),
        )

    async def close(self) -> None:
        """Free the model's memory."""
        self._model = None

    def _write(self, run: _Run, limit: int) -> tuple[str, str]:
        for _ in range(limit):
            if run.step() in self._ends:
                return self.tokenizer.decode(run.written[:-1], skip_special_tokens=True), "stop"
        return self.tokenizer.decode(run.written, skip_special_tokens=True), "length"

    def _logprobs(self, run: _Run) -> tuple[TokenLogprob, ...]:
        names = self.tokenizer.convert_ids_to_tokens(run.written)
        return tuple(TokenLogprob(token=n, logprob=p) for n, p in zip(names, run.logprobs, strict=True))


class _Run:
    """One reply being written: the keys and values of what was read so far are kept."""

    def __init__(self, model: Any, ids: list[int]) -> None:
        self._model, self._ids = model, ids
        self._cache = DynamicCache(config=model.config)
        self.written: list[int] = []
        self.logprobs: list[float] = []
        self.computed = 0

    async def pick(self, path: Sequence[int], allowed: Sequence[int]) -> int:
        """The likeliest of the `allowed` tokens after the prompt and `path`."""
        self.written = list(path)
        logits = await asyncio.to_thread(self._next)
        return max(allowed, key=lambda token: float(logits[token]))

    def step(self) -> int:
        """Write the likeliest next token."""
        logits = self._next()
        token = int(logits.argmax())
        self.written.append(token)
        self.logprobs.append(float(torch.log_softmax(logits, -1)[token]))
        return token

    @torch.inference_mode()
    def _next(self) -> torch.Tensor:
        """Logits, (vocabulary), of the token after everything written so far."""
        new = [*self._ids, *self.written][self._cache.get_seq_length() :]
        self.computed += 1
        ids = torch.tensor([new], device=self._model.device)
        answer = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return answer.logits[0, -1].float().cpu()  # type: ignore[no-any-return]


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokenizer's end-of-turn token first, then whatever else the model's own settings stop at."""
    more = model.generation_config.eos_token_id if model.generation_config else None
    ends = [tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])]
    known = [int(end) for end in dict.fromkeys(ends) if end is not None]
    if not known:
        raise ModelError("the model has no end-of-turn token, so no reply would ever end")
    return known
