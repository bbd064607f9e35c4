"""Figures: only what the kernel accepts is drawn as certified, and the picture says which bundle it shows."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from small_bundles import linear_controller, prove, swap_controller, tamper_level, write_case

from certctl import plot
from certctl.plot import palette
from certctl.view import open_question, open_view
from verifiers.kernel.codes import Refusal

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A certified bundle."""
    return prove(write_case(tmp_path_factory.mktemp("plot") / "policies"))


@pytest.fixture(scope="module")
def view(bundle):
    """The certified bundle, opened."""
    return open_view(bundle)


@pytest.fixture
def ax():
    """Axes without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def colours(ax):
    """Hexadecimal colours of everything drawn on the axes."""
    found = set()
    for artist in [*ax.collections, *ax.patches, *ax.lines]:
        for getter in ("get_facecolor", "get_edgecolor", "get_color"):
            if hasattr(artist, getter):
                value = getattr(artist, getter)()
                rows = [value] if isinstance(value, str) or np.ndim(value) == 1 else list(value)
                found |= {matplotlib.colors.to_hex(row) for row in rows if len(row)}
    return {colour.upper() for colour in found}


@pytest.mark.threat("T21")
@pytest.mark.parametrize("spoil", ["level", "weights"])
def test_nothing_that_the_kernel_refuses_is_drawn_as_certified(bundle, ax, tmp_path, spoil):
    copy = shutil.copytree(bundle, tmp_path / "loop.cert")
    (copy / "check.json").write_text('{"outcome": "ACCEPTED"}', encoding="utf-8")
    if spoil == "level":
        tamper_level(copy, "20")
        seen = plot.region(ax, copy)
        assert not seen.is_certified and "NOT certified" in " ".join(ax.certctl_legend)
    else:
        swap_controller(copy, linear_controller((0.0, 2.0)))
        with pytest.raises(Refusal, match="DIGEST_MISMATCH"):
            plot.region(ax, copy)
    assert palette.CERTIFIED not in colours(ax)


def test_the_certified_region_is_filled_in_its_colour_and_the_domain_dashed(view, ax):
    plot.region(ax, view)
    assert palette.CERTIFIED in colours(ax)
    legend = ax.certctl_legend
    assert any(label.startswith("certified: P ≤ 0.05, volume ≥ 0.1404") for label in legend)
    assert legend["domain"].get_linestyle() == "--"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x₁", "x₂ [1/s]")


def test_the_drawn_region_is_the_ellipse_of_the_claim(view):
    rng = np.random.default_rng(1)
    x = rng.uniform(-0.3, 0.3, (2000, 2))
    inside = 1.5 * x[:, 0]**2 + x[:, 0] * x[:, 1] + x[:, 1]**2 <= 0.05
    assert ((view.signed(x) <= 0) == inside).all() and inside.any() and not inside.all()


def test_edge_points_lie_just_inside(view):
    edge = plot.boundary_points(view, 12)
    values = view.signed(edge)
    assert edge.shape == (12, 2) and (values <= 0).all() and (values > -1e-6).all()


def test_trajectories_from_the_region_end_at_the_equilibrium(view, ax):
    paths = plot.trajectories(ax, view)
    assert len(paths) == 24 and all(np.abs(path[-1]).max() < 0.02 for path in paths)
    assert palette.TRAJECTORY in colours(ax)
    assert all((view.signed(path) <= 1e-9).all() for path in paths)


def test_a_trajectory_that_leaves_is_cut_and_not_followed_to_infinity(view):
    (path,) = plot.simulate(view, np.array([[1.9, 1.9]]), max_steps=50)
    assert np.isfinite(path).all() and np.abs(path).max() <= 6


def test_counterexamples_are_red(ax):
    plot.counterexamples(ax, [1.0, 2.0], paths=[[[1.0, 2.0], [2.0, 3.0]]])
    assert colours(ax) >= {palette.COUNTEREXAMPLE} and palette.CERTIFIED not in colours(ax)


def test_a_question_without_a_bundle_is_drawn_and_nothing_in_it_is_certified(cases, tmp_path):
    for name in ("controller.onnx", "lyapunov.onnx"):
        shutil.copy(cases / "roa" / "van_seed0" / name, tmp_path / name)
    path = tmp_path / "van.requirement.toml"
    path.write_text('property = "asymptotic_stability_roa"\nplant = "van_der_pol"\ncontroller = "controller.onnx"\n'
                    'time = "continuous"\nlyapunov = "lyapunov.onnx"\n[domain]\nlo = ["-4.8", "-10.8"]\nhi = ["4.8", "10.8"]\n'
                    '[region]\nlevel = "0.99"\n', encoding="utf-8")
    page = plot.figure(open_question(path), counterexample={"x": [1.0, 2.0], "trajectory": None})
    drawn = colours(page.axes[0])
    assert palette.CERTIFIED not in drawn and {palette.CANDIDATE, palette.COUNTEREXAMPLE} <= drawn


def test_a_saved_figure_carries_the_digest_of_its_bundle_and_no_date(view, tmp_path):
    page = plot.figure(view, counterexample={"x": [0.5, 0.5], "trajectory": [[0.5, 0.5], [0.6, 0.5]]})
    digest = view.receipt.bundle_digest
    png, pdf, svg = (plot.save(page, tmp_path / f"region{suffix}", view) for suffix in (".png", ".pdf", ".svg"))
    with Image.open(png) as image:
        assert digest in image.text["Description"] and "ACCEPTED" in image.text["Description"]
    assert digest.encode() in pdf.read_bytes() and b"CreationDate" not in pdf.read_bytes()
    assert digest in svg.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"\.png"):
        plot.save(page, tmp_path / "region.bmp", view)


def test_more_states_are_drawn_as_labelled_slices(tmp_path):
    from small_bundles import four_states

    page = plot.figure(four_states(tmp_path))
    panels = [ax for ax in page.axes if ax.get_visible()]
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in panels][:2] == [("x [m]", "θ [rad]"), ("x [m]", "ẋ [m/s]")]
    assert len(panels) == 6
    words = [text.get_text() for text in page.legends[0].get_texts()]
    assert any("slices" in word for word in words) and any("projected" in word for word in words)


def test_a_unit_is_never_read_as_mathematics(view, ax):
    from verifiers.kernel.plant import Signal

    palette.label_axes(ax, (Signal("x_dot", "$\\frac{"), Signal("omega12", "rad/s^2")), (0, 1))
    ax.figure.canvas.draw()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("\u1e8b [$\\frac{]", "ω₁₂ [rad/s²]")


@pytest.mark.parametrize("kind", plot.KINDS)
def test_every_kind_of_figure_names_units_and_carries_the_digest(view, tmp_path, kind):
    page = plot.draw([view, view] if kind == "compare" else [view], kind, style="column", labels=["one", "two"] if kind == "compare" else None)
    labels = {ax.get_xlabel() for ax in page.axes} | {ax.get_ylabel() for ax in page.axes}
    assert labels >= ({"x₁", "x₂ [1/s]", "u [1/s²]", "time [s]"} if kind == "responses" else {"x₁", "x₂ [1/s]"})
    with Image.open(plot.save(page, tmp_path / f"{kind}.png", view)) as image:
        assert view.receipt.bundle_digest in image.text["Description"] and image.size[0] == pytest.approx(3.5 * 300, abs=2)
    assert (palette.CERTIFIED in set().union(*(colours(ax) for ax in page.axes))) is (kind != "responses")


@pytest.mark.threat("T21")
@pytest.mark.parametrize("kind", plot.KINDS)
def test_no_kind_of_figure_shows_a_refused_bundle_as_certified(bundle, tmp_path, kind):
    copy = shutil.copytree(bundle, tmp_path / "loop.cert")
    tamper_level(copy, "20")
    page = plot.draw([copy], kind)
    assert palette.CERTIFIED not in set().union(*(colours(ax) for ax in page.axes))
    words = " ".join(text.get_text() for text in page.legends[0].get_texts())
    assert kind == "responses" or "NOT certified" in words


def test_styles_have_the_sizes_of_their_pages(view):
    widths = {name: plot.draw([view], "levels", style=name).get_figwidth() for name in plot.STYLES}
    assert widths == {"page": 5.2, "column": 3.5, "two-column": 7.16, "slides": 10.0}


def test_a_projection_is_the_shadow_of_the_ellipsoid(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from certctl.plot.views import _ellipsoid

    seen = open_view(prove(write_case(tmp_path / "policies")))
    matrix, centre, level = _ellipsoid(seen)
    assert matrix.tolist() == [[1.5, 0.5], [0.5, 1.0]] and centre.tolist() == [0, 0] and level == 0.05
    page = Figure()
    FigureCanvasAgg(page)
    ax = page.add_subplot()
    plot.projection(ax, seen)
    outline = ax.patches[0].get_xy()
    assert np.allclose(1.5 * outline[:, 0] ** 2 + outline[:, 0] * outline[:, 1] + outline[:, 1] ** 2, 0.05)


def test_level_sets_are_those_of_the_function(view, ax):
    plot.levels(ax, view)
    paths = [path for line in ax.collections if line.get_linewidth()[0] == 1.6 for path in line.get_paths()]
    x = np.concatenate([path.vertices for path in paths])
    assert len(x) > 50 and np.allclose(1.5 * x[:, 0] ** 2 + x[:, 0] * x[:, 1] + x[:, 1] ** 2, 0.05, atol=2e-3)


def test_responses_end_at_the_equilibrium(view):
    page = plot.draw([view], "responses")
    for line in page.axes[0].lines:
        values = line.get_ydata()
        assert abs(values[-1]) < 0.05 * max(abs(values).max(), 1e-3) + 0.01


def test_wrong_wishes_for_a_figure_say_what_there_is(view, tmp_path, capsys):
    from certctl.cli.main import run

    for wrong in (lambda: plot.draw([view], "cake"), lambda: plot.draw([view, view], "levels"), lambda: plot.draw([view], axes=(0, 0)),
                  lambda: plot.draw([view], style="poster")):
        with pytest.raises(ValueError):
            wrong()
    for more in (["--kind", "levels", str(view.path)], ["--axes", "x1,z"], ["-o", str(view.path / "inside.png")], ["-o", str(tmp_path / "x.bmp")]):
        assert run(["plot", str(view.path), "-o", str(tmp_path / "x.png"), *more]) == 2
    assert run(["plot", str(view.path), "--axes", "x2,x1", "--kind", "field", "-o", str(tmp_path / "x.png")]) == 0
    assert "PROVED loop" in capsys.readouterr().out and (tmp_path / "x.png").is_file()
    assert run(["plot", str(tmp_path / "absent"), "-o", str(tmp_path / "y.png")]) == 2
    assert not (tmp_path / "y.png").exists()
