"""The command line: one file a command. Parse, call one public function, print."""
