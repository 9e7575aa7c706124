"""What the tables of the study say: means over properties, and each regime's over its settings."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from boardgame_sae.studies.over_games import mean, row_of
from boardgame_sae.studies.probing_regimes.quiver import Quiver, best
from boardgame_sae.studies.study import Row

COLUMNS = {
    "regime": "regime",
    "setting": "setting",
    "n_properties": "properties",
    "baselines": "baselines alone",
    "saes": "SAE probes alone",
    "gain": "gain by adding SAEs [95%]",
    "chosen": "an SAE is chosen",
    "control_gain": "by adding untrained SAEs [95%]",
}
ALL = "all"
"""The setting of a regime's total."""


def means(by_seed: Sequence[Mapping[str, Quiver]]) -> Row:
    """Columns of a row: means over properties and seeds, and the numbers of each. by_seed: each by property, not empty.

    Properties that not all seeds have are left out.
    """
    names = [name for name in by_seed[0] if all(name in read for read in by_seed)]
    row = row_of([_of_seed([read[name] for name in names], names) for read in by_seed])
    own = {
        name: [[one.alone, one.gain, one.control_gain] for one in (read[name] for read in by_seed)] for name in names
    }
    return row | {"by_property": own}


def _of_seed(quivers: Sequence[Quiver], names: Sequence[str]) -> Row:
    def average(number: Callable[[Quiver], float]) -> float:
        return float(np.mean([number(one) for one in quivers]))

    return {
        "n_properties": len(quivers),
        "baselines": average(lambda one: one.alone),
        "saes": average(lambda one: best(list(one.saes.values()))),
        "gain": mean([one.gain for one in quivers], names),
        "chosen": average(lambda one: one.chosen),
        "control_gain": mean([one.control_gain for one in quivers], names),
        **{name: average(lambda one, name=name: one.baselines[name].on_test) for name in quivers[0].baselines},
        **{name: average(lambda one, name=name: one.saes[name].on_test) for name in quivers[0].saes},
    }


def totals(rows: Sequence[Row]) -> list[Row]:
    """For each regime the means over its settings, properties and seeds; intervals resample properties."""
    found = []
    for regime in dict.fromkeys(row["regime"] for row in rows):
        own = [row for row in rows if row["regime"] == regime]
        names = sorted({name for row in own for name in row["by_property"]})  # as rows of a resumed study are
        of_each_PS3 = np.array(
            [np.mean([row["by_property"][name] for row in own if name in row["by_property"]], 0) for name in names]
        )
        by_seed = [
            {"baselines": float(alone_P.mean()), "gain": mean(gain_P, names), "control_gain": mean(control_P, names)}
            for alone_P, gain_P, control_P in of_each_PS3.transpose(1, 2, 0)
        ]
        found.append({
            "regime": regime, "setting": ALL, "n_properties": len(names), **row_of(by_seed),
            "saes": float(np.mean([row["saes"] for row in own])),
            "chosen": float(np.mean([row["chosen"] for row in own])),
            "by_property": dict(zip(names, of_each_PS3.mean(1).tolist(), strict=True)),
        })  # fmt: skip
    return found
