"""`python -m prentice`."""

from prentice.app.cli.main import main

if __name__ == "__main__":  # not in the processes it starts
    main()
