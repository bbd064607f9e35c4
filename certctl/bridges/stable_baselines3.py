"""Stable-Baselines3 policies: the deterministic action of PPO, A2C, SAC, TD3 and DDPG as one ONNX file.

Everything that ``model.predict(observation, deterministic=True)`` does between the state and the actuator is put into the graph, and so into
the proof: what the policy observes of the state, ``VecNormalize`` (shift, scale and its clip), the network, the squashing, the scaling from
[-1, 1] to the action space, or the clip to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from certctl.bridges.imported import Imported, brought_in, limit, scale_and_shift, spread
from verifiers.kernel.graph import Builder, Floats, Graph
from verifiers.load.floats import evaluate
from verifiers.load.torch_module import from_torch, import_torch

ALLOWED = 1e-4
"""Largest difference from ``predict`` that passes, as a multiple of ``1 + |action|``: both sides round to float32, a lost term is larger."""


def import_policy(model: Any, *, lo: Sequence[float], hi: Sequence[float], normalize: Any = None, observation: Graph | None = None,
                  seed: int = 0) -> Imported:
    r"""Bring in the deterministic action of a Stable-Baselines3 model.

    .. math:: \pi(x) = \mathrm{scale}\bigl(\mathrm{net}(\mathrm{clip}((o(x) - \mu) / \sqrt{v + \epsilon}))\bigr)

    Parameters
    ----------
    model : BaseAlgorithm
        A trained PPO, A2C, SAC, TD3 or DDPG model with a flat Box observation and a Box action.
    lo, hi : sequence of float
        Box of states (n,) on which the exported file is compared with ``model.predict``; the requirement's domain is a good one.
    normalize : VecNormalize, optional
        The statistics that observations were normalised with; default: those of the model's own environment, where it has one that normalises.
        A model that was loaded without its environment has lost them: give them then.
    observation : Graph, optional
        What the policy observes of the state, for example :func:`certctl.bridges.imported.cos_sin`; default: the state itself.
    seed : int
        Of the comparison's points.

    Returns
    -------
    Imported
        float32 ONNX, its parity with ``predict``, and notes on what was put into the graph.

    Raises
    ------
    ImportError
        When PyTorch is not installed.
    ValueError
        For a policy with another feature extractor than flattening, a recurrent or dictionary policy, a discrete action, or sizes that do not fit.
    NotAlike
        When the file's values differ from ``predict`` by more than ``ALLOWED``.

    Notes
    -----
    Direction: none.  Normalisation and scaling are rounded to float32, so the file is a policy of its own, compared with the given one; the
    certificate is about the file.
    """
    torch = import_torch()
    policy = getattr(model, "policy", model)
    low, high = _box(policy.action_space, "action"), len(_box(policy.observation_space, "observation")[0])
    sizes = len(lo) if observation is None else observation.output_size()
    if sizes != high:
        raise ValueError(f"the policy observes {high} numbers and the states give {sizes}; say what it observes with observation=")
    statistics = model.get_vec_normalize_env() if normalize is None and hasattr(model, "get_vec_normalize_env") else normalize
    notes: list[str] = []
    builder = Builder()
    x = builder.input(len(lo))
    seen = x if observation is None else builder.inline(observation, [x])[0]
    if observation is not None:
        notes.append("what the policy observes of the state is computed in the graph")
    seen = _normalised(builder, seen, statistics, notes)
    action = builder.inline(from_torch(_network(policy, torch), (high,)), [seen])[0]
    action = _scaled(builder, action, policy, low, notes)
    points = spread(lo, hi, seed=seed).astype(np.float32).astype(np.float64)

    def predict(rows: Floats) -> Any:
        observed = rows if observation is None else evaluate(observation, rows)
        if statistics is not None and statistics.norm_obs:
            observed = statistics.normalize_obs(observed)
        return policy.predict(np.asarray(observed, dtype=np.float32), deterministic=True)[0].reshape(len(rows), -1)

    return brought_in(builder.build([action]), predict, points, ALLOWED, notes)


def _box(space: Any, what: str) -> tuple[Floats, Floats]:
    """Bounds of a flat Box, as float64."""
    if not (hasattr(space, "low") and len(space.shape) == 1):
        raise ValueError(f"the {what} space is {space}; only a Box of one dimension can be brought in")
    return space.low.astype(np.float64), space.high.astype(np.float64)


def _normalised(builder: Builder, x: int, statistics: Any, notes: list[str]) -> int:
    if statistics is None or not statistics.norm_obs:
        notes.append("observations are not normalised; if they were in training, give normalize=")
        return x
    mean, variance = (np.asarray(v, dtype=np.float64).ravel() for v in (statistics.obs_rms.mean, statistics.obs_rms.var))
    scale = 1 / np.sqrt(variance + statistics.epsilon)
    most = float(statistics.clip_obs)
    notes.append(f"observations are normalised in the graph: mean {mean.round(4).tolist()}, scale {scale.round(4).tolist()}, clipped at {most:g}")
    return limit(builder, scale_and_shift(builder, x, scale, -mean * scale), -most, most)


def _network(policy: Any, torch: Any) -> Any:
    """The layers between the observation and the (unsquashed or squashed) action, as one Sequential."""
    actor = getattr(policy, "actor", None)
    owner = policy if actor is None else actor
    extractor = type(getattr(owner, "pi_features_extractor", None) or getattr(owner, "features_extractor", None)).__name__
    if extractor != "FlattenExtractor":
        raise ValueError(f"the policy's features come from {extractor}; only FlattenExtractor (MlpPolicy) can be brought in")
    if getattr(owner, "lstm_actor", None) is not None:
        raise ValueError("a recurrent policy has a state of its own; only memoryless policies can be brought in")
    if actor is None:
        return torch.nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net, *([torch.nn.Tanh()] if policy.squash_output else []))
    if hasattr(actor, "latent_pi"):  # SAC: the mean of the Gaussian, squashed
        return torch.nn.Sequential(actor.latent_pi, actor.mu, torch.nn.Tanh())
    return torch.nn.Sequential(actor.mu)  # TD3 and DDPG: ends in Tanh


def _scaled(builder: Builder, action: int, policy: Any, bounds: tuple[Floats, Floats], notes: list[str]) -> int:
    low, high = bounds
    if policy.squash_output:
        notes.append(f"the squashed action is scaled from [-1, 1] to {low.tolist()} .. {high.tolist()} in the graph")
        return scale_and_shift(builder, action, (high - low) / 2, (high + low) / 2)
    notes.append(f"the action is clipped to {low.tolist()} .. {high.tolist()} in the graph")
    return limit(builder, action, low, high)
