"""``python -I -m verifiers.kernel BUNDLE [--requirement FILE] [--part i/n]``: the check alone, its receipt as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from verifiers.kernel.check import check
from verifiers.kernel.codes import Code


def main(arguments: list[str] | None = None) -> int:
    """Check a bundle and print the receipt; return the exit code (0 only when accepted)."""
    parser = argparse.ArgumentParser(prog="verifiers.kernel", description="Check a certctl bundle; exit 0 only when it is accepted.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requirement", type=Path)
    parser.add_argument("--part", default="0/1", help="i/n: check every n-th batch of leaves, starting at i")
    given = parser.parse_args(arguments)
    first, _, count = given.part.partition("/")
    if not (first.isascii() and first.isdigit() and count.isascii() and count.isdigit()):
        parser.error("--part is i/n")
    receipt = check(given.bundle, given.requirement, (int(first), int(count)))
    json.dump(dataclasses.asdict(receipt), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0 if receipt.outcome == "ACCEPTED" else Code[receipt.code or "INTERNAL"].exit_code


if __name__ == "__main__":
    sys.exit(main())
