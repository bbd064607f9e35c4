"""The report page: the claim and the verdict first, then figures, obligations, and what is not claimed; one file, no external request."""

from __future__ import annotations

import base64
import html
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from certctl import __version__, plot
from certctl.cli.output import last_line, spread_text
from certctl.report import words
from certctl.report.browser import print_pdf
from certctl.report.hold import Hold, hold_interval
from certctl.result import from_receipt
from certctl.view import View

_TONES = {"PROVED": "good", "REFUSED": "bad", "REFUTED": "bad", "ERROR": "bad"}


def write_report(view: View, page: Path, own_requirement: Path | None = None) -> list[Path]:
    """Write the page, and its figure as PNG and PDF beside it.

    Parameters
    ----------
    view : View
        An opened bundle; one that the kernel refuses gets a page that says so.
    page : Path
        The HTML file; where its name ends in ``.pdf``, the page as printed by a Chromium on this machine.
    own_requirement : Path, optional
        The caller's requirement, for the command that repeats the check.

    Returns
    -------
    list of Path
        The files written, the page first.

    Raises
    ------
    ValueError
        When the page would lie in the bundle under a name that makes the kernel refuse the bundle.
    NoBrowser
        When a PDF is asked for and no Chromium is there, or it fails.
    """
    if page.suffix.lower() == ".pdf":
        with tempfile.TemporaryDirectory() as folder:
            return [print_pdf(write_report(view, Path(folder) / "report.html", own_requirement)[0], page)]
    if page.parent.resolve() == view.path.resolve() and page.name != "report.html":
        raise ValueError(f"inside a bundle the page is called report.html, not {page.name}; any other file would make the kernel refuse the bundle")
    written = [page]
    figure = b""
    if view.setting is not None:
        drawn = plot.figure(view)
        written += [plot.save(drawn, page.with_name(f"{page.stem}-region{suffix}"), view) for suffix in (".png", ".pdf")]
        figure = written[1].read_bytes()
    page.write_text(render(view, figure, own_requirement), encoding="utf-8")
    return written


