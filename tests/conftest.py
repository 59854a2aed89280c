"""What all tests share."""

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def tmp_path(request, tmp_path_factory):
    """A folder with a short name: with that of the test in it, the path of a socket would be too long."""
    return tmp_path_factory.mktemp(request.function.__name__.removeprefix("test_")[:12])
