"""What is read of executions follows from what is shown of them."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidValue
from orchestrator.service.looking import Depth
from orchestrator.wire.google.executions import depth_of, depth_of_list, parse_read_mask
from orchestrator.wire.google.masks import parse_fields

ROW = Depth(with_history=False, with_snapshots=False, with_children=False)


def of(fields):
    return depth_of(parse_fields(fields) if fields else None)


@pytest.mark.parametrize(
    "fields", ["name", "name,executionDetails/state", "responseParameters,updateTime", "replayInfo"]
)
def test_one_row_is_read_for_what_stands_in_it(fields):
    assert of(fields) == ROW


@pytest.mark.parametrize(
    ("fields", "depth"),
    [
        ("", Depth()),
        ("*", Depth()),
        ("directSubExecutions", Depth()),
        ("name,directSubExecutions(name,directSubExecutions/name)", Depth(with_history=False, with_snapshots=False)),
        ("directSubExecutions/*/state", Depth(with_history=False, with_snapshots=False)),
        ("directSubExecutions/executionDetails/attemptStats", Depth(with_snapshots=False)),
        ("executionDetails", Depth(with_children=False)),
        ("executionDetails/executionSnapshots/params", Depth(with_children=False)),
        ("executionDetails(state,attemptStats)", Depth(with_snapshots=False, with_children=False)),
        ("eventExecutionDetails/cancelReason", ROW),
        ("eventExecutionDetails/eventRetriesFromBeginningCount", Depth(with_snapshots=False, with_children=False)),
        ("eventExecutionDetails/eventExecutionSnapshot", Depth(with_children=False)),
    ],
)
def test_more_is_read_for_what_is_folded_from_the_history(fields, depth):
    assert of(fields) == depth


@pytest.mark.parametrize(
    ("fields", "read", "with_history", "with_snapshots"),
    [
        ("", "", True, True),
        ("executions", "", True, True),
        ("executions/name,nextPageToken", "", False, False),
        ("nextPageToken", "", False, False),
        ("", "triggerId,execution_details.state", False, False),
        ("", "executionDetails", True, True),
        ("", "executionDetails.attempt_stats", True, False),
        ("executions/triggerId", "executionDetails", False, False),
        ("executions/executionDetails", "triggerId", False, False),
        ("executionInfos/errors", "", True, False),
        ("executionInfos/requestId", "", False, False),
        ("executionInfos", "triggerId", False, False),
        ("*/name", "", False, False),
    ],
)
def test_a_list_reads_histories_only_for_what_both_masks_show(fields, read, with_history, with_snapshots):
    depth = depth_of_list(parse_fields(fields) if fields else None, parse_read_mask(read), with_parameters=False)

    assert depth == Depth(
        with_history=with_history, with_snapshots=with_snapshots, with_parameters=False, with_children=False
    )


def test_a_read_mask_names_what_a_list_can_show():
    assert parse_read_mask("") is parse_read_mask("*") is None
    assert parse_read_mask("execution_details.state,trigger_id") == {
        "name": None,
        "executionDetails": {"state": None},
        "triggerId": None,
    }
    with pytest.raises(InvalidValue, match="readMask: found directSubExecutions, expected name, triggerId"):
        parse_read_mask("name,directSubExecutions")
