"""The short table says what the rows say, in the order of kinds, with chance at the end."""

import pytest

from boardgame_sae.report.markdown import escaped, markdown
from boardgame_sae.report.rows import collect
from boardgame_sae.report.titles import recipe

HEADS = [
    "name",
    "kind",
    "L0",
    "Coverage [95% interval]",
    "Coverage: above chance",
    "Coverage, high level [95% interval]",
    "Board reconstruction [95% interval]",
    "Board reconstruction, high level [95% interval]",
    "Direction recovery (chance)",
    "Loss recovered [95% interval]",
    "Explained variance",
    "Share of latents alive",
]


@pytest.fixture(scope="module")
def rows(sweep):
    return collect([sweep])


@pytest.fixture(scope="module")
def lines(rows):
    """The cells of each line."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(rows).splitlines()]


def test_there_is_a_line_for_every_row_and_one_for_chance(rows, lines):
    assert lines[0] == HEADS
    assert len(lines) == 2 + len(rows) + 1
    assert {len(line) for line in lines} == {len(HEADS)}


def test_lines_hold_the_numbers_of_their_rows(rows, lines):
    known = {(line[0], line[1]): dict(zip(HEADS, line, strict=True)) for line in lines[2:]}
    for row in (row for row in rows if row["kind"] == "sae"):
        line = known[recipe(row), "SAE"]
        for column, head in (
            ("coverage", "Coverage"),
            ("coverage.high", "Coverage, high level"),
            ("board_reconstruction", "Board reconstruction"),
        ):
            interval = f"[{row[f'{column}_low']:.3f}, {row[f'{column}_high']:.3f}]"
            assert line[f"{head} [95% interval]"] == f"{row[column]:.3f} {interval}"
        assert row["coverage.high"] == pytest.approx((row["coverage.legal_move"] + row["coverage.flipped"]) / 2)
        recovery = f"{row['direction_recovery']:.3f} ({row['direction_recovery_random']:.3f})"
        assert line["Direction recovery (chance)"] == recovery
        assert line["Share of latents alive"] == f"{row['core_frac_alive']:.3f}"
    chance = known["always on (chance)", ""]
    assert chance["Coverage [95% interval]"] == f"{rows[0]['coverage_always_on']:.3f}"
    assert chance["Coverage, high level [95% interval]"] == f"{rows[0]['coverage.high_always_on']:.3f}"
    assert chance["Loss recovered [95% interval]"] == ""


def test_lines_go_from_saes_to_chance_and_seeds_stand_below_their_row(lines):
    kinds = [line[1] for line in lines[2:]]
    probes = ["linear probe of the same sparsity"] * 3
    ceilings, floors = ["linear probe", "linear probe as an SAE"], ["MLP neurons", "residual channels", ""]
    assert kinds == [*["SAE"] * 5, "SAE of a random-weights GPT", *probes, *ceilings, *floors]
    for kind in ("SAE", probes[0]):
        l0s = [float(line[2]) for line in lines[2:] if line[1] == kind]
        assert l0s == sorted(l0s)
    names = [line[0] for line in lines[2:]]
    place = names.index("topk, 32 latents, k = 6, 0.004M activations, 2 seeds")
    members = [f"topk, 32 latents, k = 6, 0.004M activations, seed {seed}" for seed in (0, 1)]
    assert names[place + 1 : place + 3] == members
    assert names[-1] == "always on (chance)"


def test_several_testbeds_are_told_apart(rows):
    other = [{**row, "hook_name": "blocks.0.hook_resid_post", "coverage_always_on": 0.125} for row in rows]
    lines = markdown([*rows, *other]).splitlines()
    assert lines[0].startswith("| sweep | hook point | name |")
    assert len(lines) == 2 + 2 * (len(rows) + 1)
    assert "always on (chance) |  |  | 0.125" in next(line for line in lines if "block" in line and "always on" in line)


def test_the_same_rows_give_the_same_text(rows, sweep):
    assert markdown(rows) == markdown(collect([sweep]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"),
        ("`a` *b* _c_ # d", r"\`a\` \*b\* \_c\_ \# d"),
        ("p_anneal, 256 latents, k = 8", "p_anneal, 256 latents, k = 8"),
        ("a&lt;b", "a&amp;lt;b"),
    ],
)
def test_a_name_begins_no_html_link_or_emphasis(text, shown):
    assert escaped(text) == shown
