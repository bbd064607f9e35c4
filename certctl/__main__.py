"""``python -m certctl`` is the command line."""

from certctl.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run())
