"""`python -m obelisk`: the command line, without an installed script."""

from obelisk.cli.main import main

if __name__ == "__main__":
    main()
