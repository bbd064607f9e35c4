"""Pages generated from the code: every command with its options, every refusal code, and the Python interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MODULES = {
    "Prove, check, deploy": ("certctl.api", "verifiers.prove", "verifiers.kernel.check", "certctl.gatekeeper"),
    "Plants": ("systems.plant", "systems.signals", "systems.sampling", "systems.simulation"),
    "Bridges in": ("certctl.bridges.imported", "certctl.bridges.stable_baselines3", "certctl.bridges.networks", "certctl.bridges.python_control",
                   "certctl.bridges.casadi_function", "certctl.bridges.gymnasium_env"),
    "Learners": ("certctl.learners.learner", "certctl.learners.lipschitz.imitation", "certctl.learners.lipschitz.training",
                 "certctl.learners.lipschitz.networks", "certctl.learners.lipschitz.experts", "certctl.learners.lipschitz.demonstrations",
                 "certctl.learners.lipschitz.problem", "certctl.learners.lipschitz.regression", "certctl.learners.lipschitz.attack",
                 "certctl.learners.lipschitz.guarantee", "certctl.learners.lipschitz.sampling"),
    "Bridges out": ("certctl.bridges.c_code", "certctl.bridges.models", "verifiers.load.to_casadi", "verifiers.load.to_torch"),
    "Figures and reports": ("certctl.view", "certctl.plot.sets", "certctl.plot.views", "certctl.plot.kinds", "certctl.plot.styles",
                            "certctl.report.page", "certctl.report.browser"),
    "The graph": ("verifiers.kernel.graph", "verifiers.kernel.onnx_reader", "verifiers.load.floats"),
}


def write_reference(folder: Path) -> list[Path]:
    """Write ``commands.md``, ``codes.md`` and ``api.md`` into a folder, and return their paths."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, text in (("commands", commands()), ("codes", codes()), ("api", api())):
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def commands() -> str:
    """Every command with its arguments and options, as the program itself declares them."""
    import typer

    from certctl.cli.main import app

    lines = ["# Every command and option", "", "Generated from the program; [the command line](../cli.md) explains.", ""]
    for name, command in _flat(typer.main.get_command(app)):
        arguments = " ".join(str(p.metavar or p.name) for p in command.params if p.param_type_name == "argument")
        lines += [f"## {name}", "", _plain(command.help), "", f"`certctl {name} {arguments}`".replace(" `", "`"), ""]
        rows = [(_names(p), _plain(getattr(p, "help", "")), _default(p)) for p in command.params if p.name != "help"]
        if rows:
            lines += ["| parameter | meaning | default |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows), ""]
    return "\n".join(lines)


def _flat(group: Any, before: str = "") -> list[tuple[str, Any]]:
    """Commands with their full names, those of groups in place of the groups."""
    return [pair for name, command in sorted(group.commands.items())
            for pair in (_flat(command, f"{before}{name} ") if hasattr(command, "commands") else [(before + name, command)])]


def _names(parameter: Any) -> str:
    metavar = parameter.metavar or ""
    return f"`{', '.join(parameter.opts)}`" if parameter.param_type_name == "option" else f"`{metavar or parameter.name}`"


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    value = parameter.default
    plain = value is None or callable(value) or value == () or isinstance(value, bool)
    return "" if plain or "Sentinel" in type(value).__name__ or "Unset" in repr(value) else f"`{getattr(value, 'value', value)}`"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def codes() -> str:
    """Every refusal code with its exit code and its paragraph."""
    from certctl.codes import explain, find, names

    lines = ["# Every refusal code", "", "`certctl explain CODE` prints the same.", ""]
    for name in names():
        code = find(name)
        lines += [f"## {name}", "", f"Exit code {code.exit_code if code is not None else 0}.", ""]
        lines += [f"{_plain(line)}\n" for line in explain(name).splitlines()]
    return "\n".join(lines)


def api() -> str:
    """The Python interface, by autodoc."""
    lines = ["# Python interface", "", "Generated from the docstrings.", ""]
    for title, modules in MODULES.items():
        lines += [f"## {title}", ""]
        for module in modules:
            lines += [f"### {module}", "", "```{eval-rst}", f".. automodule:: {module}", "```", ""]
    return "\n".join(lines)
