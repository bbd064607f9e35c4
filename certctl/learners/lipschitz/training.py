"""The training of one network on one data set: Adam, a part held out, early stopping, and a checkpoint to go on from."""

from __future__ import annotations

import hashlib
import json
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certctl.learners.learner import Step
from certctl.learners.lipschitz import networks
from certctl.learners.lipschitz.demonstrations import BadData, Demonstrations
from verifiers.kernel.graph import Floats
from verifiers.load.torch_module import import_torch

SAVED_S = 10.0
"""Seconds between two checkpoints."""
Report = Callable[[Step], None]


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Attributes
    ----------
    network, activation : str
        As in :func:`certctl.learners.lipschitz.networks.make`.
    hidden : tuple of int
        Neurons of the hidden layers.
    epochs, batch : int
        Passes over the data at most; pairs in a step.
    rate : float
        Adam's first step size, lowered along a cosine to a hundredth.
    patience : int
        Epochs without a smaller loss on the part held out after which the training stops.
    held_out : float
        Share of the pairs held out, in [0, 0.5].
    penalty : float
        Weight of what ``penalised`` is penalised for.
    margin : float
        The network is built for the bound times ``1 - margin``, so that rounding leaves something to prove.
    seed : int
        Of the start, the part held out and the order.
    """

    network: str = "sandwich"
    activation: str = "tanh"
    hidden: tuple[int, ...] = (16, 16)
    epochs: int = 3000
    batch: int = 256
    rate: float = 0.01
    patience: int = 500
    held_out: float = 0.15
    penalty: float = 1.0
    margin: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for holds, says in ((self.epochs >= 1 and self.batch >= 1 and self.patience >= 1, "epochs, batch and patience are at least 1"),
                            (0 < self.rate < math.inf and 0 <= self.penalty < math.inf, "the rate is positive, the penalty not negative"),
                            (0 <= self.held_out <= 0.5, "at most half of the data is held out"),
                            (0 < self.margin < 0.5, "the margin is in (0, 1/2)")):
            if not holds:
                raise ValueError(says)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network (torch), its losses (mean squared error of the inputs, in their units), the epochs, and how the training ended."""

    network: Any
    loss: float
    held_out: float
    epochs: int
    stopped: bool


def train(data: Demonstrations, bound: float, settings: Settings, checkpoint: Path | None = None, report: Report | None = None) -> Trained:
    """Train one network; an interrupted run of the same data and settings goes on from its checkpoint, to the same weights.

    Parameters
    ----------
    data : Demonstrations
        The pairs.
    bound : float
        The Lipschitz bound demanded; infinite for the kind ``plain``.
    settings : Settings
        How.
    checkpoint : Path, optional
        A NumPy archive, written every ten seconds and at the end; one of another run is refused.
    report : callable, optional
        Called after some epochs.

    Raises
    ------
    BadData
        When the checkpoint is of other data or settings.
    ImportError
        When PyTorch is not installed.
    """
    torch = import_torch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are small: threads only get in each other's way
    try:
        return _train(torch, data, bound, settings, checkpoint, report)
    finally:
        torch.set_num_threads(threads)


def _train(torch: Any, data: Demonstrations, bound: float, settings: Settings, checkpoint: Path | None, report: Report | None) -> Trained:
    x, u = (torch.tensor(np.ascontiguousarray(v)) for v in (data.states, data.inputs))
    order = np.random.default_rng(settings.seed).permutation(len(data))
    kept = torch.tensor(order[int(settings.held_out * len(data)):])
    aside = torch.tensor(order[:int(settings.held_out * len(data))])
    lo, hi = data.states.min(axis=0), data.states.max(axis=0)
    network = networks.make(settings.network, (x.shape[1], *settings.hidden, u.shape[1]), activation=settings.activation,
                            bound=bound * (1 - settings.margin), centre=(lo + hi) / 2, spread=(hi - lo) / 2, seed=settings.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.rate)
    run = _Run(torch, network, optimizer, _digest(data, bound, settings))
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    began, saved, first = time.monotonic(), time.monotonic(), run.epoch
    while run.epoch < settings.epochs and run.idle < settings.patience:
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * (0.505 + 0.495 * math.cos(math.pi * run.epoch / settings.epochs))
        shuffled = kept[torch.tensor(np.random.default_rng((settings.seed, run.epoch)).permutation(len(kept)))]
        total = 0.0
        for part in torch.split(shuffled, settings.batch):
            optimizer.zero_grad()
            error = ((network(x[part]) - u[part]) ** 2).sum(dim=1).mean()
            (error + settings.penalty * network.excess()).backward()
            optimizer.step()
            total += float(error.detach()) * len(part)
        run.judge(total / len(kept), _error(torch, network, x[aside], u[aside]) if len(aside) else None)
        now = time.monotonic()
        if report is not None:
            pace = (now - began) / (run.epoch - first)
            report(Step("training", run.epoch / settings.epochs, run.loss, now - began, pace * (settings.epochs - run.epoch),
                        {"held out": run.best, "epochs without gain": float(run.idle)}))
        if checkpoint is not None and now - saved > SAVED_S:
            run.save(checkpoint)
            saved = now
    run.keep_best()
    if checkpoint is not None:
        run.save(checkpoint)
    return Trained(network, _error(torch, network, x[kept], u[kept]), _error(torch, network, x[aside], u[aside]) if len(aside) else math.nan,
                   run.epoch, run.idle >= settings.patience)


