"""Train a torque-limited pendulum's policy and Lyapunov function together: from any angle at rest to upright.

Zubov's equation says that V(x) = tanh(mu * cost-to-go(x)) decreases along the closed loop at a known rate.  One loop does
three things at once: V is fitted to simulated costs and to that equation, the policy descends V, and states where V
decreases too slowly (found by ascent) are added to the batch.  What comes out is a *candidate*; `certctl verify` proves it.

    python examples/train/pendulum.py                 # one or two minutes on one core, needs torch
    certctl verify examples/pendulum/requirement.toml
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx_writer import write_network
from plant_program import PLANTS, dynamics, runge_kutta
from scipy.linalg import solve_continuous_are, solve_continuous_lyapunov
from torch import Tensor

EXAMPLES = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line as ``--name value``; each comment says what the value means."""

    seed: int = 0  # of weights and samples
    iterations: int = 12_000  # optimiser steps
    rate: float = 2e-3  # Adam's step size at the start, decays to 0 along a cosine
    batch: int = 768  # states per step, from the store of simulated trajectories
    stored: int = 65_536  # states kept from the latest simulations
    starts: int = 512  # simulations per refresh
    policy_from: int = 2_000  # step from which the policy learns too; until then V learns the start's costs
    refresh: int = 200  # steps between two refreshes of simulations and counterexamples
    horizon: float = 5.0  # s, length of a simulation
    dt: float = 0.02  # s, Runge-Kutta step
    torque_limit: float = 2.0  # N*m; holding the arm level takes 0.74
    torque_scale: float = 1.9  # N*m, the policy's own bound: below the limit, so the plant's clip never acts
    theta: float = 4.5  # rad, half-width of the domain
    omega: float = 25.0  # rad/s, half-width of the domain
    weight_theta: float = 1.0  # running cost per rad^2
    weight_omega: float = 0.2  # running cost per (rad/s)^2
    weight_torque: float = 1.0  # running cost per (N*m)^2
    mu: float = 0.08  # cost that counts as far: V = floor + (1 - floor) * tanh(mu * cost-to-go)
    floor: float = 0.05  # V at the equilibrium; above 0, so that the network before its sigmoid stays bounded and smooth
    policy_width: int = 10  # neurons in each of the policy's two hidden layers
    lyapunov_width: int = 16  # neurons in each of V's two hidden layers
    wanted: float = 0.75  # decrease, relative to Zubov's rate, below which a state is a counterexample
    grid: int = 1000  # points per axis of the validation at the end
    plants: str = str(PLANTS)  # folder of NAME.plant.json
    out: str = str(EXAMPLES / "pendulum")  # where controller.onnx and lyapunov.onnx go


def arguments() -> Arguments:
    """Read the command line into :class:`Arguments`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Arguments):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    return Arguments(**vars(parser.parse_args()))


@dataclass(frozen=True)
class Perceptron:
    """A tanh network with two hidden layers, inputs divided by the domain's half-widths; its gradient written out."""

    weights: tuple[Tensor, ...]  # (W1, b1, W2, b2, W3, b3)
    half_width: Tensor  # (n,)

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, n) -> (N,)."""
        w1, b1, w2, b2, w3, b3 = self.weights
        return (torch.tanh(torch.tanh((x / self.half_width) @ w1.T + b1) @ w2.T + b2) @ w3.T + b3)[:, 0]

    def with_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, n) -> value (N,) and gradient (N, n)."""
        w1, b1, w2, b2, w3, b3 = self.weights
        h1 = torch.tanh((x / self.half_width) @ w1.T + b1)
        h2 = torch.tanh(h1 @ w2.T + b2)
        gradient = (((1.0 - h2**2) * w3) @ w2 * (1.0 - h1**2)) @ w1 / self.half_width
        return (h2 @ w3.T + b3)[:, 0], gradient

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(W, b) per layer for states in the plant's units, rounded to float32."""
        w1, b1, w2, b2, w3, b3 = (p.detach() for p in self.weights)
        return [(w.numpy().astype(np.float32), b.numpy().astype(np.float32)) for w, b in ((w1 / self.half_width, b1), (w2, b2), (w3, b3))]


def perceptron(width: int, half_width: Tensor, random: torch.Generator) -> Perceptron:
    """Random weights of variance 1/inputs, zero output bias."""
    weights = []
    for outputs, inputs in ((width, len(half_width)), (width, width), (1, width)):
        weights.append(torch.randn(outputs, inputs, generator=random, dtype=torch.float64) / inputs**0.5)
        weights.append(torch.randn(outputs, generator=random, dtype=torch.float64) * (0.5 if outputs > 1 else 0.0))
    return Perceptron(tuple(w.requires_grad_() for w in weights), half_width)