def render(view: View, figure: bytes = b"", own_requirement: Path | None = None) -> str:
    """Return the page as text; ``figure`` is a PNG that is embedded as it is, everything else is escaped."""
    result = from_receipt(view.receipt, view.path)
    sections: list[tuple[str, str]] = []
    if view.setting is not None:
        sections += _drawn_sections(view, figure)
    sections += [("Assumptions", _list(view.receipt.assumptions)), ("What is not claimed", _list(words.not_claimed(view))),
                 ("Approximations, and in which direction", _list(words.approximations(view)))]
    if view.setting is not None:
        sections.append(("Sampling: how long the input may be held (numerical, not proved)", hold_text(view, hold_interval(view))))
        sections += _context_sections(view)
    sections += [("Digests", _digests(view)), ("Repeat this check", _commands(view, own_requirement))]
    body = "\n".join(f"<section><h2>{_text(title)}</h2>\n{content}</section>" if title else content for title, content in sections if content)
    template = Template((files("certctl.report") / "templates" / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=_text(f"{result.name}: {words.property_text(result.property)}"), tone=_TONES.get(result.outcome, "open"),
        verdict=_text(f"{result.outcome}{f' ({result.level})' if result.level else ''}"), claim=_text(words.statement(view)),
        line=_text(last_line(result)), sections=body,
        footer=_text(f"Written by certctl {__version__}. This page is not evidence: the kernel never reads it. Evidence is a check of the bundle."))


def _drawn_sections(view: View, figure: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if figure:
        many = len(view.drawn.spec.states) > 2
        image = base64.b64encode(figure).decode("ascii")
        says = "Certified region (filled), domain (dashed) and simulated trajectories (thin)." if view.is_certified else (
            "The candidate level set (dotted) is NOT certified; nothing in this picture is proved.")
        slices = " Each panel is the slice through the equilibrium; dash-dotted is the hull of sampled states of the region." if many else ""
        caption = f"{says}{slices} The set drawn is sampled in floating point; the claim is the formula."
        found.append(("", f'<figure class="{"many" if many else "two"}"><img alt="{_text(says)}" src="data:image/png;base64,{image}">'
                          f"<figcaption>{_text(caption)}</figcaption></figure>"))
    rows = words.obligation_rows(view.receipt)
    if rows:
        heads = ("obligation", "proof", "leaves", "margin", "time", "what is shown")
        found.append(("Obligations", _table(heads, [(*row[:4], f"{row[4]} s", row[5]) for row in rows], numeric=(2, 3, 4))
                      + '<p class="note">The kernel derives these obligations from the property; the proof cannot leave one out. Times are those of '
                        "this check.</p>"))
    return found


def _context_sections(view: View) -> list[tuple[str, str]]:
    wanted = view.drawn.requirement
    clipped = {"clip": "The plant clips the command there.", "forbid": "The command is proved never to exceed them."}[wanted.saturation]
    parts = [("Domain", _pairs(words.domain_rows(view)))]
    if view.receipt.equilibrium is not None:
        box = view.receipt.equilibrium
        rows = [(signal.name, spread_text(lo, hi) if lo < hi else f"{spread_text(lo, hi)} (a point)")
                for signal, lo, hi in zip(view.drawn.spec.states, box["lo"], box["hi"], strict=True)]
        parts.append(("Equilibrium (exactly one, proved)", _pairs(rows)))
    parts.append(("Parameters", _pairs(words.parameter_rows(view))))
    if view.drawn.spec.inputs:
        parts.append(("Input limits", _pairs(words.limit_rows(view)) + f'<p class="note">{_text(clipped)}</p>'))
    setting = "".join(f"<div><h3>{_text(title)}</h3>{content}</div>" for title, content in parts)
    return [("Setting", f'<div class="grid">{setting}</div>'), ("Stages of the region, from the inside out", _pairs(words.stage_texts(view))),
            ("Functions", _pairs(words.function_texts(view)))]


def hold_text(view: View, hold: Hold | None) -> str:
    """The paragraph about the hold interval, as escaped HTML."""
    wanted = view.drawn.requirement
    if hold is None:
        return f"<p>{_text('No hold interval applies: the plant is a discrete map, or it has no input.')}</p>"
    poles = ", ".join(f"{p.real:.4g}" + (f" ± {abs(p.imag):.4g}i" if p.imag else "") for p in _one_of_each(hold.eigenvalues))
    if not hold.is_stable:
        says = "The continuous linearisation at the equilibrium is not stable in floating point, so no hold interval can be given."
    elif hold.limit_s is None:
        says = f"No limit was found: with a zero-order hold the sampled linearisation is stable for every interval up to {_seconds(hold.searched_s)}."
    else:
        says = (f"With a zero-order hold the sampled linearisation e^(Ah) + ∫e^(As)ds·B·K stays stable up to h ≈ {_seconds(hold.limit_s)}; "
                "a slower digital implementation of this controller loses stability at the equilibrium.")
    if wanted.dt is not None and hold.limit_s is not None:
        inside = float(wanted.dt) < hold.limit_s
        says += f" The claim's dt = {wanted.dt} s is {'below' if inside else 'ABOVE'} it."
    note = f"Eigenvalues of the continuous linearisation: {poles} (1/s). Float64, finite differences."
    return f'<p>{_text(says)}</p><p class="note">{_text(note)}</p>'


def _one_of_each(values: Sequence[complex]) -> list[complex]:
    return sorted((v for v in values if v.imag >= 0), key=lambda v: (v.real, v.imag))


def _seconds(value: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def _digests(view: View) -> str:
    rows = [("bundle", view.receipt.bundle_digest)]
    rows += list(view.bundle.digests.items()) if view.bundle is not None else [("controller.onnx", view.receipt.controller_sha256)]
    return _pairs([(name, sha) for name, sha in rows if sha], code=True)


def _commands(view: View, own_requirement: Path | None) -> str:
    requirement = f" --requirement {_shell(own_requirement.name)}" if own_requirement is not None else ""
    lines = [f"certctl check {_shell(view.path.name)}{requirement}", f"certctl digest {_shell(view.path.name)}"]
    return f"<pre>{_text(chr(10).join(lines))}</pre>"


def _shell(text: str) -> str:
    return shlex.quote(text)


def _text(value: object) -> str:
    return html.escape("".join(c if c.isprintable() or c == "\n" else " " for c in str(value)), quote=True)


def _list(items: Iterable[str]) -> str:
    lines = "".join(f"<li>{_text(item)}</li>" for item in items)
    return f"<ul>{lines}</ul>" if lines else ""


def _pairs(rows: Iterable[tuple[object, object]], code: bool = False) -> str:
    shown = "".join(f"<tr><td>{_text(a)}</td><td>{f'<code>{_text(b)}</code>' if code else _text(b)}</td></tr>" for a, b in rows)
    return f'<table class="pairs">{shown}</table>' if shown else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    def cell(tag: str, k: int, value: str) -> str:
        kinds = (["n"] if k in numeric else []) + (["k"] if k < len(heads) - 1 else [])
        return f'<{tag} class="{" ".join(kinds)}">{_text(value)}</{tag}>'

    head = "".join(cell("th", k, value) for k, value in enumerate(heads))
    body = "".join("<tr>" + "".join(cell("td", k, value) for k, value in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
