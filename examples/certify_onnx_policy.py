"""Certify a policy that you have as an ONNX file: write the requirement, prove it, and load only what the kernel accepted.

    python examples/certify_onnx_policy.py [FOLDER]      # default demo-output/onnx_policy; the base install is enough

The policy is a ReLU network for the van der Pol oscillator, sampled every 50 ms with its input limited to ±1.  No Lyapunov function
is given: certctl looks for a quadratic one.
"""

from __future__ import annotations

import shutil
import sys
from fractions import Fraction
from pathlib import Path

import certctl
from certctl.report.words import obligation_rows

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output/onnx_policy")

# A person writes this file and keeps it; the certificate answers it and cannot change it.  Numbers are exact decimals or fractions.
REQUIREMENT = """
property   = "asymptotic_stability_roa"
plant      = "van_der_pol"
controller = "controller.onnx"
time       = "discrete"
dt         = "1/20"
method     = "rk4"
saturation = "clip"

[parameters]
input_limit = "1"

[domain]
lo = ["-1", "-1"]
hi = ["1", "1"]

[region]
level    = "max"
contains = { lo = ["-0.4", "-0.4"], hi = ["0.4", "0.4"] }
"""


def main() -> int:
    """Write, prove, load."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "examples" / "policies" / "van_der_pol" / "controller.onnx", FOLDER)
    requirement, bundle = FOLDER / "requirement.toml", FOLDER / "requirement.cert"
    requirement.write_text(REQUIREMENT, encoding="utf-8")

    verdict = certctl.verify(requirement, bundle, budget=60, force=True)
    print(f"{verdict.outcome}: {verdict.message} (search {verdict.search_s:.1f} s)")
    if verdict.receipt is None or verdict.outcome != "PROVED":
        print(f"not proved: {verdict.code} at {verdict.at}; `certctl explain {verdict.code}` says what to try")
        return 1
    region = verdict.receipt.region
    level = float(Fraction(region["level"]))
    print(f"region {region['function']} <= {level:g}, area at least {region['volume_lower_bound']:.4g}")
    for identifier, kind, *_, shown in obligation_rows(verdict.receipt):
        print(f"  {identifier:<12} {kind:<14} {shown}")

    # At start-up of whatever runs the policy: the kernel runs again, and the bytes that it accepted come back, or NotDeployable is raised.
    deployable = certctl.load_deployable(bundle, requirement)
    print(f"deployable: {len(deployable.controller)} bytes with sha256 {deployable.sha256[:12]}…")
    try:
        import numpy as np
        import onnxruntime
    except ModuleNotFoundError:
        print("onnxruntime is not installed; it would now run these very bytes")
        return 0
    session = onnxruntime.InferenceSession(deployable.controller)
    name = session.get_inputs()[0].name
    print("u at x = (0.4, 0.4):", float(session.run(None, {name: np.array([[0.4, 0.4]], dtype=np.float32)})[0][0, 0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