def as_deployed(net: Perceptron) -> Perceptron:
    """The network whose weights are those of the exported file."""
    return Perceptron(tuple(torch.from_numpy(p.astype(np.float64)) for layer in net.layers() for p in layer), torch.ones(2, dtype=torch.float64))


args = arguments()
torch.manual_seed(args.seed)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
random = torch.Generator().manual_seed(args.seed)
half_width = torch.tensor([args.theta, args.omega], dtype=torch.float64)
field = dynamics("pendulum", {"torque_limit": args.torque_limit}, Path(args.plants))
origin = torch.zeros(1, 2, dtype=torch.float64)
policy_net = perceptron(args.policy_width, half_width, random)
lyapunov_net = perceptron(args.lyapunov_width, half_width, random)


def policy(x: Tensor, net: Perceptron = policy_net, at_equilibrium: Tensor | None = None) -> Tensor:
    """u = scale * tanh(net(x) - net(x*)), x (N, 2) -> (N,)."""
    return args.torque_scale * torch.tanh(net(x) - (net(origin) if at_equilibrium is None else at_equilibrium))


def running_cost(x: Tensor, u: Tensor) -> Tensor:
    """Cost per second, (N, 2) and (N,) -> (N,)."""
    return args.weight_theta * x[:, 0] ** 2 + args.weight_omega * x[:, 1] ** 2 + args.weight_torque * u**2


def uniform(n: int, size: float = 1.0) -> Tensor:
    """n states, uniform in ``size`` times the domain."""
    return size * half_width * (2.0 * torch.rand(n, 2, generator=random, dtype=torch.float64) - 1.0)


