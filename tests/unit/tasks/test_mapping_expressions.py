"""Expressions and fields: references, loops, order, nested outputs, errors, limits and the check before running."""

from __future__ import annotations

import re

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.json_text import to_json_text
from orchestrator.model.task_types import TASK_TYPES
from orchestrator.model.values import DataType, Value
from tasks import mapping
from tests.unit.steps import steps_of
from tests.unit.tasks.contexts import make_context, values
from tests.unit.tasks.mappings import call, config_of, expression, field, loop_body, outputs_of, problems_of


def out(source, *, parameters=None, **output):
    return outputs_of(field(source, **output), parameters=parameters)["out"]


def test_the_type_is_registered_as_light_under_the_products_name():
    task_type = TASK_TYPES.get("FieldMappingTask")

    assert task_type is mapping.FIELD_MAPPING
    assert task_type.light
    assert task_type.celery_name == "tasks.mapping"


# -- initial values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        Value(DataType.STRING, "a"),
        Value(DataType.INT, 2**62 + 1),
        Value(DataType.DOUBLE, 1.5),
        Value(DataType.BOOLEAN, False),
        Value(DataType.JSON, {"a": [None]}),
        Value(DataType.STRING_ARRAY, ("a",)),
        Value(DataType.INT_ARRAY, (2**62 + 1,)),
        Value(DataType.DOUBLE_ARRAY, (1.5,)),
        Value(DataType.BOOLEAN_ARRAY, (True,)),
    ],
)
def test_a_literal_of_every_type_keeps_its_type(value):
    assert out(expression(value)) == value


def test_a_literal_may_be_an_expression():
    assert out(loop_body("$name$", call("string.CONCAT", "!")), parameters={"name": "a"}).data == "a!"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("$order.buyer.id$", 7),
        ("$order.items[1].sku$", "b"),
        ("$`Task_1_responseBody`$", "body"),
        ("$Task_1_responseBody$", "body"),
        ("$two words$", 2),
    ],
)
def test_a_reference_finds_parameters_paths_and_system_variables(reference, expected):
    parameters = {
        "order": {"buyer": {"id": 7}, "items": [{"sku": "a"}, {"sku": "b"}]},
        "`Task_1_responseBody`": "body",
        "two words": 2,
    }

    assert (
        out(expression({"referenceValue": reference} | {"literalValue": None}), parameters=parameters).data == expected
    )


def test_a_parameter_of_a_function_is_an_expression_with_functions_of_its_own():
    source = expression("$a$", call("int.ADD", expression("$b$", call("int.MULTIPLY", expression("$a$")))))

    assert out(source, parameters={"a": 2, "b": 10}).data == 22


# -- loops ---------------------------------------------------------------------------------------------------------

GRID = {"grid": Value(DataType.JSON, [["a", "b"], ["c"]])}


def nested(inner):
    return expression("$grid$", call("json.FOR_EACH", loop_body("~x", call("json.FOR_EACH", inner))))


def test_the_same_name_means_the_innermost_element():
    assert out(nested(loop_body("~x", call("string.CONCAT", "!"))), parameters=GRID).data == [["a!", "b!"], ["c!"]]


def test_an_inner_loop_sees_the_outer_element_by_its_name():
    source = expression(
        "$words$",
        call(
            "stringArray.FOR_EACH",
            loop_body("$ends$", call("stringArray.FOR_EACH", loop_body("~obj1", call("string.CONCAT", "~obj2")))),
        ),
    )
    parameters = {"words": ["a", "b"], "ends": ["1", "2"]}

    assert out(source, parameters=parameters).data == [["1a", "2a"], ["1b", "2b"]]


def test_the_name_that_is_new_in_an_inner_loop_is_its_own_even_when_it_does_not_come_first():
    source = expression(
        "$words$",
        call(
            "stringArray.FOR_EACH",
            loop_body(
                "~obj1",
                call("string.SPLIT", ","),
                call("stringArray.FOR_EACH", loop_body("~obj1", call("string.CONCAT", "~obj2"))),
            ),
        ),
    )

    assert out(source, parameters={"words": ["a,b"]}).data == [["a,ba", "a,bb"]]


def test_the_expression_of_a_loop_may_stand_in_the_parameter_itself():
    source = expression("$words$", call("stringArray.FOR_EACH", expression("~x", call("string.TO_UPPERCASE"))))

    assert out(source, parameters={"words": ["a", "b"]}).data == ["A", "B"]


def test_a_loop_body_sees_parameters_and_may_ignore_the_element():
    source = expression("$words$", call("stringArray.FOR_EACH", loop_body("$n$")))

    assert out(source, parameters={"words": ["a", "b"], "n": 1}).data == [1, 1]


