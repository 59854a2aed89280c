"""Definitions at random, by the table of their messages."""

from hypothesis import strategies as st

from orchestrator.wire.google.case import camel_to_snake
from orchestrator.wire.google.definitions import MESSAGES

names = st.text(max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda below: st.lists(below, max_size=2) | st.dictionaries(names, below, max_size=2),
    max_leaves=5,
)
single = st.booleans() | st.integers() | names


@st.composite
def spelled(draw, message="IntegrationVersion", depth=4):
    """A message in camelCase, and the same with each field in either spelling."""
    camel, mixed = {}, {}
    fields = MESSAGES[message]
    for name in draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=4)) if fields else []:
        one, other = draw(content(fields[name], depth))
        camel[name] = one
        mixed[draw(st.sampled_from([name, camel_to_snake(name)]))] = other
    if message == "EventParameter" and not camel:
        camel["key"] = mixed["key"] = draw(names)
    return camel, mixed


@st.composite
def content(draw, known, depth):
    below = spelled(known.message, depth - 1) if known.message and depth else st.just(({}, {}))
    match known.kind:
        case "*":
            found = draw(plain.filter(lambda each: each is not None))
            return found, found
        case ">":
            return draw(below)
        case "[" if known.message:
            pairs = draw(st.lists(below, max_size=2))
            return [one for one, _ in pairs], [other for _, other in pairs]
        case "[":
            found = draw(st.lists(single, max_size=2))
            return found, found
        case "{" if known.message:
            pairs = draw(st.dictionaries(names, below, max_size=2))
            return {key: one for key, (one, _) in pairs.items()}, {key: other for key, (_, other) in pairs.items()}
        case "{":
            found = draw(st.dictionaries(names, names, max_size=2))
            return found, found
    found = draw(single)
    return found, found


anything = st.dictionaries(st.sampled_from(sorted(MESSAGES["IntegrationVersion"])), plain)
"""Objects with the fields of a definition, and whatever in them."""
