"""JsonnetMapperTask: what goes into a template, what comes out, and how it fails."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.json_text import Json
from orchestrator.model.task_types import TASK_TYPES, Done, MailServer, TaskContext, TaskSurroundings
from orchestrator.model.values import DataType, Value, coerce, from_python
from tasks import jsonnet, jsonnet_functions
from tests.unit.steps import steps_of

EMPTY = """local f = import "functions"; // Import additional functions

// TEMPLATE OUTPUT
// Json Object is expected as on output.
{
// Add mapping here

}"""
FIND_CODE = """local f = import "functions"; // Import additional functions

local rs = std.extVar("`Task_1_responseStatus`");

{
// Add mapping here
    responseCode: std.parseJson(std.split(rs, " ")[0])
}"""
INCREMENT = """local f = import "functions"; // Import additional functions

{
    retryCounter: std.extVar("retryCounter") + 1
}"""


def context_of(template: str, **parameters: Json) -> TaskContext:
    return TaskContext(
        execution_id="e-1",
        integration="orders",
        project="shop",
        location="local",
        task_number=3,
        attempt=1,
        now=datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC),
        config={"template": Value(DataType.STRING, template)},
        parameters={name: from_python(data, name) for name, data in parameters.items()},
        surroundings=TaskSurroundings(mail=MailServer(outbox=Path("/nonexistent"))),
    )


def outputs_of(template: str, **parameters: Json) -> dict[str, Value]:
    step = jsonnet.run(context_of(template, **parameters))
    assert isinstance(step, Done)
    return dict(step.outputs)


def result_of(expression: str, **parameters: Json) -> Json:
    return outputs_of(f'local f = import "functions"; {{ x: {expression} }}', **parameters)["x"].python


def error_of(template: str, **parameters: Json) -> TaskError:
    with pytest.raises(TaskError) as caught:
        outputs_of(template, **parameters)
    assert caught.value.code == "JSONNET_ERROR"
    assert "Traceback" not in str(caught.value)
    return caught.value


def problems_of(template: str) -> list[str]:
    return list(jsonnet.check({"template": Value(DataType.STRING, template)}))


# -- the samples ---------------------------------------------------------------------------------------------------


def test_a_template_without_a_mapping_changes_nothing() -> None:
    assert outputs_of(EMPTY) == {}


def test_the_sample_finds_the_response_code_in_a_system_variable() -> None:
    outputs = outputs_of(FIND_CODE, **{"`Task_1_responseStatus`": "400 Bad Request"})

    assert outputs == {"responseCode": Value(DataType.INT, 400)}


def test_the_sample_increments_a_counter() -> None:
    assert outputs_of(INCREMENT, retryCounter=1) == {"retryCounter": Value(DataType.INT, 2)}


def test_the_type_is_registered_as_light() -> None:
    task_type = TASK_TYPES.get("JsonnetMapperTask")

    assert task_type is not None
    assert task_type.light
    assert task_type.celery_name == "tasks.jsonnet"


# -- values in and out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'a'", Value(DataType.STRING, "a")),
        ("1", Value(DataType.INT, 1)),
        ("4 / 2", Value(DataType.INT, 2)),
        ("0.5", Value(DataType.DOUBLE, 0.5)),
        ("0.1", Value(DataType.DOUBLE, 0.1)),
        ("1e300", Value(DataType.DOUBLE, 1e300)),
        ("true", Value(DataType.BOOLEAN, True)),
        ("null", Value(DataType.JSON, None)),
        ("['a', 'b']", Value(DataType.STRING_ARRAY, ("a", "b"))),
        ("[1, 2]", Value(DataType.INT_ARRAY, (1, 2))),
        ("[0.5]", Value(DataType.DOUBLE_ARRAY, (0.5,))),
        ("[true]", Value(DataType.BOOLEAN_ARRAY, (True,))),
        ("[]", Value(DataType.JSON, [])),
        ("[1, 'a', { b: null }]", Value(DataType.JSON, [1, "a", {"b": None}])),
        ("{ a: { b: [1.5, 2] } }", Value(DataType.JSON, {"a": {"b": [1.5, 2]}})),
    ],
)
def test_an_output_gets_the_narrowest_type(written: str, expected: Value) -> None:
    assert outputs_of(f"{{ x: {written} }}") == {"x": expected}


def test_every_parameter_passes_through_unchanged() -> None:
    parameters: dict[str, Json] = {
        "text": 'quotes " \\ \n \x00 \x7f \u2028 é 😀 $ref$',
        "number": 2**53,
        "negative": -7,
        "double": 0.1,
        "tiny": 5e-324,
        "flag": False,
        "none": None,
        "texts": ["a", ""],
        "document": {"a b": [1, 0.25, None, {"`": "local"}], "local": {}, "$": []},
    }
    fields = ", ".join(f"{name}: std.extVar('{name}')" for name in parameters)

    assert {name: value.python for name, value in outputs_of(f"{{ {fields} }}", **parameters).items()} == parameters


def test_an_integer_that_no_double_holds_passes_through_exactly_as_a_string() -> None:
    outputs = outputs_of("{ id: std.extVar('id'), d: std.extVar('d') }", id=2**63 - 1, d={"ids": [2**53 + 1, -(2**63)]})

    assert coerce(outputs["id"], DataType.INT, "id").data == 2**63 - 1
    assert outputs["d"].data == {"ids": ["9007199254740993", "-9223372036854775808"]}


def test_a_lone_surrogate_goes_in_as_the_replacement_character() -> None:
    assert result_of("std.extVar('a')", a="\ud800x") == "\ufffdx"
    assert result_of("std.extVar('a')", a=["\udfff", "😀"]) == ["\ufffd", "😀"]


@pytest.mark.parametrize("name", ["`Task_1_status`", "Task_1_status"])
@pytest.mark.parametrize("library", ["std", "f"])
def test_a_system_variable_is_known_with_and_without_its_backticks(library: str, name: str) -> None:
    assert result_of(f"{library}.extVar('{name}')", **{"`Task_1_status`": "ok"}) == "ok"


def test_an_output_keeps_its_backticks() -> None:
    assert list(outputs_of('{ "`Task_3_total`": 1, "ship-to": 2 }')) == ["`Task_3_total`", "ship-to"]


def test_a_name_that_the_template_computes_is_found() -> None:
    assert result_of("[std.extVar('item_' + i) for i in ['a', 'b']]", item_a=1, item_b=2, x=0) == [1, 2]


def test_references_in_the_template_are_left_alone() -> None:
    assert outputs_of("{ a: 1, b: $.a, c: '$name$' }", name="x")["c"].data == "$name$"


def test_a_document_as_deep_as_the_model_allows_passes() -> None:
    deep: Json = 1
    for _ in range(190):
        deep = [deep]

    assert result_of("std.extVar('deep')", deep=deep) == deep


# -- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{\n  a: ,\n}", ["Unexpected", "template:2:6"]),
        ("{ a: b }", ["Unknown variable: b", "template:1:6"]),
        ("{\n a: error 'no stock' }", ["no stock", "template:2:5"]),
        ("{\n a: error 'two\\nlines' }", ["two\nlines", "template:2:5"]),
        ("{ a: 1 + {}.b }", ["Field does not exist: b", "template:1:10"]),
        ("{ a: std.extVar('nobody') }", ["Undefined external variable: nobody", "template:1:6"]),
        ("{ a: import '/etc/passwd' }", ["'/etc/passwd' cannot be imported", "functions"]),
        ("{ a: importstr '/etc/passwd' }", ["'/etc/passwd' cannot be imported"]),
        ("{ a: importbin '../secret' }", ["'../secret' cannot be imported"]),
        ("{ a: import './functions' }", ["'./functions' cannot be imported"]),
        ("local f(n) = f(n + 1) + 1; { a: f(0) }", ["max stack frames exceeded", "template:1:14"]),
        ("local a = { b: a }; a", ["max stack frames exceeded"]),
        ("'text'", ["STRING_VALUE", "expected an object"]),
        ("[1]", ["INT_ARRAY", "expected an object"]),
        ("function(a) {}", ["Missing argument: a"]),
        ("{ a: function(x) x }", ["function"]),
        ("(import 'functions').sha1(5)", ["sha1: found int, expected a string", "template:1:1"]),
        ("{ a: std.native('other')(1) }", ["template:1:6"]),
    ],
)
def test_a_failing_template_says_what_and_where(template: str, words: list[str]) -> None:
    message = str(error_of(template))

    assert [word for word in words if word not in message] == []


def test_a_refused_import_leaves_nothing_behind() -> None:
    """The bindings leak the traceback of an exception in their import callback, and with it the attempt's values."""

    def count_after(errors: int) -> int:
        for _ in range(errors):
            try:
                outputs_of("import 'x'")
            except TaskError:
                continue
        gc.collect()
        return len(gc.get_objects())

    before = count_after(10)

    assert count_after(100) - before < 100