def test_an_element_that_gives_nothing_becomes_null():
    source = expression("$list$", call("json.FOR_EACH", loop_body("~x", call("json.GET_PROPERTY", "a"))))
    parameters = {"list": Value(DataType.JSON, [{"a": 1}, {}, {"a": None}])}

    assert out(source, parameters=parameters).data == [1, None, None]


# -- fields --------------------------------------------------------------------------------------------------------


def test_a_later_field_sees_what_an_earlier_one_gave():
    fields = (
        field(expression("$n$", call("int.ADD", 1)), "$n$"),
        field(expression("$n$", call("int.MULTIPLY", 10)), "$m$"),
    )

    assert {key: value.data for key, value in outputs_of(*fields, parameters={"n": 1}).items()} == {"n": 2, "m": 20}


def test_one_failing_field_fails_the_task_and_is_named():
    fields = (
        field(expression(1), "$a$"),
        field(expression("$words$", call("stringArray.FOR_EACH", loop_body("~x", call("string.TO_INT")))), "$b$"),
    )

    with pytest.raises(TaskError) as caught:
        outputs_of(*fields, parameters={"words": ["1", "x"]})

    assert str(caught.value) == "field 2 ($b$): stringArray FOR_EACH: string TO_INT: 'x' is not an integer"


def test_the_result_is_converted_to_the_outputs_type():
    assert out(expression("12"), to="INT_VALUE") == Value(DataType.INT, 12)
    assert out(expression(1), to="STRING_VALUE") == Value(DataType.STRING, "1")
    assert out(expression('{"a": 1}'), to="JSON_VALUE") == Value(DataType.JSON, {"a": 1})
    assert out(expression("94089"), to="JSON_VALUE") == Value(DataType.JSON, "94089")
    assert out(expression(["a"]), to="DATA_TYPE_UNSPECIFIED") == Value(DataType.STRING_ARRAY, ("a",))


def test_the_inputs_type_counts_where_the_output_has_none():
    assert outputs_of(field(expression("12"), fieldType="INT_VALUE"))["out"] == Value(DataType.INT, 12)


def test_a_result_that_does_not_fit_the_outputs_type_fails_the_task():
    with pytest.raises(TaskError, match=re.escape("field 1 ($out$): result: found str 'x', expected an int64")):
        out(expression("x"), to="INT_VALUE")


def test_a_repeated_output_is_a_list():
    assert out(expression("a"), to="STRING_VALUE", cardinality="REPEATED") == Value(DataType.STRING_ARRAY, ("a",))
    assert out(expression([1, 2]), to="INT_VALUE", cardinality="REPEATED") == Value(DataType.INT_ARRAY, (1, 2))
    assert out(expression({"a": 1}), to="JSON_VALUE", cardinality="REPEATED") == Value(DataType.JSON, [{"a": 1}])


@pytest.mark.parametrize("cardinality", ["OPTIONAL", "REPEATED"])
def test_an_optional_field_without_a_value_leaves_the_output_unset(cardinality):
    assert outputs_of(field(expression("$nothing$"), cardinality=cardinality)) == {}
    assert outputs_of(field(expression({"literalValue": {}}), cardinality=cardinality)) == {}


def test_a_field_without_cardinality_is_required():
    with pytest.raises(TaskError, match=re.escape("field 1 ($out$): there is no value")):
        outputs_of(field(expression("$nothing$"), cardinality=None))


def test_a_default_value_stands_in_for_no_value():
    default = {"stringValue": "none"}

    assert outputs_of(field(expression("$nothing$"), cardinality=None, defaultValue=default))["out"].data == "none"


def test_a_json_null_is_a_value_for_json_and_none_for_other_types():
    parameters = {"doc": {"a": None}}

    assert out(expression("$doc.a$"), to="JSON_VALUE", parameters=parameters) == Value(DataType.JSON, None)
    assert outputs_of(field(expression("$doc.a$"), to="STRING_VALUE"), parameters=parameters) == {}


def test_a_function_on_no_value_fails_with_its_name():
    message = "field 1 ($out$): string CONCAT: input: found no value, expected STRING_VALUE"

    with pytest.raises(TaskError, match=re.escape(message)):
        outputs_of(field(expression("$nothing$", call("string.CONCAT", "a"))))


def test_a_property_that_is_not_there_is_no_value():
    assert outputs_of(field(expression({"a": 1}, call("json.GET_PROPERTY", "b")))) == {}


# -- parts of a parameter ------------------------------------------------------------------------------------------


