from __future__ import annotations

import copy
import json
import operator
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConditionSyntax
from orchestrator.model.condition_parser import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TERMS,
    Alone,
    And,
    Comparison,
    Exists,
    ListOf,
    Literal,
    Node,
    Not,
    Operand,
    Or,
    Reference,
    parse_tree,
)
from orchestrator.model.conditions import Condition, parse_condition
from orchestrator.model.parameters import look_up
from orchestrator.model.values import DataType, Value, from_python
from tests.unit.steps import steps_of

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"


def values(**data: object) -> dict[str, Value]:
    return {name: from_python(item, name) for name, item in data.items()}


def holds(text: str, /, **data: object) -> bool:
    return parse_condition(text).holds(values(**data))


# -- comparing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$n$ = 5", True),
        ("$n$ = 6", False),
        ("$n$ != 6", True),
        ("$n$ != 5", False),
        ("$n$ < 6", True),
        ("$n$ < 5", False),
        ("$n$ <= 5", True),
        ("$n$ <= 4", False),
        ("$n$ > 4", True),
        ("$n$ > 5", False),
        ("$n$ >= 5", True),
        ("$n$ >= 6", False),
        ("5 < 10", True),
        ("1 > 0", True),
        ("$n$<6", True),
        ("$n$>-5", True),
        ("$n$ = +5", True),
        ("$n$ = 5.0", True),
        ("$n$ < 5.5", True),
        ("$n$ > .5e1", False),
        ("$n$ = 50e-1", True),
    ],
)
def test_numbers_compare_by_value(text, expected):
    assert holds(text, n=5) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$big$ = 9007199254740993", True),
        ("$big$ = 9007199254740992.0", False),
        ("$big$ > 9007199254740992.0", True),
        ("9007199254740992.0 < $big$", True),
        ('$big$ = "9007199254740993"', True),
        ('$big$ = "9007199254740992"', False),
        ("$min$ = -9223372036854775808", True),
        ("$max$ = 9223372036854775807", True),
        ("$max$ < 9223372036854775808.0", True),
        ("$doc.huge$ > $max$", True),
    ],
)
def test_an_int64_is_never_rounded_to_a_double(text, expected):
    data = {"big": 2**53 + 1, "min": -(2**63), "max": 2**63 - 1, "doc": {"huge": 2**70}}

    assert holds(text, **data) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$code$ >= 400", True),
        ("$code$ = 404", True),
        ("$code$ = 404.0", True),
        ("400 <= $code$", True),
        ("$code$ < 400", False),
        ("$spaced$ = 404", True),
        ("$word$ = 404", False),
        ("$word$ != 404", True),
        ("$word$ < 404", False),
        ("$word$ > 404", False),
        ('"" = 0', False),
        ('"0.1" = 0.1', True),
        ('"nan" = 0', False),
        ('"inf" > 0', False),
        ('"1_0" = 10', False),
        ('"٣" = 3', False),
    ],
)
def test_a_string_beside_a_number_compares_as_the_number_it_looks_like(text, expected):
    assert holds(text, code="404", spaced=" 404\n", word="Not Found") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$mode$ = SYNC", True),
        ("$mode$ = 'SYNC'", True),
        ('$mode$ = "SYNC"', True),
        ("$mode$ = sync", False),
        ("$mode$ != ASYNC", True),
        ("$mode$ > ASYNC", True),
        ("$version$ = foo-bar_1.2", True),
        ("$version$ != 1.2.3", True),
        ('"10" < "9"', True),
        ('"a" <= "a"', True),
        ('"b" >= "a"', True),
        ("inf = 'inf'", True),
        ("NaN = NaN", True),
        ("größe = 'größe'", True),
        ("12abc = '12abc'", True),
        ("2024-01-31 > 2024-01-30", True),
    ],
)
def test_two_strings_compare_by_their_characters(text, expected):
    assert holds(text, mode="SYNC", version="foo-bar_1.2") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$yes$ = true", True),
        ("$yes$ = false", False),
        ("$yes$ != false", True),
        ("$no$ = false", True),
        ('$yes$ = "true"', True),
        ("$text$ = true", True),
        ("$text$ = false", False),
        ('$yes$ = "yes"', False),
        ("$yes$ = 1", False),
        ("$yes$ != 1", True),
        ("$no$ < $yes$", False),
        ("$no$ <= $no$", False),
        ("$yes$ > 0", False),
    ],
)
def test_booleans_equal_booleans_and_their_words_and_have_no_order(text, expected):
    assert holds(text, yes=True, no=False, text="true") is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$empty$ = []", True),
        ("$empty$ != []", False),
        ("$ints$ != []", True),
        ("$ints$ = [1, 2]", True),
        ("$ints$ = [1.0, 2.0]", True),
        ("$ints$ = [2, 1]", False),
        ("$ints$ = [1]", False),
        ('$ints$ = ["1", "2"]', False),
        ("$ints$ = [$one$, 2]", True),
        ("$ints$ = $doc.ints$", True),
        ("$doc.flags$ = [true, [1, 'a']]", True),
        ("$doc.flags$ = [1, [true, 'a']]", False),
        ("$doc$ = $same$", True),
        ("$doc$ = $other$", False),
        ("$doc$ != $other$", True),
        ("$ints$ < [3]", False),
        ("$ints$ = 1", False),
        ("$doc$ = doc", False),
        ("[[1], []] = [[1], []]", True),
    ],
)
def test_lists_and_objects_are_equal_by_structure(text, expected):
    doc = {"ints": [1, 2], "flags": [True, [1, "a"]], "nothing": None}
    data = {"empty": [], "ints": [1, 2], "one": 1, "doc": doc, "same": copy.deepcopy(doc), "other": {"ints": [1, 2]}}

    assert holds(text, **data) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('$s$ : "404"', True),
        ("$s$ : 404", True),
        ("$s$ : HTTP", True),
        ("$s$ : http", False),
        ('$s$ : ""', True),
        ("$s$ : true", False),
        ("'it is true' : true", True),
        ("$words$ : a", True),
        ("$words$ : c", False),
        ("$words$ : 404", True),
        ("$codes$ : 404", True),
        ("$codes$ : '404'", True),
        ("$codes$ : 404.0", True),
        ("[1, $n$] : 4", True),
        ("[true] : 1", False),
        ("[true] : true", True),
        ("[[1]] : [1]", False),
        ("[] : 1", False),
        ("$n$ : 4", False),
        ("$doc$ : key", False),
        ("$codes$ : $missing$", False),
        ("$missing$ : a", False),
    ],
)
def test_a_colon_asks_for_a_substring_or_an_element(text, expected):
    data = {"s": "HTTP 404", "words": ["a", "b", "404"], "codes": [400, 404], "n": 4, "doc": {"key": 1}}

    assert holds(text, **data) is expected


