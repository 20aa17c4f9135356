"""What lies around the software: the machine, its disk, the network, the keys, the models."""

from __future__ import annotations

import os
import platform
import shutil
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil

from prentice import __version__
from prentice.app.doctor.findings import Finding
from prentice.models.capabilities import HONOURED, SELF_HOSTED
from prentice.models.catalogue import listing
from prentice.models.clients import key_variables

GB = 10**9
NEEDED_DISK_GB = 2.0
"""What the demo writes, the model that it fetches included."""
NEEDED_MEMORY_GB = 4.0
"""What training the demo's student takes."""
HUB_SECONDS = 2.0


def machine() -> Finding:
    """Versions, cores, memory."""
    memory = psutil.virtual_memory()
    text = (
        f"prentice {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
        f" {platform.machine()}, {psutil.cpu_count()} cores,"
        f" {memory.available / GB:.1f} of {memory.total / GB:.1f} GB of memory free"
    )
    enough = memory.available >= NEEDED_MEMORY_GB * GB
    step = "" if enough else f"close other programs: training takes {NEEDED_MEMORY_GB:.0f} GB of memory"
    return Finding(topic="machine", state="good" if enough else "bad", text=text, step=step)


def disk(topic: str, folder: Path) -> Finding:
    """Room in a folder, there or not yet, and whether it can be written to."""
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free / GB
    text = f"{free:,.1f} GB free in {folder.absolute()}"
    if not os.access(place, os.W_OK):
        return Finding(topic=topic, state="bad", text=f"{folder} cannot be written to", step=f"make {place} writable")
    if free < NEEDED_DISK_GB:
        return Finding(topic=topic, state="bad", text=text, step=f"free {NEEDED_DISK_GB:.0f} GB in {place}")
    return Finding(topic=topic, state="good", text=text)


def models() -> list[Finding]:
    """Which models of the catalogue are here."""
    return [
        Finding(topic="models", state="good", text=f"{base.name} is here")
        if here
        else Finding(
            topic="models",
            state="absent",
            text=f"{base.name}: fetched when needed, or `prentice models get {base.name}`",
        )
        for base, here in listing()
    ]


def keys(environment: Mapping[str, str]) -> list[Finding]:
    """Which providers' keys are set. Their names are said, of their values only whether there is one."""
    if find_spec("any_llm") is None:
        return [Finding(topic="keys", state="absent", text="not looked for: prentice[remote] is not installed")]
    variables = sorted({name for provider in HONOURED.keys() - SELF_HOSTED for name in key_variables(provider)})
    present = [name for name in variables if environment.get(name, "").strip()]
    missing = [name for name in variables if name not in present]
    found = [Finding(topic="keys", state="good", text=f"set: {', '.join(present)}")] if present else []
    return [*found, Finding(topic="keys", state="absent", text=f"not set: {', '.join(missing)}")]


def hub(seconds: float = HUB_SECONDS) -> Finding:
    """Whether the hub that models come from answers."""
    if find_spec("huggingface_hub") is None:
        return Finding(topic="network", state="absent", text="not asked: the hub's client is not installed")
    from huggingface_hub.constants import ENDPOINT

    return answers(ENDPOINT, seconds)


def answers(url: str, seconds: float) -> Finding:
    """Whether a server answers at all; asked in a thread, since a name look-up knows no limit of time."""
    parts = urlsplit(url)
    host, bare = parts.hostname or "", parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    reached = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(bare, method="HEAD"), timeout=seconds).close()
        except HTTPError:
            pass  # an answer all the same
        except OSError:
            return
        reached.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if reached.is_set():
        return Finding(topic="network", state="good", text=f"{host} answers")
    text = f"{host} does not answer within {seconds:.0f} s: models come from their packages instead"
    return Finding(topic="network", state="absent", text=text)
