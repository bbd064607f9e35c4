"""``load_deployable``: the one way from a bundle to bytes that may run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verifiers.kernel.check import Receipt


class NotDeployable(Exception):
    """The controller may not run.

    Attributes
    ----------
    code : str
        Why, a name that ``certctl explain`` knows.
    message : str
        One sentence with the place.
    receipt : Receipt or None
        The kernel's receipt, when it got that far.
    """

    def __init__(self, code: str, message: str, receipt: Receipt | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.receipt = code, message, receipt


@dataclass(frozen=True)
class Deployable:
    """A controller that the kernel accepted just now: its bytes, their sha256, and the receipt."""

    controller: bytes
    sha256: str
    receipt: Receipt


def load_deployable(bundle: str | Path, requirement: str | Path, signed_by: Sequence[str] = ()) -> Deployable:
    """Run the kernel on a bundle against *your* requirement and return the very bytes that it accepted.

    Parameters
    ----------
    bundle : path
        Bundle directory.
    requirement : path
        The requirement that you keep; the copy inside the bundle is never used.

    signed_by : sequence of str
        Public keys (``ed25519:…``) each of which must have signed what the kernel accepted; none by default.

    Returns
    -------
    Deployable
        Load the model from ``.controller`` (for example ``onnxruntime.InferenceSession(deployable.controller)``), not from the file.

    Raises
    ------
    NotDeployable
        Whenever the kernel does not accept, and when the file no longer has the accepted sha256.

    Notes
    -----
    Soundness: the kernel hashes the bytes that it parses and reports their sha256.  Bytes are returned only when they have that sha256,
    so a file swapped between check and load (T17) is refused, and no stored flag, receipt or report is read (T20, T21).
    """
    from verifiers.kernel.check import check

    bundle, requirement = Path(bundle), Path(requirement)
    receipt = check(bundle, requirement)
    if receipt.outcome != "ACCEPTED":
        raise NotDeployable(receipt.code or "INTERNAL", f"{receipt.at}: {receipt.message}", receipt)
    if receipt.requirement_source != "given" or receipt.controller_sha256 is None:
        raise NotDeployable("INTERNAL", "the kernel has accepted a plant without a controller, or not against the given requirement", receipt)
    if signed_by:
        _demand_signatures(bundle, receipt, signed_by)
    return Deployable(controller_bytes(bundle, receipt.controller_sha256, receipt), receipt.controller_sha256, receipt)


def _demand_signatures(bundle: Path, receipt: Receipt, texts: Sequence[str]) -> None:
    from certctl import signing

    try:
        keys = [signing.parse_key(text) for text in texts]
        signing.signed_by(bundle, receipt, keys, len(keys))
    except ValueError as error:
        raise NotDeployable("USAGE", str(error), receipt) from None
    except signing.SignatureFault as fault:
        raise NotDeployable(fault.code, fault.message, receipt) from None


def controller_bytes(bundle: Path, sha256: str, receipt: Receipt | None = None) -> bytes:
    """Read the bundle's controller once and hand it on only when it has the sha256 that the kernel reported."""
    from verifiers.kernel.bundle import read_file
    from verifiers.kernel.codes import Refusal

    path = bundle / ("law.json" if receipt is not None and receipt.property == "pwa_equivalence" else "controller.onnx")
    try:
        data = read_file(path, path.name)
    except Refusal as no:
        raise NotDeployable(no.code.name, f"{path}: {no.message}", receipt) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise NotDeployable("CONTROLLER_MISMATCH", f"{path} changed after the kernel read it", receipt)
    return data
