"""Requests that come twice are done once.

A client may send a request again whose connection broke before there was an answer, and cannot know whether the first
copy was heard. So for what must not be done twice, the first copy acts, and each one that comes within a minute gets
its answer; one that comes while the first is acted on waits for it (``store.repeats`` has the drawing).

Decisions:

- Copies are alike in who asks, for what, and with which body. So whoever means it twice within a minute has to say it
  in other words: with another reason, for instance.
- Only an answer is kept. A request that was refused may be asked again: nothing was done.
- A process that dies in the middle holds its request up for seconds, not for ever: then the next copy acts. What it
  does must therefore be safe to do again. A KILL, a lift and a resolution are: the second one finds the first. What
  makes something new makes it under ``wish_id``, which is the same for all copies.
- Whoever only starts something keeps what it answers at once. Waiting for the end is not part of the act.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from orchestrator.model.json_text import Json
from orchestrator.service.services import Services
from orchestrator.store.repeats import Answered, RepeatStore


def digest_of(*parts: str | bytes) -> str:
    """What a request is known by: who asks, for what, with which body."""
    hashed = [hashlib.sha256(each.encode() if isinstance(each, str) else each).hexdigest() for each in parts]
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()


def do_once(digest: str, act: Callable[[str], Mapping[str, Json]], services: Services) -> Mapping[str, Json] | None:
    """Act on a request, unless another copy of it was acted on.

    Args:
        digest: what the request is known by.
        act: what to do, given an id that is the same for all copies of the request: 36 letters, digits and hyphens.
        services: the stores.

    Returns:
        The answer of this copy or of the one that acted; None if that is being done right now: ask again.
    """
    store = RepeatStore(services.store.database)
    claim = store.claim(digest)
    if claim is None:
        return None
    if isinstance(claim, Answered):
        return claim.answer
    try:
        answer = act(claim.wish_id)
    except BaseException:
        store.give_up(digest, claim)
        raise
    return store.answer(digest, claim, answer)


def forget_repeats(services: Services) -> None:
    """Delete what no copy can come for any more."""
    RepeatStore(services.store.database).forget()
