"""Every registered figure is written, the same twice, and adding one is one new file."""

import pytest
from matplotlib.figure import Figure

from boardgame_sae.registry import Registry
from boardgame_sae.report.figures import registry
from boardgame_sae.report.figures.registry import ReportFigure, figures, register, write_figures
from boardgame_sae.report.figures.style import hook_title


def test_every_figure_is_written_and_the_same_twice(study, tmp_path):
    first = write_figures(study, tmp_path / "a")
    names = ["learning_curve", "legality", "probe_accuracy", "probe_squares", "f1_by_square", "coverage_by_property"]
    names += ["coverage_vs_l0", "direction_recovery", "loss_vs_l0", "sae_training"]
    assert [path.stem for path in first] == names
    second = write_figures(study, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.read_bytes() == other.read_bytes(), one.name


def test_only_the_chosen_figures_are_drawn(study, tmp_path):
    chosen = [figure for figure in figures() if figure.name in ("coverage_vs_l0", "learning_curve")]
    paths = write_figures(study, tmp_path, chosen)
    assert [path.stem for path in paths] == ["learning_curve", "coverage_vs_l0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.name)
def test_a_figure_has_a_caption_of_whole_sentences(figure):
    assert figure.caption[0].isupper() and figure.caption.endswith(".")


def test_a_figure_is_drawn_by_exactly_one_function():
    with pytest.raises(ValueError, match="'both': give exactly one of of_study and of_testbed"):
        register(ReportFigure("both", "A figure.", of_study=lambda _: None, of_testbed=lambda *_: None))
    with pytest.raises(ValueError, match="there already is a figure 'legality'"):
        register(ReportFigure("legality", "Another.", of_study=lambda _: None))


NEW = """
from matplotlib.figure import Figure
from boardgame_sae.report.figures.registry import ReportFigure, register

def titled(study, testbed):
    figure = Figure()
    figure.suptitle(testbed.hook_name)
    return figure

register(ReportFigure("tomorrow", "What comes.", order=35, of_testbed=titled))
register(ReportFigure("nothing", "What does not.", of_study=lambda study: None))
"""


def test_a_new_module_in_the_folder_is_a_new_figure(study, tmp_path, monkeypatch):
    (tmp_path / "figures_of_tomorrow").mkdir()
    (tmp_path / "figures_of_tomorrow/__init__.py").write_text("")
    (tmp_path / "figures_of_tomorrow/tomorrow.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_FIGURES", Registry("figure", "figures_of_tomorrow"))
    assert [figure.name for figure in figures()] == ["tomorrow", "nothing"]
    (path,) = write_figures(study, tmp_path / "drawn")
    assert path.name == "tomorrow.png"


def test_figures_of_several_testbeds_are_told_apart_by_hook_point(study):
    drawn = ReportFigure("one", "One.", of_testbed=lambda *_: Figure()).drawn(study)
    assert [name for name, _ in drawn] == ["one"]

    class Two:
        testbeds = (*study.testbeds, *study.testbeds)

    drawn = ReportFigure("one", "One.", of_testbed=lambda *_: Figure()).drawn(Two())
    assert [name for name, _ in drawn] == [f"one.{study.testbeds[0].hook_name}"] * 2


@pytest.mark.parametrize(
    ("hook_name", "title"),
    [
        ("blocks.0.hook_resid_pre", "embedding"),
        ("blocks.5.hook_resid_post", "block 5"),
        ("blocks.5.hook_attn_out", "block 5, attention output"),
        ("blocks.11.hook_mlp_out", "block 11, MLP output"),
        ("blocks.2.mlp.hook_post", "2.mlp.hook_post"),
    ],
)
def test_hook_points_have_titles(hook_name, title):
    assert hook_title(hook_name) == title