@pytest.mark.parametrize("variable", ["$missing$", "$doc.nothing$", "$doc.missing$", "$doc.a.b$", "$n.a$"])
def test_a_variable_without_a_value_is_unequal_to_everything_and_nothing_else(variable):
    data = {"doc": {"nothing": None, "a": 1}, "n": 1}

    answers = {sign: holds(f"{variable} {sign} 1", **data) for sign in ("=", "!=", "<", "<=", ">", ">=", ":")}
    against_itself = {sign: holds(f"{variable} {sign} {variable}", **data) for sign in ("=", "!=", "<=")}

    assert answers == {"=": False, "!=": True, "<": False, "<=": False, ">": False, ">=": False, ":": False}
    assert against_itself == {"=": False, "!=": True, "<=": False}
    assert not holds(f"exists({variable})", **data)
    assert holds(f"NOT exists({variable})", **data)
    assert not holds(variable, **data)


@pytest.mark.parametrize("value", ["x", "", 0, False, [], {}, 1.5])
def test_every_value_exists_the_empty_ones_too(value):
    assert holds("exists($v$)", v=value)
    assert holds("exists ( $doc.v$ )", doc={"v": value})


def test_a_declared_error_message_exists_once_it_is_filled():
    """The edges of the sample catch-task-error."""
    failed, fine = parse_condition("exists($ErrorMessage$)"), parse_condition("NOT exists($ErrorMessage$)")

    before, after = values(), values(ErrorMessage="no such property")

    assert (failed.holds(before), fine.holds(before)) == (False, True)
    assert (failed.holds(after), fine.holds(after)) == (True, False)


