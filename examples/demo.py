"""One policy is certified and three imposters are refused: a changed weight, a flipped sign, a level that is too high.

    make demo            # or: python examples/demo.py

Everything is written to demo-output/.  Exit code 0 only if all four answers are as expected.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

POLICY = ROOT / "examples" / "pendulum"
OUT = Path("demo-output")
TOO_HIGH = Fraction(1001, 1000)


@dataclass(frozen=True)
class Expected:
    """What a command has to answer: its exit code, the first word of its last line, and a code in that line."""

    exit_code: int
    word: str
    code: str | None = None

    def __str__(self) -> str:
        return f"{self.word}{f' {self.code}' if self.code else ''}, exit {self.exit_code}"


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    last_line: str
    exit_code: int
    as_expected: bool


def certctl(*arguments: str, expected: Expected) -> Answer:
    """Run the command line in demo-output/, print command, last line and whether it is the expected answer."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    began = time.monotonic()
    run = subprocess.run([sys.executable, "-m", "certctl", *arguments], cwd=OUT, env=environment, capture_output=True, text=True, check=False)
    lines = run.stdout.strip().splitlines() or run.stderr.strip().splitlines() or [""]
    words = lines[-1].split()
    good = run.returncode == expected.exit_code and words[:1] == [expected.word] and (expected.code is None or f"code={expected.code}" in words)
    print(f"  $ certctl {' '.join(arguments)}")
    for line in lines if run.returncode in (1, 2) else lines[-1:]:
        print(f"    {line}")
    print(f"    exit {run.returncode} after {time.monotonic() - began:.1f} s; expected {expected}: {'as expected' if good else 'NOT AS EXPECTED'}")
    if not good and run.stderr:
        print("    " + run.stderr.strip().replace("\n", "\n    "))
    return Answer(lines[-1], run.returncode, good)


def copy_of_policy(name: str) -> Path:
    """Copy requirement and networks into demo-output/NAME, without a bundle."""
    folder = OUT / name
    shutil.copytree(POLICY, folder, ignore=shutil.ignore_patterns("*.cert", "*.search"))
    return folder


def edit_tensor(path: Path, name: str, change: Any) -> None:
    """Change a float32 tensor of an ONNX file in place: ``change(values)`` returns as many numbers.

    The tensor's name (field 8) and its raw bytes (field 9, a length below 2^14) stand next to each other in the file, so this needs no ONNX library.
    """
    data = path.read_bytes()
    head = b"\x42" + bytes([len(name)]) + name.encode() + b"\x4a"
    if data.count(head) != 1:
        raise SystemExit(f"{path} has no single tensor {name!r} with raw data")
    start = data.index(head) + len(head)
    size, start = data[start] & 127 | (data[start + 1] << 7 if data[start] > 127 else 0), start + (2 if data[start] > 127 else 1)
    values = np.asarray(change(np.frombuffer(data[start:start + size], "<f4")), "<f4").tobytes()
    path.write_bytes(data[:start] + values + data[start + size:])


def one_weight_up(values: np.ndarray) -> np.ndarray:
    """The same weights, the first one moved to the next float32: a change of about one part in ten million."""
    return np.concatenate([np.nextafter(values[:1], np.float32(np.inf)), values[1:]])


def certified() -> list[Answer]:
    """Prove the policy, check the proof with the kernel alone, and let it through the gate."""
    copy_of_policy("pendulum")
    proved = Expected(0, "PROVED")
    return [certctl("verify", "pendulum/requirement.toml", expected=proved),
            certctl("check", "pendulum/requirement.cert", "--requirement", "pendulum/requirement.toml", expected=proved),
            certctl("gate", "pendulum", expected=proved)]


def changed_weight() -> list[Answer]:
    """Change one weight of the deployed file by one unit in the last place (gate), and of the file in the bundle (check)."""
    folder = copy_of_policy("pendulum-one-weight-changed")
    shutil.copytree(OUT / "pendulum" / "requirement.cert", folder / "requirement.cert")
    edit_tensor(folder / "controller.onnx", "w0", one_weight_up)
    deployed = certctl("gate", folder.name, expected=Expected(4, "REFUSED", "CONTROLLER_MISMATCH"))
    edit_tensor(folder / "requirement.cert" / "controller.onnx", "w0", one_weight_up)
    inside = certctl("check", f"{folder.name}/requirement.cert", "--requirement", f"{folder.name}/requirement.toml",
                     expected=Expected(4, "REFUSED", "DIGEST_MISMATCH"))
    return [deployed, inside]


