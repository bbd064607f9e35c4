"""The commands keygen and sign: who vouches for a bundle."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated

import typer

from certctl.cli.exit_codes import ExitCode, exit_code, table
from certctl.cli.output import OutputFormat, UsageError, dump, fields, last_line, ready, say
from certctl.cli.proving import Format, stoppable
from certctl.cli.reading import BundlePath, OwnRequirement
from certctl.result import from_receipt


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (keygen, sign):
        app.command(epilog=table())(stoppable(command))


def keygen(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="KEY", help="The private key's file; the public one is KEY.pub.", show_default=False)],
    output_format: Format = OutputFormat.text,
) -> int:
    """Make an ed25519 key pair: KEY, which stays secret, and KEY.pub, whose line goes into certctl.toml."""
    from certctl.signing import PASSPHRASE, new_private_key

    chosen, public = ready(output_format), out.with_name(out.name + ".pub")
    for path in (out, public):
        if os.path.lexists(path):
            raise UsageError(f"{path} exists already and a key is never overwritten; give another name with -o")
    pem, key = new_private_key()
    _write(out, pem, 0o600)
    _write(public, f"{key.text}\n".encode("ascii"), 0o644)
    if not os.environ.get(PASSPHRASE):
        say(f"{out} is not encrypted (set {PASSPHRASE} to do so); keep it out of the repository")
    if chosen is OutputFormat.json:
        dump({"private": str(out), "public": str(public), "key": key.text, "keyid": key.identifier})
    else:
        fields([("private", out), ("public", public), ("key", key.text), ("keyid", key.identifier)])
    return int(ExitCode.PROVED)


def sign(
    bundle: BundlePath,
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="The private key, as keygen wrote it.", show_default=False)],
    requirement: OwnRequirement = None,
    output_format: Format = OutputFormat.text,
) -> int:
    """Check a bundle and, when the kernel accepts it, sign its certificate (DSSE envelope, in the bundle)."""
    from certctl.signing import ENVELOPE, SignatureFault, bundle_digest, read_envelope, read_private_key
    from certctl.signing import sign as envelope_of
    from verifiers.kernel.bundle import read_file
    from verifiers.kernel.check import check
    from verifiers.kernel.codes import Refusal

    chosen = ready(output_format)
    try:
        private = read_private_key(key)
    except ValueError as error:
        raise UsageError(str(error)) from None
    say(f"checking {bundle}")
    result = from_receipt(check(bundle, requirement), bundle)
    if not result.is_proved:
        say(f"not signed: {result.message}")
        typer.echo(last_line(result))
        return int(exit_code(result.outcome, result.code))
    place = bundle / ENVELOPE
    try:
        payload = read_file(bundle / "certificate.json", "certificate.json")
        present = read_envelope(read_file(place, ENVELOPE)) if os.path.lexists(place) else None
        digest = bundle_digest(payload)
    except (Refusal, SignatureFault) as no:
        say(f"not signed: {no}")
        return int(ExitCode.INTEGRITY)
    if digest != result.bundle_digest:
        say("not signed: certificate.json changed after the kernel read it")
        return int(ExitCode.INTEGRITY)
    # Not in the bundle: a rest of an interrupted run there would break it.
    aside = Path(os.path.abspath(bundle)).parent / f".{bundle.name}.{ENVELOPE}.{os.getpid()}"
    _write(aside, envelope_of(payload, private, present), 0o644)
    os.replace(aside, place)
    identifier = hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()
    if chosen is OutputFormat.json:
        dump({"bundle": str(bundle), "bundle_digest": digest, "envelope": str(place), "keyid": identifier})
    else:
        fields([("bundle", bundle), ("digest", digest), ("keyid", identifier), ("written", place)])
    return int(ExitCode.PROVED)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Make a new file with exactly this mode; one that exists is an error."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{path} exists already; it is not overwritten") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