# -- connectives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$t$ AND $t$", True),
        ("$t$ AND $f$", False),
        ("$f$ OR $t$", True),
        ("$f$ OR $f$", False),
        ("NOT $f$", True),
        ("NOT $t$", False),
        ("NOT NOT $t$", True),
        ("true", True),
        ("NOT false", True),
        ("$t$ OR $t$ AND $f$", True),
        ("($t$ OR $t$) AND $f$", False),
        ("$f$ AND $t$ OR $t$", True),
        ("$f$ AND ($t$ OR $t$)", False),
        ("NOT $f$ AND $f$", False),
        ("NOT ($f$ AND $f$)", True),
        ("NOT $t$ OR $t$", True),
        ("NOT($t$ OR $t$)", False),
        ("NOT $n$ = 5", False),
        ("((($n$ = 5)))", True),
        ("$n$ = 5 AND $n$ < 6 AND NOT $f$ OR false", True),
        ("$word$", False),
        ("$n$", False),
        ("$true_text$", True),
    ],
)
def test_not_binds_tighter_than_and_and_and_tighter_than_or(text, expected):
    assert holds(text, t=True, f=False, n=5, word="abc", true_text="true") is expected


@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0\u2003"])
def test_a_blank_condition_always_holds(text):
    condition = parse_condition(text)

    assert condition.holds({})
    assert condition.references == ()
    assert condition.explain({}) == "there is no condition"


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\u3000", "\n", "\r\n", "\t", " \u00a0 "])
def test_every_unicode_space_counts_as_space(space):
    text = f"{space}$a${space}<{space}2{space}AND{space}NOT{space}exists{space}({space}$b${space}){space}"

    assert holds(text, a=1)
    assert not holds(text, a=1, b=1)


# -- operands ------------------------------------------------------------------------------------------------------


def test_nested_and_system_variables_are_looked_up():
    parameters = {
        "order": from_python({"quantity": 3, "items": [{"sku": "a"}]}, "order"),
        "`Task_2_isApproved`": from_python(data=True, place="approved"),
        "`ErrorInfo.code`": from_python(404, "code"),
        "`ErrorInfo`": from_python({"message": "gone"}, "info"),
    }
    text = (
        "$order.quantity$ = 3 AND $order.items.0.sku$ = a AND $order.items[0].sku$ = a AND $`Task_2_isApproved`$ = true"
        " AND $`ErrorInfo.code`$ = 404 AND $`ErrorInfo.message`$ = gone AND $`ErrorInfo`.message$ : on"
    )

    assert parse_condition(text).holds(parameters)


