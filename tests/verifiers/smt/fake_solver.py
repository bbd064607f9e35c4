"""Program: a solver that misbehaves on purpose; ``fake_solver.py MODE ...`` reads a script on standard input like a real one.

Modes of the strict form (z3, cvc5, binding of dReal) and of dReal's own output; the further arguments are those of the adapter.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time

BIG = 1 << 40


def strict(text: str, *lines: str, end: bool = True) -> None:
    """Answer in the strict form."""
    print("\n".join([f"script {hashlib.sha256(text.encode()).hexdigest()}", *lines, *(["end"] if end else [])]), flush=True)


def main() -> None:
    """Misbehave."""
    mode, text = sys.argv[1], sys.stdin.read()
    if mode == "hang":
        time.sleep(600)
    elif mode == "deaf":  # ignores polite signals and keeps the processor busy
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    elif mode == "allocate":
        hoard = bytearray(BIG)
        strict(text, "unsat", f"{len(hoard)}")
    elif mode == "abort":
        strict(text, "unsat")
        os.abort()
    elif mode == "segfault":
        strict(text, "unsat")
        os.kill(os.getpid(), signal.SIGSEGV)
    elif mode == "garbage":
        print("\x00\xff unsat? (error \"line 1\")\n" * 3)
    elif mode == "unsat then exit 1":
        strict(text, "unsat")
        sys.exit(1)
    elif mode == "unsat":
        strict(text, "unsat")
    elif mode == "unsat with values":
        strict(text, "unsat", "x 0 0 0", "x 1 0 0")
    elif mode == "unsat of another script":
        strict(text + "(assert false)", "unsat")
    elif mode == "two answers":
        strict(text, "sat", "unsat")
    elif mode == "partial":
        strict(text, "sat", "x 0 1/2 1/2", end=False)
    elif mode == "partial unsat":
        strict(text, "unsat", end=False)
    elif mode == "silent":
        os.close(1)
    elif mode == "unknown":
        strict(text, "unknown")
    elif mode in ("delta-sat", "sat"):
        strict(text, mode, "x 0 -2 -2", "x 1 -2 -2")
    elif mode == "right model":
        strict(text, "sat", "x 0 1 1", "x 1 1 1")
    elif mode == "model in words":
        strict(text, "sat", "x 0 one one", "x 1 one one")
    elif mode == "model of infinite size":
        strict(text, "sat", "x 0 1 1/0", "x 1 1 1")
    elif mode == "short model":
        strict(text, "sat", "x 0 1 1")
    elif mode == "outside the box":
        strict(text, "sat", "x 0 100 100", "x 1 100 100")
    elif mode == "flood":
        while True:
            print("unsat " * 10_000)
    elif mode in ("grandchild", "daemon"):
        # a process that outlives its parent and keeps standard output open; as daemon in a session of its own
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=mode == "daemon")
        print(f"left {left.pid}", file=sys.stderr, flush=True)
        with open(sys.argv[2], "w", encoding="ascii") as file:
            file.write(str(left.pid))
        strict(text, "unsat")
    elif mode == "dreal unsat":
        print("unsat")
    elif mode == "dreal delta-sat":
        print("delta-sat with delta = 1e-06\nx0 : [-2, -1.9999]\nx1 : [-2, -2]\nt4 : [ ENTIRE ]")
    elif mode == "dreal right":
        print("delta-sat with delta = 1e-06\nx0 : [0.9999, 1.0001]\nx1 : [1, 1]")
    elif mode == "dreal twice":
        print("unsat\nunsat")
    elif mode == "dreal late":
        print("At line 3 syntax error\nunsat")
    elif mode == "dreal nothing known":
        print("delta-sat with delta = 1e-06\nx0 : [ ENTIRE ]\nx1 : [0, 1]")
    elif mode == "dreal without x1":
        print("delta-sat with delta = 1e-06\nx0 : [0, 1]")
    else:
        raise SystemExit(f"no such mode: {mode}")


if __name__ == "__main__":
    main()
