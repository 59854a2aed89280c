"""Errors keep their facts in ``args``, so that they survive pickling and the broker."""

import pickle

import pytest

from orchestrator.errors import (
    InvalidItem,
    KeyMissing,
    KeyNotFound,
    KeyRefused,
    KeysDiffer,
    OtherExecutor,
    PartlySubmitted,
    QueueFull,
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidItem(3, "bad"), "inputs[3]: bad"),
        (InvalidItem(3, "bad", "stdin, line 5"), "stdin, line 5: bad"),
        (
            QueueFull("e", 5_000, 4_000),
            "5,000 messages wait for executor 'e', and ORCHESTRATOR_MAX_QUEUE_DEPTH is 4,000",
        ),
        (QueueFull("e", 3_999, 4_000, 1, 1_500), "is 4,000, which leaves room for 1 of 1,500 executions: submit later"),
        (PartlySubmitted(["a"], 2, "gone"), "1 of 2 executions are stored and will run, the others are not: gone"),
        (PartlySubmitted(["a"], 1, "gone"), "1 of 1 executions are stored and will run, some are started only by"),
        (KeyRefused("revoked", "k3v7ax2q"), "this API key is not valid"),
        (KeyMissing("no key"), "this needs an API key: send it as a header"),
        (KeysDiffer("several keys", "a, b"), "several API keys that differ"),
        (KeyNotFound("a"), "there is no API key with the id 'a'; `orchestrator keys list` shows"),
        (OtherExecutor("key:a", "b", ["c"]), "key:a may use executor 'b' alone, and this would use 'c'"),
    ],
)
def test_an_error_says_the_same_after_it_was_pickled(error, said):
    again = pickle.loads(pickle.dumps(error))

    assert said in str(again)
    assert vars(again) == vars(error)
