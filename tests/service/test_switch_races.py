"""Many switches and load balances of the same machines at once: one wins each, and nothing is lost or doubled."""

import asyncio
from collections import Counter

import pytest

from tests.support.machines import LARGE, connected_servers, put
from tests.support.moving import carriers, load_balance, switch
from tests.support.muster import Site

AT_ONCE = 50
MACHINES = [f"web-{number}" for number in range(6)]
REFUSALS = {"machines-elsewhere", "no-machines-to-move"}


@pytest.fixture
async def targets(site: Site) -> list[str]:
    """A process server with six machines, and five empty ones that may take them."""
    await connected_servers(site, **{f"ps_{number}": LARGE for number in range(1, 7)})
    for name in MACHINES:
        assert (await put(site, name)).status_code == 201
    return [f"ps-{number}" for number in range(2, 7)]


async def told_moves(site: Site) -> Counter[str]:
    """How often each machine has moved, as the events tell it."""
    return Counter(
        event["resource"]["name"] for event in await site.events() if event["type"] == "source-machine.moved"
    )


async def test_fifty_switches_at_once(site: Site, targets: list[str]) -> None:
    answers = await asyncio.gather(*(switch(site, "ps-1", targets[number % len(targets)]) for number in range(AT_ONCE)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: AT_ONCE - 1}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"no-machines-to-move"}
    winner = next(answer.json() for answer in answers if answer.status_code == 202)
    assert await carriers(site) == dict.fromkeys(MACHINES, winner["target"])
    assert await told_moves(site) == dict.fromkeys(MACHINES, 1)


async def test_fifty_load_balances_of_overlapping_machines_at_once(site: Site, targets: list[str]) -> None:
    def chosen(number: int) -> list[str]:
        return [MACHINES[number % 6], MACHINES[(number // 2 + 1) % 6]]

    answers = await asyncio.gather(
        *(load_balance(site, "ps-1", targets[number % len(targets)], *chosen(number)) for number in range(AT_ONCE))
    )
    assert {answer.status_code for answer in answers} == {202, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= REFUSALS
    won = {
        name: answer.json()["target"]
        for number, answer in enumerate(answers)
        if answer.status_code == 202
        for name in chosen(number)
    }
    assert len(won) == sum(
        len(set(chosen(number))) for number, answer in enumerate(answers) if answer.status_code == 202
    ), "no machine was won twice"
    assert await carriers(site) == {**dict.fromkeys(MACHINES, "ps-1"), **won}
    assert await told_moves(site) == dict.fromkeys(won, 1)


async def test_switches_to_and_fro_at_once_keep_every_machine(site: Site, targets: list[str]) -> None:
    servers = ["ps-1", *targets]
    pairs = [(one, other) for one in servers for other in servers if one != other]
    before = {name: (await site.read_process_server(name))["generation"] for name in servers}
    answers = await asyncio.gather(*(switch(site, *pairs[number % len(pairs)]) for number in range(AT_ONCE)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    where = await carriers(site)
    assert sorted(where) == MACHINES
    moves = await told_moves(site)
    won = [answer.json() for answer in answers if answer.status_code == 202]
    assert moves == dict.fromkeys(MACHINES, len(won)), "each won switch moved all of them, once"
    touched = Counter(name for job in won for name in (job["resource"]["name"], job["target"]))
    after = {name: (await site.read_process_server(name))["generation"] for name in servers}
    assert after == {name: before[name] + touched[name] for name in servers}
