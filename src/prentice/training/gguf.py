"""safetensors → GGUF, by llama.cpp's own converter.

It runs in this process: no second start of torch, and no orphan that goes on writing after kill -9.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from prentice.errors import MissingExtraError, PrenticeError

QUANTIZATIONS = {"q8_0": "MOSTLY_Q8_0", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "f32": "ALL_F32"}


def write_gguf(
    model: Path, gguf: Path, quantization: str, name: str, added: Mapping[str, tuple[Any, Any]] | None = None
) -> None:
    """Write a transformers folder as one GGUF file.

    Args:
        model: config, safetensors, tokenizer and chat template.
        gguf: the file to write.
        quantization: one of `QUANTIZATIONS`.
        name: the model's name in the file.
        added: what is added to weights on their way, as `low_rank` finds it in an adapter's folder.
    Raises: PrenticeError if llama.cpp has no such architecture, or the tokenizer splits text in a way it does not know.
    """
    try:
        import torch
        from conversion import (  # type: ignore[import-untyped]
            ModelBase,
            ModelType,
            get_model_architecture,
            get_model_class,
        )
        from gguf import LlamaFileType
    except ModuleNotFoundError as error:
        raise MissingExtraError("export needs the training extra", 'pip install "prentice[local]"') from error
    with _silent(), torch.inference_mode():
        architecture = get_model_architecture(ModelBase.load_hparams(model, False), ModelType.TEXT)
        try:
            converter = _converter(get_model_class(architecture), added or {})
            writer = converter(model, LlamaFileType[QUANTIZATIONS[quantization]], gguf, model_name=name)
            writer.write()
        except NotImplementedError as error:
            raise PrenticeError(f"{model}: {architecture} cannot become a GGUF file: {error}") from error


def _converter(known: Any, added: Mapping[str, tuple[Any, Any]]) -> Any:
    """The converter of an architecture that adds to weights, and also knows tokenizers by how they split.

    llama.cpp's recognises a tokenizer by a hash over its token ids for one text. A vocabulary that was rebuilt, trained
    anew or extended has other ids while it splits text the same way, which is all that the hash stands for.
    """

    class Converter(known):  # type: ignore[misc]
        model_arch = known.model_arch

        def index_tensors(self, *which: Any, **told: Any) -> dict[str, Callable[[], Any]]:
            """What makes each weight, by its name, nothing of it computed yet."""
            made: dict[str, Callable[[], Any]] = super().index_tensors(*which, **told)
            return made | {weight: partial(_sum, made[weight], pair) for weight, pair in added.items()}

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            """llama.cpp's name for how the tokenizer splits text before merging."""
            try:
                return str(super().get_vocab_base_pre(tokenizer))
            except NotImplementedError:
                if name := splitting_name(str(tokenizer.backend_tokenizer.pre_tokenizer)):
                    return name
                raise

        def write(self) -> None:
            """Write the file, without the converter's own progress bar."""
            self.prepare_tensors()
            self.prepare_metadata(vocab_only=False)
            with _closed_if_broken(self.gguf_writer):
                self.gguf_writer.write_header_to_file(path=self.fname_out)
                self.gguf_writer.write_kv_data_to_file()
                self.gguf_writer.write_tensors_to_file(progress=False)
                self.gguf_writer.close()

    return Converter


def _sum(weight: Callable[[], Any], pair: tuple[Any, Any]) -> Any:
    """The weight with the product of the pair in it, computed as late as the converter computes the weight."""
    value = weight()
    down, up = (type(value).from_eager(each) if hasattr(value, "from_eager") else each for each in pair)
    return value.float() + up @ down


def splitting_name(pre_tokenizer: str) -> str | None:
    """llama.cpp's name for a pre-tokenizer as `tokenizers` prints it; None unless it is a plain byte-level one."""
    squeezed = pre_tokenizer.replace(" ", "")
    by_gpt2 = "ByteLevel(add_prefix_space=False,trim_offsets=True,use_regex=True)"
    names = {by_gpt2: "gpt-2", f"Sequence(pretokenizers=[Digits(individual_digits=True),{by_gpt2}])": "smollm"}
    return names.get(squeezed)


@contextmanager
def _closed_if_broken(writer: Any) -> Iterator[None]:
    """Close what the writer has open when it fails, and give numpy's short write the error number of a full disk."""
    try:
        yield
    except OSError as error:
        for file in writer.fout or ():
            with suppress(OSError):  # what is still buffered finds no room either
                file.close()
        if error.errno is None:  # numpy says how much it wrote, not why it stopped
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


@contextmanager
def _silent() -> Iterator[None]:
    # the converter warns at length before it raises, and what it raises is told in one line
    logger = logging.getLogger("hf-to-gguf")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
