"""Two small policies that imitate a linear-quadratic regulator, for which `certctl verify` finds a Lyapunov function itself.

A ReLU network for the van der Pol oscillator, sampled every 50 ms, imitates the saturated regulator (its kinks are the
saturation); a tanh network for the cart-pole in continuous time imitates the linear one.  At the end, dense samples say up to
which level the regulator's own quadratic decreases along each loop.

    python examples/train/imitate_lqr.py              # about one minute on one core, needs torch
    certctl verify examples/policies/van_der_pol/requirement.toml
    certctl verify examples/policies/cartpole/requirement.toml
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx_writer import write_network
from plant_program import PLANTS, dynamics, runge_kutta
from scipy.linalg import solve_continuous_are, solve_discrete_are
from torch import Tensor


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line as ``--name value``; each comment says what the value means."""

    seed: int = 0  # of weights and samples
    iterations: int = 6_000  # optimiser steps per policy
    rate: float = 5e-3  # Adam's step size at the start, decays to 0 along a cosine
    batch: int = 512  # states per step
    samples: int = 1_000_000  # states of the validation at the end
    plants: str = str(PLANTS)  # folder of NAME.plant.json
    out: str = str(Path(__file__).resolve().parents[1] / "policies")  # where NAME/controller.onnx goes


@dataclass(frozen=True)
class Task:
    """A plant, the regulator to imitate, and the network that imitates it."""

    plant: str
    input_limit: tuple[str, float]  # name and value of the plant's parameter
    domain: tuple[float, ...]  # half-widths, in the plant's units and order
    contains: tuple[float, ...]  # half-widths of the box that the requirement wants inside the region
    state_cost: tuple[float, ...]  # diagonal of Q
    input_cost: float  # R
    dt: float | None  # s, Runge-Kutta step of the sampled loop; None means continuous time
    widths: tuple[int, ...]  # neurons per hidden layer
    activation: str  # ONNX name; tanh networks carry no bias here, so they are odd and u(0) = 0 exactly
    saturated: bool  # whether the regulator is clipped before it is imitated


TASKS = (
    Task("van_der_pol", ("input_limit", 1.0), (1.0, 1.0), (0.4, 0.4), (1.0, 1.0), 3.0, 0.05, (8, 8), "Relu", True),
    Task("cartpole", ("force_limit", 30.0), (1.0, 0.4, 1.5, 1.5), (0.05, 0.02, 0.05, 0.05), (1.0, 10.0, 0.1, 1.0), 0.1, None, (16,), "Tanh", False),
)
ACTIVATIONS = {"Relu": torch.relu, "Tanh": torch.tanh}


def arguments() -> Arguments:
    """Read the command line into :class:`Arguments`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Arguments):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    return Arguments(**vars(parser.parse_args()))


def network(layers: list[tuple[Tensor, Tensor]], activation: str, x: Tensor) -> Tensor:
    """x (N, n) -> (N, 1)."""
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if k < len(layers) - 1:
            x = ACTIVATIONS[activation](x)
    return x


def random_layers(task: Task, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Weights of variance 2/inputs, biases of variance 1/4 where the network has any; inputs are scaled by the domain."""
    sizes = (len(task.domain), *task.widths, 1)
    biased = 1.0 if task.activation == "Relu" else 0.0
    return [(torch.randn(o, i, generator=random, dtype=torch.float64) * (2.0 / i) ** 0.5,
             torch.randn(o, generator=random, dtype=torch.float64) * 0.5 * biased) for i, o in itertools.pairwise(sizes)]


def deployed(layers: list[tuple[Tensor, Tensor]], task: Task) -> list[tuple[Tensor, Tensor]]:
    """Weights for states in the plant's units, rounded to float32; the last bias then makes u(0) = 0 up to that rounding."""
    half_width = torch.tensor(task.domain, dtype=torch.float64)
    layers = [(w.detach() / half_width if k == 0 else w.detach(), b.detach()) for k, (w, b) in enumerate(layers)]
    layers = [(w.to(torch.float32).double(), b.to(torch.float32).double()) for w, b in layers]
    weight, bias = layers[-1]
    at_zero = network([*layers[:-1], (weight, 0.0 * bias)], task.activation, torch.zeros(1, len(task.domain), dtype=torch.float64))[0]
    return [*layers[:-1], (weight, (-at_zero).to(torch.float32).double())]


