"""Read a plant's generated ``NAME.plant.json`` as a torch function, so that no training script re-types dynamics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

PLANTS = Path(__file__).resolve().parents[2] / "systems" / "data"
OPERATORS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "min": torch.minimum, "max": torch.maximum,
    "neg": torch.neg, "abs": torch.abs, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softplus": torch.nn.functional.softplus,
    "sin": torch.sin, "cos": torch.cos, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "atan": torch.atan, "relu": torch.relu,
}
Dynamics = Callable[[Tensor, Tensor], Tensor]


def dynamics(name: str, parameters: Mapping[str, float], plants: Path = PLANTS) -> Dynamics:
    r"""Return the plant's right-hand side as a differentiable batch function.

    .. math:: (x, u) \mapsto f(x, \mathrm{clip}(u)) , \quad x \in R^{N \times n},\; u \in R^{N \times m}

    Parameters
    ----------
    name : str
        Plant, read from ``plants / f"{name}.plant.json"``.
    parameters : mapping
        Values that replace the file's, by name (SI units), the input limit among them.
    plants : Path
        Folder of the generated plant files.

    Returns
    -------
    callable
        x (N, n) in the plant's units and order, u (N, m) -> x' (N, n), float64.

    Raises
    ------
    ValueError
        When a name in ``parameters`` is not one of the plant's.
    """
    program = json.loads((plants / f"{name}.plant.json").read_text(encoding="utf-8"))
    value = {p["name"]: float(Fraction(p["value"])) for p in program["parameters"]}
    if unknown := set(parameters) - set(value):
        raise ValueError(f"plant {name} has no parameter {sorted(unknown)}; it has {sorted(value)}")
    value.update(parameters)

    def limit(text: str | None, otherwise: float) -> float:
        if text is None:
            return otherwise
        sign, key = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
        return sign * (value[key] if key in value else float(Fraction(key)))

    low = torch.tensor([limit(i["lo"], -torch.inf) for i in program["inputs"]], dtype=torch.float64)
    high = torch.tensor([limit(i["hi"], torch.inf) for i in program["inputs"]], dtype=torch.float64)

    constant = {k: torch.tensor(value[a[0]] if op == "p" else float(Fraction(a[0])), dtype=torch.float64)
                for k, (op, *a) in enumerate(program["nodes"]) if op in "pc"}

    def field(x: Tensor, u: Tensor) -> Tensor:
        u = torch.minimum(torch.maximum(u, low), high)
        at: list[Tensor] = []
        for k, (op, *arguments) in enumerate(program["nodes"]):
            if k in constant:
                at.append(constant[k])
            elif op == "x":
                at.append(x[:, arguments[0]])
            elif op == "u":
                at.append(u[:, arguments[0]])
            elif op == "pow":
                at.append(at[arguments[0]] ** arguments[1])
            else:
                at.append(OPERATORS[op](*(at[k] for k in arguments)))
        return torch.stack([at[k].expand(len(x)) for k in program["outputs"]], dim=1)

    return field


def runge_kutta(field: Callable[[Tensor], Tensor], x: Tensor, dt: float) -> Tensor:
    """One step of the classical fourth-order Runge-Kutta method of x' = field(x); x (N, n), dt in seconds."""
    a = field(x)
    b = field(x + 0.5 * dt * a)
    c = field(x + 0.5 * dt * b)
    return x + dt / 6.0 * (a + 2.0 * b + 2.0 * c + field(x + dt * c))
