"""JsonnetMapperTask, the product's "Data Transformer Script": a Jsonnet template computes parameters.

The template's result is an object; each key is a parameter, its value the parameter's new value. The template reads
parameters with ``std.extVar("name")`` and imports one library, ``functions`` (functions.libsonnet).

Numbers: Jsonnet has doubles only. An integer beyond 2**53 goes in as a string of digits, also inside JSON documents:
it passes through exactly, and the engine makes it an int again if the parameter is one. (As a number it would be
rounded without a word; the price is that arithmetic on it meets a string, and ``id + 1`` appends a digit.) A whole
double comes out as an int. A lone surrogate goes in as U+FFFD.

A parameter without a value is as unknown to ``extVar`` as one that nobody declared: Jsonnet's own error.

What must not happen here: reading a file, or starting Go in a process that forks afterwards. There are two bindings
with one interface:

* ``_gojsonnet`` evaluates (0.1 ms). The product uses it as well. Its runtime does not survive a fork: the child hangs
  at the first call. So it is loaded by the first evaluation of a process, and a child of a process that had loaded it
  evaluates with ``_jsonnet``.
* ``_jsonnet`` (C++) has no such state, and parses its standard library for each evaluation (25 ms). It checks
  templates when they are published, because the publishing process may start workers.

An evaluation is bounded in stack and in the size of its result, not in time or memory: nothing short of killing the
process ends it early. Both bindings release the GIL, so the worker's other threads go on meanwhile.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.json_text import Json
from orchestrator.model.task_types import TASK_TYPES, Done, TaskContext, TaskType
from orchestrator.model.values import INT64_MAX, INT64_MIN, Value, from_python

MAX_STACK: Final = 500
MAX_RESULT_BYTES: Final = 25 * 1024 * 1024
MAX_EXACT_INT: Final = 2**53  # the integers up to here are doubles too
MAX_MESSAGE: Final = 2_000  # characters of a template's own error text


class _Binding(Protocol):
    def evaluate_snippet(self, filename: str, src: str, **options: object) -> str: ...


# -- the task type -------------------------------------------------------------------------------------------------


def run(context: TaskContext) -> Done:
    """Evaluate the template and give its fields as outputs."""
    template = _template_of(context.config)
    if template is None:
        raise TaskError("the task has no template: set its parameter 'template' to a Jsonnet text", "INVALID_ARGUMENT")
    return Done(outputs=_outputs_of(_evaluate(template, context)))


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """Say what is wrong with the template without evaluating it: absent, not Jsonnet, or an unbound name."""
    template = _template_of(config)
    if template is None:
        return ["parameter 'template' is required: a Jsonnet text"]
    problem = _static_problem(template)
    return [] if problem is None else [f"template is not valid Jsonnet: {problem}"]


def _template_of(config: Mapping[str, Value]) -> str | None:
    # As written, without replacing references: a dollar sign is Jsonnet's name for the outermost object.
    template = config.get("template")
    if template is None or not isinstance(template.data, str) or not template.data.strip():
        return None
    return template.data


# -- evaluation ----------------------------------------------------------------------------------------------------


def _evaluate(template: str, context: TaskContext) -> str:
    from tasks.jsonnet_functions import native_call  # with XML and more: 1 MB, and only for this

    refused: list[str] = []

    def import_library(_directory: str, name: str) -> tuple[str, bytes]:
        # It must answer, always: a failure here leaks a traceback with the attempt's values, and its text is read
        # past its end (both bindings, 0.22).
        if name == "functions":
            return name, _library()
        refused.append(name)
        return name, b"error 'refused'"

    evaluate = functools.partial(
        _binding().evaluate_snippet,
        "template",
        template,
        max_stack=MAX_STACK,
        max_trace=4,
        import_callback=import_library,
        native_callbacks={"call": (("request",), native_call(context))},
    )
    try:
        result = _with_variables(evaluate, template, context.parameters)
    except RuntimeError as error:
        raise TaskError(_import_refusal(refused) or _message_of(str(error)), "JSONNET_ERROR") from None
    if refused:  # importstr got a text and went on
        raise TaskError(_import_refusal(refused), "JSONNET_ERROR")
    return result


def _import_refusal(names: Sequence[str]) -> str:
    return f'{names[0]!r} cannot be imported: the one library is "functions", and there are no files' if names else ""


def _with_variables(evaluate: Callable[..., str], template: str, parameters: Mapping[str, Value]) -> str:
    mentioned = {name: value for name, value in parameters.items() if name.strip("`") in template}
    try:
        return evaluate(ext_codes=_variables(mentioned))
    except RuntimeError as error:
        if len(mentioned) == len(parameters) or "undefined external variable" not in str(error).lower():
            raise
    # The template computes a name ("item_" + i). Nothing has happened yet that a second run would repeat.
    return evaluate(ext_codes=_variables(parameters))


@functools.cache
def _library() -> bytes:
    return Path(__file__).with_name("functions.libsonnet").read_bytes()


def _static_problem(template: str) -> str | None:
    # A top-level function whose argument is missing is parsed and analysed, and its body never evaluated. The
    # template starts on a line of its own, so that columns are right and lines one too high.
    try:
        cast("_Binding", importlib.import_module("_jsonnet")).evaluate_snippet("template", f"function(_)\n{template}")
    except RuntimeError as error:
        text = str(error)
        if text.startswith("STATIC ERROR"):
            return _message_of(_LINE.sub(lambda found: f"{found[1]}{int(found[2]) - 1}", text))
    return None


_LINE: Final = re.compile(r"(template:\(?|-\()(\d+)(?=:\d)")
_PLACE: Final = re.compile(r"template:\(?\d+:\d+\S*")


def _message_of(text: str) -> str:
    """The first paragraph of a binding's error, and the place in the template that is nearest to it."""
    headline = re.split(r"\n\t|\n\n", text.strip(), maxsplit=1)[0]
    headline = re.sub(r"^(RUNTIME|STATIC) ERROR: ", "", headline).strip()[:MAX_MESSAGE]
    place = _PLACE.search(text)
    if place is None or place[0] in headline:
        return headline
    return f"{headline} ({place[0].rstrip(':')})"


