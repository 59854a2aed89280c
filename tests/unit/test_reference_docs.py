"""The reference pages say what the code says: each test is one way in which they could drift apart.

``docs/definitions.md`` and ``docs/task-types.md`` hold tables and blocks that are read here. A block whose fence says
``complete`` must work as it stands. If a mapping function changes, the test prints the rows of its family as they have
to be written.
"""

from __future__ import annotations

import inspect
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

import tasks
from orchestrator.engine.validate import find_problems
from orchestrator.errors import ConditionSyntax
from orchestrator.model import condition_parser, definition, definition_text, fields, json_text, limits
from orchestrator.model.conditions import parse_condition
from orchestrator.model.cron import next_time
from orchestrator.model.definition import read_definition
from orchestrator.model.integration import ForkPolicy, JoinStrategy
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.task_types import TASK_TYPES, TaskType
from orchestrator.model.values import DataType, from_python, parse_value
from orchestrator.store.kinds import MAX_NAME
from tasks.loops import MAX_WHILE_ROUNDS
from tasks.mapping.registry import FAMILIES, LAMBDA, MappingFunction

ROOT = Path(__file__).parents[2]
DEFINITIONS = (ROOT / "docs" / "definitions.md").read_text()
TASKS = (ROOT / "docs" / "task-types.md").read_text()
BLOCK = re.compile(r"^```(\w+) complete\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(.+?)\1(?!`)")
READERS = (
    *("get", "text", "required_text", "required_whole", "whole", "flag", "choice", "mapping", "nested", "objects"),
    *("items", "document"),
)
EVERYTHING = {
    "triggerConfigs": [
        {
            "triggerId": "api_trigger/a",
            "startTasks": [{"taskId": 1}],
            "inputVariables": {"names": []},
            "outputVariables": {},
            "cloudSchedulerConfig": {},
        },
        {},  # without an id, so that the properties are asked for one
    ],
    "integrationParameters": [{"key": "a", "dataType": "INT_VALUE"}],
    "integrationConfigParameters": [{"parameter": {"key": "b", "dataType": "INT_VALUE"}}],
    "errorCatcherConfigs": [{"errorCatcherId": "a", "startErrorTasks": [{"taskId": 1}]}],
    "limits": {"rate": {}},
    "taskConfigs": [
        {
            "taskId": 1,
            "task": "ReturnTask",
            "parameters": {"a": {"value": {"intValue": 1}}},
            "nextTasks": [{"taskId": 2}],
            "successPolicy": {},
            "rollback": {"task": "ReturnTask"},
            "failurePolicy": {},
            "synchronousCallFailurePolicy": {},
            "conditionalFailurePolicies": {"failurePolicies": [{}], "defaultFailurePolicy": {}},
        }
    ],
}


def blocks(page: str, *kinds: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page) if kind in kinds]


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of every row below this table head, wherever it occurs on the page."""
    found = []
    for table in page.split(f"\n{header}\n")[1:]:
        lines = table.split("\n")[1:]  # the line of dashes
        end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
        found += [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:end]]
    assert found, f"the page has no table {header}"
    return found


def code(cell: str) -> str:
    """What stands between the cell's first backticks."""
    return CODE.search(cell)[2]


def is_built_in(task_type: TaskType) -> bool:
    """Whether ``import tasks`` registers it; other tests register types of their own in the same process."""
    decorated = inspect.getclosurevars(task_type.run).nonlocals.get("function", task_type.run)
    return decorated.__module__.partition(".")[0] == "tasks"


def section(page: str, heading: str) -> str:
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)[1]


# -- definitions.md ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", blocks(DEFINITIONS, "yaml", "json"), ids=range(len(blocks(DEFINITIONS, "yaml", "json")))
)
def test_a_complete_definition_can_run_without_errors_and_warnings(text):
    problems = find_problems(read_definition(text.encode(), source="definitions.md"), TASK_TYPES)

    assert (problems.errors, problems.warnings) == ((), ())


