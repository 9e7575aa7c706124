"""What is ablated, or done instead: names, and how the figure draws them."""

from collections.abc import Mapping

from boardgame_sae.report.figures.style import BLUE, GREY, INK, ORANGE

GREEN = "#009E73"
NO_SAE = "no SAE"
FLOOR, CEILING = "nothing ablated", "probe of balanced data"
ERASED, ERASED_AGAIN = "spurious concept erased", "spurious concept erased, probe trained again"
LINES: Mapping[str, tuple[str, str]] = {
    FLOOR: (INK, "--"),
    CEILING: (INK, "-"),
    ERASED: (GREEN, ":"),
    ERASED_AGAIN: (GREEN, "-."),
}
"""What is done without an SAE, with its colour and line in the figure."""
JUDGE, ZERO, JUDGE_AGAIN = "judge", "judge, set to zero", "judge, probe trained again"
ATTRIBUTION, ATTRIBUTION_AGAIN = "attribution", "attribution, probe trained again"
AS_MANY, RANDOM = "attribution, as many as the judge", "random, as many as the judge"
MARKS: Mapping[str, tuple[str, str]] = {
    JUDGE: (BLUE, "o"),
    ZERO: (BLUE, "x"),
    JUDGE_AGAIN: (BLUE, "D"),
    ATTRIBUTION: (ORANGE, "o"),
    AS_MANY: (ORANGE, "s"),
    ATTRIBUTION_AGAIN: (ORANGE, "D"),
    RANDOM: (GREY, "o"),
}
"""What is ablated of an SAE, with its colour and marker in the figure."""
