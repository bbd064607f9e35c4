"""Codes of the floor above the kernel (gate, policy, command line), and ``explain`` for every code that certctl prints."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum

from certctl.code_examples import EXAMPLES
from certctl.explanations import PARAGRAPHS
from verifiers.kernel.codes import Code


class OwnCode(Enum):
    """A code that does not come from the kernel.

    Attributes
    ----------
    exit_code : int
        1 refused, 2 usage or internal error, 3 undecided, 4 integrity, 5 nothing to check.
    paragraph : str
        What the code means and what to try.
    """

    NO_BUNDLE = 1, ("A requirement names a controller, but there is no bundle at the place where the gate looks: `NAME.cert` beside the "
        "requirement, or the `bundle` of the policy. Run `certctl verify` on the requirement and keep the bundle with the controller.")
    UNNAMED_CONTROLLER = 1, ("A controller file lies in a gated folder and no requirement (and no policy entry) names it, so nothing is known about "
        "it. Write a requirement for it and verify it, or keep it outside the gated folders.")
    PROPERTY_NOT_ALLOWED = 1, ("The bundle proves a property that the policy's `allowed_properties` does not list. A weaker property is no "
        "substitute: verify the property that the policy wants, or change the policy knowingly.")
    LEVEL_TOO_LOW = 1, ("The evidence is below the policy's `minimum`: the kernel alone gives L2. Produce the stronger evidence, or lower the "
        "minimum knowingly.")
    BAD_POLICY = 2, ("certctl.toml has an unknown key, a missing or wrongly typed value, or is not UTF-8 TOML. Correct the key that the message "
        "names: `[[controller]]` tables have path, requirement and perhaps bundle, minimum, allowed_properties; `[gate]` has minimum, "
        "allowed_properties, signatures; `[[signer]]` tables have name and key.")
    POLICY_CHANGED = 4, ("The policy and the requirements that the gate used are not those of the digest given with `--policy-digest`. A change of "
        "the question needs a person: review it, then pin the new digest outside the repository.")
    UNSIGNED = 4, ("The policy (or --signed-by) asks for a signature, and the bundle has none. Let whoever "
        "vouches for it run `certctl sign BUNDLE --key KEY`.")
    BAD_SIGNATURE = 4, ("The bundle has an envelope, but no signature that counts: another key, another certificate, changed bytes, too few signers, "
        "or no DSSE envelope at all. Sign the bundle again with a key that the policy lists.")
    SECOND_DISAGREES = 1, ("The kernel accepted the bundle and the second checker, which shares no code with it, found a contradiction. One of the "
        "two is wrong: report the bundle, and do not deploy it.")
    SECOND_UNDECIDED = 3, ("The kernel accepted the bundle, and the second checker came to no end: its number of boxes ran out, or it has no rule "
        "for this property or operator. Give it more with --second-boxes, or check without --second.")
    NOTHING_TO_CHECK = 5, ("No requirement, no policy entry and no controller was found, so nothing was checked, and that is not a pass. Give the "
        "folder that holds the controllers, or a policy with `--policy`.")
    NO_COUNTEREXAMPLE = 3, ("The search found no counterexample in its time. That is no proof: run `certctl verify`.")
    MISSING_EXTRA = 2, ("The command needs an optional part that is not installed. Install the extra that the message names, "
        "for example `pip install \"certctl[learn]\"`; `certctl doctor` shows what is there. check, gate, show and report need no extra.")
    USAGE = 2, ("The command was called with an option, a value or a combination that it does not have. Look at what "
        "`certctl COMMAND --help` lists.")

    def __init__(self, exit_code: int, paragraph: str) -> None:
        self.exit_code, self.paragraph = exit_code, paragraph


def find(name: str) -> Code | OwnCode | None:
    """The code of that name, from the kernel or from here; None when there is none."""
    return Code.__members__.get(name) or OwnCode.__members__.get(name)


def names() -> list[str]:
    """All codes' names: the kernel's in their order, then the others."""
    return [*Code.__members__, *OwnCode.__members__]


@dataclass(frozen=True)
class Explanation:
    """A code for people: what it means, what somebody did who met it, and what to do."""

    code: str
    exit_code: int
    cause: str
    example: str
    remedy: str


def explanation(name: str) -> Explanation:
    """Explain a code: cause (the first sentence of its paragraph), example, remedy (the rest).

    Raises
    ------
    KeyError
        As :func:`explain`.
    """
    text = explain(name)
    wanted = _plain(name)
    code = find(wanted)
    cause, _, remedy = text.partition(". ")
    return Explanation(wanted, 0 if code is None else code.exit_code, cause.rstrip(".") + ".", EXAMPLES.get(wanted, ""), remedy)


def explain(name: str) -> str:
    """Explain a code in one paragraph: what it means and what to try.

    Parameters
    ----------
    name : str
        A code as printed after ``code=``; case does not matter.

    Raises
    ------
    KeyError
        When there is no such code; the message names the nearest ones.
    """
    wanted = _plain(name)
    code = find(wanted)
    if code is None:
        near = get_close_matches(wanted, names(), n=3, cutoff=0.5)
        raise KeyError(f"there is no code {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "; `certctl explain` lists all codes"))
    return code.paragraph if isinstance(code, OwnCode) else PARAGRAPHS[code]


def _plain(name: str) -> str:
    return name.strip().upper().replace("-", "_")