@pytest.mark.parametrize("row", rows(DEFINITIONS, "| Condition | Parameters | Holds |"), ids=lambda row: row[0])
def test_a_condition_of_the_page_holds_as_the_page_says(row):
    condition, parameters, holds = row
    values = {key: from_python(data, key) for key, data in json.loads(code(parameters)).items()}

    assert parse_condition(code(condition)).holds(values) is {"true": True, "false": False}[holds]


@pytest.mark.parametrize("row", rows(DEFINITIONS, "| Refused | Column | Instead |"), ids=lambda row: row[0])
def test_a_condition_that_the_page_calls_refused_is_refused_at_its_column(row):
    refused, column, instead = row

    with pytest.raises(ConditionSyntax) as error:
        parse_condition(code(refused))

    assert error.value.column == int(column)
    if "`" in instead:
        parse_condition(code(instead))


@pytest.mark.parametrize("row", rows(DEFINITIONS, "| Cron | Time zone | After | Comes at |"), ids=" ".join)
def test_a_cron_expression_of_the_page_comes_when_the_page_says(row):
    cron, time_zone, after, expected = map(code, row)

    assert next_time(cron, time_zone, datetime.fromisoformat(after)) == datetime.fromisoformat(expected)


def test_every_operator_of_conditions_is_in_the_table():
    table = section(DEFINITIONS, "Edges and conditions").partition("| Operator | Meaning |")[2]

    assert {"=", "!=", "<", "<=", ">", ">=", ":"} <= {found[1] for found in CODE.findall(table)}


def test_the_tables_of_keys_hold_what_the_reader_asks_for(monkeypatch):
    """Both ways: a key that nobody reads would be a promise, and one that nobody describes a secret."""
    asked: set[str] = set()
    for name in READERS:
        original = getattr(fields.Fields, name)

        def reading(self, key, *more, original=original, **named):
            asked.add(key)
            return original(self, key, *more, **named)

        monkeypatch.setattr(fields.Fields, name, reading)
    with pytest.raises(definition.InvalidDefinition):
        definition.parse_integration(EVERYTHING)
    described = {code(row[0]) for row in rows(DEFINITIONS, "| Key | Default | Effect |")}

    assert described == asked


def test_every_member_of_the_enums_that_mean_something_is_on_the_page():
    members = [*DataType, *RetryStrategy, *ForkPolicy, *JoinStrategy]

    assert [each for each in members if f"`{each}`" not in DEFINITIONS] == []


def test_every_written_form_of_a_value_is_read_as_its_type():
    for row in rows(DEFINITIONS, "| Type | Written as | Holds |"):
        forms = [found[1] for found in CODE.findall(row[1]) if found[1].startswith("{")]

        assert forms
        assert {parse_value(json.loads(form), "example").type for form in forms} == {DataType(code(row[0]))}


def test_the_waits_of_the_retry_table_are_those_of_the_policies():
    for row in rows(DEFINITIONS, "| Strategy | Retry 1 | Retry 2 | Retry 3 | Retry 4 |"):
        policy = FailurePolicy(strategy=RetryStrategy(code(row[0])), max_retries=4, interval_s=10.0)
        for retry, cell in enumerate(row[1:], start=1):
            shortest, _, longest = cell.partition(" to ")

            assert policy.delay_s(retry, 0.0) == float(shortest)
            assert policy.delay_s(retry, 0.999_999) == pytest.approx(float(longest or shortest), abs=0.001)


