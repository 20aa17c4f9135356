"""`python -m prentice`."""

from prentice.app.cli.main import main

main()
