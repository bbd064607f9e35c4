"""``python -m certctl`` is the command line."""

from certctl.cli import main

if __name__ == "__main__":
    main()
