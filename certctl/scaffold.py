"""The first files of a repository with a gate: requirement, policy, workflow and git attributes, read by the kernel before they are written."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certctl.plants import plant_data
from certctl.policy import NAME as POLICY
from systems import plant_json_path
from verifiers.kernel.bundle import read_file
from verifiers.kernel.rational import parse_vector
from verifiers.kernel.requirement import Requirement, read_requirement
from verifiers.kernel.setting import Setting, open_setting, plant_bytes

WORKFLOW_PLACE, ATTRIBUTES_PLACE = ".github/workflows/certctl.yml", ".gitattributes"
WORKFLOW = """\
name: certctl
on:
  pull_request:
  push:
    branches: [main]
permissions:
  contents: read
  security-events: write
jobs:
  gate:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@v4
      - id: gate
        uses: certctl/certctl@main
        with:
          policy-digest: ${{ vars.CERTCTL_POLICY_DIGEST }}
          require-pin: "true"
      - if: always() && steps.gate.outputs.sarif != ''
        uses: github/codeql-action/upload-sarif@v3
        with:
          sarif_file: ${{ steps.gate.outputs.sarif }}
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: certctl-reports
          path: certctl-reports
"""
ATTRIBUTES = """\
# A proof is about bytes: git must not change line endings in anything that is hashed.
*.onnx -text
*.toml -text
*.plant.json -text
*.cert/** -text
"""


@dataclass(frozen=True)
class Wish:
    """What a person wants to show about a controller; numbers are exact decimal or fraction texts.

    Attributes
    ----------
    folder : Path
        The repository.
    controller : Path or None
        An ONNX file in it; None for a plant without inputs.
    plant : str
        A shipped plant's name, or the path of a plant.json in the repository.
    property, time, dt, method, saturation : str
        As in a requirement; ``dt`` and ``method`` empty in continuous time.
    domain, contains : (lo, hi) of sequences
        Corners in the plant's units and order of states; None takes the plant's domain, and a tenth of it around the equilibrium.
    parameters : mapping
        Name to exact text.
    rate : str
        For ``exponential_stability_roa``.
    """

    folder: Path
    controller: Path | None
    plant: str
    property: str = "asymptotic_stability_roa"
    time: str = "continuous"
    dt: str = ""
    method: str = ""
    saturation: str = "clip"
    domain: tuple[Sequence[str], Sequence[str]] | None = None
    contains: tuple[Sequence[str], Sequence[str]] | None = None
    parameters: Mapping[str, str] | None = None
    rate: str = ""

    @builtins.property
    def name(self) -> str:
        """NAME of the requirement: the controller's stem, else the plant's."""
        return self.controller.stem if self.controller is not None else Path(self.plant).name.split(".")[0]

    @builtins.property
    def requirement(self) -> Path:
        """The requirement's place: beside the controller."""
        beside = self.controller.parent if self.controller is not None else self.folder
        return beside / f"{self.name}.requirement.toml"


def scaffold(wish: Wish, workflow: bool = True) -> dict[Path, str]:
    """The files to write, by place, after the kernel's readers have taken the requirement, the plant and the controller.

    Raises
    ------
    Refusal
        What the kernel finds wrong with the question, the plant, the controller, or how they fit together.
    ValueError
        When a path leaves the repository, or the plant is unknown.
    """
    text = requirement_text(wish)
    check(wish, text)
    files = {wish.requirement: text, wish.folder / POLICY: policy_text(wish), wish.folder / ATTRIBUTES_PLACE: ATTRIBUTES}
    return {**files, wish.folder / WORKFLOW_PLACE: WORKFLOW} if workflow else files


def requirement_text(wish: Wish) -> str:
    """The requirement as TOML, with what each part means as comments."""
    data = _plant(wish)
    domain = wish.domain or (data["domain"]["lo"], data["domain"]["hi"])
    states = ", ".join(f"{state['name']} [{state['unit']}]" for state in data["states"])
    lines = [f"# What {wish.name} must show.  A person writes this and a person reviews every change of it; `certctl verify` answers it.",
             f"property   = {_quoted(wish.property)}", f"plant      = {_plant_reference(wish)}"]
    if wish.controller is not None:
        lines.append(f"controller = {_quoted(wish.controller.name)}")
    lines.append(f"time       = {_quoted(wish.time)}")
    lines += [f"{key:<10} = {_quoted(value)}" for key, value in (("dt", wish.dt), ("method", wish.method)) if value]
    lines.append(f"saturation = {_quoted(wish.saturation)}")
    if wish.parameters:
        lines += ["", "[parameters]", *(f"{key} = {_quoted(value)}" for key, value in wish.parameters.items())]
    lines += ["", f"[domain]  # what may be visited, in the order {states}", f"lo = {_list(domain[0])}", f"hi = {_list(domain[1])}"]
    lo, hi = wish.contains or _tenth(domain, data["equilibrium"]["x"])
    lines += ["", "[region]  # as large as can be proved, and at least this box", 'level    = "max"',
              f"contains = {{ lo = {_list(lo)}, hi = {_list(hi)} }}"]
    lines += ["", "[decrease]", f"rate = {_quoted(wish.rate)}"] if wish.rate else []
    return "\n".join(lines) + "\n"


def policy_text(wish: Wish) -> str:
    """The policy of the gate for this one controller; further ones get tables of their own."""
    lines = ["# The policy of the gate: what is deployed, what it must show, and which evidence is enough.", "[[controller]]"]
    requirement = _inside(wish.folder, wish.requirement)
    lines += [f"path        = {_quoted(_inside(wish.folder, wish.controller) if wish.controller is not None else requirement)}",
              f"requirement = {_quoted(requirement)}", f"bundle      = {_quoted(requirement.removesuffix('.requirement.toml') + '.cert')}"]
    lines += ["", "[gate]", 'minimum            = "L2"', f"allowed_properties = [{_quoted(wish.property)}]"]
    return "\n".join(lines) + "\n"


def check(wish: Wish, text: str) -> Setting:
    """Read the requirement, the plant and the controller as the kernel will."""
    wanted: Requirement = read_requirement(text.encode("utf-8"), wish.name)
    controller = None if wish.controller is None else read_file(wish.controller, wish.controller.name)
    return open_setting(wanted, plant_bytes(wanted, wish.requirement.parent), controller)


def _plant(wish: Wish) -> dict[str, Any]:
    try:
        return plant_data(wish.plant)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(str(error)) from None


def _plant_reference(wish: Wish) -> str:
    if not Path(wish.plant).is_file():
        plant_json_path(wish.plant)
        return _quoted(wish.plant)
    _inside(wish.folder, Path(wish.plant))
    path = os.path.relpath(os.path.abspath(wish.plant), os.path.abspath(wish.requirement.parent)).replace(os.sep, "/")
    return f'{{ path = {_quoted(path)}, sha256 = "{hashlib.sha256(Path(wish.plant).read_bytes()).hexdigest()}" }}'


def _inside(folder: Path, path: Path) -> str:
    """A path relative to the repository, which it may not leave."""
    inside = os.path.relpath(os.path.abspath(path), os.path.abspath(folder)).replace(os.sep, "/")
    if inside == ".." or inside.startswith("../"):
        raise ValueError(f"{path} is not in {folder}; move it into the repository that the gate checks")
    return inside


def _tenth(domain: tuple[Sequence[str], Sequence[str]], rest: Sequence[str]) -> tuple[list[str], list[str]]:
    low, high = (parse_vector(list(ends), "domain", len(rest)) for ends in domain)
    middle = parse_vector(list(rest), "equilibrium", len(rest))
    halves = [min(b - x, x - a) / 10 for a, b, x in zip(low, high, middle, strict=True)]
    return [str(x - h) for x, h in zip(middle, halves, strict=True)], [str(x + h) for x, h in zip(middle, halves, strict=True)]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(_quoted(str(value)) for value in values)}]"