def test_a_message_is_short_even_if_the_template_writes_a_long_one() -> None:
    assert len(str(error_of("error std.repeat('x', 100000)"))) < 2_100


def test_a_result_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonnet, "MAX_RESULT_BYTES", 1_000)

    assert "the limit is 1000" in str(error_of("{ a: std.repeat('x', 1001) }"))


def test_a_result_nested_too_deeply_is_refused() -> None:
    assert "levels" in str(error_of("{ a: std.foldl(function(inner, i) [inner], std.range(1, 240), 1) }"))


@pytest.mark.parametrize(
    "config", [{}, {"template": Value(DataType.STRING, " ")}, {"template": Value(DataType.INT, 1)}]
)
def test_a_missing_template_is_an_invalid_argument(config: dict[str, Value]) -> None:
    context = context_of("")
    object.__setattr__(context, "config", config)

    with pytest.raises(TaskError) as caught:
        jsonnet.run(context)

    assert caught.value.code == "INVALID_ARGUMENT"
    assert list(jsonnet.check(config)) == ["parameter 'template' is required: a Jsonnet text"]


# -- check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [EMPTY, FIND_CODE, INCREMENT, "{ a: error 'later' }", "{} // end", "import 'x'"])
def test_a_valid_template_passes_the_check_without_being_evaluated(template: str) -> None:
    assert problems_of(template) == []


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ("{ a: }", "template:1:6"),
        ("local f = 1;\n\n{ a: g }", "template:3:6"),
        ("{}) + ({}", "template:1:3"),
        ("{ a: 1 } }", "template:1:10"),
        ("{", "template:1:2"),
        ("{ a: 1,\n  a: 2 }", "template:2:3"),
        ("'never closed", "template:1:1"),
    ],
)
def test_the_check_says_where_the_syntax_is_wrong(template: str, place: str) -> None:
    (problem,) = problems_of(template)

    assert problem.startswith("template is not valid Jsonnet: ")
    assert place in problem


