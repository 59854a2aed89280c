"""Boolean functions.

Source: Application Integration, "Data mapping functions reference", one page a function.
"""

from __future__ import annotations

from tasks.mapping.registry import BOOLEAN, BOOLEANS, JSON, STRING


@BOOLEANS.row("NOT", gives=BOOLEAN)
def not_(flag: bool) -> bool:
    """The opposite."""
    return not flag


@BOOLEANS.row("AND", BOOLEAN, gives=BOOLEAN)
def and_(flag: bool, other: bool) -> bool:
    """True if both are."""
    return flag and other


@BOOLEANS.row("NAND", BOOLEAN, gives=BOOLEAN)
def nand(flag: bool, other: bool) -> bool:
    """False if both are true."""
    return not (flag and other)


@BOOLEANS.row("OR", BOOLEAN, gives=BOOLEAN)
def or_(flag: bool, other: bool) -> bool:
    """True if one is."""
    return flag or other


@BOOLEANS.row("NOR", BOOLEAN, gives=BOOLEAN)
def nor(flag: bool, other: bool) -> bool:
    """True if none is."""
    return not (flag or other)


@BOOLEANS.row("XOR", BOOLEAN, gives=BOOLEAN)
def xor(flag: bool, other: bool) -> bool:
    """True if they differ."""
    return flag is not other


@BOOLEANS.row("XNOR", BOOLEAN, gives=BOOLEAN)
@BOOLEANS.row("EQUALS", BOOLEAN, gives=BOOLEAN)
def equals(flag: bool, other: bool) -> bool:
    """True if they are the same."""
    return flag is other


@BOOLEANS.row("TO_STRING", gives=STRING)
def to_string(flag: bool) -> str:
    """``true`` or ``false``."""
    return "true" if flag else "false"


@BOOLEANS.row("TO_JSON", gives=JSON)
def to_json(flag: bool) -> bool:
    """The boolean as a JSON document."""
    return flag
