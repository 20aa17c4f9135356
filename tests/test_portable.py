"""Nothing in the package that only POSIX has, and output that no terminal refuses.

That text files name their encoding, ruff holds (PLW1514).
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "prentice"
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "uvloop"}
POSIX_NAMES = {
    "os": {
        *("chown", "chroot", "fork", "forkpty", "fchmod", "fchown", "getegid", "geteuid", "getgid", "getloadavg"),
        *("getpgid", "getuid", "killpg", "mkfifo", "mknod", "nice", "openpty", "pread", "pwrite", "sched_getaffinity"),
        *("sched_setaffinity", "sendfile", "setgid", "setpgid", "setsid", "setuid", "statvfs", "sync", "sysconf"),
        *("uname", "wait", "WNOHANG"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2"),
        *("SIGXFSZ", "alarm", "pause", "pthread_kill", "setitimer", "sigwait"),
    },
    "time": {"tzset"},
    "asyncio": {"PidfdChildWatcher", "ThreadedChildWatcher"},
}
POSIX_METHODS = {"add_signal_handler", "create_unix_connection", "create_unix_server", "open_unix_connection"}
POSIX_PATHS = ("/dev/", "/proc/", "/sys/", "/tmp", "/usr/", "/etc/", "/var/")
GUARDS = {"hasattr", "platform", "name"}


def problems(source: str) -> list[str]:
    """What of a module's source would fail, or do another thing, on Windows."""
    tree = ast.parse(source)
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If | ast.IfExp) and GUARDS & set(_names(node.test))
        for inner in ast.walk(node)
    }
    return [
        f"line {node.lineno}: {problem}"
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.stmt) and id(node) not in guarded
        for problem in _of(node)
    ]


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute):
            yield inner.attr
        elif isinstance(inner, ast.Name):
            yield inner.id


def _of(node: ast.expr | ast.stmt) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (f"import {a.name}" for a in names if a.name in POSIX_MODULES)
        case ast.ImportFrom(module=module, names=names):
            wrong = POSIX_NAMES.get(module or "", set())
            yield from (f"from {module} import {a.name}" for a in names if a.name in wrong or module in POSIX_MODULES)
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in POSIX_NAMES.get(module, set()):
            yield f"{module}.{name}"
        case ast.Attribute(attr=name) if name in POSIX_METHODS:
            yield name
        case ast.Constant(value=str(text)) if text.startswith(POSIX_PATHS):
            yield f"path {text!r}"
        case ast.Call():
            yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if (
        name == "rename"
        and isinstance(call.func, ast.Attribute)
        and not any(isinstance(a, ast.Dict) for a in call.args)
    ):
        yield "rename fails on Windows where the target exists: use replace"
    if name == "get_context" and any(isinstance(a, ast.Constant) and a.value != "spawn" for a in call.args):
        yield "processes are spawned on Windows"


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "from resource import getrlimit",
        "from os import fork",
        "import os\nos.sched_getaffinity(0)",
        "import signal\nsignal.signal(signal.SIGKILL, print)",
        "open('/dev/null', 'rb')",
        "path.rename(other)",
        "multiprocessing.get_context('fork')",
        "loop.add_signal_handler(2, stop)",
    ],
)
def test_what_only_posix_has_is_found(source: str) -> None:
    assert problems(source)


@pytest.mark.parametrize(
    "source",
    [
        "import os\ncores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()",
        "if sys.platform != 'win32':\n    import fcntl",
        "frame.rename({'a': 'b'})",
        "path.replace(other)",
        "multiprocessing.get_context('spawn')",
    ],
)
def test_what_is_guarded_or_runs_everywhere_is_not_found(source: str) -> None:
    assert problems(source) == []


def test_the_package_calls_nothing_that_only_posix_has() -> None:
    found = {path.relative_to(ROOT): problems(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_no_terminal_refuses_what_is_printed(encoding: str) -> None:
    text = "✓ 1 → 2 · ±3 … −4 ≥ é 学"
    code = f"from prentice.app.cli.encoding import write_what_can_be_shown\nwrite_what_can_be_shown()\nprint({text!r})"
    shown = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    ).stdout.decode(encoding)
    if encoding == "utf-8":
        assert shown.strip() == text
    else:
        assert shown.startswith("+ 1 > 2 ")
        assert shown.strip().endswith("?")


def test_a_forecast_needs_no_unicode_locale_and_opens_no_file_in_the_locales_encoding(tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNINGS": "error::EncodingWarning:prentice"}
    command = [sys.executable, "-X", "utf8=0", "-X", "warn_default_encoding", "-m", "prentice", "demo", "--dry-run"]
    ended = subprocess.run(
        command, capture_output=True, text=True, encoding="ascii", cwd=tmp_path, env=os.environ | plain, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("rollout: "), "skipped where the demo has been run, else what it would replay"
    assert list(tmp_path.iterdir()) == []