def test_the_check_does_not_start_go() -> None:
    """A process that publishes may fork workers, and Go does not survive a fork."""
    script = """
import sys
from orchestrator.model.values import (DataType, Value)
from tasks import jsonnet
assert list(jsonnet.check({"template": Value(DataType.STRING, "{}")})) == []
assert "_gojsonnet" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# -- processes and threads -----------------------------------------------------------------------------------------


def test_a_child_forked_after_an_evaluation_can_evaluate() -> None:
    script = """
import os, signal, sys, warnings
sys.path.insert(0, sys.argv[1])
from test_jsonnet import FIND_CODE, outputs_of, result_of
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork beside Go's threads
outputs_of("{}")
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    assert outputs_of(FIND_CODE, **{"`Task_1_responseStatus`": "200 OK"})["responseCode"].data == 200
    assert result_of("[f.sha256('a')[:4], f.xor(true, false), f.trim(' x ')]") == ["ca97", True, "x"]
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent)], check=True, timeout=60)


def test_signals_still_reach_python_after_an_evaluation() -> None:
    received = []
    outputs_of("{}")
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append("SIGUSR1"))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert received == ["SIGUSR1"]


# -- the library ---------------------------------------------------------------------------------------------------

XML = '<o:order xmlns:o="urn:o" id="7"><line>a &amp; b</line><line n="2"/><note>see <b>this</b> now</note></o:order>'
BADGERFISH: Json = {
    "o:order": {
        "@id": "7",
        "@xmlns": {"o": "urn:o"},
        "line": [{"$": "a & b"}, {"@n": "2"}],
        "note": {"$": "see  now", "b": {"$": "this"}},
    }
}
INDENTED = "<a>\n  <b>c</b>\n  <d>\n    <e/>\n  </d>\n</a>"
JSONML: Json = [
    "o:order",
    {"xmlns:o": "urn:o", "id": "7"},
    ["line", "a & b"],
    ["line", {"n": "2"}],
    ["note", "see ", ["b", "this"], " now"],
]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # array
        ("f.avg([1, 2, 6])", 3),
        ("f.contains([1, 2], 2)", True),
        ("f.maxArray([1, 3, 2])", 3),
        ("f.minArray(['b', 'a'])", "a"),
        ("f.remove([1, 2, 1], 1)", [2, 1]),
        ("f.removeAt(['a', 'b', 'c'], 1)", ["a", "c"]),
        ("f.removeAt(['a'], 0)", []),
        ("f.sum([1, 2, 3])", 6),
        # aggregate
        ("f.groupBy([1, 2, 3], function(n) n % 2)", {"0": [2], "1": [1, 3]}),
        ("f.groupBy([], function(n) n)", {}),
        ("f.groupBy([{ c: 'x', n: 1 }, { c: 'x' }], function(o) o.c)", {"x": [{"c": "x", "n": 1}, {"c": "x"}]}),
        ("f.zip([['a', 'b'], [1, 2]])", [["a", 1], ["b", 2]]),
        ("f.zip([['a', 'b'], [1]])", [["a", 1], ["b", None]]),
        ("f.zip([])", []),
        ("f.unzip([['a', 1], ['b', 2]])", [["a", "b"], [1, 2]]),
        ("f.xnor(true, false)", False),
        ("f.xor(true, false)", True),
        # hash: FIPS 180-4 and FIPS 202, "abc"
        ("f.sha1('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("f.sha256('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("f.sha512('abc')[:16]", "ddaf35a193617aba"),
        ("f.sha3('abc')[:16]", "b751850b1a57168a"),
        ("f.sha1('é')", "bf15be717ac1b080b4f1c456692825891ff5073d"),
        # JSON and CSV
        ("f.objectRemoveKey({ a: 1, b: 2 }, 'a')", {"b": 2}),
        ("f.parseCsvWithHeader('a,b\\n1,\"x, y\"\\n\\n2')", [{"a": "1", "b": "x, y"}, {"a": "2"}]),
        ("f.parseCsvWithHeader('a;b\\n1;2', ';')", [{"a": "1", "b": "2"}]),
        ("f.parseCsvWithHeader('a,a\\n1,2')", [{"a": "2"}]),
        ("f.parseCsvWithHeader('a,a,a\\n1,2,3', ',', false)", [{"a": "1", "a__1": "2", "a__2": "3"}]),
        ("f.parseCsvWithHeader('a,a\\n1,2', overwrite_duplicate_headers=false)", [{"a": "1", "a__1": "2"}]),
        ("f.parseCsvWithHeader('')", []),
        ("f.manifestCsv([{ a: 1, b: 'x, y' }, { b: null, c: [true] }])", 'a,b,c\n1,"x, y",\n,,[true]\n'),
        ("f.manifestCsv([{ a: 1, b: 2 }], ['b'])", "b\n2\n"),
        # mathematical
        ("f.isDecimal(1.5)", True),
        ("f.isEven(3)", False),
        ("f.isInteger(3)", True),
        ("f.isOdd(3)", True),
        ("f.round(2.5)", 3),
        ("f.abs(-3)", 3),
        ("f.randomNumber(2, 2)", 2),
        # string
        ("f.equalsIgnoreCase('Ab', 'aB')", True),
        ("f.isEmpty('')", True),
        ("f.match('a1b22', '[0-9]+')", ["1", "22"]),
        ("f.match('abc', '(b)(c)')", ["bc"]),
        ("f.match('abc', 'x')", []),
        ("f.match('a\\u0000b 😀', '.+')", ["a\0b 😀"]),
        ("f.trim('  a b ')", "a b"),
        # timestamp
        ("f.dateFormat('2024-02-03T04:05:06Z', 'DD/MM/YYYY HH:mm:ss')", "03/02/2024 04:05:06"),
        ("f.dateFormat('2024-02-03', 'dddd ddd D MMMM MMM M YY')", "Saturday Sat 3 February Feb 2 24"),
        ("f.dateFormat('2024-02-03T16:05:06.070Z', 'h:m:s A hh a H SSS SS S')", "4:5:6 PM 04 pm 16 070 07 0"),
        ("f.dateFormat('2024-02-03T00:05:06Z', \"yyyy-MM-dd'T'HH:mm [at] ZZ\")", "2024-02-03T00:05 at +0000"),
        ("f.dateFormat('2024-07-01T12:00:00Z', 'YYYY-MM-DD HH:mm Z', 'Europe/Berlin')", "2024-07-01 14:00 +02:00"),
        ("f.dateFormat('2024-07-01 12:00', 'HH:mm Z', '-03:30')", "12:00 -03:30"),
        ("f.dateFormat('3.2.24 4 PM', 'YYYY-MM-DD HH:mm', 'UTC', 'D.M.YY h A')", "2024-02-03 16:00"),
        ("f.dateFormat('Feb 03 1999 +0200', 'YYYY-MM-DD HH', 'GMT', 'MMM DD YYYY ZZ')", "1999-02-02 22"),
        ("f.dateFormat(f.nowInMillis(), 'YYYY-MM-DD HH:mm:ss.SSS')", "2026-02-03 04:05:06.789"),
        ("f.isLeapYear(2024)", True),
        ("f.isLeapYear(1900)", False),
        ("f.nowInMillis()", 1_770_091_506_789),
        # utility
        ("f.length(f.uuid())", 36),
        ("f.uuid() != f.uuid()", True),
        ("f.getIntegrationName()", "orders"),
        ("f.getIntegrationRegion()", "local"),
        ("f.getExecutionId()", "e-1"),
        ("f.getProjectId()", "shop"),
        # miscellaneous, and std
        ("[f.type(each) for each in [1, '', null]]", ["number", "string", "null"]),
        ("[f.type(each) for each in [true, [], {}, f.type]]", ["boolean", "array", "object", "function"]),
        ("[f.length('ab'), f.length([1]), f.length({ a: 1, b: 2 })]", [2, 1, 2]),
        ("f.get({ a: 1 }, 'a')", 1),
        ("f.get({ a: 1 }, 'b', 'none')", "none"),
        ("f.get({ a:: 1 }, 'a', default=2, includeHidden=false)", 2),
        ("f.get({}, 'b')", None),
        ("[f.has({ a: 1 }, 'a'), f.has({ a: 1 }, 'b')]", [True, False]),
        ("f.map(function(n) n + 1, f.filter(function(n) n > 1, [1, 2, 3]))", [3, 4]),
        ("f.split('a b', ' ') + std.split('c', ',')", ["a", "b", "c"]),
        # XML
        ("f.parseXml(f.extVar('xml'))", BADGERFISH),
        ("f.parseXml(f.extVar('xml'), 'jsonml')", JSONML),
        ("f.parseXml('<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>é</a>')", {"a": {"$": "é"}}),
        ("f.parseXml('<a><![CDATA[<b>]]><!-- c --></a>')", {"a": {"$": "<b>"}}),
        ("f.manifestXml({ a: { '@x': 1, '$': 'b < c', d: [null, true] } })", '<a x="1">b &lt; c<d/><d>true</d></a>'),
        ("f.manifestXml({ a: { b: 'c', d: { e: {} } } }, indent_output=true)", INDENTED),
        ("f.manifestXml({ a: { '@xmlns': { '$': 'urn:d', p: 'urn:p' } } })", '<a xmlns="urn:d" xmlns:p="urn:p"/>'),
        ("f.manifestXml(['a', { q: '\"' }, 't', ['b']], 'jsonml')", "<a q='\"'>t<b/></a>"),
    ],
)  # fmt: skip
def test_a_library_function_gives(expression: str, expected: Json) -> None:
    assert result_of(expression, xml=XML) == expected


