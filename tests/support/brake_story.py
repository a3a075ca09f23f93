"""Sites that fall silent at once, told once: a configuration server's, acknowledged, then the vault's, left alone."""

from tests.support.muster import Site

VAULT = "/api/v1/vaults/contoso"
SILENT_SECONDS = 905
HOLD_SECONDS = 900


async def tell(site: Site) -> None:
    """Every event of the brake occurs. Nothing of it is left in the vault."""
    dark = [await site.configuration_server(name="dark-1")]
    dark += [await site.process_server(dark[0], f"dark-1-ps-{number}") for number in range(2)]
    other = await site.configuration_server(name="dark-2")
    for agent in dark:
        assert (await site.beat(agent, 1)).status_code == 200
    await site.pass_time(SILENT_SECONDS, step=10)
    (brake,) = (await site.client.get(f"{VAULT}/brakes")).json()["items"]
    assert (await site.client.post(f"{VAULT}/brakes/{brake['id']}/acknowledge")).status_code == 200
    await site.pass_time(30, step=5)
    for agent in (*dark, other):
        assert (await site.beat(agent, 2)).status_code == 200
    await site.pass_time(SILENT_SECONDS + HOLD_SECONDS, step=10)
    for name in ("dark-1", "dark-2"):
        deleted = await site.client.delete(f"{VAULT}/configuration-servers/{name}?force=true")
        assert deleted.status_code == 204, deleted.text
