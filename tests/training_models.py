"""Two-layer random models of several families, each with its family's chat template and end-of-turn token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
)

from prentice.records import Example, Message
from tiny_models import write_tiny_llama

LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + "
    "'<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
QWEN2 = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n' }}{%- endif %}{%- for message in messages %}"
    "{%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or "
    "(message.role == 'assistant') %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}


@dataclass(frozen=True)
class Family:
    """How one family differs from the next."""

    config: Any
    template: str
    stop: str
    special: tuple[str, ...]
    settings: dict[str, Any]


FAMILIES = {
    "llama": Family(LlamaConfig, LLAMA3, "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>"), {}),
    "qwen2": Family(Qwen2Config, QWEN2, "<|im_end|>", ("<|im_start|>",), {}),
    # every second layer of gemma2 sees 8 tokens back only, and its scores and logits are capped
    "gemma2": Family(Gemma2Config, GEMMA, "<end_of_turn>", ("<start_of_turn>",), {"head_dim": 16, "sliding_window": 8}),
    "gemma3": Family(
        Gemma3TextConfig,
        GEMMA,
        "<end_of_turn>",
        ("<start_of_turn>",),
        {"head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "mixtral": Family(
        MixtralConfig, QWEN2, "<|im_end|>", ("<|im_start|>",), {"num_local_experts": 4, "num_experts_per_tok": 2}
    ),
}


def write_family(name: str, folder: Path, **more: Any) -> Path:
    """A random model of a family with its tokenizer and chat template; returns `folder`."""
    family = FAMILIES[name]
    write_tiny_llama(folder)
    (folder / "model.safetensors").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [*family.special, family.stop]})
    tokenizer.bos_token, tokenizer.eos_token = "<|endoftext|>", family.stop
    tokenizer.chat_template = family.template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    settings = {**SIZES, **family.settings, **more}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = family.config(vocab_size=len(tokenizer), **ends, **settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


TEXTS = [
    ("Where is my card?", "card arrival"),
    ("Where is my card? It has not arrived yet, and it's been 12 days.", "card arrival"),
    ("Where is my money", "transfer missing"),
    ("I was charged twice", "payment charged twice"),
    ("I was charged twice for the same payment of 30.50 pounds, and nobody answers.", "payment charged twice"),
    ("Der Überweisung fehlt noch immer; ça ne marche pas!", "transfer missing"),
    ("?", "other"),
    ("exchange rate", "exchange rate"),
]


def examples(count: int = 8, *, val: int = 0, system: str = "Which intent has this message?") -> list[Example]:
    """Rows that share a system prompt; the last `val` of them are validation rows."""
    rows = []
    for number in range(count):
        text, label = TEXTS[number % len(TEXTS)]
        text = text if number < len(TEXTS) else f"{text} {number}"
        rows.append(
            Example(
                id=f"row{number}",
                episode=f"e{number}",
                case=f"c{number}",
                split="val" if number >= count - val else "train",
                messages=(Message(role="system", content=system), Message(role="user", content=text)),
                reply=Message(role="assistant", content=label),
                weight=1.0 + number % 3,
            )
        )
    return rows


def begin_with(rows: Sequence[tuple[int, ...]]) -> int:
    """With how many tokens all of them begin."""
    return next((n for n in range(len(min(rows))) if len({row[: n + 1] for row in rows}) > 1), len(min(rows)))