def test_a_nested_output_sets_a_property_and_keeps_the_others():
    document = {"a": 1, "items": [{"sku": "x"}, {"sku": "y"}]}

    outputs = outputs_of(
        field(expression("z"), "$doc.items[1].sku$"),
        field(expression(True), "$doc.new.flag$"),
        parameters={"doc": document},
    )

    expected = {"a": 1, "items": [{"sku": "x"}, {"sku": "z"}], "new": {"flag": True}}
    assert outputs == {"doc": Value(DataType.JSON, expected)}
    assert document == {"a": 1, "items": [{"sku": "x"}, {"sku": "y"}]}


def test_a_nested_output_makes_the_parameter_if_it_has_no_value():
    assert outputs_of(field(expression(1), "$`Task_1_in`.a.b$"))["`Task_1_in`"].data == {"a": {"b": 1}}


def test_a_nested_output_into_what_is_no_document_fails():
    with pytest.raises(TaskError, match=re.escape("field 1 ($n.a$): 'a' cannot be set in a number")):
        outputs_of(field(expression(1), "$n.a$"), parameters={"n": 5})


def test_functions_and_outputs_leave_the_executions_parameters_as_they_were():
    document = {"list": [3, [1]], "o": {"a": 1}}
    context = make_context(
        config_of(
            field(expression("$doc$", call("json.SET_PROPERTY", 2, "o.a")), "$a$"),
            field(expression("$doc.list$", call("json.APPEND_ELEMENT", 4)), "$b$"),
            field(expression("$doc$", call("json.REMOVE_PROPERTY", "o.a")), "$c$"),
            field(expression(1), "$doc.o.a$"),
        ),
        {"doc": document},
    )

    mapping.run(context)

    assert document == {"list": [3, [1]], "o": {"a": 1}}
    assert context.parameters == {"doc": Value(DataType.JSON, document)}


# -- limits --------------------------------------------------------------------------------------------------------


def doubling(function, times):
    return [field(expression("$s$", call(function, "$s$")), "$s$") for _ in range(times)]


@pytest.mark.parametrize(
    ("function", "start"),
    [
        ("string.CONCAT", "0123456789"),
        ("stringArray.APPEND_ALL", ("0123456789",)),
        ("json.APPEND_ELEMENT", Value(DataType.JSON, ["0123456789"])),
    ],
)
def test_a_value_that_doubles_again_and_again_is_stopped(function, start):
    with pytest.raises(TaskError, match=re.escape("larger than 10,000,000")):
        outputs_of(*doubling(function, 60), parameters={"s": start})


def test_a_document_nested_deeper_than_it_may_be_is_refused():
    wrap = field(expression(Value(DataType.JSON, []), call("json.APPEND_ELEMENT", "$s$")), "$s$")

    with pytest.raises(TaskError, match="nested deeper than 200 levels"):
        outputs_of(*[wrap] * 250, parameters={"s": 1})


@pytest.mark.parametrize("family", ["string", "json"])
def test_a_template_that_would_grow_too_large_is_refused_before_it_is_built(family):
    source = expression("$big$" * 20_000, call(f"{family}.RESOLVE_TEMPLATE"))
    source["initialValue"] = {"literalValue": {"stringValue": "$big$" * 20_000}}

    with pytest.raises(TaskError, match="larger than"):
        outputs_of(field(source), parameters={"big": "x" * 1000})


def test_a_loop_that_makes_too_much_is_stopped_on_the_way():
    ints = {"baseFunction": call("base.INT_LIST", 0, 100_000)}
    source = expression(ints, call("intArray.FOR_EACH", loop_body("$big$", call("string.CONCAT", "~x"))))

    with pytest.raises(TaskError, match="intArray FOR_EACH: the result would be larger"):
        outputs_of(field(source), parameters={"big": "x" * 1_000_000})


def test_loops_inside_loops_have_a_limit(monkeypatch):
    monkeypatch.setattr("tasks.mapping.expression.Budget.__init__.__defaults__", (1000,))
    ints = {"baseFunction": call("base.INT_LIST", 0, 100)}
    inner = loop_body(ints, call("intArray.FOR_EACH", loop_body("~y", call("int.ADD", "~x"))))

    with pytest.raises(TaskError, match="may go round"):
        outputs_of(field(expression(ints, call("intArray.FOR_EACH", inner))))


def test_text_that_looks_like_half_a_document_is_read_in_time_proportional_to_its_length():
    text = "{" + '"\\"' * 50_000 + "w" * 100_000 + " " * 50_000

    with pytest.raises(TaskError, match="not JSON"):
        out(expression("$in$", call("string.TO_JSON")), parameters={"in": text})


