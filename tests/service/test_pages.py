"""Pages: a walk over a changing list neither repeats nor skips what was there throughout."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete

from app.core.wire import new_id
from app.models import Vault
from tests.support.muster import Site, problem

VAULTS = "/api/v1/vaults"
LIMIT = 7


async def _make_vaults(site: Site, names: list[str]) -> None:
    async with site.app.state.database.write() as session:
        for name in names:
            now = site.clock.now()
            session.add(Vault(id=new_id(), name=name, friendly_name=name, location="x", created_at=now, updated_at=now))


async def _walk(
    site: Site, path: str, order_by: str, between: Callable[[int, str], Awaitable[None]]
) -> tuple[list[str], int]:
    """The names seen, page after page; `between` changes the list after each page, whose last name it is told."""
    seen: list[str] = []
    cursor, pages = None, 0
    while True:
        query: dict[str, Any] = {"limit": LIMIT, "orderBy": order_by, **({"cursor": cursor} if cursor else {})}
        answer = await site.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]
        assert len(items) <= LIMIT
        seen.extend(item["name"] for item in items)
        cursor, pages = answer.json()["nextCursor"], pages + 1
        if cursor is None:
            return seen, pages
        await between(pages, items[-1]["name"])


@pytest.mark.parametrize("order_by", ["name", "-name", "createdAt", "-createdAt"])
async def test_a_walk_over_a_changing_list(site: Site, order_by: str) -> None:
    stay = [f"v-{number:03}-stays" for number in range(130)]
    go = [f"v-{number:03}-goes" for number in range(0, 130, 5)]
    await _make_vaults(site, sorted(stay + go))

    async def between(page: int, last: str) -> None:
        # Before, at and after the walk's position: new ones come, old ones go, also the very last one seen.
        await _make_vaults(site, [f"v-{number:03}-new-{page}" for number in (0, 65, 129)])
        doomed = {name for name in go if int(name[2:5]) // 5 % 20 == page} | ({last} if last in go else set())
        async with site.app.state.database.write() as session:
            await session.execute(delete(Vault).where(Vault.name.in_(doomed)))

    seen, pages = await _walk(site, VAULTS, order_by, between)
    assert pages > 18
    assert len(seen) == len(set(seen)), "repeated"
    assert set(stay) <= set(seen), "skipped"
    kept = [name for name in seen if name in stay]
    assert kept == (stay[::-1] if order_by.startswith("-") else stay)


@pytest.mark.parametrize("order_by", ["name", "-name", "createdAt", "-createdAt"])
async def test_names_that_several_servers_share_are_walked_once_each(site: Site, order_by: str) -> None:
    await site.vault()
    ids = set()
    for number in range(5):
        server = await site.configuration_server(name=f"cs-{number}")
        for twin in range(2):
            registered = await site.process_server(server, f"ps-{twin}", hostId=f"host-{number}-{twin}")
            ids.add(registered["id"])
    path = f"{VAULTS}/contoso/process-servers"
    walked = [entry["id"] for entry in await site.walk(path, limit=3, orderBy=order_by, kind="scaleOut")]
    assert len(walked) == len(set(walked))
    assert set(walked) == ids


async def test_the_size_of_pages(site: Site) -> None:
    await _make_vaults(site, [f"v-{number:03}" for number in range(501)])
    for query, expected in (({}, 100), ({"limit": 500}, 500), ({"limit": 1}, 1)):
        answer = await site.client.get(VAULTS, params=query)
        assert len(answer.json()["items"]) == expected
        assert answer.json()["nextCursor"]
    exact = await site.client.get(VAULTS, params={"limit": 167, "q": "v-"})
    for _ in range(2):
        exact = await site.client.get(VAULTS, params={"limit": 167, "cursor": exact.json()["nextCursor"]})
    assert (len(exact.json()["items"]), exact.json()["nextCursor"]) == (167, None)


async def _cursor(site: Site, path: str, **query: Any) -> str:
    answer = await site.client.get(path, params={"limit": 1, **query})
    return str(answer.json()["nextCursor"])


async def test_a_cursor_of_another_list_or_order_is_400(site: Site) -> None:
    for name in ("a", "b"):
        await site.vault(name)
        for number in (1, 2):
            await site.configuration_server(name, f"cs-{number}")
            await site.token("reader")
    of_vaults = await _cursor(site, VAULTS, orderBy="name")
    foreign = [
        (VAULTS, "-name", of_vaults),
        (VAULTS, "createdAt", of_vaults),
        ("/api/v1/tokens", "name", of_vaults),
        (f"{VAULTS}/a/configuration-servers", "name", of_vaults),
        (f"{VAULTS}/b/configuration-servers", "name", await _cursor(site, f"{VAULTS}/a/configuration-servers")),
        (f"{VAULTS}/b/events", "sequence", await _cursor(site, f"{VAULTS}/a/events")),
        (f"{VAULTS}/a/events", "-sequence", await _cursor(site, f"{VAULTS}/a/events")),
        (f"{VAULTS}/b/process-servers", "name", await _cursor(site, f"{VAULTS}/a/process-servers")),
    ]
    for path, order_by, cursor in foreign:
        answer = await site.client.get(path, params={"orderBy": order_by, "cursor": cursor})
        problem(answer, 400, "cursor-unreadable")
    by_id = (await site.client.get(f"{VAULTS}/a")).json()["id"]
    cursor = await _cursor(site, f"{VAULTS}/a/process-servers")
    answer = await site.client.get(f"{VAULTS}/{by_id}/process-servers", params={"cursor": cursor})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "bnVsbA", "W10", "a\u0000", "ü", "x" * 2_000, "=", "AAAA AAAA"])
async def test_a_cursor_that_is_none_is_400(site: Site, cursor: str) -> None:
    await site.vault()
    for path in (VAULTS, "/api/v1/tokens", f"{VAULTS}/contoso/events", f"{VAULTS}/contoso/process-servers"):
        problem(await site.client.get(path, params={"cursor": cursor}), 400, "cursor-unreadable")


async def test_an_altered_cursor_is_400(site: Site) -> None:
    for name in ("a", "b", "c"):
        await site.vault(name)
    cursor = await _cursor(site, VAULTS)
    altered = [cursor[:-1], cursor + "A", cursor + "=", f" {cursor}", cursor[::-1]]
    altered += [cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :] for at in range(len(cursor))]
    for text in altered:
        problem(await site.client.get(VAULTS, params={"cursor": text}), 400, "cursor-unreadable")
