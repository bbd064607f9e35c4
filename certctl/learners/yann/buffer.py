"""Replay buffer: what the critics and the actor are trained on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from verifiers.kernel.graph import Floats


@dataclass(eq=False)
class Buffer:
    """Transitions of n states and m inputs, the oldest overwritten.

    Attributes
    ----------
    size : int
        Transitions kept.
    n, m : int
    at : int
        The row that is written next.
    full : bool
        Whether each row has been written.
    data : (size, 2n + m + 2) array
        Rows of state, command, next state, cost, and one where the episode ended there.
    """

    size: int
    n: int
    m: int
    at: int = 0
    full: bool = False
    data: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        self.data = np.zeros((self.size, 2 * self.n + self.m + 2))

    def add(self, x: Floats, u: Floats, cost: float, after: Floats, over: bool) -> None:
        """Keep a transition from x (n,) under u (m,) to ``after`` (n,)."""
        self.data[self.at] = np.concatenate([x, u, after, [cost, over]])
        self.at = (self.at + 1) % self.size
        self.full |= self.at == 0

    @property
    def used(self) -> int:
        """Number of transitions held."""
        return self.size if self.full else self.at

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Uniform draws with replacement: states (B, n), commands (B, m), next states (B, n), costs (B,), ends (B,)."""
        rows = torch.from_numpy(self.data[rng.integers(0, self.used, count)])
        n, m = self.n, self.m
        return rows[:, :n], rows[:, n:n + m], rows[:, n + m:2 * n + m], rows[:, -2], rows[:, -1]
