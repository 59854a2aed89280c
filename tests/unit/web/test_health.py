import asyncio
import threading

from orchestrator.runtime.doctor import Check, Finding
from orchestrator.web.health import Readiness

FINE = Finding(name="broker", ok=True, message="it answers")


def test_all_who_ask_at_the_same_time_share_one_look():
    may_answer, looks = threading.Event(), []

    def look():
        looks.append(1)
        may_answer.wait(30)
        return FINE

    async def ask_all():
        readiness = Readiness([Check("broker", look)])
        asked = [asyncio.create_task(readiness.findings()) for _ in range(20)]
        await asyncio.sleep(0)  # all of them have asked
        may_answer.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask_all()) == [[FINE]] * 20
    assert looks == [1]


def test_who_asks_later_gets_a_new_look_and_who_goes_away_takes_nobody_along():
    may_answer, looks = threading.Event(), []

    def look():
        looks.append(1)
        may_answer.wait(30)
        return FINE

    async def ask():
        readiness = Readiness([Check("broker", look)])
        first, second = (asyncio.create_task(readiness.findings()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        may_answer.set()
        return await second, await readiness.findings()

    assert asyncio.run(ask()) == ([FINE], [FINE])
    assert looks == [1, 1]