# -- the definition ------------------------------------------------------------------------------------------------


def test_a_definition_may_be_a_document_or_its_text():
    config = config_of(field(expression(1)))
    text = to_json_text(config["FieldMappingConfigTaskParameterKey"])

    assert mapping.run(make_context({"FieldMappingConfigTaskParameterKey": text})).outputs["out"].data == 1
    as_json = Value(DataType.JSON, text)
    assert mapping.run(make_context({"FieldMappingConfigTaskParameterKey": as_json})).outputs["out"].data == 1


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "'FieldMappingConfigTaskParameterKey' is required"),
        ({"FieldMappingConfigTaskParameterKey": {}}, "found no mappedFields"),
        ({"FieldMappingConfigTaskParameterKey": {"mappedFields": {"a": 1}}}, "expected a JSON list"),
        ({"FieldMappingConfigTaskParameterKey": [1]}, "expected a JSON object"),
        ({"FieldMappingConfigTaskParameterKey": "{"}, "not JSON"),
        ({"FieldMappingConfigTaskParameterKey": 5}, "expected a JSON object"),
    ],
)
def test_a_definition_without_fields_is_a_problem_and_cannot_run(config, problem):
    problems = list(mapping.check(values(config)))

    assert len(problems) == 1
    assert problem in problems[0]
    with pytest.raises(TaskError, match=re.escape(problem)):
        mapping.run(make_context(config))


def test_an_empty_mapping_maps_nothing():
    assert mapping.run(make_context(config_of())).outputs == {}
    assert problems_of() == []


BAD_FIELDS = [
    (field(expression("a", call("proto.GET", "a"))), "found protoFunction, expected one of baseFunction"),
    (field(expression("a", call("string.REVERSE"))), "found 'REVERSE', expected one of CONCAT"),
    (field(expression("a", call("string.CONCAT"))), "string CONCAT takes 1 parameter(s), 0 given"),
    (field(expression("a", call("json.TO_PROTO", "a", "b"))), "json TO_PROTO takes 0 to 1 parameter(s), 2 given"),
    (field(expression("a", call("base.GET_UUID"))), "found base GET_UUID, expected a function that takes"),
    (field(expression({"baseFunction": call("string.CONCAT", "a")})), "expected a base function"),
    (field(expression("a", {"parameters": []})), "functionType: found nothing, expected a JSON object"),
    (field(expression("~x")), "found ~x, expected an element of FOR_EACH or FILTER around it"),
    (field(expression("a", call("string.CONCAT", "~x"))), "found ~x, expected an element"),
    (
        field(expression(["a"], call("stringArray.FOR_EACH", loop_body("~x", call("string.CONCAT", "~y"))))),
        "found ~y, expected an element",
    ),
    (field({"initialValue": {"referenceValue": "name"}}), "found 'name', expected a reference such as $name$"),
    (field({"initialValue": {}}), "initialValue: found an empty object, expected one of literalValue"),
    (field({"initialValue": {"literalValue": {"intValue": "x"}}}), "found str 'x', expected an int64"),
    (field({}), "initialValue: found nothing, expected a JSON object"),
    (field(expression(1), "out"), "referenceKey: found 'out', expected a reference"),
    (field(expression(1), "$a" + ".a" * 300 + "$"), "referenceKey: found 300 steps"),
    (field(expression(1), to="BYTES"), "fieldType: found 'BYTES', expected one of STRING_VALUE"),
    (field(expression(1), cardinality="MANY"), "cardinality: found 'MANY'"),
    (field(expression(1), defaultValue={"intValue": "x"}), "defaultValue: found str 'x'"),
    ({"inputField": {}}, "outputField: found nothing"),
    ("text", "mappedField: found str"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD_FIELDS)
def test_a_field_that_cannot_run_is_a_problem_before_it_runs(bad, problem):
    good = field(expression(1))

    problems = problems_of(good, bad)

    assert len(problems) == 1
    assert problems[0].startswith("field 2")
    assert problem in problems[0]


def test_every_field_that_cannot_run_is_named():
    problems = problems_of(field(expression("~x"), "$a$"), field(expression(1)), field(expression("~y"), "$c$"))

    assert [problem.split(":")[0] for problem in problems] == ["field 1 ($a$)", "field 3 ($c$)"]


def test_a_simple_mapping_takes_few_steps_once_it_was_read():
    """A light task runs in line, so it may cost no more than a few microseconds."""
    context = make_context(config_of(field(expression("$name$", call("string.CONCAT", "!")))), {"name": "a"})
    mapping.run(context)

    assert steps_of(lambda: mapping.run(context)) < 250
