"""Networks of PyTorch become graphs and graphs become differentiable modules; the values are compared both ways."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch (certctl[learn]) is not installed")

import torch
from torch import nn

from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.graph import Affine, Builder
from verifiers.kernel.onnx_reader import read_onnx
from verifiers.load.floats import evaluate, evaluate_all
from verifiers.load.to_torch import to_torch
from verifiers.load.torch_module import from_torch, to_onnx

X = np.random.default_rng(2).normal(size=(40, 2)) * 3.0


class Policy(nn.Module):
    """The shape of published policies: the difference to the value at the equilibrium, clipped, plus a quadratic term."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x):
        return torch.clamp(self.net(x) - self.net(torch.zeros_like(x)), -0.5, 0.5) + (x * x).sum(-1, keepdim=True)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Remembering(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * float(self.calls)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn(1, 2)


def values(module, x=X):
    with torch.no_grad():
        return module.eval()(torch.tensor(x, dtype=next(module.parameters(), torch.zeros(1)).dtype)).double().numpy()


@pytest.mark.parametrize(("module", "message"), [(Branching(), "decides in Python"), (Remembering(), "differs from the module")],
                         ids=["branch", "state"])
@pytest.mark.threat("T14")
def test_a_module_that_is_no_function_of_its_input(module, message):
    with pytest.raises(ValueError, match=message):
        from_torch(module, [2])
    with pytest.raises(ValueError, match=message):
        to_onnx(module, [2])


def test_modules_outside_the_allow_list():
    for module in (Noisy(), nn.Sequential(nn.Linear(2, 3), nn.Softmax(-1)), nn.Sequential(nn.Linear(2, 2), nn.ELU())):
        with pytest.raises(Refusal) as caught:
            from_torch(module, [2])
        assert caught.value.code is Code.UNKNOWN_OPERATOR


def test_weights_that_are_no_numbers():
    module = nn.Sequential(nn.Linear(2, 1))
    module[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        from_torch(module, [2])


def test_without_torch_one_sentence_names_the_extra():
    code = ("import sys\nsys.modules['torch'] = None\n"
            "from verifiers.load.torch_module import from_torch\nfrom verifiers.load.to_torch import to_torch\n"
            "for call in (lambda: from_torch(None, [2]), lambda: to_torch(None)):\n"
            "    try:\n        call()\n    except ImportError as error:\n        assert 'certctl[learn]' in str(error), error\n"
            "    else:\n        raise SystemExit('no error')\n")
    subprocess.run([sys.executable, "-c", code], check=True)


LAYERS = [nn.Tanh(), nn.ReLU(), nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.Sigmoid(), nn.Softplus(), nn.Hardtanh(-0.3, 0.7), nn.Identity(),
          nn.Dropout(0.5), nn.Softplus(beta=2), nn.ReLU6(), nn.SiLU(), nn.Softsign(), nn.Hardsigmoid()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_each_layer(layer, dtype):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 4), nn.Sequential(layer, nn.Linear(4, 3, bias=False))).to(dtype)
    if isinstance(layer, nn.Hardsigmoid):
        with pytest.raises(Refusal):
            from_torch(module, [2])
        return
    graph = from_torch(module, [2])
    np.testing.assert_allclose(evaluate(graph, X), values(module), rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-8)
    np.testing.assert_allclose(evaluate(read_onnx(to_onnx(module, [2])).graph, X), evaluate(graph, X), rtol=1e-5, atol=1e-6)


def test_a_sequential_keeps_the_very_weights_and_parameters():
    module = nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.1), nn.Linear(3, 1))
    nodes = from_torch(module, [2]).nodes
    assert [n.op for n in nodes] == ["input", "affine", "leaky_relu", "affine"]
    np.testing.assert_array_equal(nodes[1].data.weight, module[0].weight.detach().numpy())
    assert nodes[2].data == Fraction(float(np.float32(0.1)))


def test_the_module_is_not_changed():
    module = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)).double().train()
    from_torch(module, [2])
    to_onnx(module, [2])
    assert module.training and module[1].training and module[0].weight.requires_grad


def test_shapes_of_several_dimensions():
    module = nn.Sequential(nn.Linear(3, 2), nn.Flatten(), nn.Linear(4, 1))
    x = np.random.default_rng(3).normal(size=(5, 2, 3))
    np.testing.assert_allclose(evaluate(from_torch(module, [2, 3]), x.reshape(5, 6)), values(module, x), atol=1e-6)
    np.testing.assert_allclose(evaluate(from_torch(nn.Sequential(nn.Flatten(), nn.Linear(6, 1)), [2, 3]), x.reshape(5, 6)).shape, (5, 1))


def test_hooks_are_seen():
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    module[0].register_forward_hook(lambda _m, _i, out: 2 * out)
    np.testing.assert_allclose(evaluate(from_torch(module, [2]), X), values(module), atol=1e-6)


def test_an_exported_policy():
    module = Policy()
    graph = from_torch(module, [2])
    np.testing.assert_allclose(evaluate(graph, X), values(module), rtol=1e-5, atol=1e-5)
    assert abs(evaluate(graph, [0.0, 0.0])[0]) <= 1e-15


# and back

def every_operator():
    builder = Builder()
    x, y = builder.input(2), builder.input(1)
    b = builder.binary("add", builder.unary("pow", x, 2), builder.const([Fraction(1, 3), (Fraction(1), Fraction(2))]))
    parts = [builder.unary(op, b) for op in ("neg", "relu", "abs", "tanh", "sigmoid", "softplus", "sin", "cos", "exp", "log", "sqrt", "atan")]
    parts += [builder.unary("leaky_relu", x, Fraction(1, 10)), builder.binary("div", x, b), builder.take(x, (1, 0, 1)), builder.const([Fraction(2)])]
    parts += [builder.binary(op, x, y) for op in ("add", "sub", "mul", "min", "max")]
    parts += [builder.affine(x, Affine(np.array([[1.0, -2.0]]), np.array([0.5])))]
    return builder.build([builder.concat(parts), y, builder.const([Fraction(1, 4)])])


def test_every_operator_in_torch():
    graph, rng = every_operator(), np.random.default_rng(4)
    x, y = rng.normal(size=(7, 2)), rng.normal(size=(7, 1))
    module = to_torch(graph)
    for found, expected in zip(module(torch.tensor(x), torch.tensor(y)), evaluate_all(graph, x, y), strict=True):
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14, atol=1e-14)
    for found, expected in zip(module(torch.tensor(x[0]), torch.tensor(y[0])), evaluate_all(graph, x[0], y[0]), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14, atol=1e-14)


def test_gradients_are_those_of_the_difference_quotient():
    module = to_torch(from_torch(Policy().double(), [2]))
    assert not list(module.parameters()) and len(list(module.buffers())) > 3
    x = torch.tensor([[0.05, -0.03], [0.4, 0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
    assert torch.func.vmap(torch.func.jacrev(module))(x).shape == (2, 1, 2)


def test_there_and_back_again():
    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    again = from_torch(to_torch(from_torch(module, [2])), [2])
    np.testing.assert_allclose(evaluate(again, X), values(module), rtol=1e-13, atol=1e-13)
