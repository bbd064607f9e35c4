"""Certify learned controllers, and deploy only what a small kernel has re-checked.

Everything here is loaded on first use, so that ``import certctl`` needs neither a solver nor a learner.

===============================  ====================================================================================
``verify``                       requirement → bundle → kernel; the prover's door
``falsify``                      look for a replayed counterexample only
``check``                        the kernel alone: bundle → receipt
``second_opinion``               an independent checker in ball arithmetic: bundle → opinion
``gate``                         every controller under some folders must have a passing bundle
``load_deployable``              the very bytes that the kernel accepted, or :class:`NotDeployable`
``explain``                      a refusal code as a paragraph
``attack_loop``                  the worst measurement errors found against the loop of a requirement; a simulation
``learn_lipschitz_imitation``    policies imitated under Lipschitz bounds, and what is proved about each
===============================  ====================================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certctl.api import Deployable, NotDeployable, load_deployable
    from certctl.codes import explain
    from certctl.gatekeeper import gate
    from certctl.learners.lipschitz.attack import attack_loop
    from certctl.learners.lipschitz.imitation import learn_lipschitz_imitation
    from verifiers.kernel.check import check
    from verifiers.prove import falsify, verify
    from verifiers.second.claim import second_opinion

__version__ = "0.1.0"

_HOME = {
    "verify": "verifiers.prove", "falsify": "verifiers.prove", "check": "verifiers.kernel.check", "gate": "certctl.gatekeeper",
    "load_deployable": "certctl.api", "Deployable": "certctl.api", "NotDeployable": "certctl.api", "explain": "certctl.codes",
    "learn_lipschitz_imitation": "certctl.learners.lipschitz.imitation", "second_opinion": "verifiers.second.claim",
    "attack_loop": "certctl.learners.lipschitz.attack",
}
__all__ = ["Deployable", "NotDeployable", "attack_loop", "check", "explain", "falsify", "gate", "learn_lipschitz_imitation", "load_deployable",
           "second_opinion", "verify"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"certctl has no {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Names for completion."""
    return sorted([*globals(), *__all__])
