"""Configs are strict in what they take, plain in what they complain about, and stable in what they hash to."""

import dataclasses
import datetime
import json
import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardgame_sae.config import (
    ConfigError,
    Flags,
    canonical_json,
    checked_name,
    config,
    content_hash,
    from_mapping,
    from_yaml,
    not_finite,
    parse_spec,
    read_flags,
    read_yaml,
    seed_for,
    spec_of,
    to_mapping,
)


@config
class Inner:
    """A part."""

    width: int = 4
    """How wide."""


@config
class Dish:
    """A config to test with."""

    n_steps: int
    """Steps."""
    learning_rate: float = 1e-3
    """Rate."""
    names: tuple[str, ...] = ()
    """Names."""
    kind: Literal["hot", "cold"] = "hot"
    """Which."""
    inner: Inner = Inner()
    """A config inside."""
    silent: bool = False
    """A switch."""

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ValueError("n_steps must be at least 1")


def fault(values, source="here"):
    with pytest.raises(ConfigError) as caught:
        from_mapping(Dish, values, source)
    return str(caught.value)


def test_a_misspelt_field_is_refused_with_the_nearest_name_and_the_source():
    assert fault({"n_steps": 1, "learning_rat": 0.1}, "dish.yaml") == (
        "dish.yaml: unknown field 'learning_rat'; did you mean 'learning_rate'?"
    )


def test_an_unlike_field_is_refused_with_the_list_of_fields():
    assert fault({"n_steps": 1, "zzz": 0}) == (
        "here: unknown field 'zzz'; the fields are n_steps, learning_rate, names, kind, inner, silent"
    )


def test_an_unknown_field_inside_a_config_is_refused_with_its_path():
    assert "'inner.hight'" in fault({"n_steps": 1, "inner": {"hight": 3}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_steps", "3"),
        ("n_steps", 3.5),
        ("n_steps", True),
        ("n_steps", None),
        ("learning_rate", "0.1"),
        ("learning_rate", True),
        ("names", "ab"),
        ("names", [1]),
        ("kind", "warm"),
        ("silent", 1),
        ("silent", "true"),
        ("inner", 3),
    ],
)
def test_a_mistyped_value_is_refused_and_named(field, value):
    message = fault({"n_steps": 1, field: value})
    assert message.startswith("here: field '") and f"'{field}" in message and repr(value).strip("[]") in message


def test_a_value_the_class_itself_refuses_is_an_error_with_its_own_words():
    assert fault({"n_steps": 0}).endswith("n_steps must be at least 1")


def test_a_missing_field_is_named():
    assert fault({"learning_rate": 0.1}) == "here: field 'n_steps' is required"


def test_every_fault_gets_its_own_line():
    assert len(fault({"learning_rat": 1, "kind": "warm"}).splitlines()) == 3


def test_a_long_value_is_shortened_in_the_message():
    assert len(fault({"n_steps": "9" * 500})) < 200


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "is a object: must be text, a number"),
        ({1, 2}, "is a set: must be"),
        (datetime.date(2020, 1, 1), "is a date: must be"),
        (math.nan, "is nan: must be a finite number"),
        (-math.inf, "is -inf: must be a finite number"),
        (10**4000, "is a number of 13288 bits: must have at most 64"),
        ({(1, 2): 3}, "has the key (1, 2): must be text"),
    ],
)
def test_what_is_not_plain_data_is_refused_by_name_wherever_it_is(value, said):
    assert fault({"n_steps": 1, "learning_rate": value}).startswith(f"here: field 'learning_rate' {said}")
    assert fault({"n_steps": 1, "names": [{"a": value}]}).startswith(f"here: field 'names.0.a' {said}")


def test_a_value_that_holds_itself_is_refused():
    endless = []
    endless.append(endless)
    assert "nested deeper than" in fault({"n_steps": 1, "names": endless})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_name_from_a_mapping_and_in_python(value):
    message = f"here: field 'learning_rate' is {value}: must be a finite number"
    assert fault({"n_steps": 1, "learning_rate": value}) == message
    with pytest.raises(ValueError, match=r"Dish: field 'learning_rate' is .*: input should be a finite number"):
        Dish(n_steps=1, learning_rate=value)


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "Infinity", "1e999"])
def test_nor_is_it_taken_from_yaml_or_flags(tmp_path, text, capsys):
    """YAML's own words for them begin with a dot; ours, as flags, are Python's."""
    yaml = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(text.lower(), text)
    (tmp_path / "dish.yaml").write_text(f"n_steps: 1\nlearning_rate: {yaml}\n")
    with pytest.raises(ConfigError, match=r"dish\.yaml: field 'learning_rate' is"):
        from_yaml(Dish, tmp_path / "dish.yaml")
    argv = ["--n-steps", "1", f"--learning-rate={text}"]
    with pytest.raises(ConfigError, match=r"cook: field 'learning_rate' is .*finite number"):
        read_flags("cook", "", argv, [Flags(Dish)], {}, "cook")


