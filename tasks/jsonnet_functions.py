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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, NoReturn, TypeAlias
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.model.json_text import Json
from orchestrator.model.task_types import TaskContext

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


def _text(found: Json) -> str:
    if not isinstance(found, str):
        raise TypeError(f"found {type(found).__name__}, expected a string")
    return found


def _hash(algorithm: str) -> Function:
    return lambda text: hashlib.new(algorithm, _text(text).encode()).hexdigest()


def _match(text: Json, pattern: Json) -> Json:
    """Every substring that matches.

    The product has RE2; Python's ``re`` knows the same syntax and backtracks, so a hostile pattern can take long.
    """
    return [found[0] for found in re.finditer(_text(pattern), _text(text))]


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
    rows = [row for row in csv.reader(io.StringIO(_text(text), newline=""), delimiter=delimiter, strict=True) if row]
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


# -- dates ---------------------------------------------------------------------------------------------------------

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# Longest first, so that MMMM is not read as MM and MM. Letters inside [] or '' are written as they are.
_ELEMENT: Final = re.compile(
    r"\[(?P<bracketed>[^\]]*)\]|'(?P<quoted>[^']*)'"
    r"|YYYY|yyyy|YY|yy|M{1,4}|dddd|ddd|DD?|dd?|HH?|hh?|mm?|ss?|S{1,3}|A|a|ZZ?",
)


def _offset(moment: datetime, separator: str) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{separator}{abs(minutes) % 60:02}"


# A format element is what it writes and the pattern by which it is read back ("" if it is only written).
_ELEMENTS: Final[dict[str, tuple[Callable[[datetime], str], str]]] = {
    "YYYY": (lambda t: f"{t.year:04}", r"(?P<year>\d{4})"),
    "YY": (lambda t: f"{t.year % 100:02}", r"(?P<short_year>\d{2})"),
    "MMMM": (lambda t: _MONTHS[t.month - 1], r"(?P<month_name>[A-Za-z]+)"),
    "MMM": (lambda t: _MONTHS[t.month - 1][:3], r"(?P<month_name>[A-Za-z]{3})"),
    "MM": (lambda t: f"{t.month:02}", r"(?P<month>\d{2})"),
    "M": (lambda t: str(t.month), r"(?P<month>\d{1,2})"),
    "dddd": (lambda t: _DAYS[t.weekday()], r"[A-Za-z]+"),
    "ddd": (lambda t: _DAYS[t.weekday()][:3], r"[A-Za-z]{3}"),
    "DD": (lambda t: f"{t.day:02}", r"(?P<day>\d{2})"),
    "D": (lambda t: str(t.day), r"(?P<day>\d{1,2})"),
    "HH": (lambda t: f"{t.hour:02}", r"(?P<hour>\d{2})"),
    "H": (lambda t: str(t.hour), r"(?P<hour>\d{1,2})"),
    "hh": (lambda t: f"{t.hour % 12 or 12:02}", r"(?P<hour>\d{2})"),
    "h": (lambda t: str(t.hour % 12 or 12), r"(?P<hour>\d{1,2})"),
    "mm": (lambda t: f"{t.minute:02}", r"(?P<minute>\d{2})"),
    "m": (lambda t: str(t.minute), r"(?P<minute>\d{1,2})"),
    "ss": (lambda t: f"{t.second:02}", r"(?P<second>\d{2})"),
    "s": (lambda t: str(t.second), r"(?P<second>\d{1,2})"),
    "SSS": (lambda t: f"{t.microsecond // 1000:03}", r"(?P<fraction>\d{3})"),
    "SS": (lambda t: f"{t.microsecond // 10_000:02}", r"(?P<fraction>\d{2})"),
    "S": (lambda t: str(t.microsecond // 100_000), r"(?P<fraction>\d)"),
    "A": (lambda t: "AM" if t.hour < 12 else "PM", r"(?P<half>[AaPp][Mm])"),
    "a": (lambda t: "am" if t.hour < 12 else "pm", r"(?P<half>[AaPp][Mm])"),
    "Z": (lambda t: _offset(t, ":"), r"(?P<zone>Z|[+-]\d{2}:?\d{2})"),
    "ZZ": (lambda t: _offset(t, ""), r"(?P<zone>Z|[+-]\d{2}:?\d{2})"),
}
# The spellings of java.time mean the same here: templates use both.
_ELEMENTS.update({java: _ELEMENTS[java.upper()] for java in ("yyyy", "yy", "dd", "d")})


def _date_format(timestamp: Json, format_string: str, zone_name: str, current_format: str | None) -> Json:
    """Write a timestamp in another format, as the time of day in the zone.

    Args:
        timestamp: text in ``current_format``, or without one ISO 8601; or a number, milliseconds since 1970.
        format_string: elements YYYY YY MMMM MMM MM M DD D dddd ddd HH H hh h mm m ss s SSS A a Z ZZ.
        zone_name: ``Europe/Berlin``, ``UTC`` or ``+02:00``: the zone of a timestamp that names none, and of the result.
        current_format: the format of a text, by the same elements.
    """
    zone = _zone(zone_name)
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        moment = datetime.fromtimestamp(timestamp / 1000, tz=zone)
    elif current_format is None:
        moment = datetime.fromisoformat(_text(timestamp))
    else:
        moment = _parse_date(_text(timestamp), current_format)
    moment = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)

    def written(found: re.Match[str]) -> str:
        literal = found["bracketed"] if found["bracketed"] is not None else found["quoted"]
        return _ELEMENTS[found[0]][0](moment) if literal is None else literal

    return _ELEMENT.sub(written, _text(format_string))


def _zone(name: str) -> tzinfo:
    if name.upper() in ("Z", "UTC", "GMT"):
        return UTC
    offset = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", name)
    if offset:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-span if offset[1] == "-" else span)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


