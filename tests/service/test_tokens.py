"""API tokens: who may do what, where, until when."""

import re
import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.core.wire import rfc3339
from tests.support.contract import document_of
from tests.support.muster import ADMIN_TOKEN, Site, pointers, problem

TOKENS = "/api/v1/tokens"
NONE, READER, OPERATOR, ADMIN = "no token", "reader", "operator", "admin"
ROLES = [NONE, READER, OPERATOR, ADMIN]

LEAST: dict[str, str] = {
    "createVault": OPERATOR,
    "listVaults": READER,
    "readVault": READER,
    "updateVault": OPERATOR,
    "deleteVault": ADMIN,
    "summariseVault": READER,
    "createRegistrationKey": OPERATOR,
    "listRegistrationKeys": READER,
    "revokeRegistrationKey": OPERATOR,
    "listConfigurationServers": READER,
    "readConfigurationServer": READER,
    "updateConfigurationServer": OPERATOR,
    "deleteConfigurationServer": OPERATOR,
    "replacePassphrase": OPERATOR,
    "listProcessServers": READER,
    "listVaultProcessServers": READER,
    "readProcessServer": READER,
    "readVaultProcessServer": READER,
    "updateProcessServer": OPERATOR,
    "updateVaultProcessServer": OPERATOR,
    "previewPurge": READER,
    "previewVaultPurge": READER,
    "purgeInBulk": OPERATOR,
    "purgeProcessServer": OPERATOR,
    "purgeVaultProcessServer": OPERATOR,
    "readmitProcessServer": OPERATOR,
    "readmitVaultProcessServer": OPERATOR,
    "approveTakeover": OPERATOR,
    "approveVaultTakeover": OPERATOR,
    "decommissionProcessServer": OPERATOR,
    "decommissionVaultProcessServer": OPERATOR,
    "readProcessServerTelemetry": READER,
    "readVaultProcessServerTelemetry": READER,
    "readConfigurationServerTelemetry": READER,
    "listSourceMachines": READER,
    "putSourceMachine": OPERATOR,
    "readSourceMachine": READER,
    "deleteSourceMachine": OPERATOR,
    "listVaultSourceMachines": READER,
    "importSourceMachines": OPERATOR,
    "loadBalanceProcessServer": OPERATOR,
    "loadBalanceVaultProcessServer": OPERATOR,
    "switchProcessServer": OPERATOR,
    "switchVaultProcessServer": OPERATOR,
    "readPlacement": READER,
    "readRebalancePlan": READER,
    "applyRebalancePlan": OPERATOR,
    "refreshConfigurationServer": OPERATOR,
    "renewCertificate": OPERATOR,
    "listAlerts": READER,
    "listConfigurationServerAlerts": READER,
    "listProcessServerAlerts": READER,
    "listVaultProcessServerAlerts": READER,
    "readHealthPolicy": READER,
    "updateHealthPolicy": OPERATOR,
    "listEvents": READER,
    "streamEvents": READER,
    "listJobs": READER,
    "readJob": READER,
    "cancelJob": OPERATOR,
    "createWebhook": OPERATOR,
    "listWebhooks": READER,
    "readWebhook": READER,
    "updateWebhook": OPERATOR,
    "deleteWebhook": OPERATOR,
    "listWebhookDeliveries": READER,
    "testWebhook": OPERATOR,
    "rotateWebhookSecret": OPERATOR,
    "createMailSubscription": OPERATOR,
    "listMailSubscriptions": READER,
    "readMailSubscription": READER,
    "updateMailSubscription": OPERATOR,
    "deleteMailSubscription": OPERATOR,
    "listMailSubscriptionDeliveries": READER,
    "testMailSubscription": OPERATOR,
    "listBrakes": READER,
    "readBrake": READER,
    "acknowledgeBrake": OPERATOR,
    "listReleases": READER,
    "addRelease": ADMIN,
    "withdrawRelease": ADMIN,
    "compareVersions": READER,
    "planUpgrade": READER,
    "recommendSizing": READER,
    "readCapacity": READER,
    "createToken": ADMIN,
    "listTokens": ADMIN,
    "deleteToken": ADMIN,
    "readOnboarding": READER,
    "downloadAgentPackage": NONE,
    "readLiveness": NONE,
    "readReadiness": NONE,
    "readMetrics": NONE,
}
"""The least role of each operation. A new operation must be entered here, or the test below fails."""

