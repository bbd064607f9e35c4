"""The question: a bundle's files read a second time, and the claim compared with the requirement field by field."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from verifiers.second.exact import Disagrees, fraction, fractions
from verifiers.second.network import Network, NotHandled
from verifiers.second.plant import Loop
from verifiers.second.stage import Function

PROPERTIES = ("asymptotic_stability_roa", "exponential_stability_roa", "practical_stability", "forward_invariance")


class Question:
    """One bundle: its files, the loop, the functions, and what is asked of them.

    Raises
    ------
    Disagrees
        For a digest, a file of the caller's or a field of the claim that is another than the requirement's.
    NotHandled
        For a property, an operator or a function without rules here.
    """

    def __init__(self, bundle: Path, requirement: Path | None) -> None:
        self.folder = bundle
        self.predicate = json.loads((bundle / "certificate.json").read_bytes())["predicate"]
        text = self.file(self.predicate["requirement"])
        if requirement is not None and requirement.read_bytes() != text:
            raise Disagrees("the requirement is not the one in the bundle")
        self.asked = tomllib.loads(text.decode("utf-8"), parse_float=str)
        if self.asked["property"] not in PROPERTIES:
            raise NotHandled(f"the property {self.asked['property']}")
        self.proofs = {item["id"]: item["proof"] for item in self.predicate["obligations"]}
        self.claimed = self.predicate["claim"]
        self.rate = fraction(self.asked.get("decrease", {}).get("rate", 0))
        self._read_plant(requirement)
        self._read_functions(requirement)
        self._compare()

    def file(self, reference: Any) -> bytes:
        """The bytes of a file whose digest is the one that the certificate lists."""
        data = (self.folder / reference["name"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != reference["sha256"]:
            raise Disagrees(f"{reference['name']} has another sha256 than the certificate lists")
        return data

    def _read_plant(self, requirement: Path | None) -> None:
        asked, plant = self.asked, self.file(self.predicate["plant"])
        named = asked["plant"]
        if isinstance(named, dict):
            if hashlib.sha256(plant).hexdigest() != named["sha256"]:
                raise Disagrees("the plant has another sha256 than the requirement says")
            if requirement is not None and (requirement.parent / named["path"]).read_bytes() != plant:
                raise Disagrees("the plant is not the caller's file")
        elif plant != (Path(__file__).resolve().parents[2] / "systems" / "data" / f"{named}.plant.json").read_bytes():
            raise Disagrees("the plant is not the shipped one of that name")
        network = None
        if self.predicate.get("controller") is not None:
            network = self._network(self.file(self.predicate["controller"]), asked.get("controller"), requirement)
        pairs = {key: (fraction(value), fraction(value)) if not isinstance(value, list) else (fraction(value[0]), fraction(value[1]))
                 for key, value in asked.get("parameters", {}).items()}
        dt = asked.get("dt")
        self.loop = Loop(plant, network, pairs, asked["time"], None if dt is None else fraction(dt), asked.get("method"))
        if (network is None) != (not self.loop.limits):
            raise Disagrees("a controller without inputs, or inputs without a controller")
        lo, hi = fractions(asked["domain"]["lo"]), fractions(asked["domain"]["hi"])
        self.domain = lo, hi
        if "safe" in asked:
            lo, hi = list(map(max, lo, fractions(asked["safe"]["lo"]))), list(map(min, hi, fractions(asked["safe"]["hi"])))
        self.lo, self.hi = lo, hi
        if not all(a < b for a, b in zip(lo, hi, strict=True)) or len(lo) != len(self.loop.states):
            raise Disagrees("the domain is empty, or of another dimension than the plant")

    @staticmethod
    def _same(data: bytes, named: str | None, requirement: Path | None) -> None:
        if requirement is not None and named is not None and (requirement.parent / named).exists() \
                and (requirement.parent / named).read_bytes() != data:
            raise Disagrees(f"{named} is not the file in the bundle")

    def _network(self, data: bytes, named: str | None, requirement: Path | None) -> Network:
        self._same(data, named, requirement)
        return Network(data)

    def _read_functions(self, requirement: Path | None) -> None:
        self.functions = {}
        for name, item in self.predicate["functions"].items():
            if item["kind"] == "quadratic":
                self.functions[name] = Function.quadratic([fractions(row) for row in item["matrix"]], fractions(item["center"]))
            elif item["kind"] == "polynomial":
                raise NotHandled("polynomials")
            else:
                data = self.file(item)
                if "lyapunov" not in self.asked:
                    raise Disagrees("a network as Lyapunov function that the requirement does not name")
                self._same(data, self.asked.get("lyapunov"), requirement)
                self.functions[name] = Function.network(data)

    def _compare(self) -> None:
        """The claim answers the requirement, field by field."""
        asked, claim = self.asked, self.claimed
        parameters = {key: [fraction(a) for a in pair] for key, pair in claim["parameters"].items()}
        region = asked.get("region", {})
        pairs = [("arithmetic", claim["arithmetic"], "real"),
                 ("property", claim["property"], asked["property"]), ("time", claim["time"], asked["time"]),
                 ("dt", claim["dt"] and fraction(claim["dt"]), asked.get("dt") and fraction(asked["dt"])),
                 ("method", claim["method"], asked.get("method")),
                 ("domain", [fractions(claim["domain"][end]) for end in ("lo", "hi")], list(self.domain)),
                 ("parameters", parameters, {key: list(pair) for key, pair in self.loop.parameters.items()}),
                 ("saturation", claim["saturation"], asked.get("saturation", "clip")), ("rate", fraction(claim["rate"] or 0), self.rate)]
        for key, found, wanted in pairs:
            if found != wanted:
                raise Disagrees(f"the claim's {key} is {found}, the requirement's {wanted}")
        level = region.get("level", "max")
        if level != "max" and fraction(level) != fraction(claim["region"]["level"]):
            raise Disagrees("the claim is of another level than the requirement's")
        if level != "max" and "lyapunov" in asked and self.predicate["functions"][claim["region"]["function"]]["kind"] != "onnx":
            raise Disagrees("the level demanded is one of the network")
