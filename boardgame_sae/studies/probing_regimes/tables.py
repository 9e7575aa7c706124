"""What the tables of the study say: means over properties, and each regime's over its settings."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from boardgame_sae.studies.probing_regimes.quiver import Quiver, best
from boardgame_sae.studies.study import Row, mean_with_interval

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


def means(read: Mapping[str, Quiver]) -> Row:
    """Columns of a row: means over properties, and the numbers of each. read: by property, at least one."""
    quivers = list(read.values())

    def mean(number: Callable[[Quiver], float]) -> float:
        return float(np.mean([number(one) for one in quivers]))

    return {
        "n_properties": len(quivers),
        "baselines": mean(lambda one: one.alone),
        "saes": mean(lambda one: best(list(one.saes.values()))),
        **mean_with_interval("gain", [one.gain for one in quivers]),
        "chosen": mean(lambda one: one.chosen),
        **mean_with_interval("control_gain", [one.control_gain for one in quivers]),
        **{name: mean(lambda one, name=name: one.baselines[name].on_test) for name in quivers[0].baselines},
        **{name: mean(lambda one, name=name: one.saes[name].on_test) for name in quivers[0].saes},
        "by_property": {name: [one.alone, one.gain, one.control_gain] for name, one in read.items()},
    }


def totals(rows: Sequence[Row]) -> list[Row]:
    """For each regime the means over its settings and properties; properties are what its intervals resample."""
    found = []
    for regime in dict.fromkeys(row["regime"] for row in rows):
        own = [row for row in rows if row["regime"] == regime]
        names = sorted({name for row in own for name in row["by_property"]})  # as rows of a resumed study are
        alone_P, gain_P, control_P = np.array(
            [np.mean([row["by_property"][name] for row in own if name in row["by_property"]], 0) for name in names]
        ).T
        found.append({
            "regime": regime, "setting": ALL, "n_properties": len(names), "baselines": float(alone_P.mean()),
            "saes": float(np.mean([row["saes"] for row in own])), **mean_with_interval("gain", gain_P),
            "chosen": float(np.mean([row["chosen"] for row in own])),
            **mean_with_interval("control_gain", control_P),
            "by_property": dict(zip(names, np.stack([alone_P, gain_P, control_P], 1).tolist(), strict=True)),
        })  # fmt: skip
    return found