AGENTS = {"registerConfigurationServer", "registerProcessServer", "sendHeartbeat", "readDesiredState", "sayGoodbye"}
"""Operations for agents: an operator's token, even an admin's, is no identity there."""


async def _call(client: httpx.AsyncClient, document: dict[str, Any], operation_id: str) -> httpx.Response:
    """Call an operation with names of things that do not exist; the answer tells whether it was let in."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["operationId"] == operation_id:
                filled = re.sub(r"\{(token|key|job|webhook|subscription|brake)\}", lambda _: str(uuid.uuid4()), path)
                filled = filled.replace("{", "no-").replace("}", "")
                return await client.request(method.upper(), filled, **_example(document, operation))
    raise LookupError(operation_id)


def _example(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The example of a body as httpx takes it; nothing where there is no body."""
    if "requestBody" not in operation:
        return {}
    media_type, content = next(iter(operation["requestBody"]["content"].items()))
    if media_type != "application/json":
        return {"content": content["examples"]["rows"]["value"], "headers": {"Content-Type": media_type}}
    return {"json": document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]["examples"][0]}


async def test_each_operation_has_its_least_role(site: Site) -> None:
    document = document_of(site.app.api)
    declared = {entry["operationId"] for operations in document["paths"].values() for entry in operations.values()}
    assert declared == set(LEAST) | AGENTS
    clients = {NONE: site.with_token(None), **{role: await site.caller(role) for role in ROLES[1:]}}
    for operation_id, least in LEAST.items():
        for role in ROLES:
            answer = await _call(clients[role], document, operation_id)
            if ROLES.index(role) >= ROLES.index(least):
                assert answer.status_code not in {401, 403}, f"{operation_id} as {role}: {answer.text}"
            elif role == NONE:
                problem(answer, 401, "unauthenticated")
                assert answer.headers["www-authenticate"] == "Bearer"
            else:
                assert least in problem(answer, 403, "forbidden")["detail"], operation_id


