"""Arguments in docstrings become lists; everything else keeps its words."""

import pytest

pytest.importorskip("griffe")
from docstrings import laid_out

WRITTEN = """Make a testbed.

hook_name: default the residual stream two thirds up. properties: names (default those the game scores; the
first is the headline). n_games: games per split; fewer if the split has fewer.
Raises HookError for a bad hook point.
Source: somebody 2024."""


def test_each_argument_is_a_line_of_a_list_and_errors_stand_apart():
    lines = laid_out(WRITTEN, ["self", "hook_name", "properties", "n_games"]).splitlines()
    assert [line for line in lines if line.startswith("- ")] == [
        "- **`hook_name`**: default the residual stream two thirds up.",
        "- **`properties`**: names (default those the game scores; the first is the headline).",
        "- **`n_games`**: games per split; fewer if the split has fewer.",
    ]
    assert lines[0] == "Make a testbed." and lines[-2] == ""
    assert lines[-3] == "Raises HookError for a bad hook point." and lines[-1] == "Source: somebody 2024."


def test_several_arguments_share_a_line_and_stars_do_not_matter():
    text = laid_out("Put.\n\nx, y: columns. settings: any\n    other field.", ["x", "y", "**settings"])
    assert text == "Put.\n\n- **`x`, `y`**: columns.\n- **`settings`**: any other field."


def test_words_before_a_colon_that_are_no_argument_are_left_alone():
    text = "Say.\n\nOne thing: it is so. Another: not."
    assert laid_out(text, ["x"]) == text