def flipped_sign() -> list[Answer]:
    """Flip the sign of the torque: the loop is proved unstable, with a trajectory that leaves."""
    folder = copy_of_policy("pendulum-sign-flipped")
    edit_tensor(folder / "controller.onnx", "scale", lambda values: -values)
    return [certctl("verify", f"{folder.name}/requirement.toml", expected=Expected(1, "REFUTED", "UNSTABLE_EQUILIBRIUM"))]


def level_too_high() -> list[Answer]:
    """Demand 1.001 times the level that was proved: an exact witness lies below it."""
    folder = copy_of_policy("pendulum-level-too-high")
    region = json.loads((OUT / "pendulum" / "requirement.cert" / "certificate.json").read_text(encoding="utf-8"))["predicate"]["claim"]["region"]
    level = Fraction(region["level"]) * TOO_HIGH
    path = folder / "requirement.toml"
    text = path.read_text(encoding="utf-8")
    if text.count('"max"') != 1:
        raise SystemExit(f"{path} no longer asks for the largest level; the demo replaces that line")
    path.write_text(text.replace('"max"', f'"{level}"'), encoding="utf-8")
    print(f"  proved: V <= {region['level']}; demanded now: V <= {float(level):.9g}")
    return [certctl("verify", f"{folder.name}/requirement.toml", expected=Expected(1, "REFUTED", "COUNTEREXAMPLE"))]


def pictures() -> None:
    """Draw the certified region, and what refutes the two imposters; write the report page."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from certctl import falsify
    from certctl.plot import counterexamples, domain, figure, region, save
    from certctl.plot.palette import CANDIDATE, RC, label_axes
    from certctl.report.page import write_report
    from certctl.view import open_view
    from verifiers.load.floats import evaluate

    own = OUT / "pendulum" / "requirement.toml"
    view = open_view(OUT / "pendulum" / "requirement.cert", own)
    save(figure(view), OUT / "certified.png", view)
    written = write_report(view, OUT / "report.html", own_requirement=own)

    flipped, witness = (falsify(OUT / name / "requirement.toml").counterexample for name in ("pendulum-sign-flipped", "pendulum-level-too-high"))
    with matplotlib.rc_context(RC):
        page, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.3), layout="constrained")
        domain(left, view)
        label_axes(left, view.drawn.spec.states, (0, 1))
        counterexamples(left, flipped["x"], paths=[flipped["trajectory"]])
        low, high = view.domain
        left.set(xlim=(1.05 * low[0], 1.05 * high[0]), ylim=(1.05 * low[1], 1.05 * high[1]), title="sign flipped: this trajectory leaves")

        around, half = np.array(witness["x"]), np.array([0.004, 0.03]) * (high - low)
        region(right, view, window=(around - half, around + half))
        first, second = (np.linspace(a - h, a + h, 201) for a, h in zip(around, half, strict=True))
        network, level = view.stages[-1].graph, float(view.stages[-1].level * TOO_HIGH)
        values = evaluate(network, np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)).reshape(201, 201)
        right.contour(first, second, values, levels=[level], colors=[CANDIDATE], linestyles="dotted")
        counterexamples(right, around)
        right.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]), title="level 0.1 % higher (dotted): it reaches the domain's edge here")
        for ax in (left, right):
            ax.locator_params(axis="x", nbins=5)
            # the demanded box lies beyond the window on the right
            entries = {label: key for label, key in ax.certctl_legend.items() if ax is left or not label.startswith("demanded")}
            ax.legend(list(entries.values()), list(entries), loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        save(page, OUT / "refused.png", view)
    for path in (OUT / "certified.png", OUT / "refused.png", *written):
        print(f"  {path}")


STEPS = (
    ("1  The trained policy is certified", certified),
    ("2  The same policy with one weight changed is refused", changed_weight),
    ("3  The same policy with its sign flipped is refuted", flipped_sign),
    ("4  1.001 times the proved level is refuted", level_too_high),
)


def main() -> int:
    """Run the four steps and say whether all answers are as expected."""
    began = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    wrong = []
    for title, step in STEPS:
        print(f"\n{title}")
        if not all(answer.as_expected for answer in step()):
            wrong.append(title)
    if wrong:
        print("\nNOT as expected: " + "; ".join(wrong))
        return 1
    print("\nReport and figures (the certified region green, counterexamples red)")
    pictures()
    print(f"\nAll four answers are as expected ({time.monotonic() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