def test_the_limits_are_those_of_the_code():
    said = " ".join(row[1] for row in rows(DEFINITIONS, "| What | Limit |"))
    expected = [
        *(definition.MAX_TASKS, definition.MAX_TRIGGERS, definition.MAX_PARAMETERS, definition_text.MAX_YAML_NODES),
        *(condition_parser.MAX_LENGTH, condition_parser.MAX_TERMS, condition_parser.MAX_DEPTH, fields.MAX_PROBLEMS),
        *(json_text.MAX_JSON_DEPTH, definition_text.MAX_SIZE_BYTES >> 20, MAX_NAME, MAX_WHILE_ROUNDS),
        *(limits.MAX_RUNNING, limits.MAX_RATE),
    ]

    assert sorted(int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", said)) == sorted(expected)


# -- task-types.md -------------------------------------------------------------------------------------------------


def test_the_first_table_names_every_built_in_task_type_as_it_is_registered():
    table = {code(row[0]): (row[1], code(row[2])) for row in rows(TASKS, "| Task type | | In Flower | Does |")}
    registered = {
        each.name: ("light" if each.light else "heavy", each.celery_name or each.name)
        for each in TASK_TYPES
        if is_built_in(each)
    }

    assert table == registered


@pytest.mark.parametrize("task_type", [each for each in TASK_TYPES if is_built_in(each)], ids=lambda each: each.name)
def test_every_built_in_task_type_has_a_section_that_says_light_or_heavy(task_type):
    words = " ".join(section(TASKS, task_type.name).split())

    assert f"{'Light' if task_type.light else 'Heavy'}; `{task_type.celery_name}` in Flower." in words


def mapping_row(family: str, name: str, function: MappingFunction) -> str:
    """The row of one mapping function, without the line break."""
    names = [name.lstrip("_") for name in inspect.signature(function.work).parameters][1:]
    required = len(function.takes) - function.optional
    takes = [
        f"{named} {shown(each)}{', optional' if position >= required else ''}"
        for position, (named, each) in enumerate(zip(names, function.takes, strict=False))
    ]
    if function.rest is not None:
        takes.append(f"{names[len(takes)]} {shown(function.rest)} ...")
    meaning = inspect.getdoc(function.work).split("\n")[0].replace("``", "`")
    return f"| {family} | `{name}` | {', '.join(takes) or 'none'} | {shown(function.gives)} | {meaning} |"


def shown(takes: object) -> str:
    return "expression" if takes is LAMBDA else str(takes).removesuffix("_VALUE")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_every_mapping_function_has_its_row_and_no_other_has_one(family):
    expected = [mapping_row(family.key, name, function) for name, function in family.rows.items()]
    written = [line for line in TASKS.splitlines() if line.startswith(f"| {family.key} |")]

    assert written == expected, "write:\n" + "\n".join(expected)


def test_every_function_of_the_jsonnet_library_is_in_the_table():
    library = (Path(tasks.__file__).parent / "functions.libsonnet").read_text()
    signatures = re.findall(r"^  (\w+\(.*?\))::", library, re.MULTILINE)
    described = [found[1] for row in rows(TASKS, "| Function | Gives |") for found in CODE.findall(row[0])]

    assert sorted(described) == sorted(signatures)


@pytest.mark.parametrize("text", blocks(TASKS, "python"), ids=range(len(blocks(TASKS, "python"))))
def test_a_complete_python_example_registers_task_types(text, monkeypatch):
    monkeypatch.setattr(TASK_TYPES, "_types", {})  # other tests' modules may have registered the same names
    before = {each.name for each in TASK_TYPES}

    exec(compile(text, "task-types.md", "exec"), {"__name__": "billing"})

    added = {each.name for each in TASK_TYPES} - before
    assert added
    assert all(name in text for name in added)


@pytest.mark.parametrize("page", ["definitions", "task-types", "google-api"])
def test_every_link_leads_to_a_heading(page):
    folder = ROOT / "docs"
    for target, anchor in re.findall(r"\]\((?:([\w-]+)\.md)?(?:#([\w-]+))?\)", (folder / f"{page}.md").read_text()):
        text = (folder / f"{target or page}.md").read_text()
        assert not anchor or anchor in anchors(text), anchor


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
