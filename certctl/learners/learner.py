"""What all learners share: settings in, progress out, a folder with a candidate at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One report of a training run.

    Attributes
    ----------
    phase : str
        What is being done, in one or two words.
    done : float
        Share of the run that is over, in [0, 1].
    loss : float
        The loss now, NaN where there is none.
    seconds, seconds_left : float
        Spent so far; left at this pace.
    figures : mapping of str to float
        Whatever else the learner watches, such as violations or the certified volume so far.
    """

    phase: str
    done: float
    loss: float
    seconds: float
    seconds_left: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """A candidate, not certified.

    Attributes
    ----------
    folder : Path
        Where its files lie.
    requirement : Path or None
        What ``verify`` is to be asked about it.
    seconds : float
        Time of the training.
    seed : int
        Seed of all random numbers.
    figures : mapping of str to float
        What the learner measured at the end.
    """

    folder: Path
    requirement: Path | None
    seconds: float
    seed: int
    figures: Mapping[str, float]


class Learner(ABC):
    """A way to make a candidate: a controller, a function that is to prove it, or both."""

    name: str

    @abstractmethod
    def learn(self, out: Path, report: Callable[[Step], None]) -> Learned:
        """Train, and write the candidate below ``out``; an interrupted run goes on from its checkpoint.

        Parameters
        ----------
        out : Path
            Folder of the candidate, made if absent.
        report : callable
            Called with a Step now and then.

        Returns
        -------
        Learned
            Not certified.
        """
