from pathlib import Path

import pytest

from orchestrator.setting_fields import Field, FieldError, Fields, SecretStr, field_validator


class Example(Fields):
    number: int = Field(default=1, ge=1, le=9)
    share: float = Field(default=0.5, gt=0)
    flag: bool = False
    folder: Path = Path("here")
    names: tuple[str, ...] = ()
    texts: dict[str, str] = Field(default={})
    secret: SecretStr | None = None
    hidden: str | None = Field(default=None, repr=False)

    @field_validator("names", mode="before")
    @classmethod
    def _split(cls, found: object) -> object:
        return found.split() if isinstance(found, str) else found

    @field_validator("folder")
    @classmethod
    def _check_folder(cls, folder: Path) -> Path:
        if folder.name == "nowhere":
            raise ValueError("a folder that is somewhere")
        return Path("/", folder)


def test_what_is_not_given_has_its_default_which_is_checked_as_well():
    example = Example({})

    assert (example.number, example.secret, example.folder) == (1, None, Path("/here"))


@pytest.mark.parametrize(
    ("name", "found", "value"),
    [
        ("number", "7", 7),
        ("number", 9, 9),
        ("share", "1", 1.0),
        ("share", 2, 2.0),
        ("flag", "Yes", True),
        ("flag", "0", False),
        ("flag", True, True),
        ("folder", "a/b", Path("/a/b")),
        ("names", "a b", ("a", "b")),
        ("names", ["a"], ("a",)),
        ("texts", {"a": "b"}, {"a": "b"}),
        ("secret", "s", SecretStr("s")),
        ("secret", SecretStr("s"), SecretStr("s")),
        ("hidden", None, None),
    ],
)
def test_a_value_is_read_by_its_type(name, found, value):
    read = getattr(Example({name: found}), name)

    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("number", "x", "a valid integer, unable to parse string as an integer"),
        ("number", True, "a valid integer"),
        ("number", 1.5, "a valid integer"),
        ("number", 0, "greater than or equal to 1"),
        ("number", "10", "less than or equal to 9"),
        ("share", "x", "a valid number, unable to parse string as a number"),
        ("share", False, "a valid number"),
        ("share", 0, "greater than 0"),
        ("share", "nan", "greater than 0"),
        ("flag", "perhaps", "a valid boolean"),
        ("flag", 1, "a valid boolean"),
        ("folder", 1, "a path"),
        ("folder", "nowhere", "a folder that is somewhere"),
        ("names", 1, "a list of texts"),
        ("names", [1], "a valid string"),
        ("texts", "a", "an object of texts"),
        ("texts", {"a": 1}, "a valid string"),
        ("secret", 1, "a valid string"),
        ("number", None, "a valid integer"),
        ("other", "x", ""),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_what_is_expected(name, found, expected):
    with pytest.raises(FieldError) as refused:
        Example({name: found})

    assert refused.value.args == (name, found, expected)


def test_nothing_is_changed_later_and_nothing_hidden_is_shown():
    example = Example({"secret": "not for eyes", "hidden": "not for eyes"})

    with pytest.raises(AttributeError, match="number is frozen"):
        example.number = 2
    assert "not for eyes" not in repr(example) + str(example.secret)
    assert "number=1" in repr(example)


def test_settings_are_equal_if_all_their_values_are():
    assert Example({"secret": "a"}) == Example({"secret": "a"})
    assert Example({"secret": "a"}) != Example({"secret": "b"})


def test_a_default_is_nobody_s_to_change():
    Example({}).texts["a"] = "b"

    assert Example({}).texts == {}


def test_a_type_that_nobody_can_read_is_told_when_the_class_is_made():
    with pytest.raises(KeyError, match="complex"):

        class Odd(Fields):
            odd: complex = 1j