@pytest.mark.parametrize("xml_format", ["badgerfish", "jsonml"])
def test_xml_comes_back_as_it_went_in(xml_format: str) -> None:
    text = '<r xmlns="urn:d" a="&lt;&quot;"><b>1</b><b/><c d="é">&amp;</c></r>'

    there_and_back = result_of(
        f"f.parseXml(f.manifestXml(f.parseXml(f.extVar('t'), '{xml_format}'), '{xml_format}'))", t=text
    )

    assert there_and_back == result_of("f.parseXml(f.extVar('t'))", t=text)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("f.removeAt([1], 1)", "index 1 is outside"),
        ("f.removeAt([1], -1)", "index -1 is outside"),
        ("f.avg([])", "average"),
        ("f.match('a', '(')", "match: missing )"),
        ("f.length(5)", "Unexpected type number"),
        ("f.dateFormat('yesterday', 'YYYY')", "dateFormat: Invalid isoformat string"),
        ("f.dateFormat('2024-01-01', 'YYYY', 'Mars/Base')", "no time zone 'Mars/Base'"),
        ("f.dateFormat('2024-01-01', 'YYYY', '../etc/passwd')", "no time zone"),
        ("f.dateFormat('2024', 'YYYY', 'UTC', 'YY')", "timestamp '2024' is not in the format 'YY'"),
        ("f.parseCsvWithHeader('a\\n\"x')", "parseCsvWithHeader: unexpected end of data"),
        ("f.parseXml('<a>')", "parseXml: no element found"),
        ("f.parseXml('<a/>', 'parker')", "there is no format 'parker'"),
        ("f.manifestXml({ a: 1, b: 2 })", "exactly one key"),
        ("f.manifestXml({ 'a b': 1 })", "'a b' cannot name"),
        ("f.manifestXml({ a: { '@x>': 1 } })", "'x>' cannot name"),
        ("f.manifestXml({ a: '\\u0001' })", "U+0001"),
        ("f.manifestXml({}, 'jsonml')", "expected an array"),
        ("f.xsltTransform('<a/>', '<b/>')", "no XSLT processor"),
        ("f.getIntegrationVersionId()", "not told the version"),
        ("f.getIntegrationVersionNumber()", "not told the version"),
    ],
)
def test_a_library_function_refuses(expression: str, words: str) -> None:
    assert words in str(error_of(f'local f = import "functions"; {{ x: {expression} }}'))


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY b "xx"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>',
    ],
)
def test_xml_with_a_dtd_is_refused(dtd: str) -> None:
    assert "a document type declaration is refused" in str(
        error_of("(import 'functions').parseXml(std.extVar('t'))", t=dtd)
    )