def _error(torch: Any, network: Any, x: Any, u: Any) -> float:
    with torch.no_grad():
        return float(((network(x) - u) ** 2).sum(dim=1).mean())


def _digest(data: Demonstrations, bound: float, settings: Settings) -> str:
    parts = [data.states.tobytes(), data.inputs.tobytes(), repr(bound).encode(), json.dumps(asdict(settings), sort_keys=True).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


class _Run:
    """The state of a run: weights, Adam's moments, the best weights so far, and counters."""

    def __init__(self, torch: Any, network: Any, optimizer: Any, digest: str) -> None:
        self.torch, self.network, self.optimizer, self.digest = torch, network, optimizer, digest
        self.epoch, self.idle, self.best, self.loss = 0, 0, math.inf, math.inf
        self.kept = [p.detach().clone() for p in network.parameters()]

    def judge(self, loss: float, held_out: float | None) -> None:
        """Count an epoch, and keep its weights where the loss on the part held out (else that of training) is the smallest."""
        self.epoch, self.loss = self.epoch + 1, loss
        value = loss if held_out is None else held_out
        self.idle = 0 if value < self.best * (1 - 1e-4) else self.idle + 1
        if value < self.best:
            self.best = value
            self.kept = [p.detach().clone() for p in self.network.parameters()]

    def keep_best(self) -> None:
        """Put the best weights back."""
        with self.torch.no_grad():
            for p, value in zip(self.network.parameters(), self.kept, strict=True):
                p.copy_(value)

    def save(self, path: Path) -> None:
        """Write aside, then rename."""
        arrays = {"counters": np.array([self.epoch, self.idle, self.best, self.loss]), "digest": np.array(self.digest)}
        for k, (p, value) in enumerate(zip(self.network.parameters(), self.kept, strict=True)):
            moments = self.optimizer.state.get(p, {})
            arrays |= {f"p{k}": p.detach().numpy(), f"b{k}": value.numpy()}
            arrays |= {f"{name}{k}": np.asarray(moments[name].numpy()) for name in ("step", "exp_avg", "exp_avg_sq") if moments}
        aside = path.with_name(path.name + ".part.npz")
        np.savez(aside, **arrays)
        aside.replace(path)

    def load(self, path: Path) -> None:
        """Go on where a checkpoint of the same run stopped."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            if str(arrays["digest"]) != self.digest:
                raise BadData(f"{path} is the checkpoint of other data or settings; remove it, or train into another folder")
            self.epoch, self.idle, self.best, self.loss = (int(v) if k < 2 else float(v) for k, v in enumerate(arrays["counters"]))
            with self.torch.no_grad():
                for k, p in enumerate(self.network.parameters()):
                    p.copy_(self.torch.tensor(arrays[f"p{k}"]))
                    self.kept[k] = self.torch.tensor(arrays[f"b{k}"])
                    if f"step{k}" in arrays:
                        self.optimizer.state[p] = {name: self.torch.tensor(arrays[f"{name}{k}"]) for name in ("step", "exp_avg", "exp_avg_sq")}
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, BadData):
                raise
            raise BadData(f"{path} is no checkpoint of this program ({error}); remove it") from None


def evaluate_network(network: Any, x: Floats) -> Floats:
    """Values (B, m) of a torch network at states (B, n)."""
    torch = import_torch()
    with torch.no_grad():
        return np.array(network(torch.tensor(np.ascontiguousarray(x))).numpy())
