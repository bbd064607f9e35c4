"""Every one-fault twin is refused with its code, every base is accepted, and checkers that do not check fail this suite."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import build
import pytest
from repository import KERNEL, python_files
from vectors import VECTORS, Vector

from verifiers.kernel.check import Receipt, check
from verifiers.kernel.codes import Code

Checker = Callable[[Path, Path], Receipt]
BY_NAME = {v.name: v for v in VECTORS}
ELSEWHERE = {
    "INTERNAL": "a defect of the kernel, which no input is known to show",
    "PART_MISSING": "met by a check in parts (test_running.py)",
    **dict.fromkeys(("BAD_PROBLEM", "BAD_LAW", "PROBLEM_MISMATCH", "NOT_OPTIMAL", "NOT_INFEASIBLE"), "laws have twins of their own (test_pwa.py)"),
}


def spoiled(vector: Vector, twin: Callable[[str], build.Twin]) -> build.Twin:
    """The twin of a vector, written to disk."""
    made = twin(vector.base)
    vector.change(made)
    made.save(vector.digests)
    if vector.after is not None:
        vector.after(made)
    return made


def faults(checker: Checker, cases: list[tuple[str, Path, Path, str | None]]) -> Iterator[str]:
    """The predicate of the suite: sentences about cases (name, bundle, requirement, code; None for a true one) that a checker judges wrongly."""
    for name, bundle, requirement, code in cases:
        receipt = checker(bundle, requirement)
        ending = "ACCEPTED" if code is None else Code[code].ending.name
        if (receipt.outcome, receipt.code) != (ending, code) or (receipt.level is None) != (code is not None):
            yield f"{name}: {ending} {code} expected, not {receipt.outcome} {receipt.code} at {receipt.at}: {receipt.message}"


@pytest.mark.parametrize("name", build.BASES)
def test_every_base_is_accepted(name, bases):
    folder = bases(name)
    assert list(faults(check, [(name, folder / "loop.cert", folder / "loop.requirement.toml", None)])) == []


@pytest.mark.threat("T02", "T03", "T04", "T05", "T06", "T08", "T12", "T13", "T21", "T25")
@pytest.mark.parametrize("name", BY_NAME)
def test_every_fault_is_refused_with_its_code(name, twin):
    vector = BY_NAME[name]
    made = spoiled(vector, twin)
    assert list(faults(check, [(name, made.bundle, made.requirement, vector.code.name)])) == []


@pytest.mark.parametrize("name", build.BASES)
def test_writing_a_bundle_again_without_a_fault_keeps_it_true(name, twin):
    made = twin(name)
    made.save()
    assert check(made.bundle, made.requirement).outcome == "ACCEPTED"


def test_each_vector_is_registered_once_and_collected_once(request):
    collected = [item for item in request.session.items if item.name.startswith("test_every_fault_is_refused_with_its_code[")
                 and item.path == Path(__file__)]
    assert len(BY_NAME) == len(VECTORS)
    if not any(option.startswith("-k") or "::" in option for option in request.config.invocation_params.args):
        assert len(collected) == len(VECTORS)


def test_each_code_that_the_kernel_raises_has_a_vector():
    """A code counts where it stands in the kernel as Code.NAME; codes.py itself does not count."""
    raised = {node.attr for path in python_files("verifiers/kernel") if path != KERNEL / "codes.py"
              for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
              if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Code" and node.attr in Code.__members__}
    covered = {v.code.name for v in VECTORS}
    assert covered & set(ELSEWHERE) == set()
    assert raised - covered == set(ELSEWHERE)
    assert covered - raised == set()


def test_checkers_that_do_not_check_fail_the_suite(bases, twin):
    cases = [(name, bases(name) / "loop.cert", bases(name) / "loop.requirement.toml", None) for name in build.BASES]
    for name in ("level-too-high", "tree-truncated", "missing-local", "claim-of-another-network", "tree-too-deep", "kind-unknown"):
        made = spoiled(BY_NAME[name], twin)
        cases.append((name, made.bundle, made.requirement, BY_NAME[name].code.name))
    true = check(cases[0][1], cases[0][2])

    def always_accept(bundle: Path, requirement: Path) -> Receipt:
        return true

    def always_refuse(bundle: Path, requirement: Path) -> Receipt:
        return replace(true, outcome="REFUSED", code="DECREASE", level=None)

    def always_decline(bundle: Path, requirement: Path) -> Receipt:
        return replace(true, outcome="DECLINED", code="TOO_LARGE", level=None)

    def blind_to_codes(bundle: Path, requirement: Path) -> Receipt:
        found = check(bundle, requirement)
        return found if found.outcome == "ACCEPTED" else replace(found, outcome="REFUSED", code="DECREASE")

    assert list(faults(check, cases)) == []
    assert len(list(faults(always_accept, cases))) == 6
    assert len(list(faults(always_refuse, cases))) == len(cases)
    assert len(list(faults(always_decline, cases))) == len(cases) - 1
    assert len(list(faults(blind_to_codes, cases))) == 6


@pytest.mark.threat("T01", "T18")
@pytest.mark.parametrize("byte", [-40, -9, -1])
def test_a_controller_that_differs_in_one_byte_is_not_the_certified_one(byte, twin):
    made = twin("pendulum")
    made.save()
    data = bytearray(made.files["controller.onnx"])
    data[byte] ^= 1
    (made.folder / "controller.onnx").write_bytes(data)
    assert check(made.bundle, made.requirement).code == "CONTROLLER_MISMATCH"


def test_a_bundle_of_another_requirement_is_not_accepted_for_this_one(bases):
    here, there = bases("pendulum"), bases("network_shell")
    receipt = check(here / "loop.cert", there / "loop.requirement.toml")
    assert (receipt.outcome, receipt.code) == ("REFUSED", "REQUIREMENT_MISMATCH")


def test_without_a_requirement_the_receipt_says_that_it_was_the_embedded_one(bases):
    receipt = check(bases("pendulum") / "loop.cert")
    assert (receipt.outcome, receipt.requirement_source) == ("ACCEPTED", "embedded")
