"""Lists of the suspensions of one execution: filters, orders, pages."""

import pytest

from orchestrator.errors import FilterSyntax, InvalidPageToken, InvalidValue
from orchestrator.service.suspension_list import SuspensionWish, read_suspensions
from orchestrator.service.suspensions import resolve
from tests.contracts.control_world import ControlWorld, asks


@pytest.fixture
def world(database, tmp_path):
    """Five questions wait; the third has its answer."""
    world = ControlWorld(database, tmp_path)
    world.submit(*(asks(number) for number in range(1, 6)), starts=[1, 2, 3, 4, 5])
    world.drive_all()
    resolve(world.id, world.services, is_lifted=True, actor="ann", name="3")
    return world


def page(world, **wish):
    found, token = read_suspensions(world.id, SuspensionWish(**wish), world.services)
    return [each.task_number for each in found], token


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", {1, 2, 3, 4, 5}),
        ('state = "PENDING"', {1, 2, 4, 5}),
        ("state=LIFTED AND resolver = ann", {3}),
        ("resolver:*", {3}),
        ("NOT resolver = bob", {1, 2, 3, 4, 5}),
        ("taskId = 2 OR task_id = 4", {2, 4}),
        ("name:-1 AND NOT id = 5-1", {1, 2, 3, 4}),
        ("create_time > 2000-01-01 AND last_modify_time < 2100-01-01", {1, 2, 3, 4, 5}),
        ("createTime > 2100-01-01", set()),
    ],
)
def test_a_filter_chooses_among_them(world, text, numbers):
    assert set(page(world, filter=text)[0]) == numbers


@pytest.mark.parametrize("order", ["", "create_time desc", "lastModifyTime", "last_modify_time DESC"])
def test_pages_together_are_the_whole_list(world, order):
    whole, token = page(world, order_by=order)
    assert token == ""
    assert len(whole) == 5

    seen, token = page(world, order_by=order, page_size=2)
    while token:
        more, token = page(world, order_by=order, page_size=2, page_token=token)
        seen += more

    assert seen == whole
    assert page(world, order_by=order, page_size=5) == (whole, "")


def test_the_answered_one_was_modified_last(world):
    assert page(world, order_by="last_modify_time")[0][-1] == 3
    assert page(world, order_by="last_modify_time desc")[0][0] == 3


def test_what_cannot_be_asked_is_refused(world):
    _, token = page(world, page_size=1)
    with pytest.raises(FilterSyntax, match="name, task_id, state"):
        page(world, filter="priority > 3")
    with pytest.raises(InvalidValue, match="create_time or last_modify_time"):
        page(world, order_by="state")
    for wish in ({"filter": "state=LIFTED"}, {"order_by": "create_time desc"}):
        with pytest.raises(InvalidPageToken):
            page(world, page_token=token, **wish)


def test_what_only_the_clock_ends_is_not_listed(database, tmp_path):
    world = ControlWorld(database, tmp_path)
    world.asking = {"is_timer": True, "expire_after_s": 60.0}
    world.submit(asks(1))
    world.drive_all()

    assert world.look().state.value == "SUSPENDED"
    assert page(world) == ([], "")
