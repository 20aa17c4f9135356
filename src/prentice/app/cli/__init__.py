"""The command line: one file a command. Parse, call one public function, print."""

from prentice.app.cli.main import main

__all__ = ["main"]
