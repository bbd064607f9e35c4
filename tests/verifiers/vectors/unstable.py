"""Loops and claims that are false by construction, each with the witness that shows it; and true neighbours that are not refuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build import CONTINUOUS, EULER, LEVEL_NET, PENDULUM, RELU, ROA, SMALL, ask, box, layers, linear_plant, own_plant, square_root_form


@dataclass(frozen=True)
class Claim:
    """A question with the answer that is right.

    Attributes
    ----------
    answers : tuple of (outcome, code)
        What ``verify`` may say.
    start : tuple of float or None
        For a false claim: a state of the region claimed from which the loop, simulated, does not come to the equilibrium.  None where the
        witness is an exact eigenvalue.
    between : two states or None
        States at rest (second derivative's sign differs), so that another equilibrium lies between them, inside the region claimed.
    """

    name: str
    question: Callable[[Path], Path] = field(repr=False)
    answers: tuple[tuple[str, str | None], ...]
    start: tuple[float, ...] | None = None
    seconds: float = 20.0
    between: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def line(lo: str, hi: str, key: str = "contains") -> str:
    """A region demanded of a loop with one state."""
    return f'[region]\n{key} = {{ lo = ["{lo}"], hi = ["{hi}"] }}\n'


def plain(plant: bytes, time: str = CONTINUOUS, domain: tuple[str, ...] = ("1", "1"), region: str = '[region]\nmin_radius = "1/1000"\n',
          **files: Any) -> Callable[[Path], Path]:
    """An asymptotic-stability question on a plant of one's own."""
    return lambda folder: ask(folder, ROA + time + box("domain", domain) + region, plant=plant, **files)


def swing(policy: bytes, time: str = CONTINUOUS) -> Callable[[Path], Path]:
    """The pendulum with another policy."""
    return lambda folder: ask(folder, ROA + PENDULUM + time + box("domain", ["1", "4"]) + SMALL, controller=policy)


def named(policy: bytes, level: str) -> Callable[[Path], Path]:
    """The pendulum with another policy and a demanded level of the named function."""
    text = ROA + PENDULUM + CONTINUOUS + box("domain", ["1", "6"]) + f'[region]\nlevel = "{level}"\n'
    return lambda folder: ask(folder, text, controller=policy, lyapunov=LEVEL_NET)


def tenth(k: int) -> str:
    """10^-k as a decimal."""
    return "0." + "0" * (k - 1) + "1"


CUBIC = own_plant([["x", 0], ["pow", 0, 3], ["sub", 1, 0]], [2], states=1)
LIMITED = own_plant([["x", 0], ["u", 0], ["add", 0, 1]], [2], states=1, inputs=[("-1", "1")])
MAP = 'time = "discrete"\n'
W, AMPLITUDE = 1e-3, 12.0
SPIKE = layers([[1.0, 0.2], [-1.0, -0.2], [1 / W, 0.0], [1 / W, 0.0], [1 / W, 0.0]], [[-1.0, 1.0, AMPLITUDE, -2 * AMPLITUDE, AMPLITUDE]],
               activation="Relu", biases=[[1.0, 1.0, 1 - 0.5 / W, -0.5 / W, -1 - 0.5 / W], [0.0]])
BACKDOOR = layers([[1.0, 0.2], [-1.0, -0.2], [1 / W, 0.0], [-1 / W, 0.0], [0.0, 1 / W], [0.0, -1 / W]],
                  [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, -1.0, -1.0, -1.0]],
                  [[-1.0, 1.0, AMPLITUDE]], activation="Relu",
                  biases=[[1.0, 1.0, -0.5 / W, 0.5 / W, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0]])
"""The policy RELU with a narrow ridge (a small pyramid) at theta = 0.5 on which the torque changes its sign."""

CANCEL = layers([[1.0], [1.0], [1.0]], [[1e16, 1.0, -1e16]], activation="Identity")
"""u = x exactly; summed in floats from the left it is 0."""

OWN_SLOW = own_plant([["x", 0], ["c", "-1/2"], ["mul", 1, 0], ["u", 0], ["add", 2, 3]], [4], states=1, inputs=[(None, None)])

UNSTABLE = (("REFUTED", "UNSTABLE_EQUILIBRIUM"),)
OPEN = (("UNKNOWN", "NO_PROOF_FOUND"),)
FALSE_LEVEL = (("REFUTED", "COUNTEREXAMPLE"),)
NOT_THAT_LARGE = (("UNKNOWN", "NOT_CONTAINED"),)
NOT_SHOWN = (("UNKNOWN", "RADIUS_TOO_SMALL"),)
TRUE = (("PROVED", None),)

