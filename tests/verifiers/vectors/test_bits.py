"""Single-bit flips of the smallest bundles: none is accepted; with digests recomputed, only where an independent exact check agrees."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import onnx
import pytest

from verifiers.kernel.check import check

FILES = ("certificate.json", "requirement.toml", "plant.json", "controller.onnx", "proof/shell-1.tree")
Matrix = list[list[Fraction]]


def flips(folder: Path, count: int | None) -> list[tuple[str, int]]:
    """Bits (file, number) of a bundle, all of them or a seeded sample."""
    bits = [(name, k) for name in FILES if (folder / name).exists() for k in range(8 * (folder / name).stat().st_size)]
    return bits if count is None else random.Random(1).sample(bits, min(count, len(bits)))


def flipped(data: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def each_flip(source: Path, folder: Path, count: int | None) -> Iterator[tuple[str, int]]:
    """Write the question with one bit of its bundle flipped, one after the other."""
    shutil.copytree(source, folder)
    for name, bit in flips(folder / "loop.cert", count):
        path = folder / "loop.cert" / name
        old = path.read_bytes()
        path.write_bytes(flipped(old, bit))
        yield name, bit
        path.write_bytes(old)


@pytest.mark.threat("T01", "T02")
@pytest.mark.parametrize("name", ["biased", "linear", "invariance"])
@pytest.mark.parametrize("count", [250, pytest.param(None, marks=pytest.mark.slow)])
def test_no_flipped_bit_of_the_files_is_accepted(name, count, bases, tmp_path):
    """In certificate.json a flip may leave the claim as it is (in the name of the producer, say): it is judged below."""
    accepted = [(file, bit) for file, bit in each_flip(bases(name), tmp_path / "q", count)
                if file != "certificate.json" and check(tmp_path / "q" / "loop.cert", tmp_path / "q" / "loop.requirement.toml").outcome == "ACCEPTED"]
    assert accepted == []


def refreshed(bundle: Path) -> bool:
    """Recompute all digests of a bundle; False where certificate.json is not JSON any more."""
    path = bundle / "certificate.json"
    try:
        statement = json.loads(path.read_bytes())
    except ValueError:
        return False
    text = path.read_bytes().decode()
    for item in find(statement):
        name = item.get("name")
        if isinstance(name, str) and isinstance(item.get("sha256"), str) and (bundle / name).is_file():
            text = text.replace(item["sha256"], hashlib.sha256((bundle / name).read_bytes()).hexdigest())
    path.write_text(text, encoding="utf-8")
    return True


def find(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from find(item)


def true_claim(bundle: Path) -> bool:
    """Is the claim of the linear bundle true?  Written without the kernel: plant, gain, P and level are read and all is decided by minors.

    x' = (A + B K) x with the two-state plant of the base; the ellipsoid x'Px <= c decreases, lies in the domain and holds the ball.
    """
    import tomllib

    wanted = tomllib.loads((bundle / "requirement.toml").read_text(encoding="utf-8"))
    plant = json.loads((bundle / "plant.json").read_bytes())
    predicate = json.loads((bundle / "certificate.json").read_bytes())["predicate"]
    tensors = [onnx.numpy_helper.to_array(t) for t in onnx.load_from_string((bundle / "controller.onnx").read_bytes()).graph.initializer]
    gain = [Fraction(float(v)) for v in tensors[0].ravel()]
    closed = [[value(plant, row, [Fraction(int(i == j)) for i in range(2)], gain) for j in range(2)] for row in range(2)]
    region, name = predicate["claim"]["region"], predicate["claim"]["region"]["function"]
    p = [[Fraction(v) for v in row] for row in predicate["functions"][name]["matrix"]]
    centre = [Fraction(v) for v in predicate["functions"][name]["center"]]
    c, radius = Fraction(region["level"]), Fraction(wanted["region"]["min_radius"])
    lo, hi = ([Fraction(v) for v in wanted["domain"][k]] for k in ("lo", "hi"))
    det = p[0][0] * p[1][1] - p[0][1] * p[1][0]
    decrease = [[-sum(p[i][k] * closed[k][j] + closed[k][i] * p[k][j] for k in range(2)) for j in range(2)] for i in range(2)]
    inside = all(c * p[1 - i][1 - i] / det < min(hi[i], -lo[i]) ** 2 for i in range(2)) if det else False
    ball = [[c / radius**2 * (i == j) - p[i][j] for j in range(2)] for i in range(2)]
    return (p[0][1] == p[1][0] and positive(p) and positive(decrease) and inside and positive(ball) and centre == [0, 0])


def positive(m: Matrix) -> bool:
    """A symmetric 2 x 2 matrix is positive definite, by its minors."""
    return m[0][0] > 0 and m[0][0] * m[1][1] - m[0][1] * m[1][0] > 0


def value(plant: dict[str, Any], output: int, x: list[Fraction], gain: list[Fraction]) -> Fraction:
    """One output of the plant's program under u = K x."""
    done: list[Fraction] = []
    for op, *args in plant["nodes"]:
        done.append(x[args[0]] if op == "x" else sum((k * v for k, v in zip(gain, x, strict=True)), Fraction(0)) if op == "u"
                    else Fraction(args[0]) if op == "c" else done[args[0]] * done[args[1]] if op == "mul" else done[args[0]] + done[args[1]])
    return done[plant["outputs"][output]]


@pytest.mark.threat("T01", "T03", "T15", "T18")
@pytest.mark.parametrize("count", [500, pytest.param(None, marks=pytest.mark.slow)])
def test_with_recomputed_digests_a_flip_is_accepted_only_where_the_claim_still_holds(count, bases, tmp_path):
    """The caller's copies of requirement and plant change along, so that nothing but the proof itself can refuse."""
    original = tmp_path / "original"
    shutil.copytree(bases("linear") / "loop.cert", original)
    assert true_claim(original)
    tried = accepted = 0
    for _ in each_flip(bases("linear"), tmp_path / "q", count):
        folder = tmp_path / "forged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "q", folder)
        bundle = folder / "loop.cert"
        digest = hashlib.sha256((bundle / "plant.json").read_bytes()).hexdigest()
        text = (bundle / "requirement.toml").read_bytes()
        (bundle / "requirement.toml").write_bytes(re.sub(rb'(plant = .*sha256 = ")[0-9a-f]{64}', rb"\g<1>" + digest.encode(), text))
        for inside, outside in (("requirement.toml", "loop.requirement.toml"), ("plant.json", "own.plant.json"), ("controller.onnx",) * 2):
            (folder / outside).write_bytes((bundle / inside).read_bytes())
        if not refreshed(bundle):
            continue
        tried += 1
        if check(bundle, folder / "loop.requirement.toml").outcome == "ACCEPTED":
            accepted += 1
            assert true_claim(bundle)
    assert 0 < accepted < tried


def test_the_independent_check_sees_false_claims(bases, tmp_path):
    bundle = tmp_path / "b"
    shutil.copytree(bases("linear") / "loop.cert", bundle)
    text = (bundle / "certificate.json").read_text()
    level = json.loads(text)["predicate"]["claim"]["region"]["level"]
    (bundle / "certificate.json").write_text(text.replace(f'"{level}"', '"2"'))
    assert not true_claim(bundle)