async def test_operators_tokens_are_no_identity_for_agents(site: Site) -> None:
    document = document_of(site.app.api)
    for operation_id in AGENTS:
        answer = await _call(site.client, document, operation_id)
        assert answer.status_code == 401, f"{operation_id}: {answer.text}"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_agents_credentials_are_no_identity_for_operators(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    agent = site.with_token(server["credential"])
    problem(await agent.get("/api/v1/vaults"), 401, "unauthenticated")
    key = site.with_token(await site.registration_key())
    problem(await key.get("/api/v1/vaults"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        f"Token {ADMIN_TOKEN}",
        "Bearer x",
        f"Bearer {ADMIN_TOKEN}x",
        "Bearer .",
        "Bearer ü",
    ],
)
async def test_anything_but_a_valid_token_is_401(site: Site, authorization: str) -> None:
    headers = [(b"authorization", authorization.encode("latin-1"))]
    async with site.with_token(None) as nobody:
        answer = await nobody.get("/api/v1/vaults", headers=headers)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_id_of_a_token_with_another_secret_is_401(site: Site) -> None:
    first, second = (await site.token())["token"], (await site.token())["token"]
    mixed = f"{first.split('.')[0]}.{second.split('.')[1]}"
    problem(await site.with_token(mixed).get("/api/v1/vaults"), 401, "unauthenticated")


async def test_the_scheme_is_taken_in_any_case(site: Site) -> None:
    answer = await site.client.get("/api/v1/vaults", headers={"Authorization": f"bEARER  {ADMIN_TOKEN} "})
    assert answer.status_code == 200, answer.text


async def test_a_token_is_shown_once(site: Site) -> None:
    site.manual_clock.advance(1)
    created = await site.token("reader", name="Portal")
    assert created["name"] == "portal"
    assert created["expiresAt"] is None
    assert created["lastUsedAt"] is None
    assert created["createdBy"] == "token:admin"
    listed = await site.walk(TOKENS)
    assert [entry["name"] for entry in listed] == ["admin", "portal"]
    assert listed[1] == {key: value for key, value in created.items() if key != "token"}
    secret = created["token"].split(".")[1]
    assert secret not in (await site.client.get(TOKENS)).text


async def test_a_tokens_name_is_taken_once(site: Site) -> None:
    await site.token("reader", name="portal")
    answer = await site.client.post(TOKENS, json={"name": "PORTAL", "role": "admin"})
    assert "portal" in problem(answer, 409, "name-taken")["detail"]


async def test_wrong_tokens_are_refused(site: Site) -> None:
    def body(**changes: Any) -> dict[str, Any]:
        return {"name": "portal", "role": "reader", **changes}

    past = rfc3339(site.clock.now())
    for wrong, pointer in (
        (body(role="root"), "#/role"),
        (body(expiresInDays=0), "#/expiresInDays"),
        (body(expiresInDays=3651), "#/expiresInDays"),
        (body(expiresInDays="7"), "#/expiresInDays"),
        (body(expiresInDays=2**70), "#/expiresInDays"),
        (body(expiresAt=past), "#/expiresAt"),
        (body(expiresAt="2027-01-01T00:00:00"), "#/expiresAt"),
        (body(expiresAt="9999-12-31T23:59:59-14:00"), "#/expiresAt"),
        (body(expiresAt="0001-01-01T00:00:00+14:00"), "#/expiresAt"),
        (body(expiresAt="2027-01-01T00:00:00Z", expiresInDays=3), "#/expiresAt"),
    ):
        assert pointers(await site.client.post(TOKENS, json=wrong)) == [pointer], wrong
    problem(await site.client.post(TOKENS, json=body(vault="nowhere")), 404, "vault-not-found")
    assert len(await site.walk(TOKENS)) == 1


async def test_a_token_expires_to_the_second(site: Site) -> None:
    by_days = await site.token("reader", expiresInDays=1)
    by_time = await site.token("reader", expiresAt=rfc3339(site.clock.now() + timedelta(hours=24)))
    assert by_days["expiresAt"] == by_time["expiresAt"]
    site.manual_clock.advance(86_399)
    for token in (by_days, by_time):
        assert (await site.with_token(token["token"]).get("/api/v1/vaults")).status_code == 200
    site.manual_clock.advance(1)
    for token in (by_days, by_time):
        document = problem(await site.with_token(token["token"]).get("/api/v1/vaults"), 401, "unauthenticated")
        assert token["name"] in document["detail"]
    problem(await site.with_token(f"{by_days['token']}x").get("/api/v1/vaults"), 401, "unauthenticated")


async def test_a_deleted_token_stops_at_once(site: Site) -> None:
    created = await site.token("admin")
    client = site.with_token(created["token"])
    assert (await client.get("/api/v1/vaults")).status_code == 200
    assert (await site.client.delete(f"{TOKENS}/{created['id']}")).status_code == 204
    problem(await client.get("/api/v1/vaults"), 401, "unauthenticated")
    problem(await site.client.delete(f"{TOKENS}/{created['id']}"), 404, "token-not-found")
    assert pointers(await site.client.delete(f"{TOKENS}/admin")) == ["#/path/token"]


async def test_the_last_admin_token_stays(site: Site) -> None:
    (first,) = await site.walk(TOKENS)
    await site.vault()
    await site.token("operator")
    await site.token("admin", vault="contoso")
    problem(await site.client.delete(f"{TOKENS}/{first['id']}"), 409, "last-admin-token")
    second = await site.token("admin")
    assert (await site.client.delete(f"{TOKENS}/{first['id']}")).status_code == 204
    client = site.with_token(second["token"])
    problem(await client.delete(f"{TOKENS}/{second['id']}"), 409, "last-admin-token")


async def test_an_expired_admin_token_does_not_count_as_one(site: Site) -> None:
    (first,) = await site.walk(TOKENS)
    brief = await site.token("admin", expiresInDays=1)
    site.manual_clock.advance(86_400)
    problem(await site.client.delete(f"{TOKENS}/{first['id']}"), 409, "last-admin-token")
    assert (await site.client.delete(f"{TOKENS}/{brief['id']}")).status_code == 204


async def test_last_use_is_written(site: Site) -> None:
    created = await site.token("reader")
    site.manual_clock.advance(60)
    used_at = rfc3339(site.clock.now())
    await site.with_token(created["token"]).get("/api/v1/vaults")
    await site.app.state.token_usage.flush()
    listed = {entry["id"]: entry for entry in await site.walk(TOKENS)}
    assert listed[created["id"]]["lastUsedAt"] == used_at
    # A token that was deleted since is nobody's trouble.
    await site.with_token(created["token"]).get("/api/v1/vaults")
    await site.client.delete(f"{TOKENS}/{created['id']}")
    await site.app.state.token_usage.flush()


async def _two_vaults(site: Site) -> None:
    for vault in ("contoso", "fabrikam"):
        await site.vault(vault)
        server = await site.configuration_server(vault, f"cs-{vault}")
        await site.process_server(server, f"ps-{vault}")


@pytest.mark.parametrize("role", ["reader", "operator", "admin"])
async def test_a_vaults_token_sees_no_other_vault(site: Site, role: str) -> None:
    await _two_vaults(site)
    client = await site.caller(role, "contoso")
    other = (await site.client.get("/api/v1/vaults/fabrikam")).json()
    assert [entry["name"] for entry in (await client.get("/api/v1/vaults")).json()["items"]] == ["contoso"]
    assert (await client.get("/api/v1/vaults?q=fabrikam")).json()["items"] == []
    for ref in ("fabrikam", "FABRIKAM", other["id"], "nowhere"):
        for below in (
            "", "/summary", "/events", "/registration-keys", "/configuration-servers", "/process-servers",
            "/configuration-servers/cs-fabrikam", "/process-servers/ps-fabrikam",
            "/configuration-servers/cs-fabrikam/process-servers",
            "/configuration-servers/cs-fabrikam/process-servers/ps-fabrikam",
        ):  # fmt: skip
            document = problem(await client.get(f"/api/v1/vaults/{ref}{below}"), 404, "vault-not-found")
            assert document["detail"] == f"there is no vault '{ref}'"
    for below in ("", "/summary", "/events", "/process-servers/ps-contoso"):
        assert (await client.get(f"/api/v1/vaults/contoso{below}")).status_code == 200
    # What is not there and what is out of scope are told apart by nothing but the name.
    problem(await client.get("/api/v1/vaults/contoso/process-servers/ps-fabrikam"), 404, "process-server-not-found")


async def test_a_vaults_admin_changes_nothing_elsewhere(site: Site) -> None:
    await _two_vaults(site)
    client = await site.caller("admin", "contoso")
    base = "/api/v1/vaults/fabrikam"
    answers = [
        await client.patch(base, json={"location": "elsewhere"}),
        await client.delete(base),
        await client.post(f"{base}/registration-keys"),
        await client.delete(f"{base}/registration-keys/{uuid.uuid4()}"),
        await client.patch(f"{base}/configuration-servers/cs-fabrikam", json={"friendlyName": "x"}),
        await client.delete(f"{base}/configuration-servers/cs-fabrikam?force=true"),
        await client.post(f"{base}/configuration-servers/cs-fabrikam/passphrase"),
        await client.patch(f"{base}/process-servers/ps-fabrikam", json={"friendlyName": "x"}),
        await client.patch(
            f"{base}/configuration-servers/cs-fabrikam/process-servers/ps-fabrikam", json={"friendlyName": "x"}
        ),
    ]
    for answer in answers:
        problem(answer, 404, "vault-not-found")
    assert len(await site.walk(f"{base}/configuration-servers")) == 1
    assert (await site.read_process_server("ps-fabrikam", "fabrikam"))["friendlyName"] == "ps-fabrikam"
    created = await site.token("reader")
    for answer in (
        await client.post("/api/v1/vaults", json={"name": "third", "location": "x"}),
        await client.post(TOKENS, json={"name": "more", "role": "reader", "vault": "contoso"}),
        await client.get(TOKENS),
        await client.delete(f"{TOKENS}/{created['id']}"),
    ):
        problem(answer, 403, "forbidden")


async def test_a_vaults_tokens_go_with_it(site: Site) -> None:
    await site.vault()
    client = await site.caller("admin", "contoso")
    assert (await client.delete("/api/v1/vaults/contoso")).status_code == 204
    problem(await client.get("/api/v1/vaults"), 401, "unauthenticated")
    await site.vault()
    problem(await client.get("/api/v1/vaults"), 401, "unauthenticated")


async def test_tokens_are_listed_in_both_orders(site: Site) -> None:
    for name in ("zebra", "bear"):
        site.manual_clock.advance(1)
        await site.token("reader", name=name)
    assert [entry["name"] for entry in await site.walk(TOKENS, orderBy="name", limit=1)] == ["admin", "bear", "zebra"]
    assert [entry["name"] for entry in await site.walk(TOKENS, orderBy="-createdAt", limit=2)] == [
        "bear", "zebra", "admin",
    ]  # fmt: skip