def test_a_number_that_is_not_finite_is_found_wherever_it_is():
    assert not_finite({"a": [1.5, {"b": (0, math.nan)}]}) == "a.1.b.1"
    assert not_finite({"a": [1.5, None, True, "nan", 10**400]}) is None
    assert not_finite(math.inf) == ""


def test_a_whole_number_is_taken_for_a_float():
    assert from_mapping(Dish, {"n_steps": 1, "learning_rate": 2}).learning_rate == 2.0


def test_a_config_is_frozen_and_keyword_only():
    dish = Dish(n_steps=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dish.n_steps = 2
    with pytest.raises((TypeError, ValueError)):
        Dish(1)


@pytest.mark.parametrize(
    ("text", "value"), [("3e-4", 3e-4), ("1E3", 1000.0), ("-2.5e+1", -25.0), ("1e5", 1e5), ("0.5", 0.5), ("7", 7.0)]
)
def test_yaml_numbers_with_an_exponent_are_numbers(tmp_path, text, value):
    path = tmp_path / "dish.yaml"
    path.write_text(f"n_steps: 5\nlearning_rate: {text}\nnames: [a, b]\ninner: {{width: 9}}\n")
    dish = from_yaml(Dish, path)
    assert dish == Dish(n_steps=5, learning_rate=value, names=("a", "b"), inner=Inner(width=9))


def test_quoted_yaml_numbers_are_text(tmp_path):
    path = tmp_path / "dish.yaml"
    path.write_text("n_steps: '5'\n")
    with pytest.raises(ConfigError, match="n_steps"):
        from_yaml(Dish, path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read as a config"),
        (b"\xff\xfe\x00", "cannot be read as a config"),
        (b"a: [1, 2", "not valid YAML"),
        (b"a: b: c", "not valid YAML"),
        (b"- 1\n- 2\n", "holds a list"),
        (b"just text", "holds a str"),
        (b"a: !!python/object/apply:os.getcwd []", "line 1: the type python/object/apply:os.getcwd is not plain data"),
        (b"a: 1\nb: 2\na: 3", "line 3: the key 'a' is given twice"),
        (b"a: x" * 2**17, "larger than 0.25 MiB"),
    ],
)
def test_an_unusable_yaml_file_is_named_with_its_fault(tmp_path, text, complaint):
    path = tmp_path / "some dish.yaml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ") and complaint in str(caught.value)


def test_an_empty_yaml_file_is_an_empty_mapping(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_yaml_faults_name_the_file(tmp_path):
    path = tmp_path / "dish.yaml"
    path.write_text("n_stepps: 5\n")
    with pytest.raises(ConfigError) as caught:
        from_yaml(Dish, path)
    assert str(path) in str(caught.value) and "did you mean 'n_steps'" in str(caught.value)


def test_a_config_survives_its_plain_data():
    dish = Dish(n_steps=3, names=("x",), inner=Inner(width=1), kind="cold")
    plain = to_mapping(dish)
    assert plain["names"] == ["x"] and json.loads(json.dumps(plain)) == plain
    assert from_mapping(Dish, plain) == dish


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def turned_round(value):
    if isinstance(value, dict):
        return {key: turned_round(value[key]) for key in reversed(value)}
    return [turned_round(part) for part in value] if isinstance(value, list) else value


@given(PLAIN)
def test_canonical_json_reads_back_and_does_not_depend_on_key_order(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(turned_round(value)) == text
    assert content_hash(turned_round(value)) == content_hash(value)


def test_canonical_json_and_hash_are_what_they_always_were():
    value = {"b": [1, 2.5, None, True], "a": "é"}
    assert canonical_json(value) == '{"a":"é","b":[1,2.5,null,true]}'
    # printf '{"a":"é","b":[1,2.5,null,true]}' | sha256sum
    assert content_hash(value, 16) == "0c187fb652afca80"


def test_canonical_json_refuses_what_json_cannot_say():
    with pytest.raises(ConfigError, match=r"field .a\.0. is not a finite number"):
        canonical_json({"a": [math.nan]})


def test_content_hash_has_the_length_asked_for_and_changes_with_any_field():
    hashes = {content_hash({"a": a, "b": b}) for a in range(10) for b in range(10)}
    assert len(hashes) == 100 and {len(found) for found in hashes} == {8}


def test_seed_for_splits_by_seed_and_by_every_part_of_the_purpose():
    purposes = [(), ("weights",), ("order",), ("order", 0), ("order", 1), ("order", "1"), ("order1",), (1, "order")]
    seeds = {seed_for(seed, *purpose) for seed in range(20) for purpose in purposes}
    assert len(seeds) == 20 * len(purposes)


@given(st.integers(), st.lists(st.text() | st.integers(), max_size=3))
def test_seed_for_is_a_63_bit_number_and_the_same_each_time(seed, purpose):
    found = seed_for(seed, *purpose)
    assert 0 <= found < 2**63 and found == seed_for(seed, *purpose)


def flags(*argv, given=None, **more):
    return read_flags("cook", "Cook.", argv, [Flags(Dish, **more), Flags(Inner)], given or {}, "dish.yaml")


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("othello", "othello", {}),
        ("othello:passes=explicit", "othello", {"passes": "explicit"}),
        (" a : b = 1 , c=2.5,d=x:y ", "a", {"b": 1, "c": 2.5, "d": "x:y"}),
        ("a:", "a", {}),
    ],
)
def test_a_spec_is_a_name_with_settings_and_can_be_written_back(text, name, settings):
    assert parse_spec(text, "game") == (name, settings)
    assert parse_spec(spec_of(name, settings), "game") == (name, settings)