def test_references_are_named_once_and_in_order():
    condition = parse_condition("$b$ = [$a.x$, $b$] AND (NOT $`T.s`$ OR exists($c$)) AND 1 = 1")

    assert condition.references == ("b", "a.x", "`T.s`", "c")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'"a\"b"', 'a"b'),
        (r"'a\'b'", "a'b"),
        (r"'a\"b'", 'a"b'),
        ("'a\"b'", 'a"b'),
        ('"a\'b"', "a'b"),
        (r'"a\\"', "a\\"),
        (r'"\n\t\r\b\f\/"', "\n\t\r\b\f/"),
        (r'"\u00e9\u20AC"', "é€"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud83d"', "\ud83d"),
        (r'"\\u00e9"', r"\u00e9"),
        ('"two\nlines"', "two\nlines"),
        ('"NUL \0"', "NUL \0"),
        ('"AND) $x$ OR"', "AND) $x$ OR"),
        ('""', ""),
    ],
)
def test_strings_have_the_escapes_of_json(written, meant):
    assert parse_tree(f"{written} = $x$") == Comparison(Literal(meant), "=", Reference("x"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("007", 7),
        ("1.5", 1.5),
        ("5.", 5.0),
        (".5", 0.5),
        ("-1e-3", -0.001),
        ("1e-999", 0.0),
        ("true", True),
        ("false", False),
        ("TRUE", "TRUE"),
        ("True", "True"),
        ("NaN", "NaN"),
        ("inf", "inf"),
        ("Infinity", "Infinity"),
        ("1_000", "1_000"),
        ("and", "and"),
        ("exists", "exists"),
        ("nothing", "nothing"),
    ],
)
def test_a_word_is_a_number_a_boolean_or_a_string(written, meant):
    tree = parse_tree(f"$x$ = {written}")

    assert repr(tree) == repr(Comparison(Reference("x"), "=", Literal(meant)))


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("$a$ =", 6, "a value"),
        ("= 5", 1, "a value"),
        ("$a$ == 5", 6, "a value"),
        ("$a$ = = 5", 7, "a value"),
        ("$a$ = 5 $b$", 9, "AND, OR or the end"),
        ("$a$ = 5 = 5", 9, "AND, OR or the end"),
        ("$a$ and $b$", 5, "AND, OR or the end"),
        ("$a$ = 5)", 8, "AND, OR or the end"),
        ("$a$ AND", 8, "a value"),
        ("AND $a$", 1, "a value"),
        ("$a$ OR OR $b$", 8, "a value"),
        ("$a$ = NOT $b$", 7, "a value"),
        ("NOT", 4, "a value"),
        ("()", 2, "a value"),
        ("($a$", 5, "AND, OR or )"),
        ("($a$ = 5 ]", 10, "AND, OR or )"),
        ("[1 2] = 3", 4, ", or ]"),
        ("[1,] = 3", 4, "a value"),
        ("[,1] = 3", 2, "a value"),
        ("[1", 3, ", or ]"),
        ("[", 2, "a value"),
        ("[1]", 4, "one of = "),
        ("5", 2, "one of = "),
        ("SYNC AND true", 6, "one of = "),
        ('"text"', 7, "one of = "),
        ("$a$ = 'text", 7, "a closing '"),
        ('$a$ = "text\\"', 7, 'a closing "'),
        ("$a$ = $b", 7, "a second $"),
        ("$a b$ = 1", 1, "a variable such as"),
        ("$$ = 1", 1, "a variable such as"),
        ("$a..b$ = 1", 1, "a variable such as"),
        ("$`a$ = 1", 1, "a variable such as"),
        ("\n\u00a0 $a$ @ 5", 8, "a variable, a value, an operator"),
        ("$a$ = 5;", 8, "a variable, a value, an operator"),
        ("$a$ = ^", 7, "a variable, a value, an operator"),
        ("$a$ & $b$", 5, "a variable, a value, an operator"),
        ("$a$ ! = 5", 5, "a variable, a value, an operator"),
        ("$a$ = -", 7, "a number, or a word"),
        ("$a$ = .x", 7, "a number, or a word"),
        ("$a$ = -foo", 7, "a number, or a word"),
        ("$a$ = 9223372036854775808", 7, "an int64"),
        ("$a$ = -9223372036854775809", 7, "an int64"),
        ("$a$ = 1e999", 7, "a number that a double can hold"),
        ("$a$ = " + "9" * 5000, 7, "a number that a double can hold"),
        ("$a$ = null", 7, "exists($name$) or a quoted string"),
        ("$a$ = 'x\\q'", 9, "one of the escapes"),
        ("$a$ = 'x\\u12'", 9, "one of the escapes"),
        ("is_empty($a$)", 1, "exists($name$), the only function"),
        ("true OR does_not_exist($a$)", 9, "exists($name$), the only function"),
        ("AND($a$)", 1, "a value"),
        ("exists", 7, "one of = "),
        ("exists()", 8, "a variable such as"),
        ("exists(5)", 8, "a variable such as"),
        ("exists([$a$])", 8, "a variable such as"),
        ("exists($a$", 11, ") after the variable"),
        ("exists($a$, $b$)", 11, ") after the variable"),
        ("exists($a$) = true", 13, "AND, OR or the end"),
        ("($a$) = 1", 7, "AND, OR or the end"),
        ("Exists($a$)", 1, "exists($name$), the only function"),
        ("\ufeff$a$", 1, "a variable, a value, an operator"),
    ],
)
def test_bad_input_is_refused_where_it_goes_wrong(text, column, expected):
    with pytest.raises(ConditionSyntax) as refused:
        parse_condition(text)

    assert refused.value.column == column
    assert refused.value.expected.startswith(expected)
    assert refused.value.text == text
    assert f"column {column}: expected {expected}" in str(refused.value)


def test_a_text_of_the_longest_length_is_read_and_one_character_more_refused():
    text = "$a$ = 1".ljust(MAX_LENGTH)

    with pytest.raises(ConditionSyntax) as refused:
        parse_condition(text + " ")

    assert parse_condition(text).holds(values(a=1))
    assert refused.value.column == MAX_LENGTH + 1


