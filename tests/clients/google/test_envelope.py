"""How errors reach the user of the client."""

import pytest
from googleapiclient.errors import HttpError

from tests.clients.google.conftest import LOCATION

pytestmark = pytest.mark.services


def test_what_is_not_there_is_told_in_the_envelope(google):
    with pytest.raises(HttpError) as caught:
        google.executions.get(name=f"{LOCATION}/integrations/i/executions/nothing").execute()
    assert caught.value.status_code == 404
    assert "nothing" in caught.value.reason
