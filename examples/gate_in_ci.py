"""The gate as CI sees it: one policy may be deployed, one has no proof, one was changed after its proof.

    python examples/gate_in_ci.py [FOLDER]               # default demo-output/gate; the base install is enough

What a control engineer learns: a controller is deployable only while the very file that runs has a bundle that the kernel accepts *now*,
against a requirement that somebody reviewed.  Retraining, a missing proof, an empty folder and a softened requirement all end in an exit
code that stops a pipeline.  docs/gate-in-ci.md has the lines for CI.

Exit code 0 only if every command answers as expected.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import certctl

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "examples" / "policies" / "van_der_pol"
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/gate")


def command(*arguments: str, expected: int, code: str | None = None) -> bool:
    """Run certctl in FOLDER, as a pipeline does; print what it says and whether exit code and refusal code are the expected ones."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    run = subprocess.run([sys.executable, "-m", "certctl", *arguments], cwd=FOLDER, env={**os.environ, "PYTHONPATH": path},
                         capture_output=True, text=True, check=False)
    good = run.returncode == expected and (code is None or f"code={code}" in run.stdout)
    print(f"\n$ certctl {' '.join(arguments)}\n  " + run.stdout.strip().replace("\n", "\n  "))
    verdict = "as expected" if good else f"NOT AS EXPECTED {run.stderr}"
    print(f"  exit {run.returncode}, expected {expected}{f' with {code}' if code else ''}: {verdict}")
    return good


def prepare() -> None:
    """Three folders with the same requirement and policy; two get a bundle, and one of these is then changed in a single bit."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("good", "unproved", "changed"):
        shutil.copytree(POLICY, FOLDER / "policies" / name, ignore=shutil.ignore_patterns("*.cert", "*.search"))
    (FOLDER / "empty").mkdir()
    for name in ("good", "changed"):
        verdict = certctl.verify(FOLDER / "policies" / name / "requirement.toml", budget=60)
        print(f"{name}: {verdict.outcome}, {verdict.message}")
    deployed = FOLDER / "policies" / "changed" / "controller.onnx"
    data = bytearray(deployed.read_bytes())
    data[len(data) // 2] ^= 1
    deployed.write_bytes(data)


def pipelines() -> list[bool]:
    """The same command in six situations."""
    policies = FOLDER / "policies"
    answers = [command("gate", "policies/good", expected=0),
               command("gate", "policies", expected=4, code="CONTROLLER_MISMATCH")]
    shutil.rmtree(policies / "changed")
    answers += [command("gate", "policies", expected=1, code="NO_BUNDLE"), command("gate", "empty", expected=5)]

    # A reviewer pins the digest of the question where a pull request cannot reach it; softening the question then needs the reviewer again.
    pinned = certctl.gate([policies / "good"]).policy_digest
    answers.append(command("gate", "policies/good", "--policy-digest", pinned, expected=0))
    requirement = policies / "good" / "requirement.toml"
    reviewed = requirement.read_text(encoding="utf-8")
    requirement.write_text(reviewed.replace('"2.5"', '"0.1"'), encoding="utf-8")
    answers.append(command("gate", "policies/good", "--policy-digest", pinned, expected=4, code="POLICY_CHANGED"))
    requirement.write_text(reviewed, encoding="utf-8")
    return answers


def deployment() -> list[bool]:
    """What runs at the plant asks again, and takes only the bytes that the kernel accepted."""
    good = FOLDER / "policies" / "good"
    deployable = certctl.load_deployable(good / "requirement.cert", good / "requirement.toml")
    print(f"\nload_deployable: {len(deployable.controller)} bytes with sha256 {deployable.sha256[:12]}…")
    inside = good / "requirement.cert" / "controller.onnx"
    inside.write_bytes(inside.read_bytes()[:-1] + b"\0")
    try:
        certctl.load_deployable(good / "requirement.cert", good / "requirement.toml")
    except certctl.NotDeployable as refused:
        print(f"load_deployable after one byte of the bundle was changed: NotDeployable {refused.code}, as expected")
        return [refused.code == "DIGEST_MISMATCH"]
    print("load_deployable has accepted a changed bundle: NOT AS EXPECTED")
    return [False]


def main() -> int:
    """Prepare, run the pipelines, deploy."""
    prepare()
    answers = pipelines() + deployment()
    print(f"\n{sum(answers)} of {len(answers)} answers are as expected")
    return 0 if all(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