# -- which binding -------------------------------------------------------------------------------------------------

_bindings = ["_gojsonnet"]  # the last one counts


def _binding() -> _Binding:
    return cast("_Binding", importlib.import_module(_bindings[-1]))


def _note_fork() -> None:
    if "_gojsonnet" in sys.modules:
        _bindings.append("_jsonnet")


os.register_at_fork(after_in_child=_note_fork)


# -- values in and out ---------------------------------------------------------------------------------------------


def _variables(parameters: Mapping[str, Value]) -> dict[str, str]:
    """Jsonnet code for each parameter, a system variable under its name with and without the backticks."""
    codes: dict[str, str] = {}
    for name, value in parameters.items():
        codes[name] = code = _to_code(value.python)
        codes.setdefault(name.strip("`"), code)
    return codes


def _to_code(document: Json) -> str:
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if _LONG_NUMBER.search(text):
        text = json.dumps(_with_exact_ints(document), separators=(",", ":"), ensure_ascii=False)
    if isinstance(document, list | dict):
        # A document in a string: its own JSON parser takes a tenth of the time that reading it as Jsonnet does.
        text = f"std.parseJson({json.dumps(text, ensure_ascii=False)})"
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE.search(text) else text


_LONG_NUMBER: Final = re.compile(r"\d{16}")  # 2**53 has 16 digits
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def _with_exact_ints(document: Json) -> Json:
    if isinstance(document, dict):
        return {key: _with_exact_ints(item) for key, item in document.items()}
    if isinstance(document, list):
        return [_with_exact_ints(item) for item in document]
    return str(document) if isinstance(document, int) and abs(document) > MAX_EXACT_INT else document


def _outputs_of(result: str) -> dict[str, Value]:
    size_bytes = len(result.encode())
    if size_bytes > MAX_RESULT_BYTES:
        found = f"the template's result has {size_bytes} bytes, the limit is {MAX_RESULT_BYTES}"
        raise TaskError(found, "JSONNET_ERROR")
    document = json.loads(result, parse_int=_parse_int if _WIDE_NUMBER.search(result) else None)
    if not isinstance(document, dict):
        kind = from_python(document, "result").type
        raise TaskError(f"the template's result is {kind}, expected an object: one key a parameter", "JSONNET_ERROR")
    return {name: _output(content, name) for name, content in document.items()}


_WIDE_NUMBER: Final = re.compile(r"\d{19}")


def _parse_int(digits: str) -> int | float:
    # Jsonnet writes 1e300 as a digit and 300 zeros; that is a double, not an int64.
    number = int(digits)
    return number if INT64_MIN <= number <= INT64_MAX else float(digits)


def _output(content: Json, name: str) -> Value:
    try:
        return from_python(content, f"parameter {name!r}")
    except InvalidValue as error:
        raise TaskError(str(error), "JSONNET_ERROR") from error


TASK_TYPES.add(
    TaskType(name="JsonnetMapperTask", run=run, light=True, celery_name="tasks.jsonnet", check=check),
)
