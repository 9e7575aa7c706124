"""Every field of every library's config, replaced by what it is not: an SAE or one error, never a traceback."""

import json

import pytest
from exported_saes import WRITERS, trained_like

from boardgame_sae.config import ConfigError
from boardgame_sae.files import RunError
from boardgame_sae.saes.load import load_sae

SAVED = {**WRITERS, "boardgame_sae": lambda sae, folder: sae.save(folder)}
VALUES = [None, True, -1, 0, 1.5, 10**30, "", "x", [], {}, [1], {"k": 1}, float("nan")]


def places(fields, above=()):
    """The path of every field, also inside others."""
    for name, value in fields.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


def error_of(folder):
    """What opening an SAE says; None where it opens."""
    try:
        load_sae(folder)
    except (RunError, ConfigError) as error:
        return str(error)


@pytest.mark.parametrize("library", SAVED)
def test_a_field_that_is_not_what_it_should_be_gives_an_sae_or_one_error(tmp_path, library):
    SAVED[library](trained_like("topk"), tmp_path)
    (path,) = tmp_path.glob("*.json")
    text = path.read_text()
    for *above, name in places(json.loads(text)):
        for value in (*VALUES, ...):
            fields = inside = json.loads(text)
            for each in above:
                inside = inside[each]
            inside[name] = value
            if value is ...:
                del inside[name]
            path.write_text(json.dumps(fields))
            assert str(tmp_path) in (error_of(tmp_path) or str(tmp_path))