def test_xml_that_is_nested_too_deeply_is_refused() -> None:
    text = "<a>" * 101 + "</a>" * 101

    assert "more than 100 levels" in str(error_of("(import 'functions').parseXml(std.extVar('t'))", t=text))


def test_a_random_number_lies_between_its_bounds() -> None:
    numbers = result_of("[f.randomNumber(-1, 1) for i in std.range(1, 20)]")

    assert isinstance(numbers, list)
    assert all(isinstance(number, int | float) and -1 <= number <= 1 for number in numbers)
    assert len({json.dumps(number) for number in numbers}) > 1


def test_every_native_function_is_reached_by_the_library() -> None:
    """A name in one of the two files alone would be dead, or fail at its first use."""
    source = Path(jsonnet.__file__).with_name("functions.libsonnet").read_text()
    called = {part.split("'")[0] for part in source.split("call('")[1:]}

    assert called == {*jsonnet_functions._FUNCTIONS, *jsonnet_functions._facts(context_of(""))}


def test_a_process_evaluates_with_the_quick_binding_and_a_few_steps_around_it() -> None:
    """The library is read once: what comes after the first evaluation is what a light task may cost."""
    context = context_of(INCREMENT, retryCounter=1)
    jsonnet.run(context)

    assert jsonnet._binding().__name__ == "_gojsonnet"
    assert steps_of(lambda: jsonnet.run(context)) < 300
