"""XML of the Jsonnet library: BadgerFish and JsonML, read by plain expat. A DTD is refused, and so are its entities."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeAlias
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from orchestrator.model.json_text import Json
from tasks.jsonnet_arguments import text_of

Function: TypeAlias = Callable[..., Json]

MAX_XML_DEPTH: Final = 100  # nesting of elements; JSON gets two levels for each, and 200 is the model's limit


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


def parse_xml(xml: Json, xml_format: str) -> Json:
    """``parseXml``: XML text as a document, "badgerfish" or "jsonml"."""
    root = _read_xml(text_of(xml))
    if xml_format == "badgerfish":
        return {root.name: _to_badgerfish(root)}
    _require_jsonml(xml_format)
    return _to_jsonml(root)


def manifest_xml(document: Json, xml_format: str, indented: bool) -> Json:
    """``manifestXml``: the inverse."""
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
