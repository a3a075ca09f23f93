"""'+ Process server': which version, from where, with which command line."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.agent.arguments import build_parser
from app.agent.setup.command_line import parse
from app.agent.setup.words import split_line
from app.core.clock import ManualClock
from tests.support.muster import VERSION, Site, new_site, problem

PATH = "/api/v1/vaults/contoso/configuration-servers/cs-1/onboarding"


async def read(site: Site, **query: str) -> dict[str, Any]:
    """How to add a process server to cs-1."""
    answer = await site.client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_on_premises_is_what_is_meant(site: Site) -> None:
    await site.vault()
    await site.configuration_server()
    shown = await read(site)
    assert shown == await read(site, placement="onPremises")
    assert (shown["configurationServer"], shown["placement"], shown["kind"]) == ("cs-1", "onPremises", "scaleOut")
    assert (shown["version"], shown["versionStatus"]) == (VERSION, "Supported")
    assert shown["downloadUrl"] == f"http://muster.test/downloads/agent/{VERSION}"
    package = await site.client.get(httpx.URL(shown["downloadUrl"]).path)
    assert hashlib.sha256(package.content).hexdigest() == shown["sha256"]
    assert len(package.content) == shown["sizeInBytes"]
    assert shown["fileName"] in package.headers["content-disposition"]
    assert len(shown["steps"]) == 7
    assert any("load balancing" in step for step in shown["steps"])
    assert any("16 GB" in text for text in shown["prerequisites"])


async def test_azure_is_for_failback(site: Site) -> None:
    await site.vault()
    await site.configuration_server()
    shown = await read(site, placement="azure")
    assert (shown["placement"], shown["kind"]) == ("azure", "failback")
    assert "failed-over" in shown["steps"][0]
    for lines in shown["commandLines"].values():
        assert "/Kind failback" in lines["unifiedSetup"]
        assert "--kind failback" in lines["registerOnly"]
    assert (await site.client.get(PATH, params={"placement": "moon"})).status_code == 422


@pytest.mark.parametrize("placement", ["onPremises", "azure"])
async def test_the_command_lines_are_read_by_the_agent(site: Site, placement: str) -> None:
    await site.vault()
    await site.configuration_server(ipAddresses=["fe80::1", "10.150.24.119"])
    shown = await read(site, placement=placement)
    kind = "failback" if placement == "azure" else "scaleOut"
    for system, lines in shown["commandLines"].items():
        for line in (lines["download"], lines["verify"]):
            assert shown["fileName"] in line
        assert shown["downloadUrl"] in lines["download"]
        assert shown["sha256"] in lines["verify"]
        _, _, setup = lines["unifiedSetup"].partition(" setup ")
        line = parse([setup])
        assert line.problems == (), system
        assert line.values["CSIP"] == "10.150.24.119"
        assert line.values["ControlPlaneUrl"] == "http://muster.test"
        assert line.values.get("Kind", "scaleOut") == kind
        _, _, register = lines["registerOnly"].partition(f"{shown['fileName']}")
        options = build_parser("muster-agent").parse_args(split_line(register.lstrip('"')))
        assert (options.server_mode, options.kind) == ("PS", kind)


async def test_the_version_is_the_configuration_servers_own_and_follows_it(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server(agentVersion="9.61.7016.1")
    assert (await read(site))["version"] == "9.61.7016.1"
    await site.beat(server, agentVersion="9.63.1.1")
    shown = await read(site)
    assert shown["version"] == "9.63.1.1"
    assert (await site.client.get(httpx.URL(shown["downloadUrl"]).path)).status_code == 200


async def test_without_an_address_there_is_something_to_fill_in(site: Site) -> None:
    await site.vault()
    await site.configuration_server(ipAddresses=[])
    lines = (await read(site))["commandLines"]["linux"]
    assert '/CSIP "<IP address of cs-1>"' in lines["unifiedSetup"]


async def test_the_public_url_is_what_agents_are_given(
    site: Site, database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    await site.vault()
    await site.configuration_server()
    own = await read(site)
    async with new_site(
        database_url, clock, tmp_path / "other", public_url="https://muster.example/base/"
    ) as behind_proxy:
        shown = await read(behind_proxy)
    assert shown["downloadUrl"] == f"https://muster.example/base/downloads/agent/{VERSION}"
    assert "/ControlPlaneUrl https://muster.example/base" in shown["commandLines"]["linux"]["unifiedSetup"]
    assert shown["sha256"] == own["sha256"]


async def test_no_secret_is_shown(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    text = (await site.client.get(PATH)).text
    assert server["passphrase"] not in text
    assert server["credential"] not in text


async def test_what_is_not_there_and_who_may_look(site: Site) -> None:
    problem(await site.client.get(PATH), 404, "vault-not-found")
    await site.vault()
    problem(await site.client.get(PATH), 404, "configuration-server-not-found")
    await site.configuration_server()
    await site.vault("other")
    async with await site.caller("reader", "other") as other:
        problem(await other.get(PATH), 404, "vault-not-found")
    async with await site.caller("reader", "contoso") as reader:
        assert (await reader.get(PATH)).status_code == 200
    by_id = (await site.read_configuration_server())["id"]
    assert (await site.client.get(PATH.replace("cs-1", by_id))).json()["configurationServer"] == "cs-1"