@pytest.mark.parametrize("text", ["a:b", "a:=1", "a:b=", "a:b=1,c", "a:b=1,b=2"])
def test_a_malformed_spec_is_refused_and_named(text):
    with pytest.raises(ConfigError, match=f"^game '{text}': "):
        parse_spec(text, "game")


def test_flags_fill_a_config_and_win_over_the_file_which_wins_over_defaults():
    more = {"defaults": {"learning_rate": 0.5, "kind": "cold"}, "fixed": {"inner": {"width": 7}}}
    dish, inner = flags("--n-steps", "3", "--width", "2", given={"n_steps": 9, "names": ["a"], "kind": "hot"}, **more)
    assert dish == Dish(n_steps=3, names=("a",), kind="hot", learning_rate=0.5, inner=Inner(width=7))
    assert inner == Inner(width=2)


def test_help_of_an_inherited_field_is_that_of_the_class_that_declares_it():
    @config
    class Soup(Dish):
        """A dish."""

        kind: Literal["hot"] = "hot"
        salt: int = 1
        """Pinches,
        at most three."""

    soup = Flags(Soup)
    assert {field.name: soup.help(field) for field in soup.fields()} == {
        "n_steps": "Steps.", "learning_rate": "Rate.", "names": "Names.", "kind": "Which.", "inner": "A config inside.",
        "silent": "A switch.", "salt": "Pinches, at most three.",
    }  # fmt: skip


def test_a_flag_of_several_groups_has_the_help_of_all_of_them(capsys):
    @config
    class Oven:
        """Heats."""

        width: int = 4
        """How wide the oven is."""

    with pytest.raises(SystemExit):
        read_flags("cook", "Cook.", ["--help"], [Flags(Inner), Flags(Oven)], {}, "dish.yaml")
    assert "How wide. How wide the oven is. (default: 4)" in " ".join(capsys.readouterr().out.replace("│", "").split())


def test_a_fault_of_several_fields_together_is_said_without_their_values():
    @config
    class Pan:
        """Holds."""

        inner: int
        outer: int

        def __post_init__(self) -> None:
            if self.inner > self.outer:
                raise ValueError("inner must not exceed outer")

    with pytest.raises(ConfigError) as caught:
        from_mapping(Pan, {"inner": 2, "outer": 1}, "pan.yaml")
    assert str(caught.value) == "pan.yaml: inner must not exceed outer"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_step": 1}, "dish.yaml: unknown field 'n_step'; did you mean 'n_steps'?"),
        ({"n_steps": "1"}, "dish.yaml: field 'n_steps' is '1'"),
        ({1: 2}, "dish.yaml: unknown field '1'"),
    ],
)
def test_a_fault_of_the_file_is_told_as_the_files_even_where_a_flag_would_win(given, message):
    with pytest.raises(ConfigError) as caught:
        flags("--n-steps", "3", given=given, fixed={"inner": {}})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["topk-16", "linear probe", "blocks.3.hook_resid_post", "SAE, 3 seeds", "Größe"])
def test_names_of_things_are_names(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", ".hidden", "../x", "a\\b", "/etc", "a\nb", "a\x00", "\u202etxt", "a\u2028b", "x" * 101],
)
def test_what_leads_out_of_a_folder_or_cannot_be_seen_is_no_name(name):
    with pytest.raises(ValueError, match=r"a name (has|holds)"):
        checked_name(name)
