import sys

import pytest

from orchestrator.model.first_use import on_first_use

NAME = "library_of_a_test"


@pytest.fixture
def library(tmp_path, monkeypatch):
    (tmp_path / f"{NAME}.py").write_text("ANSWER = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield on_first_use(NAME)
    sys.modules.pop(NAME, None)


def test_a_library_is_imported_when_something_of_it_is_asked_for(library):
    assert NAME not in sys.modules

    assert library.ANSWER == 42
    assert NAME in sys.modules


def test_what_a_library_has_not_is_no_attribute_of_it(library):
    with pytest.raises(AttributeError, match="QUESTION"):
        _ = library.QUESTION


def test_a_library_that_is_not_there_is_told_by_the_first_use():
    missing = on_first_use("no_such_library_at_all")

    with pytest.raises(ImportError, match="no_such_library_at_all"):
        _ = missing.anything