def imitate(task: Task, args: Arguments) -> None:
    """Train, export and validate one policy; the validation goes to standard output."""
    random = torch.Generator().manual_seed(args.seed)
    n = len(task.domain)
    half_width = torch.tensor(task.domain, dtype=torch.float64)
    origin = torch.zeros(1, n, dtype=torch.float64)
    plant = dynamics(task.plant, dict([task.input_limit]), Path(args.plants))

    def motion(x: Tensor, u: Tensor) -> Tensor:
        """x' in continuous time, the next state in discrete time."""
        return plant(x, u) if task.dt is None else runge_kutta(lambda y: plant(y, u), x, task.dt)

    # the regulator of the linearised plant
    a, b = (j.reshape(n, -1).numpy() for j in torch.autograd.functional.jacobian(motion, (origin, origin[:, :1])))
    q, r = np.diag(task.state_cost), np.array([[task.input_cost]])
    if task.dt is None:
        p = solve_continuous_are(a, b, q, r)
        gain = torch.from_numpy(np.linalg.solve(r, b.T @ p))
    else:
        p = solve_discrete_are(a, b, q, r)
        gain = torch.from_numpy(np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a))

    # imitation: errors count relative to the distance from the equilibrium, so that the loop is right where it matters most
    layers = random_layers(task, random)
    learnt = [w.requires_grad_() for layer in layers for w in layer[: 2 if task.activation == "Relu" else 1]]
    optimiser = torch.optim.Adam(learnt, lr=args.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.iterations)
    began = time.perf_counter()
    for step in range(args.iterations):
        y = 2.0 * torch.rand(args.batch, n, generator=random, dtype=torch.float64) - 1.0
        y = y * 10.0 ** (-1.5 * torch.rand(args.batch, 1, generator=random, dtype=torch.float64))
        wanted = -(y * half_width) @ gain.T
        if task.saturated:
            wanted = wanted.clamp(-task.input_limit[1], task.input_limit[1])
        error = network(layers, task.activation, y) - network(layers, task.activation, origin) - wanted
        loss = ((error[:, 0] / (y.norm(dim=1) + 0.03)) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % (args.iterations // 5) == 0:
            left = (time.perf_counter() - began) * (args.iterations - step - 1) / (step + 1)
            print(f"{task.plant}: step {step + 1:5d}  relative error {float(loss.detach())**0.5:.4f}  {left:3.0f} s left",
                  file=sys.stderr, flush=True)

    layers = deployed(layers, task)
    path = Path(args.out) / task.plant / "controller.onnx"
    write_network(path, [(w.numpy(), c.numpy()) for w, c in layers], output="u", activation=task.activation)
    with torch.no_grad():
        report(task, args, torch.from_numpy(p), lambda x: motion(x, network(layers, task.activation, x)), random)


def report(task: Task, args: Arguments, p: Tensor, loop: Callable[[Tensor], Tensor], random: torch.Generator) -> None:
    """Print up to which level V = x' P x decreases in samples along ``loop``, and what that level set contains; no proof."""
    n = len(task.domain)
    half_width = torch.tensor(task.domain, dtype=torch.float64)

    def v(x: Tensor) -> Tensor:
        return ((x @ p) * x).sum(1)

    largest = float((half_width**2 / torch.linalg.inv(p).diagonal()).min())  # of the ellipsoids inside the domain
    direction = torch.randn(args.samples, n, generator=random, dtype=torch.float64)
    radius = torch.rand(args.samples, generator=random, dtype=torch.float64) ** 0.5
    x = direction * (radius * (largest / v(direction)) ** 0.5)[:, None]
    change = 2.0 * ((x @ p) * loop(x)).sum(1) if task.dt is None else v(loop(x)) - v(x)
    rate = -change / v(x)
    bad = ~(rate > 0.0)
    level = min(largest, float(v(x)[bad].min()) if bad.any() else np.inf)
    origin = torch.zeros(1, n, dtype=torch.float64)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64)
    print(f"{task.plant}: the largest ellipsoid in the domain has V <= {largest:.5g}; V decreases in samples for V <= {level:.5g}, "
          f"relative rate for half that level at least {float(rate[v(x) < 0.5 * level].min()):.4f}{'/s' if task.dt is None else ' per step'}")
    print(f"  highest V on the box to contain {float(v(corners * torch.tensor(task.contains, dtype=torch.float64)).max()):.5g}; "
          f"largest contained multiple of the domain {(level / float(v(corners * half_width).max())) ** 0.5:.4f}")
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(loop, origin).reshape(n, n).numpy()
    eigenvalues = np.array2string(np.linalg.eigvals(jacobian), precision=3)
    print(f"  eigenvalues at the equilibrium {eigenvalues}, "
          f"off the equilibrium by {float(loop(origin).norm()):.1e}{'' if task.dt is None else ' per step'}")


if __name__ == "__main__":
    arguments_given = arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for one in TASKS:
        imitate(one, arguments_given)
