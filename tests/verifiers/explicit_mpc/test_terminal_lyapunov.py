"""Terminal ingredients: good ones are proved, each one-fault twin is refused by its own sentence, and the value function falls as promised."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verifiers.explicit_mpc.condense import condense
from verifiers.explicit_mpc.lyapunov import NotTerminal, prove_terminal
from verifiers.explicit_mpc.model_file import read_model
from verifiers.explicit_mpc.partition import partition
from verifiers.explicit_mpc.value import pieces

TEXT = """
A = [["1", "1"], ["0", "1"]]
B = [["1/2"], ["1"]]
horizon = 2
{more}
[weights]
Q = [[1, 0], [0, 1]]
R = [["1/10"]]
[limits]
x = {{ lo = ["-4.1", -5], hi = ["4.1", 5] }}
u = {{ lo = [-1], hi = [1] }}
[terminal]
set = "invariant"
[domain]
lo = [-5, -5]
hi = [5, 5]
"""


@pytest.fixture
def model(tmp_path):
    return read(tmp_path)


def read(folder, more=""):
    path = folder / "model.toml"
    path.write_text(TEXT.format(more=more), encoding="utf-8")
    return read_model(path)


def scaled(model, factor):
    rows, ends = model.terminal
    return rows, ends * factor


FAULTS = {
    "cost too small": (lambda m: replace(m, P=m.P * Fraction(999_999, 1_000_000)), "does not fall"),
    "cost without margin": (lambda m: replace(m, Q=m.Q * 2), "does not fall"),
    "set too large": (lambda m: replace(m, terminal=scaled(m, 2)), "a limit of"),
    "no set": (lambda m: replace(m, terminal=None), "no terminal set"),
    "set without interior": (lambda m: replace(m, terminal=(np.vstack([m.terminal[0], -m.terminal[0][:1]]),
                                                            np.append(m.terminal[1], -m.terminal[1][0]))), "no interior"),
    "open set": (lambda m: replace(m, terminal=(m.terminal[0][:1], m.terminal[1][:1])), "not bounded"),
    "tighter input": (lambda m: replace(m, u=((Fraction(-1, 2),), (Fraction(1, 2),))), "limit of u"),
    "tighter state": (lambda m: replace(m, x=((Fraction(-1, 100), None), (None, None))), "limit of x"),
    "move blocking": (lambda m: replace(m, blocks=(2,)), "without tracking"),
    "box that is not invariant": (lambda m: replace(m, terminal=(np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) * Fraction(1),
                                                                 np.array([Fraction(1, 10)] * 4, dtype=object))), "not invariant"),
}


def test_ingredients_of_the_model_file_are_proved(model):
    found = prove_terminal(model)
    assert len(found.vertices) >= 4 and (abs(found.vertices @ found.gain.T) <= 1).all()


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_refused(model, name):
    change, says = FAULTS[name]
    with pytest.raises(NotTerminal, match=says):
        prove_terminal(change(model))


def test_another_gain_is_refused(model):
    with pytest.raises(NotTerminal, match="does not fall"):
        prove_terminal(model, np.array([[Fraction(0), Fraction(-1)]]))


@pytest.mark.parametrize("discount", ["1", "0.9"])
def test_value_function_falls_by_the_stage_cost_in_exact_numbers(tmp_path, discount):
    model = read(tmp_path, f'discount = "{discount}"')
    prove_terminal(model)
    law = partition(condense(model), [], 1).law
    found = pieces(model)

    def value(theta):
        lifted = np.append(theta, Fraction(1))
        k = next(k for k, rows in enumerate(found.halfspaces) if all(np.array(row, dtype=object) @ lifted >= 0 for row in rows))
        return lifted @ found.forms[k] @ lifted

    draw, steps = np.random.default_rng(0), 0
    while steps < 60:
        theta = np.array([Fraction(int(v), 100) for v in draw.integers(-500, 501, 2)], dtype=object)
        command = law.exact(theta)
        if command is None:
            continue
        steps += 1
        u = np.array(command, dtype=object)
        after = model.A @ theta + model.B @ u
        assert law.exact(after) is not None, "feasible again"
        stage = theta @ model.Q @ theta + u @ model.R @ u
        assert model.discount * value(after) <= value(theta) - stage