def _parse_date(text: str, current_format: str) -> datetime:
    match = re.fullmatch(_pattern_of(current_format), text)
    if match is None:
        raise ValueError(f"timestamp {text!r} is not in the format {current_format!r}")
    found = {key: value for key, value in match.groupdict().items() if value is not None}
    hour = int(found.get("hour", 0))
    if "half" in found:
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    return datetime(
        _year(found),
        _month(found),
        int(found.get("day", 1)),
        hour,
        int(found.get("minute", 0)),
        int(found.get("second", 0)),
        int(found.get("fraction", "0").ljust(6, "0")),
        tzinfo=_zone(found["zone"]) if "zone" in found else None,
    )


def _pattern_of(current_format: str) -> str:
    pattern, end = "", 0
    for found in _ELEMENT.finditer(current_format):
        pattern += re.escape(current_format[end : found.start()])
        literal = found["bracketed"] if found["bracketed"] is not None else found["quoted"]
        pattern += _ELEMENTS[found[0]][1] if literal is None else re.escape(literal)
        end = found.end()
    return pattern + re.escape(current_format[end:])


def _year(found: Mapping[str, str]) -> int:
    if "short_year" in found:
        short = int(found["short_year"])
        return short + (1900 if short >= 69 else 2000)  # POSIX's pivot
    return int(found.get("year", 1970))


def _month(found: Mapping[str, str]) -> int:
    if "month_name" in found:
        name = found["month_name"].title()
        return next(i for i, month in enumerate(_MONTHS, 1) if name in (month, month[:3]))
    return int(found.get("month", 1))


# -- XML -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Element:
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Element | str] = field(default_factory=list)


def _read_xml(xml: str) -> _Element:
    # Expat itself, not ElementTree: it keeps the prefixes as they are written and lets us refuse a DTD at its start,
    # which leaves no entity to expand.
    document = _Element("")
    path = [document]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(path) > MAX_XML_DEPTH:
            raise ValueError(f"more than {MAX_XML_DEPTH} levels of elements")
        element = _Element(name, attributes)
        path[-1].children.append(element)
        path.append(element)

    def text(data: str) -> None:
        path[-1].children.append(data)

    def refuse_dtd(*_: object) -> NoReturn:
        raise ValueError("a document type declaration is refused")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse_dtd
    parser.Parse(xml, True)
    return next(child for child in document.children if isinstance(child, _Element))


def _parse_xml(xml: Json, xml_format: str) -> Json:
    root = _read_xml(_text(xml))
    if xml_format == "badgerfish":
        return {root.name: _to_badgerfish(root)}
    _require_jsonml(xml_format)
    return _to_jsonml(root)


def _manifest_xml(document: Json, xml_format: str, indented: bool) -> Json:
    if xml_format == "badgerfish":
        if not isinstance(document, dict) or len(document) != 1:
            raise ValueError("expected an object with exactly one key, the root element")
        ((name, body),) = document.items()
        root = _from_badgerfish(name, body)
    else:
        _require_jsonml(xml_format)
        root = _from_jsonml(document)
    return _written(root, "\n" if indented else "")


def _require_jsonml(xml_format: str) -> None:
    if xml_format != "jsonml":
        raise ValueError(f"there is no format {xml_format!r}; there are: badgerfish, jsonml")