@pytest.mark.parametrize(
    ("before", "middle", "after"), [("(", "$a$", ")"), ("NOT ", "$a$", ""), ("NOT(", "$a$", ")"), ("[", "", "]")]
)
def test_the_deepest_nesting_is_read_and_one_level_more_refused(before, middle, after):
    levels = MAX_DEPTH // (2 if before == "NOT(" else 1)
    tail = " = 1" if before == "[" else ""

    def nested(depth: int) -> str:
        return before * depth + middle + after * depth + tail

    with pytest.raises(ConditionSyntax, match="at most 100 levels") as refused:
        parse_condition(nested(levels + 1))

    assert isinstance(parse_condition(nested(levels)).holds(values(a=True)), bool)
    assert refused.value.column == len(before) * levels + 1


def test_levels_are_counted_one_inside_the_other_and_not_side_by_side():
    text = " AND ".join(["NOT ([1] = [2])"] * 200)

    assert parse_condition(text).holds({})


def test_the_most_terms_are_read_and_one_more_refused():
    text = " OR ".join(["$a$"] * MAX_TERMS)

    with pytest.raises(ConditionSyntax, match="at most 1000 terms") as refused:
        parse_condition(text + " OR $a$")

    assert parse_condition(text).holds(values(a=True))
    assert refused.value.column == len(text) + len(" OR ") + 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1_000 + "$a$" + ")" * 1_000,
        "NOT " * 1_000 + "$a$",
        "$a$ = " + "[" * 1_000 + "]" * 1_000,
        "(" * 1_000_000,
        "$a$ AND " * 125_000,
        "[" * MAX_LENGTH,
        "$" * MAX_LENGTH,
        '"' * (MAX_LENGTH - 1),
        "\\" * MAX_LENGTH,
        "$a$ = '" + "\\u" * 9_000,
        " " * (MAX_LENGTH - 1) + "(",
        "x=" * (MAX_LENGTH // 2),
    ],
    ids=range(12),
)
def test_a_deep_or_huge_text_is_refused_in_no_more_steps_than_it_has_characters(text):
    def refuse():
        with pytest.raises(ConditionSyntax):
            parse_condition(text)

    assert steps_of(refuse) < len(text)


# -- the condition itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$total$ > 100", "`$total$ = 80` is not > 100"),
        ("$total$ <= 100", "`$total$ = 80` is <= 100"),
        ("$total$ = $other$", "`$total$ = 80` is not = `$other$` (no value)"),
        ("$name$ : ell", '`$name$ = "hello"` contains "ell"'),
        ("$name$ : x", '`$name$ = "hello"` does not contain "x"'),
        ("[$total$, 1] : 2", "[`$total$ = 80`, 1] does not contain 2"),
        ("exists($name$)", "`$name$` has a value"),
        ("NOT exists($other$)", "`$other$` has no value"),
        ("$flag$", "`$flag$ = false` is not true"),
        ("NOT $flag$", "`$flag$ = false` is not true"),
        ("true", "true is true"),
        ("$total$ = 80 AND $total$ > 100 AND $flag$", "`$total$ = 80` is not > 100"),
        ("$total$ = 80 AND $name$ = hello", '`$total$ = 80` is = 80 and `$name$ = "hello"` is = "hello"'),
        ("$flag$ OR $total$ = 80 OR true", "`$total$ = 80` is = 80"),
        ("$flag$ OR $total$ = 1", "`$flag$ = false` is not true and `$total$ = 80` is not = 1"),
        ("true AND true AND true AND true AND true", "true is true and true is true and true is true and 2 more"),
    ],
)
def test_a_condition_explains_its_answer(text, reason):
    assert parse_condition(text).explain(values(total=80, name="hello", flag=False)) == reason


def test_an_explanation_shortens_long_values_and_can_be_written_anywhere():
    explanation = parse_condition("$long$ = $odd$").explain(values(long="x" * 100_000, odd="\ud800"))

    assert len(explanation) < 200
    assert explanation.encode()


def test_a_condition_survives_pickling_and_copying():
    condition = parse_condition(" $a$ = 1 OR exists($b$)")

    twins = [pickle.loads(pickle.dumps(condition)), copy.deepcopy(condition)]

    assert twins == [condition, condition]
    assert len({condition, *twins}) == 1
    assert all(twin.holds(values(a=1)) and not twin.holds({}) for twin in twins)