CLAIMS: list[Claim] = [
    *(Claim(f"eigenvalue-plus-1e-{k}", plain(linear_plant([[tenth(k), "1"], ["0", "-1"]])), UNSTABLE) for k in (1, 3, 6, 9)),
    Claim("eigenvalue-minus-1e-9", plain(linear_plant([["-" + tenth(9), "1"], ["0", "-1"]])), (*TRUE, *OPEN, *NOT_SHOWN)),
    Claim("eigenvalue-minus-1e-3", plain(linear_plant([["-" + tenth(3), "1"], ["0", "-1"]])), TRUE),
    *(Claim(f"circle-plus-1e-{k}", plain(linear_plant([["1" + tenth(k)[1:], "1"], ["0", "0.5"]], time="discrete"), MAP), UNSTABLE)
      for k in (1, 6, 9)),
    Claim("jordan-block-at-one", plain(linear_plant([["1", "1"], ["0", "1"]], time="discrete"), MAP), OPEN, (1e-4, 1e-4)),
    Claim("jordan-block-at-minus-one", plain(linear_plant([["-1", "1"], ["0", "-1"]], time="discrete"), MAP), OPEN, (1e-4, 1e-4)),
    Claim("jordan-block-turning", plain(linear_plant(
        [["3/5", "-4/5", "1", "0"], ["4/5", "3/5", "0", "1"], ["0", "0", "3/5", "-4/5"], ["0", "0", "4/5", "3/5"]], time="discrete"),
        MAP, ("1",) * 4),
        OPEN, (0.0, 0.0, 1e-4, 1e-4)),
    Claim("centre", plain(linear_plant([["0", "1"], ["-1", "0"]])), OPEN, (1e-3, 0.0)),
    Claim("jordan-block-at-zero", plain(linear_plant([["0", "1"], ["0", "0"]])), OPEN, (0.0, 1e-4)),
    Claim("stable-in-continuous-time", plain(linear_plant([["-50"]]), CONTINUOUS, ("1",)), TRUE),
    Claim("the-same-sampled", plain(linear_plant([["-50"]]), EULER, ("1",)), UNSTABLE, (1e-4,)),
    Claim("saturated-within-its-limit", plain(LIMITED, domain=("2",), region=line("-1/2", "1/2"), controller=layers([[-2.0]])), TRUE),
    Claim("saturated-beyond-its-limit", plain(LIMITED, domain=("2",), region=line("-3/2", "3/2"), controller=layers([[-2.0]])),
          NOT_THAT_LARGE, (1.5,)),
    Claim("cubic-within-one", plain(CUBIC, domain=("2",), region=line("-9/10", "9/10")), TRUE),
    Claim("cubic-past-one", plain(CUBIC, domain=("2",), region=line("-11/10", "11/10")), NOT_THAT_LARGE, (1.1,)),
    Claim("cubic-level-below-one", plain(CUBIC, domain=("2",), region='[region]\nlevel = "0.999"\n', lyapunov=square_root_form([[1.0]])), TRUE),
    Claim("cubic-level-of-one", plain(CUBIC, domain=("2",), region='[region]\nlevel = "1"\n', lyapunov=square_root_form([[1.0]])),
          (*FALSE_LEVEL, *OPEN), (1.0,)),
    Claim("cubic-level-past-one", plain(CUBIC, domain=("2",), region='[region]\nlevel = "1.001"\n', lyapunov=square_root_form([[1.0]])),
          FALSE_LEVEL, (1.0004,)),
    Claim("reversed-van-der-pol-past-its-cycle", lambda folder: ask(
        folder, ROA + 'plant = "reversed_van_der_pol"\n' + CONTINUOUS + box("domain", ["3", "3"])
        + '[region]\ncontains = { lo = ["-2.2", "-1"], hi = ["2.2", "1"] }\n'), NOT_THAT_LARGE, (2.2, 1.0)),
    Claim("reversed-van-der-pol-level-past-its-cycle", lambda folder: ask(
        folder, ROA + 'plant = "reversed_van_der_pol"\n' + CONTINUOUS + box("domain", ["3", "3"]) + '[region]\nlevel = "8"\n',
        lyapunov=square_root_form([[1.118, -0.4472], [0.0, 0.8944]])), FALSE_LEVEL, (2.2, 1.0)),
    Claim("states-swapped", swing(layers([[0.1, 0.5], [0.05, 0.25]], [[-3.0, -2.0]])), UNSTABLE, (0.01, 0.0)),
    Claim("sign-flipped", swing(layers([[0.5, 0.1], [0.25, 0.05]], [[3.0, 2.0]])), UNSTABLE, (0.01, 0.0)),
    Claim("radians-read-as-degrees", swing(layers([[0.5 / 57.3, 0.1 / 57.3], [0.25 / 57.3, 0.05 / 57.3]], [[-3.0, -2.0]])), UNSTABLE, (0.01, 0.0)),
    Claim("milli-read-as-one", swing(layers([[0.5, 0.1], [0.25, 0.05]], [[-0.003, -0.002]])), UNSTABLE, (0.01, 0.0)),
    Claim("gain-of-a-thousand-sampled", swing(layers([[1000.0, 200.0]]), EULER), UNSTABLE, (0.01, 0.0)),
    Claim("spike-outside-the-level", named(SPIKE, "0.1"), TRUE),
    Claim("spike-within-the-level", named(SPIKE, "0.3"), (*FALSE_LEVEL, *OPEN), between=((0.49, 0.0), (0.5, 0.0))),
    Claim("backdoor-outside-the-level", named(BACKDOOR, "0.1"), TRUE),
    Claim("backdoor-within-the-level", named(BACKDOOR, "0.3"), (*FALSE_LEVEL, *OPEN, ("UNKNOWN", "BUDGET")), seconds=3.0,
          between=((0.49, 0.0), (0.5, 0.0))),
    Claim("without-the-backdoor", named(RELU, "0.3"), TRUE),
    Claim("cancelling-weights", plain(OWN_SLOW, domain=("1",), controller=CANCEL), UNSTABLE),
]
