"""The piecewise-affine law as a network of step units and ReLUs (YANN), with trainable layers that are exactly zero at the start."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from verifiers.explicit_mpc.comparisons import unit_rows
from verifiers.explicit_mpc.value import Pieces


class Winner(nn.Module):
    r"""Which region a point lies in: the first three layers.

    (1) one step unit per half-space, (2) :math:`l_{2,i} = \max(0, \sum - m_i + 1)`, one where all rows of region i hold, (3) the first of several,
    :math:`\max(0, l_{2,i} - \sum_{j<i} l_{2,j})`.  Sums are of zeros and ones, so all values are exact.  Rows are grouped by region: the cost is
    that of the rows.

    Parameters
    ----------
    pieces : Pieces
        Regions in order of precedence.
    """

    rows: Tensor
    ends: Tensor

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        most, d = max(map(len, pieces.halfspaces)), len(pieces.lb)
        rows, ends = np.zeros((len(pieces.halfspaces), most, d)), np.ones((len(pieces.halfspaces), most))
        for i, region in enumerate(pieces.halfspaces):
            rows[i, :len(region)], ends[i, :len(region)] = unit_rows(region)
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("ends", torch.from_numpy(ends))

    def forward(self, theta: Tensor) -> Tensor:
        """One-hot rows (B, q) at points (B, d); a row of zeros outside all regions."""
        steps = (self.ends - torch.einsum("imd,bd->bim", self.rows, theta) >= 0).to(theta.dtype)
        held = torch.relu(steps.sum(dim=2) - steps.shape[2] + 1)
        return torch.relu(held - (held.cumsum(dim=1) - held))


class Injected(nn.Module):
    r"""A trainable layer that is exactly zero at the start: :math:`V\,[\tanh(W\theta + b) - \tanh(W'\theta + b')]` with W' = W and b' = b then.

    Parameters
    ----------
    inputs, width, outputs : int
    scale : (inputs,) array
        Half-widths by which the inputs are divided.
    seed : int
    """

    scale: Tensor

    def __init__(self, inputs: int, width: int, outputs: int, scale: np.ndarray, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        weight, bias = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((width, inputs), (width,)))
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.other_weight, self.other_bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.out = nn.Parameter(torch.randn((outputs, width), generator=draw, dtype=torch.float64) / width**0.5)

    def forward(self, theta: Tensor) -> Tensor:
        """Values (B, outputs) at points (B, inputs)."""
        x = theta / self.scale
        return (torch.tanh(x @ self.weight.T + self.bias) - torch.tanh(x @ self.other_weight.T + self.other_bias)) @ self.out.T


class Yann(nn.Module):
    r"""The law itself, then what is trained.

    (4) :math:`\max(0, M_i (l_{3,i} - 1) \pm (K_i\theta + k_i))`, where :math:`M_i = \max |K_i\theta + k_i|` over the whole box per output, (5) the
    signed sum.  M stands inside the product, so the winner's term is not rounded with it.

    Parameters
    ----------
    pieces : Pieces
    width : int
        Units of the injected layer; 0 for none.
    regional : bool
        Whether the injected layer has outputs of its own for each region, which then jump at facets.
    seed : int

    Notes
    -----
    The value is within 1e-9 (1 + max |K_i - K_j|) of the law, facets included: by the margin a neighbour's map may be taken within 1e-9 beyond a
    facet.  Outside all regions the second output is one and the first NaN, never a number that could be mistaken for a command.
    """

    gains: Tensor
    bound: Tensor

    def __init__(self, pieces: Pieces, width: int = 0, regional: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.winner = Winner(pieces)
        gains = np.array([law.astype(np.float64) for law in pieces.laws])
        lo, hi = pieces.lb.astype(np.float64), pieces.ub.astype(np.float64)
        self.register_buffer("gains", torch.from_numpy(gains))
        self.register_buffer("bound", torch.from_numpy(largest(gains, lo, hi)))
        self.regional, outputs = regional, gains.shape[1]
        self.injected = Injected(len(lo), width, outputs * (len(gains) if regional else 1), (hi - lo) / 2, seed) if width else None

    def forward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The command (B, p), and (B,) one where no region holds the point."""
        won = self.winner(theta)
        values = torch.einsum("ipd,bd->bip", self.gains[:, :, :-1], theta) + self.gains[:, :, -1]
        shift = self.bound * (won - 1)[:, :, None]
        command = (torch.relu(shift + values) - torch.relu(shift - values)).sum(dim=1)
        if self.injected is not None:
            extra = self.injected(theta)
            command = command + (torch.einsum("biq,bi->bq", extra.reshape(len(theta), won.shape[1], -1), won) if self.regional else extra)
        outside = 1 - won.sum(dim=1)
        return torch.where(outside[:, None] > 0, torch.nan, command), outside


def largest(gains: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    r"""Upper bounds (q, p) of :math:`\max |K\theta + k|` over the box: the linear programme's optimum, a sum over the coordinates, and a little more.

    Parameters
    ----------
    gains : (q, p, d+1) array
        [K k].
    lo, hi : (d,) arrays
    """
    middle, half = (lo + hi) / 2, (hi - lo) / 2
    centre = np.abs(gains[:, :, :-1] @ middle + gains[:, :, -1])
    return np.asarray((centre + np.abs(gains[:, :, :-1]) @ half) * (1 + 1e-12) + 1e-12)


def refuse_constant(pieces: Pieces, bound: float) -> None:
    """Refuse one constant M for all regions where it is too small, as 500 is for the published reactor.

    Raises
    ------
    ValueError
        With the M that the law needs.
    """
    gains = np.array([law.astype(np.float64) for law in pieces.laws])
    needed = largest(gains, pieces.lb.astype(np.float64), pieces.ub.astype(np.float64))
    if not needed.max() <= bound:
        i = int(needed.max(axis=1).argmax())
        raise ValueError(f"M = {bound:g} is too small for this law: region {i} needs {needed.max():.6g}; take M per region")


def yann_onnx(net: Yann) -> bytes:
    """Bytes of an ONNX file of opset 17 in float64 with input ``x`` (N, d), outputs ``u`` (N, p) and ``outside`` (N,).

    The kernel does not read it: a claim is about one output, and NaN is no command.  :func:`verifiers.explicit_mpc.comparisons.comparison_graph` is
    the law in this form with one output, which a claim in discrete time may be about; the lattice form is what is trained.

    Raises
    ------
    ImportError
        When onnx is not installed.
    """
    names = {"x": {0: "N"}, "u": {0: "N"}, "outside": {0: "N"}}
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, net.winner.rows.shape[2], dtype=torch.float64),), out, dynamo=False, opset_version=17,
                          input_names=["x"], output_names=["u", "outside"], dynamic_axes=names)
    return out.getvalue()