def _to_badgerfish(element: _Element) -> dict[str, Json]:
    body: dict[str, Json] = {}
    namespaces: dict[str, Json] = {}
    for name, value in element.attributes.items():
        if name == "xmlns" or name.startswith("xmlns:"):
            namespaces[name.partition(":")[2] or "$"] = value
        else:
            body[f"@{name}"] = value
    if namespaces:
        body["@xmlns"] = namespaces
    text = "".join(child for child in element.children if isinstance(child, str)).strip()
    if text:
        body["$"] = text
    groups: dict[str, list[Json]] = {}
    for child in element.children:
        if isinstance(child, _Element):
            groups.setdefault(child.name, []).append(_to_badgerfish(child))
    return body | {name: group[0] if len(group) == 1 else group for name, group in groups.items()}


def _from_badgerfish(name: str, body: Json) -> _Element:
    element = _Element(name)
    if not isinstance(body, dict):
        body = {} if body is None else {"$": body}  # a bare scalar counts as the element's text
    for key, value in body.items():
        if key == "$":
            element.children.append(_scalar(value))
        elif key == "@xmlns":
            declared = value if isinstance(value, dict) else {"$": value}
            prefixes = {
                "xmlns" if prefix == "$" else f"xmlns:{prefix}": _scalar(uri) for prefix, uri in declared.items()
            }
            element.attributes.update(prefixes)
        elif key.startswith("@"):
            element.attributes[key[1:]] = _scalar(value)
        else:
            each = value if isinstance(value, list) else [value]
            element.children.extend(_from_badgerfish(key, item) for item in each)
    return element


def _to_jsonml(element: _Element) -> list[Json]:
    parts: list[Json] = [element.name]
    if element.attributes:
        parts.append(dict(element.attributes))
    for child in element.children:
        if isinstance(child, _Element):
            parts.append(_to_jsonml(child))
        elif child.strip():
            parts.append(child)
    return parts


def _from_jsonml(document: Json) -> _Element:
    if not isinstance(document, list) or not document or not isinstance(document[0], str):
        raise ValueError('expected an array that starts with the name of an element, such as ["a", {"x": "1"}, "text"]')
    element = _Element(document[0])
    for i, part in enumerate(document[1:]):
        if isinstance(part, dict) and i == 0:
            element.attributes = {key: _scalar(value) for key, value in part.items()}
        else:
            element.children.append(_from_jsonml(part) if isinstance(part, list) else _scalar(part))
    return element


def _scalar(value: Json) -> str:
    if isinstance(value, dict | list):
        raise TypeError(f"found {type(value).__name__} where XML has text")
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


_NAME: Final = re.compile(r"[^\W\d][\w.\-]*(:[^\W\d][\w.\-]*)?")
_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _written(element: _Element, line_break: str) -> str:
    """The element as XML. ``line_break`` is what stands before it: "" for one line, else a newline and the indent."""
    attributes = "".join(f" {_name(key)}={quoteattr(_legal(value))}" for key, value in element.attributes.items())
    head = f"{_name(element.name)}{attributes}"
    if not element.children:
        return f"<{head}/>"
    # White space between elements is free to add only where there is no text.
    mixed = any(isinstance(child, str) for child in element.children)
    inner = "" if mixed or not line_break else f"{line_break}  "
    body = "".join(
        escape(_legal(child)) if isinstance(child, str) else inner + _written(child, inner)
        for child in element.children
    )
    return f"<{head}>{body}{line_break if inner else ''}</{element.name}>"


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name an XML element or attribute")
    return name


def _legal(text: str) -> str:
    if found := _NOT_XML.search(text):
        raise ValueError(f"XML cannot hold the character U+{ord(found[0]):04X}")
    return text


_FUNCTIONS: Final[dict[str, Function]] = {
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
    "sha512": _hash("sha512"),
    "sha3": _hash("sha3_512"),
    "match": _match,
    "randomNumber": _random_number,
    "uuid": lambda: str(uuid.uuid4()),
    "dateFormat": _date_format,
    "parseCsvWithHeader": _parse_csv,
    "manifestCsv": _manifest_csv,
    "parseXml": _parse_xml,
    "manifestXml": _manifest_xml,
    "xsltTransform": _not_built("there is no XSLT processor here; use parseXml, Jsonnet and manifestXml"),
    "getIntegrationVersionId": _not_built("a task is not told the version of its integration"),
    "getIntegrationVersionNumber": _not_built("a task is not told the version of its integration"),
}
