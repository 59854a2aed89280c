"""What the Jsonnet library ``functions`` asks of Python: hashes, dates, XML, CSV, and facts about the execution.

Every function takes and gives JSON data. A failure is an exception whose text ends up in the template's error, so it
names what was found. Nothing here touches the network, the file system or the clock: the time is the attempt's.

What must not happen: following an entity, a DTD or an external reference out of an XML text.

XML maps to JSON in two formats. BadgerFish: ``<a x="1">t</a>`` is ``{"a": {"@x": "1", "$": "t"}}``, repeated elements
are a list, namespace declarations an ``@xmlns`` object where they stand. JsonML: ``["a", {"x": "1"}, "t"]``, which
keeps the order of mixed content.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import secrets
import uuid
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from orchestrator.model.json_text import Json
from orchestrator.model.task_types import TaskContext
from tasks.jsonnet_arguments import text_of
from tasks.jsonnet_dates import date_format
from tasks.jsonnet_xml import manifest_xml, parse_xml

Function: TypeAlias = Callable[..., Json]

MAX_XML_DEPTH: Final = 100  # nesting of elements; JSON gets two levels for each, and 200 is the model's limit


def native_call(context: TaskContext) -> Callable[[str], str]:
    """The native function ``call`` for one attempt: JSON text ``[name, argument, ...]`` in, JSON text out.

    Text in, because native functions take no arrays or objects, and the C++ binding mixes up the names of several
    parameters. Text out, because the bindings cut strings at a NUL and crash on a lone surrogate.

    Returns:
        A function that answers ``{"value": ...}`` or ``{"error": text}``: the Go binding drops the text of an
        exception, so that the library raises the error itself.
    """
    functions = {**_FUNCTIONS, **_facts(context)}

    def call(request: str) -> str:
        name = "call"
        try:
            name, *arguments = json.loads(request)
            return json.dumps({"value": functions[name](*arguments)})
        except Exception as error:  # anything a wrong argument leads to belongs to the template, not to us
            return json.dumps({"error": f"{name}: {error}"})

    return call


def _facts(context: TaskContext) -> dict[str, Function]:
    return {
        "getIntegrationName": lambda: context.integration,
        "getIntegrationRegion": lambda: context.location,
        "getExecutionId": lambda: context.execution_id,
        "getProjectId": lambda: context.project,
        "nowInMillis": lambda: int(context.now.timestamp() * 1000),
    }


# -- text ----------------------------------------------------------------------------------------------------------


def _hash(algorithm: str) -> Function:
    return lambda text: hashlib.new(algorithm, text_of(text).encode()).hexdigest()


def _match(text: Json, pattern: Json) -> Json:
    """Every substring that matches.

    The product has RE2; Python's ``re`` knows the same syntax and backtracks, so a hostile pattern can take long.
    """
    return [found[0] for found in re.finditer(text_of(pattern), text_of(text))]


def _random_number(lower: float, upper: float) -> Json:
    return secrets.SystemRandom().uniform(lower, upper)


def _not_built(reason: str) -> Function:
    def refuse(*_: Json) -> NoReturn:
        raise NotImplementedError(reason)

    return refuse


# -- CSV -----------------------------------------------------------------------------------------------------------


def _parse_csv(text: Json, delimiter: str, overwrite: bool) -> Json:
    """One object a row, all values strings; a row that is shorter than the header has fewer keys.

    Of two columns with the same header the last one wins, or, without ``overwrite``, the later ones get the names
    ``header__1``, ``header__2``.
    """
    rows = [row for row in csv.reader(io.StringIO(text_of(text), newline=""), delimiter=delimiter, strict=True) if row]
    headers = rows[0] if rows else []
    if not overwrite:
        seen: dict[str, int] = {}
        headers = [_distinct(header, seen) for header in headers]
    return [dict(zip(headers, row, strict=False)) for row in rows[1:]]


def _distinct(header: str, seen: dict[str, int]) -> str:
    seen[header] = seen.get(header, -1) + 1
    return f"{header}__{seen[header]}" if seen[header] else header


def _manifest_csv(rows: list[dict[str, Json]], headers: list[str] | None) -> Json:
    """CSV with a header row; without ``headers`` every key of every row, in the order of their first appearance."""
    columns = headers or list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# -- the library ---------------------------------------------------------------------------------------------------

_FUNCTIONS: Final[dict[str, Function]] = {
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
    "sha512": _hash("sha512"),
    "sha3": _hash("sha3_512"),
    "match": _match,
    "randomNumber": _random_number,
    "uuid": lambda: str(uuid.uuid4()),
    "dateFormat": date_format,
    "parseCsvWithHeader": _parse_csv,
    "manifestCsv": _manifest_csv,
    "parseXml": parse_xml,
    "manifestXml": manifest_xml,
    "xsltTransform": _not_built("there is no XSLT processor here; use parseXml, Jsonnet and manifestXml"),
    "getIntegrationVersionId": _not_built("a task is not told the version of its integration"),
    "getIntegrationVersionNumber": _not_built("a task is not told the version of its integration"),
}
