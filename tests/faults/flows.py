"""Integrations that fault tests run: small trees in which everything that can be lost has an effect and a result."""

from tests.flows import calls, flow, parameter, task

RETRIED = {
    "failurePolicy": {"retryStrategy": "FIXED_INTERVAL", "maxRetries": 3, "intervalTime": "0.1s"},
}


def chain(rig, name, count, *, does=""):
    """Heavy tasks, one after the other: a message and a claim each."""
    ends = {number: [number + 1] for number in range(1, count)}
    return flow(name, *(rig.ledger.task(number, does, next=ends.get(number, [])) for number in range(1, count + 1)))


def fan_out(rig, name, width, *, does=""):
    """A chord of ``width`` executions with an effect each, and a task behind the join. Publishes the child."""
    child = flow(
        f"{name}-child",
        rig.ledger.task(1, does, label=f"{name}-child"),
        parameters=[parameter("item", "INT_VALUE", direction="IN")],
    )
    rig.client.publish(child)
    each = calls(f"{name}-child", listToIterate=list(range(width)), iterationElementMapping="item")
    return flow(name, task(1, "ForEachParallelTask", takes=each, next=[2]), rig.ledger.task(2, label=f"{name}-joined"))


def light_item(rig, name, *, does=""):
    """Light tasks that run through, for one item of many; one of these does as it is told."""
    takes = {"folder": str(rig.ledger.folder), "label": name, "item": "$item$", "does": does}
    return flow(
        name,
        task(1, "faults.light", takes=takes, next=[2]),
        task(2, "tests.light"),
        parameters=[parameter("item", "INT_VALUE", direction="IN")],
    )


def light_fan_out(rig, name, width, *, does=""):
    """A chord of ``width`` light executions, which run in chunks; one does as it is told. Publishes the child."""
    rig.client.publish(light_item(rig, f"{name}-child", does=does))
    each = calls(f"{name}-child", listToIterate=list(range(width)), iterationElementMapping="item")
    return flow(name, task(1, "ForEachParallelTask", takes=each, next=[2]), rig.ledger.task(2, label=f"{name}-joined"))


def publish_all(rig):
    """What a round is made of, by the names of its plan."""
    effect, client = rig.ledger.task, rig.client
    short = "sleep:0.05"
    client.publish(light_fan_out(rig, "chunks", 150))
    client.publish(chain(rig, "chain", 4, does=short))
    client.publish(fan_out(rig, "fan-out", 5, does=short))
    calling = task(1, "SubWorkflowExecutorV2Task", takes=calls("fan-out"), next=[2])
    client.publish(flow("nested", calling, effect(2, label="nested")))
    client.publish(flow("retried", effect(1, "fail:2", next=[2], **RETRIED), effect(2)))
    client.publish(
        flow("timed", effect(1, next=[2]), task(2, "TimerTask", takes={"delaySeconds": 0.5}, next=[3]), effect(3))
    )
    client.publish(flow("asked", effect(1, next=[2]), task(2, "SuspensionTask", next=[3]), effect(3)))
    light = [task(number, "tests.light", next=[number + 1]) for number in range(1, 6)]
    client.publish(flow("light", *light, effect(6)))


def held(rig, name, label, **more):
    """One task that waits until the test lets it go, and one behind it."""
    return flow(name, rig.ledger.task(1, "hold", label=label, next=[2], **more), rig.ledger.task(2))
