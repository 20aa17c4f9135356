"""GGUF → safetensors, once: a model that was fetched as GGUF becomes one that can be trained.

transformers reads a GGUF file but refuses to train or save what it read, so the numbers move into a fresh model.
The weights stay float32: what a 4-bit file decodes to is exact there, while bfloat16 would round every weight again.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prentice.errors import PrenticeError
from prentice.runs import folder_atomic, full_disk_is_the_users

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BESIDE_WEIGHTS = (
    "tokenizer*",
    "*.jinja",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)
PRE = b"tokenizer.ggml.pre"
PROBE = "Prentice: 3.14 apples, 2 déjà-vus, and it's done."


def to_safetensors(gguf: Path, folder: Path, finish: Callable[[Path], None] | None = None) -> None:
    """Write the model of a GGUF file as a transformers folder (float32) with its tokenizer and chat template.

    Args:
        gguf: the file.
        folder: appears whole or not at all.
        finish: called with the scratch folder once the model is in it, to lay something beside it.
    Raises: PrenticeError if the file cannot be read, is of a kind whose tokenizer cannot be rebuilt, or the written
        model's logits differ from those of the model that was read.
    """
    with folder_atomic(folder) as scratch:
        tokenizer = read_tokenizer(gguf)
        with quiet():
            model = _rebuilt(gguf, tokenizer)
            with weights_on_full_disk(folder):
                model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
        if finish is not None:
            finish(scratch)


def read_tokenizer(gguf: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file, split as the file's `tokenizer.ggml.pre` says.

    transformers ignores that field and takes GPT-2's splitting for all, which tokenises "  1" another way than
    llama.cpp does.

    Raises: PrenticeError for a splitting that is not known here.
    """
    from transformers import AutoTokenizer

    kind = _pre_tokenizer(gguf)
    splitting = _splitting(kind)
    if splitting is None:
        raise PrenticeError(
            f"{gguf}: its tokenizer splits text by {kind!r}, which cannot be rebuilt",
            "take a base that comes as safetensors",
        )
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = splitting
    return tokenizer


def _pre_tokenizer(gguf: Path) -> str:
    """The value of `tokenizer.ggml.pre`, found by its bytes: gguf's own reader takes seconds for a vocabulary.

    Source: the GGUF specification: key as u64 length and text, u32 type (8 is a string), u64 length and text.
    """
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise PrenticeError(f"{gguf}: not a GGUF file", "remove it and get the model again")
        key = struct.pack("<Q", len(PRE)) + PRE + struct.pack("<I", 8)
        at = data.find(key)
        if at < 0:
            return "default"
        (length,) = struct.unpack_from("<Q", data, at + len(key))
        begin = at + len(key) + 8
        return data[begin : begin + length].decode("utf-8", "replace")


def _splitting(kind: str) -> Any | None:
    from tokenizers import pre_tokenizers as split

    by_gpt2 = split.ByteLevel(add_prefix_space=False, use_regex=True)
    known = {"gpt-2": by_gpt2, "smollm": split.Sequence([split.Digits(individual_digits=True), by_gpt2])}
    return known.get(kind)


def _rebuilt(gguf: Path, tokenizer: Any) -> Any:
    """The file's numbers in a model that may be trained and saved, proved by equal logits."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, config=config, dtype=torch.float32
    ).eval()
    plain = config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        plain.pop(key, None)
    fresh = AutoConfig.for_model(plain.pop("model_type"), **plain)
    model = type(read).from_pretrained(None, config=fresh, state_dict=read.state_dict(), dtype=torch.float32).eval()
    model.generation_config = read.generation_config
    ids = tokenizer(PROBE, return_tensors="pt").input_ids
    with torch.inference_mode():
        apart = (model(ids).logits - read(ids).logits).abs().max().item()
    if apart > 0:
        raise PrenticeError(f"{gguf}: the rebuilt model's logits differ from the file's by up to {apart:.2g}")
    return model


def copy_beside(source: Path, target: Path) -> None:
    """Copy what lies beside a model's weights, its tokenizer above all.

    Copied, not saved again: what is served must split text exactly as training did.
    """
    for pattern in BESIDE_WEIGHTS:
        for path in source.glob(pattern):
            shutil.copyfile(path, target / path.name)


@contextlib.contextmanager
def weights_on_full_disk(path: Path) -> Iterator[None]:
    """Turn safetensors' own error for a full disk, which is no OSError, into the one clear line."""
    from safetensors import SafetensorError

    with full_disk_is_the_users(path):
        try:
            yield
        except SafetensorError as error:
            code = str(error).rpartition("os error ")[2].rstrip(") ")
            if not code.isdigit():
                raise
            raise OSError(int(code), str(error)) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own progress bars off the screen; errors still come as exceptions."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