def simulate(x: Tensor) -> tuple[Tensor, Tensor]:
    """Every second state along closed-loop trajectories from ``x`` (N, 2), and its cost-to-go: (M, 2), (M,)."""
    def loop(y: Tensor) -> Tensor:
        u = policy(y[:, :2])
        return torch.cat((field(y[:, :2], u[:, None]), running_cost(y[:, :2], u)[:, None]), dim=1)

    y = torch.cat((x, torch.zeros(len(x), 1, dtype=torch.float64)), dim=1)
    path = [y]
    with torch.no_grad():
        for _ in range(round(args.horizon / args.dt)):
            path.append(runge_kutta(loop, path[-1], args.dt))
    end = path[-1][:, 2]
    lost = ~((path[-1][:, :2] / half_width).norm(dim=1) < 0.05)  # not home in time: as good as infinitely expensive
    cost = [torch.where(lost, 1e3, end - p[:, 2]) for p in path[: len(path) // 2 : 2]]
    states = torch.cat([p[:, :2] for p in path[: len(path) // 2 : 2]])
    keep = ((states / half_width).abs() < 1.15).all(dim=1)
    return states[keep], torch.cat(cost)[keep]


def zubov(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """V (N,), its gradient (N, 2), its derivative along the loop (N,), and the rate that Zubov's equation asks for (N,)."""
    z, grad_z = lyapunov_net.with_gradient(x)
    value = torch.sigmoid(z)
    gradient = (value * (1.0 - value))[:, None] * grad_z
    far = ((value - args.floor) / (1.0 - args.floor)).clamp(0.0, 1.0).detach()
    return value, gradient, (gradient * field(x, u[:, None])).sum(1), (1.0 - args.floor) * args.mu * (1.0 - far**2) * running_cost(x, u)


def edge(n: int) -> Tensor:
    """States on the domain's four sides, n on each, corners included, (4 n, 2)."""
    side = torch.linspace(-1.0, 1.0, n, dtype=torch.float64)
    return half_width * torch.cat([torch.stack(pair, dim=1) for s in (-1.0, 1.0) for pair in ((side, 0 * side + s), (0 * side + s, side))])


def counterexamples(n: int) -> Tensor:
    """The worst states of the largest contained level set after a few steps of ascent on V' / Zubov's rate, (n, 2)."""
    x = uniform(8 * n)
    x = x * torch.rand(8 * n, 1, generator=random, dtype=torch.float64)
    for _ in range(10):
        x.requires_grad_(True)
        _, _, derivative, rate = zubov(x, policy(x))
        slope, = torch.autograd.grad((derivative / (rate + 1e-3)).sum(), x)
        with torch.no_grad():
            x = x + 0.005 * half_width * (slope * half_width).sign()
            x = torch.minimum(torch.maximum(x, -half_width), half_width)
    with torch.no_grad():
        value, _, derivative, rate = zubov(x, policy(x))
        level = torch.sigmoid(lyapunov_net(edge(200))).min()
        return x[torch.where(value <= 1.02 * level, derivative / (rate + 1e-3), -torch.inf).argsort(descending=True)[:n]]


# --- a start: the policy imitates the linear-quadratic regulator of the linearised plant -------------------------------
jacobian_x, jacobian_u = (j.reshape(2, -1).numpy() for j in torch.autograd.functional.jacobian(field, (origin, origin[:, :1])))
cost_matrix = np.diag([args.weight_theta, args.weight_omega])
riccati = solve_continuous_are(jacobian_x, jacobian_u, cost_matrix, np.array([[args.weight_torque]]))
gain = torch.from_numpy((jacobian_u.T @ riccati / args.weight_torque)[0])
optimiser = torch.optim.Adam(policy_net.weights, lr=1e-2)
for _ in range(500):
    x = uniform(512) * torch.rand(512, 1, generator=random, dtype=torch.float64)
    loss = ((policy(x) - args.torque_scale * torch.tanh(-(x @ gain) / args.torque_scale)) ** 2).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# --- training -----------------------------------------------------------------------------------------------------------
optimiser = torch.optim.Adam([{"params": lyapunov_net.weights}, {"params": policy_net.weights, "lr": args.rate / 4}], lr=args.rate)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.iterations)
states, costs = origin, origin[:, 0]
hard = origin
began = time.perf_counter()
for step in range(args.iterations):
    if step % args.refresh == 0:
        fresh = torch.cat((uniform(args.starts, 1.1), uniform(args.starts // 2, 0.3)))
        new_states, new_costs = simulate(fresh)
        chosen = torch.randperm(len(new_states), generator=random)[: args.stored // 4]
        states = torch.cat((new_states[chosen], states))[: args.stored]
        costs = torch.cat((new_costs[chosen], costs))[: args.stored]
        hard = torch.cat((counterexamples(64), hard))[:512]
    pick = torch.randint(len(states), (args.batch,), generator=random)
    pick_hard = torch.randint(len(hard), (args.batch // 4,), generator=random)
    x = torch.cat((states[pick], hard[pick_hard]))
    u = policy(x)
    value, gradient, derivative, rate = zubov(x, u.detach())
    target = args.floor + (1.0 - args.floor) * torch.tanh(args.mu * costs[pick])
    fit = ((value[: args.batch] - target) ** 2).mean()
    ratio = -derivative / (rate.detach() + 2e-4)  # 1 where V falls as Zubov's equation says
    residual = ((ratio - rate.detach() / (rate.detach() + 2e-4)).clamp(-3.0, 3.0) ** 2).mean()
    slow = torch.relu(args.wanted - ratio[args.batch:]).mean()
    at_zero = (torch.sigmoid(lyapunov_net(origin)) - args.floor).square().sum()
    hamiltonian = (gradient.detach() * field(x, u[:, None])).sum(1) + (1.0 - args.floor) * args.mu * args.weight_torque * u**2
    improve = (hamiltonian / (rate.detach() + 1e-2)).mean()
    loss = 20.0 * fit + 0.1 * residual + 0.5 * slow + 20.0 * at_zero + (0.1 * improve if step >= args.policy_from else 0.0)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()
    if (step + 1) % (args.iterations // 20) == 0:
        left = (time.perf_counter() - began) * (args.iterations - step - 1) / (step + 1)
        print(f"step {step + 1:6d}  fit {float(fit.detach())**0.5:.4f}  residual {float(residual.detach())**0.5:.4f}"
              f"  slowest {float(ratio.detach().min()):+.3f}  V(0) {float(torch.sigmoid(lyapunov_net(origin)).detach()):.4f}"
              f"  {left:4.0f} s left", file=sys.stderr, flush=True)

# --- export ----------------------------------------------------------------------------------------------------------------
policy_net, lyapunov_net = as_deployed(policy_net), as_deployed(lyapunov_net)
at_equilibrium = policy_net(origin).to(torch.float32)
out = Path(args.out)
write_network(out / "controller.onnx", policy_net.layers(), output="u", subtract=at_equilibrium.numpy(), final="Tanh", scale=args.torque_scale)
write_network(out / "lyapunov.onnx", lyapunov_net.layers(), output="V", final="Sigmoid")

# --- validation of the exported weights: dense samples, no proof -----------------------------------------------------------
def mesh(n: int, size: float = 1.0) -> Tensor:
    """n x n states that fill ``size`` times the domain, edge included, (n * n, 2)."""
    return torch.cartesian_prod(*(size * h * torch.linspace(-1.0, 1.0, n, dtype=torch.float64) for h in half_width))


def exported_policy(x: Tensor) -> Tensor:
    """u of the exported file, (N, 2) -> (N,)."""
    return policy(x, policy_net, at_equilibrium)


def closed_loop(x: Tensor) -> Tensor:
    """x' under the exported policy, (N, 2) -> (N, 2)."""
    return field(x, exported_policy(x)[:, None])


def share_converging(n: int) -> float:
    """Share of an n x n mesh from which the simulated loop comes home without leaving the domain."""
    x = mesh(n)
    stays = torch.ones(len(x), dtype=torch.bool)
    for _ in range(round(1.5 * args.horizon / args.dt)):
        x = torch.where(stays[:, None], runge_kutta(closed_loop, x, args.dt), x)
        stays &= (x.abs() <= half_width).all(dim=1)
    return float((stays & ((x / half_width).norm(dim=1) < 1e-2)).double().mean())


area = 4.0 * float(half_width.prod())
jacobian = torch.autograd.functional.jacobian(closed_loop, origin).reshape(2, 2).numpy()
quadratic = torch.from_numpy(solve_continuous_lyapunov(jacobian.T, -np.diag(1.0 / half_width.numpy() ** 2)))
with torch.no_grad():
    lowest_on_edge = float(torch.sigmoid(lyapunov_net(edge(4 * args.grid))).min())
    level = 0.995 * lowest_on_edge
    whole = (torch.sigmoid(lyapunov_net(mesh(args.grid))) <= level).double().mean()
    x = torch.cat([mesh(args.grid)] + [mesh(args.grid // 2, s) for s in (0.3, 0.1, 0.03)])
    value, gradient, derivative, rate = zubov(x, exported_policy(x))
    speed = closed_loop(x)
    relative = -derivative / rate
    cosine = -derivative / ((gradient * half_width).norm(dim=1) * (speed / half_width).norm(dim=1))
    energy = ((x @ quadratic) * x).sum(1)
    quadratic_level = float(energy[(((x @ quadratic) * speed).sum(1) >= 0.0) & (energy > 0.0)].min())
    covered = float(value[energy >= quadratic_level].min())
    not_decreasing = (value <= level) & ~(derivative < 0.0)
    lowest = float(value[not_decreasing].max()) if not_decreasing.any() else float(value.min())
    rest = torch.stack((torch.linspace(-np.pi, np.pi, 401, dtype=torch.float64), torch.zeros(401, dtype=torch.float64)), dim=1)
    hanging = float(torch.sigmoid(lyapunov_net(rest)).max())
    at_zero = float(torch.sigmoid(lyapunov_net(origin)))
    print(f"V: {at_zero:.6f} at the equilibrium, at most {hanging:.6f} at rest at any angle, at least {lowest_on_edge:.6f} on the domain's edge")
    print(f"level c2 = {level:.6f}: area {float(whole) * area:.2f} of the domain's {area:.0f}; "
          f"{share_converging(args.grid // 4) * area:.2f} converge in simulation without leaving the domain")
    print(f"V decreases in samples on [{lowest:.6f}, c2]")
    for low in (0.5 * (at_zero + covered), covered, 2.0 * covered):
        band = (value >= low) & (value <= level)
        print(f"  on [{low:.6f}, c2]: decrease at least {float(relative[band].min()):.4f} of Zubov's rate, "
              f"cosine of gradient and -x' at least {float(cosine[band].min()):.4f} (state scaled by the domain)")
    hole = float((torch.sigmoid(lyapunov_net(mesh(args.grid, 0.3))) <= covered).double().mean()) * 0.3**2
    print(f"a quadratic decreases inside an ellipse that covers V <= {covered:.6f} (area {hole * area:.3f})")
    eigenvalues = np.array2string(np.linalg.eigvals(jacobian), precision=3)
    print(f"eigenvalues at the equilibrium {eigenvalues}, |f(0)| = {float(closed_loop(origin).norm()):.1e}")