def test_a_condition_is_true_for_nobody_elses_text():
    assert parse_condition("$a$ = 1") != parse_condition("$a$ = true")


def conditions_of(definition: object) -> Iterator[str]:
    if isinstance(definition, list):
        for item in definition:
            yield from conditions_of(item)
    elif isinstance(definition, dict):
        if isinstance(definition.get("condition"), str):
            yield definition["condition"]
        if definition.get("key") == "whileCondition":
            yield definition["value"]["stringValue"]
        for item in definition.values():
            yield from conditions_of(item)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the product's samples are not at {SAMPLES}")
def test_every_condition_of_the_products_samples_is_read():
    texts = {text for path in SAMPLES.glob("*.json") for text in conditions_of(json.loads(path.read_text()))}

    conditions = {text: parse_condition(text) for text in texts}

    assert len(conditions) == 10
    again = conditions["$retryCounter$ < 2 AND\u00a0$responseCode$ >= 400"]
    assert again.holds(values(retryCounter=1, responseCode="400"))
    assert not again.holds(values(retryCounter=2, responseCode=400))


# -- properties ------------------------------------------------------------------------------------------------------

NAMES = ["a", "b", "doc.x", "doc.list", "`Task_1.status`", "missing"]
SPACES = st.sampled_from([" ", "  ", "\u00a0", "\n"])
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2, 2)
texts = st.text(st.characters(), max_size=5) | st.sampled_from(["true", "1", "1.0", "x", "404"])
scalars = st.booleans() | numbers | texts
documents = st.recursive(
    st.none() | scalars | st.just(float(2**53)) | st.just(2**53 + 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=5,
)
leaves = st.builds(Literal, scalars) | st.builds(Reference, st.sampled_from(NAMES))
operands = st.recursive(leaves, lambda inner: st.builds(ListOf, st.lists(inner, max_size=3).map(tuple)), max_leaves=4)
terms = (
    st.builds(Comparison, operands, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"]), operands)
    | st.builds(Exists, st.builds(Reference, st.sampled_from(NAMES)))
    | st.builds(Alone, st.builds(Reference, st.sampled_from(NAMES)) | st.builds(Literal, st.booleans()))
)
trees = st.recursive(
    terms,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
parameter_sets = st.fixed_dictionaries(
    {},
    optional={
        "a": documents.map(lambda data: Value(DataType.JSON, data)),
        "b": scalars.map(lambda data: from_python(data, "b")) | st.lists(numbers).map(lambda n: from_python(n, "b")),
        "doc": documents.map(lambda data: Value(DataType.JSON, {"x": data, "list": [data]})),
        "`Task_1.status`": texts.map(lambda data: from_python(data, "status")),
    },
)


def rendered_operand(operand: Operand) -> str:
    match operand:
        case Reference(name):
            return f"${name}$"
        case ListOf(items):
            return f"[{', '.join(map(rendered_operand, items))}]"
        case Literal(bool() | int() | float() as data):
            return json.dumps(data)
        case Literal(data):
            return json.dumps(data)


def rendered(node: Node, *, space: str) -> str:
    """The tree as text, with parentheses only where the grammar needs them."""

    def inside(part: Node, *looser: type) -> str:
        text = rendered(part, space=space)
        return f"({text})" if isinstance(part, looser) else text

    match node:
        case Comparison(left, sign, right):
            return f"{rendered_operand(left)}{space}{sign}{space}{rendered_operand(right)}"
        case Exists(reference):
            return f"exists({rendered_operand(reference)})"
        case Alone(operand):
            return rendered_operand(operand)
        case Not(part):
            return f"NOT{space}{inside(part, And, Or)}"
        case And(parts):
            return f"{space}AND{space}".join(inside(part, And, Or) for part in parts)
        case Or(parts):
            return f"{space}OR{space}".join(inside(part, Or) for part in parts)


def oracle_data(operand: Operand, parameters: Mapping[str, Value]) -> object:
    match operand:
        case Literal(data):
            return data
        case Reference(name):
            value = look_up(parameters, name)
            return None if value is None else value.python
        case ListOf(items):
            return [oracle_data(item, parameters) for item in items]


def typed(data: object) -> object:
    """Data in which true is not 1, so that Python's own equality gives the answer."""
    if isinstance(data, list):
        return [typed(item) for item in data]
    if isinstance(data, dict):
        return {key: typed(item) for key, item in data.items()}
    return (isinstance(data, bool), data)


def as_seen_by(data: object, other: object) -> object:
    """What a string means beside a boolean or a number, said another way than the code says it."""
    if not isinstance(data, str) or isinstance(other, str):
        return data
    if isinstance(other, bool):
        return data == "true" if data in ("true", "false") else data
    if isinstance(other, int | float):
        text = data.strip()
        if not text.isascii() or "_" in text or text[-1:].isalpha():
            return data
        for read in (int, float):
            try:
                return read(text)
            except ValueError:
                pass
    return data


def oracle_compares(left: object, sign: str, right: object) -> bool:
    if sign == "!=":
        return not oracle_compares(left, "=", right)
    if left is None or right is None:
        return False
    if sign == ":":
        if isinstance(right, list | dict):
            return False
        if isinstance(left, str):
            return (right if isinstance(right, str) else json.dumps(right)) in left
        return isinstance(left, list) and any(oracle_compares(item, "=", right) for item in left)
    left, right = as_seen_by(left, right), as_seen_by(right, left)
    if sign == "=":
        return typed(left) == typed(right)
    kinds = [str if isinstance(x, str) else float if type(x) in (int, float) else None for x in (left, right)]
    orders = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
    return kinds[0] is not None and kinds[0] is kinds[1] and orders[sign](left, right)


def oracle(node: Node, parameters: Mapping[str, Value]) -> bool:
    match node:
        case Comparison(left, sign, right):
            return oracle_compares(oracle_data(left, parameters), sign, oracle_data(right, parameters))
        case Exists(reference):
            return oracle_data(reference, parameters) is not None
        case Alone(operand):
            return oracle_compares(oracle_data(operand, parameters), "=", True)
        case Not(part):
            return not oracle(part, parameters)
        case And(parts):
            return all(oracle(part, parameters) for part in parts)
        case Or(parts):
            return any(oracle(part, parameters) for part in parts)


@settings(max_examples=300)
@given(tree=trees, space=SPACES, parameters=parameter_sets)
def test_what_is_written_from_a_tree_reads_back_as_it_and_answers_as_python_would(tree, space, parameters):
    condition = parse_condition(rendered(tree, space=space))

    assert repr(condition.tree) == repr(tree)  # repr, because true == 1 == 1.0
    assert condition.holds(parameters) is oracle(tree, parameters)
    assert isinstance(condition.explain(parameters), str)


FRAGMENTS = ["$a$", "$`Task_1.status`$", "AND", "OR", "NOT", "exists(", "(", ")", "[", "]", ",", "=", "!=", "<", ":"]
FRAGMENTS += ['"x"', "'", '"', "$", "\\", "1", "-", "1e5", "9" * 30, "true", "null", "word", "\u00a0", " ", "\n", "`"]


def parsed_or_refused(text: str) -> Condition | ConditionSyntax:
    try:
        return parse_condition(text)
    except ConditionSyntax as refused:
        return refused


@settings(max_examples=400)
@given(
    text=st.text(st.characters(), max_size=40) | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join),
    parameters=parameter_sets,
)
def test_any_text_is_read_or_refused_with_a_column_inside_it(text, parameters):
    outcome = parsed_or_refused(text)

    if isinstance(outcome, Condition):
        assert outcome.holds(parameters) in (True, False)
    else:
        assert 1 <= outcome.column <= len(text) + 1


STRANGE = [
    float("nan"),
    float("inf"),
    10**6000,
    10**400,
    {1: 2},
    {"x": float("nan")},
    object(),
    b"x",
    [(), {}],
    {"x": {}},
]


@pytest.mark.parametrize("data", STRANGE, ids=range(len(STRANGE)))
@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">=", ":"])
def test_a_value_that_should_not_be_there_never_raises(data, sign):
    parameters = {"v": Value(DataType.JSON, data), "d": Value(DataType.JSON, {"v": data}), **values(s="x", n=1, f=1.5)}
    others = ["$v$", "$d.v$", "$v.x$", "$s$", "$n$", "$f$", "true", "[]", "[1]", "$missing$"]

    answers = [
        parse_condition(f"{left} {sign} {right}").holds(parameters)
        for one in ("$v$", "$d.v$")
        for other in others
        for left, right in ((one, other), (other, one))
    ]

    assert set(answers) <= {True, False}
