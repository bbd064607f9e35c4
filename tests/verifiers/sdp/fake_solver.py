"""Program: a solver that misbehaves in the way that its first argument names."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
import time


def answers(text: str, **changes: object) -> str:
    """A clean answer, with changes to each programme's part."""
    count = [len(p["objective"]) for p in json.loads(text)["programmes"]]
    items = [{"status": "optimal", "x": ["0.25"] * n, "seconds": "0.0", **changes} for n in count]
    return json.dumps({"script": hashlib.sha256(text.encode()).hexdigest(), "solver": "fake", "answers": items})


def main() -> None:
    """Misbehave."""
    mode, text = sys.argv[1], sys.stdin.read()
    if mode == "panic":
        class PanicException(BaseException):
            """What a Rust panic looks like from Python: not an Exception."""
        raise PanicException("called `Option::unwrap()` on a `None` value")
    if mode == "abort":
        os.kill(os.getpid(), signal.SIGABRT)
    if mode == "segfault":
        ctypes.string_at(0)
    if mode == "hang":
        time.sleep(600)
    if mode == "allocate":
        print(len(b"x" * (1 << 40)))
    changes: dict[str, dict[str, object]] = {
        "good": {}, "inaccurate": {"status": "optimal_inaccurate"}, "infeasible": {"status": "infeasible"}, "unbounded": {"status": "unbounded"},
        "nearly infeasible": {"status": "infeasible_inaccurate"}, "solver error": {"status": "solver_error", "says": "numerical trouble"},
        "capital": {"status": "OPTIMAL"}, "nan": {"x": ["nan", "0"]}, "infinite": {"x": ["inf", "0"]}, "short": {"x": ["0"]},
        "words": {"x": ["many", "few"]}, "no x": {"x": None}, "limit": {"status": "user_limit"}}
    if mode in changes:
        sys.stdout.write(answers(text, **changes[mode]))
    elif mode == "exit 1":
        sys.stdout.write(answers(text))
        sys.exit(1)
    elif mode == "other question":
        sys.stdout.write(answers(text).replace(hashlib.sha256(text.encode()).hexdigest(), "0" * 64))
    elif mode == "one too many":
        table = json.loads(answers(text))
        sys.stdout.write(json.dumps({**table, "answers": table["answers"] * 2}))
    elif mode == "partial":
        sys.stdout.write(answers(text)[:-5])
    elif mode == "list":
        sys.stdout.write("[]")
    elif mode == "words only":
        sys.stdout.write("Optimal solution found")


if __name__ == "__main__":
    main()
