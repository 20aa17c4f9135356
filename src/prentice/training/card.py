"""The texts beside an exported model: Ollama's Modelfile and the model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prentice.errors import ModelError
from prentice.models.bases import BASES
from prentice.models.chat import ChatFormat
from prentice.records import Checkpoint, Manifest, Message

CHATML = """TEMPLATE \"\"\"{{- range $i, $m := .Messages }}%s<|im_start|>{{ $m.Role }}
{{ $m.Content }}<|im_end|>
{{ end }}<|im_start|>assistant
\"\"\""""
DEFAULT_SYSTEM = """{{ if and (eq $i 0) (ne $m.Role "system") }}<|im_start|>system
%s<|im_end|>
{{ end }}"""


def modelfile(gguf: str, chat: ChatFormat) -> str:
    """Ollama's Modelfile for the GGUF file that lies beside it.

    Ollama cannot run a model's own Jinja template. A ChatML template is written out in Ollama's language, after its
    text was compared; any other is left to Ollama, which knows the common ones by sight.
    """
    lines = [f"FROM ./{gguf}"]
    if (default := chatml_default(chat)) is not None:
        lines.append(CHATML % (DEFAULT_SYSTEM % default if default else ""))
    else:
        lines.append("# no TEMPLATE: the chat template is in the GGUF file; compare `ollama show --template` with it")
    if chat.eos:
        lines.append(f"PARAMETER stop {json.dumps(chat.eos, ensure_ascii=False)}")
    lines.append("PARAMETER temperature 0")
    return "\n".join(lines) + "\n"


def chatml_default(chat: ChatFormat) -> str | None:
    """The system text that a ChatML template puts in by itself (may be empty); None if the template is not ChatML."""
    plain = [
        Message(role="system", content="S1"),
        Message(role="user", content="U1"),
        Message(role="assistant", content="A1"),
        Message(role="user", content="U2"),
    ]
    try:
        if chat.prompt(plain) != _chatml(plain):
            return None
        bare = chat.prompt(plain[1:])
    except ModelError:
        return None
    head, tail = "<|im_start|>system\n", f"<|im_end|>\n{_chatml(plain[1:])}"
    if bare == _chatml(plain[1:]):
        return ""
    if not (bare.startswith(head) and bare.endswith(tail)):
        return None
    default = bare.removeprefix(head).removesuffix(tail)
    # these would be read as a part of the Modelfile
    return None if "{{" in default or '"""' in default else default


def _chatml(messages: list[Message]) -> str:
    turns = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n"


def model_card(exported: Mapping[str, Any], checkpoint: Checkpoint | None, manifest: Manifest | None) -> str:
    """The README.md of an exported model: what it is from, what it learnt, what was measured, what it is not for."""
    name = exported["name"]
    parts = [f"# {name}", _origin(checkpoint), "## Files", _files(exported)]
    if checkpoint is not None:
        parts += ["## Data", _data(checkpoint, manifest), "## Recipe", _recipe(checkpoint)]
    parts += ["## Measured", _figures(exported, checkpoint), "## Use", _use(checkpoint)]
    return "\n\n".join(parts) + "\n"


def _origin(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "An untrained base, converted as the trained student is, so that the two can be compared."
    base = checkpoint.base
    known = BASES.get(base.name)
    licence = known.licence if known else "see the base's own licence"
    note = f" ({base.note})" if base.note else ""
    return (
        f"Fine-tuned with prentice {checkpoint.code} from **{base.name}**, `{base.source}`{note}.\n\n"
        f"Licence of the base, which these weights inherit: {licence}."
    )


def _files(exported: Mapping[str, Any]) -> str:
    rows = [f"- `{exported['gguf']}`: {exported['size']:,} bytes, SHA-256 `{exported['sha256']}`, for llama.cpp"]
    if exported["model"]:
        rows.append(f"- `{exported['model']}/`: merged weights and tokenizer, for transformers")
    rows.append("- `Modelfile`: `ollama create NAME -f Modelfile`")
    return "\n".join(rows)


def _data(checkpoint: Checkpoint, manifest: Manifest | None) -> str:
    lines = [f"Dataset `{checkpoint.dataset}`."]
    if manifest is not None:
        ledger = manifest.ledger
        lines.append(f"\n| rows | number |\n|---|---|\n| in | {ledger.rows_in} |\n| kept | {ledger.kept} |")
        lines += [f"| dropped: {reason} | {count} |" for reason, count in ledger.dropped.items()]
        if manifest.replies_without_rows:
            lines.append(f"\nNever seen in training: {', '.join(manifest.replies_without_rows)}.")
    return "\n".join(lines)


def _recipe(checkpoint: Checkpoint) -> str:
    recipe = json.dumps(checkpoint.recipe, indent=2, ensure_ascii=False, sort_keys=True)
    return (
        f"{checkpoint.method} ({checkpoint.kind}), {checkpoint.steps} steps in {checkpoint.seconds:.0f} s, "
        f"checkpoint `{checkpoint.id}`.\n\n```json\n{recipe}\n```"
    )


def _figures(exported: Mapping[str, Any], checkpoint: Checkpoint | None) -> str:
    rows = [f"- {key}: {value:.4g}" for key, value in (checkpoint.figures if checkpoint else {}).items()]
    if exported["agreement"] is None:
        rows.append("- the GGUF file was not checked against torch")
    else:
        share, n = exported["agreement"], exported["rows_checked"]
        rows.append(f"- answers of the GGUF file equal to torch's: {share:.1%} of {n} validation prompts")
    return "\n".join(rows)


def _use(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "For comparison with a trained student; it has learnt no task."
    return (
        "For the one task of its dataset, with the same prompt as in training. "
        "Not a general assistant: what it says outside that task was neither trained nor measured, "
        "and fine-tuning may have weakened what the base could do. "
        "The verdict and its intervals are in the run's report."
    )
