"""Sizing over HTTP."""

import asyncio
from typing import Any

import pytest

from tests.support.muster import Site, pointers, problem

PATH = "/api/v1/sizing-recommendations"
GB, TB = 2**30, 2**40


async def _size(site: Site, **body: Any) -> dict[str, Any]:
    answer = await site.client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_documented_example(site: Site) -> None:
    found = await _size(site, sourceMachines=220, churnInBytesPerDay=500 * GB)
    up, out = found["options"]
    assert found["additionalProcessServersNeeded"] is True
    assert found["notProtectable"] == []
    assert found["load"] == {"sourceMachines": 220, "churnInBytesPerDay": 500 * GB}
    assert up["strategy"] == "scaleUp"
    assert up["configurationServers"] == [
        {
            "cpuCount": 12,
            "memoryInBytes": 18 * GB,
            "cacheDiskInBytes": 600 * GB,
            "count": 1,
            "usesInbuiltProcessServer": False,
        }
    ]
    assert up["processServers"] == [
        {"tier": "large", "cpuCount": 12, "memoryInBytes": 24 * GB, "cacheDiskInBytes": TB, "count": 1}
    ]
    assert (up["lowerBound"], up["gap"]) == (1, 0)
    assert out["strategy"] == "scaleOut"
    assert [(part["cpuCount"], part["count"]) for part in out["configurationServers"]] == [(8, 2)]
    assert [(part["tier"], part["count"]) for part in out["processServers"]] == [("medium", 1), ("small", 1)]
    assert [
        (entry["processServer"], entry["configurationServer"], entry["tier"], entry["sourceMachineCount"])
        for entry in out["assignments"]
    ] == [(1, 1, "medium", 135), (2, 2, "small", 85)]
    assert out["assignments"][0]["machines"] is None
    assert out["assignments"][1]["headroom"] == {"sourceMachines": 0, "churnInBytesPerDay": 0}


async def test_machines_are_assigned_and_the_one_above_2_tb_is_named(site: Site) -> None:
    machines = [{"name": f"vm-{index}", "churnInBytesPerDay": 10 * GB} for index in range(90)]
    machines += [{"name": "Huge.corp", "churnInBytesPerDay": 2 * TB + 1, "disks": [{"sizeInBytes": 5 * TB}]}]
    machines += [{"name": "edge", "churnInBytesPerDay": 2 * TB, "disks": 2}]
    found = await _size(site, machines=machines, strategy="scaleUp")
    (refused,) = found["notProtectable"]
    assert (refused["name"], refused["churnInBytesPerDay"]) == ("Huge.corp", 2 * TB + 1)
    (option,) = found["options"]
    names = [name for entry in option["assignments"] for name in entry["machines"]]
    assert sorted(names) == sorted(["edge", *(f"vm-{index}" for index in range(90))])
    assert any("disks" in reason for reason in option["reasons"])


async def test_inbuilt_process_servers_and_growth(site: Site) -> None:
    found = await _size(
        site, sourceMachines=80, churnInBytesPerDay=GB, growthPercentage=25, useInbuiltProcessServer=True
    )
    for option in found["options"]:
        assert option["processServers"] == []
        assert [(part["cpuCount"], part["usesInbuiltProcessServer"]) for part in option["configurationServers"]] == [
            (12, True)
        ]
        (entry,) = option["assignments"]
        assert (entry["kind"], entry["processServer"], entry["tier"]) == ("inbuilt", None, None)
        assert entry["sourceMachineCount"] == 100
        assert option["cpuCountLowerBound"] is None


async def test_nothing_is_left_that_could_be_protected(site: Site) -> None:
    found = await _size(site, machines=[{"name": "huge", "churnInBytesPerDay": 3 * TB}])
    assert found["options"] == []
    assert len(found["notProtectable"]) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["#/sourceMachines", "#/churnInBytesPerDay"]),
        ({"sourceMachines": 5}, ["#/churnInBytesPerDay"]),
        ({"churnInBytesPerDay": 5}, ["#/sourceMachines"]),
        ({"sourceMachines": 0, "churnInBytesPerDay": 5}, ["#/sourceMachines"]),
        ({"sourceMachines": 5, "churnInBytesPerDay": -1}, ["#/churnInBytesPerDay"]),
        ({"sourceMachines": 5.5, "churnInBytesPerDay": 1}, ["#/sourceMachines"]),
        ({"sourceMachines": "5", "churnInBytesPerDay": 1}, ["#/sourceMachines"]),
        ({"sourceMachines": 100_001, "churnInBytesPerDay": 1}, ["#/sourceMachines"]),
        ({"sourceMachines": 60_000, "churnInBytesPerDay": 1, "growthPercentage": 100}, ["#/sourceMachines"]),
        ({"sourceMachines": 1, "churnInBytesPerDay": 2**53, "growthPercentage": 1}, ["#/churnInBytesPerDay"]),
        ({"sourceMachines": 1, "churnInBytesPerDay": 1, "growthPercentage": 1001}, ["#/growthPercentage"]),
        ({"sourceMachines": 1, "churnInBytesPerDay": 1, "growthPercentage": -1}, ["#/growthPercentage"]),
        ({"sourceMachines": 1, "churnInBytesPerDay": 1, "strategy": "best"}, ["#/strategy"]),
        ({"sourceMachines": 1, "churnInBytesPerDay": 1, "machineCount": 1}, ["#/machineCount"]),
        ({"sourceMachines": 1, "machines": [{"name": "a", "churnInBytesPerDay": 1}]}, ["#/sourceMachines"]),
        ({"machines": []}, ["#/machines"]),
        ({"machines": [{"name": "a"}]}, ["#/machines/0/churnInBytesPerDay"]),
        ({"machines": [{"name": "", "churnInBytesPerDay": 1}]}, ["#/machines/0/name"]),
        ({"machines": [{"name": "a", "churnInBytesPerDay": 1, "disks": -1}]}, ["#/machines/0/disks"]),
        ({"machines": [{"name": "a", "churnInBytesPerDay": 1, "disks": [{"size": 1}]}]}, ["#/machines/0/disks/0/size"]),
        (
            {"machines": [{"name": name, "churnInBytesPerDay": 1} for name in ("a", "b", "A", "B")]},
            ["#/machines/2/name", "#/machines/3/name"],
        ),
    ],
)
async def test_what_can_t_be_sized_is_told(site: Site, body: dict[str, Any], expected: list[str]) -> None:
    assert pointers(await site.client.post(PATH, json=body)) == expected


async def test_a_reader_of_one_vault_may_ask_and_nobody_else(site: Site) -> None:
    await site.vault()
    body = {"sourceMachines": 1, "churnInBytesPerDay": 0}
    reader = await site.caller("reader", "contoso")
    assert (await reader.post(PATH, json=body)).status_code == 200
    problem(await site.with_token(None).post(PATH, json=body), 401, "unauthenticated")


async def test_a_long_list_does_not_stop_others(site: Site) -> None:
    machines = [{"name": f"{i}", "churnInBytesPerDay": (i * 7919) % (700 * GB)} for i in range(15_000)]
    asked = asyncio.create_task(_size(site, machines=machines))
    answered = 0
    while not asked.done():
        await asyncio.sleep(0.01)
        assert (await site.client.get("/healthz")).status_code == 200
        answered += 1
    assert answered > 10
    for option in (await asked)["options"]:
        assert sum(entry["sourceMachineCount"] for entry in option["assignments"]) == 15_000
