"""`python -m prentice`."""

from prentice.app.cli import main

main()
