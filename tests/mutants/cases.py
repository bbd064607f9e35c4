"""Write the registered vectors to a folder, for checkers in processes of their own: ``python tests/mutants/cases.py FOLDER``."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "verifiers" / "vectors"), str(ROOT / "tests")]

import build  # noqa: E402
from vectors import VECTORS  # noqa: E402


def write_cases(folder: Path) -> int:
    """Prove every base, write every twin, and list them with their outcomes in ``cases.json``; the number of cases."""
    found, numbers = [], count()
    for name, base in build.BASES.items():
        verdict = build.prove(base(folder / "bases" / name))
        if verdict.outcome != "PROVED":
            raise RuntimeError(f"{name}: {verdict.outcome} {verdict.message}")
        found.append({"name": name, "bundle": str(folder / "bases" / name / "loop.cert"),
                      "requirement": str(folder / "bases" / name / "loop.requirement.toml"), "outcome": "ACCEPTED", "code": None})
    for vector in VECTORS:
        twin = build.Twin(folder / "bases" / vector.base, folder / "twins" / f"{next(numbers)}")
        vector.change(twin)
        twin.save(vector.digests)
        if vector.after is not None:
            vector.after(twin)
        found.append({"name": vector.name, "bundle": str(twin.bundle), "requirement": str(twin.requirement),
                      "outcome": vector.code.ending.name, "code": vector.code.name})
    (folder / "cases.json").write_text(json.dumps(found), encoding="utf-8")
    return len(found)


if __name__ == "__main__":
    print(write_cases(Path(sys.argv[1])))
