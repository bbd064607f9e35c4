"""Child processes for solvers: limits on time, memory and output, and nothing survives the call.

A solver is foreign code with megabytes of input from us; it may hang, eat the machine, crash, fork, or print whatever it likes.
It runs in a session of its own with input and output in temporary files (a grandchild that keeps a pipe open cannot hold us up), without a
shell, and is killed with everything that descends from it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MEMORY = 4 << 30
OUTPUT = 1 << 24
TOKEN = "CERTCTL_SOLVER"
PATIENCE = 5.0
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "out of memory", "Cannot allocate memory", "memory exhausted")


@dataclass(frozen=True)
class Ran:
    """How a child ended: ``ok``, ``timeout``, ``memory``, ``crash`` or ``absent``; what it printed; and one sentence."""

    status: str
    text: str
    says: str


def script(name: str) -> list[str]:
    """Command that runs a module of this folder as a program; ``-P`` keeps this folder off the path, where z3.py would hide z3."""
    return [sys.executable, "-P", str(Path(__file__).with_name(f"{name}.py"))]


def run(command: Sequence[str], given: str = "", seconds: float = 60.0, memory: int = MEMORY, output: int = OUTPUT) -> Ran:
    """Run a program to its end or to its limits.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell sees them.
    given : str
        What it reads on standard input.
    seconds : float
        Wall time (s).
    memory : int
        Limit of the address space of each process (bytes).
    output : int
        Limit of each file that it writes, standard output included (bytes); a process that exceeds it is killed.

    Returns
    -------
    Ran
        ``ok`` only for exit code 0 within all limits.  The text of a run that is not ``ok`` is for people, never for a decision.
    """
    token = uuid.uuid4().hex
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        source.write(given.encode())
        source.seek(0)
        try:
            process = subprocess.Popen(list(command), stdin=source, stdout=out, stderr=err, start_new_session=True, close_fds=True,
                                       env={**os.environ, TOKEN: token, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        except OSError as error:
            return Ran("absent", "", f"{command[0]} cannot be started: {error.strerror}")
        try:
            _limit(process.pid, seconds, memory, output)
            ended = _wait(process, time.monotonic() + seconds, (out, err), output)
        finally:
            _kill(process, token)
        return _ended(ended, _read(out, output), _read(err, 1 << 16), seconds)


def _wait(process: subprocess.Popen[bytes], deadline: float, files: Sequence[IO[bytes]], output: int) -> int | str:
    """The exit code, or ``timeout``, or ``flood`` when a file has reached its limit (what a system does there differs)."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        handle = -1
    try:
        while True:
            left = deadline - time.monotonic()
            if handle >= 0:
                select.select([handle], [], [], min(max(left, 0.0), 0.1))
            else:
                time.sleep(min(max(left, 0.0), 0.01))
            code = process.poll()
            if max(os.fstat(file.fileno()).st_size for file in files) >= output:
                return "flood"
            if code is not None:
                return code
            if left <= 0:
                return "timeout"
    finally:
        if handle >= 0:
            os.close(handle)


def _limit(pid: int, seconds: float, memory: int, output: int) -> None:
    """Set the limits from outside (nothing of ours runs between fork and exec); systems without ``prlimit`` only have those on time."""
    if not hasattr(resource, "prlimit"):
        return
    cpu = int(seconds) + 10
    for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, output), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, cpu)):
        with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
            resource.prlimit(pid, kind, (value, value))


def _kill(process: subprocess.Popen[bytes], token: str) -> None:
    """Kill the child's group, then whatever else carries its token (a grandchild that made a session of its own), and wait until they are dead.

    A process that has been killed gives up its memory, and its environment with it, before it is dead: one that was seen once, or is of the
    child's session, is waited for, for ``PATIENCE`` seconds at most (a process may hang within the system).
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    known: set[int] = set()
    end = time.monotonic() + PATIENCE
    while True:
        carriers, session = _descendants(process.pid, token)
        for pid in carriers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        known.update(carriers, session)
        if not any(map(alive, known)) or time.monotonic() > end:
            return
        time.sleep(0.01)


def _descendants(leader: int, token: str) -> tuple[list[int], list[int]]:
    """Processes whose environment holds the token, and those of the child's session."""
    mark = f"{TOKEN}={token}".encode()
    carriers, session = [], []
    proc = Path("/proc")
    for entry in proc.iterdir() if proc.is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):  # it may end while it is read
                if _stat(int(entry.name))[3] == str(leader):
                    session.append(int(entry.name))
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    carriers.append(int(entry.name))
    return carriers, session


def alive(pid: int) -> bool:
    """Whether a process runs, as far as ``/proc`` tells (a zombie does not run)."""
    try:
        return _stat(pid)[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def _stat(pid: int) -> list[str]:
    """State, parent, group, session and so on (``proc(5)``, stat, from the third field on); the second may hold any character."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def _read(file: IO[bytes], most: int) -> str:
    file.seek(0)
    return file.read(most).decode("utf-8", "replace")


def _ended(code: int | str, text: str, complaint: str, seconds: float) -> Ran:
    if isinstance(code, str):
        return Ran("timeout", text, f"no answer within {seconds:.3g} s") if code == "timeout" else Ran("crash", text, "the solver printed too much")
    if code == 0:
        return Ran("ok", text, "exit code 0")
    last = (complaint.strip().splitlines() or ["no message"])[-1][:200]
    if code == -signal.SIGKILL or any(word in complaint or word in text for word in _OUT_OF_MEMORY):
        return Ran("memory", text, f"the solver ran out of memory ({last})")
    if code == -signal.SIGXCPU:
        return Ran("timeout", text, f"no answer within {seconds:.3g} s of processor time")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return Ran("crash", text, f"the solver ended with {name} ({last})")
