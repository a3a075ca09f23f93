"""The agent package: which versions there are, the same bytes everywhere, parts, and what is in it."""

import hashlib
import importlib.metadata
import io
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import app
from app.agent.setup.eula import THIRD_PARTY
from app.core.clock import ManualClock
from app.onboarding.bundle import DISTRIBUTIONS, STAMP, build
from app.onboarding.depot import KEPT_PACKAGES, Depot
from tests.support.muster import VERSION, Site, new_site, problem

DOWNLOAD = f"/downloads/agent/{VERSION}"


async def test_the_package_needs_no_identity_and_tells_its_checksum(site: Site) -> None:
    async with site.with_token(None) as nobody:
        answer = await nobody.get(DOWNLOAD)
    assert answer.status_code == 200
    digest = hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["x-checksum-sha256"] == digest
    assert answer.headers["etag"] == f'"{digest}"'
    assert answer.headers["content-disposition"] == f'attachment; filename="muster-agent-{VERSION}.pyz"'
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_head_tells_the_same_without_the_file(site: Site) -> None:
    whole = await site.client.get(DOWNLOAD)
    head = await site.client.head(DOWNLOAD)
    assert head.status_code == 200
    for name in ("etag", "x-checksum-sha256", "content-length", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    assert (await site.client.head("/downloads/agent/1.2.3.4")).status_code == 404


async def test_a_caller_that_has_the_file_is_told_so(site: Site) -> None:
    etag = (await site.client.head(DOWNLOAD)).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        answer = await site.client.get(DOWNLOAD, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await site.client.get(DOWNLOAD, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_a_broken_download_is_continued(site: Site) -> None:
    whole = (await site.client.get(DOWNLOAD)).content
    etag = f'"{hashlib.sha256(whole).hexdigest()}"'
    middle = len(whole) // 2
    parts = []
    for asked in (f"bytes=0-{middle - 1}", f"bytes={middle}-"):
        answer = await site.client.get(DOWNLOAD, headers={"Range": asked, "If-Range": etag})
        assert answer.status_code == 206
        parts.append(answer.content)
    assert answer.headers["content-range"] == f"bytes {middle}-{len(whole) - 1}/{len(whole)}"
    assert answer.headers["etag"] == etag
    assert b"".join(parts) == whole
    tail = await site.client.get(DOWNLOAD, headers={"Range": "bytes=-22"})
    assert tail.content == whole[-22:]
    changed = await site.client.get(DOWNLOAD, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole)


async def test_a_range_behind_the_end_is_a_problem(site: Site) -> None:
    size = int((await site.client.head(DOWNLOAD)).headers["content-length"])
    answer = await site.client.get(DOWNLOAD, headers={"Range": f"bytes={size}-"})
    assert str(size) in problem(answer, 416, "range-not-satisfiable")["detail"]
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("version", ["9.99.1.1", "9.62", "latest", "9.62.7096.1.pyz", "..", "9.62.7096.1%00"])
async def test_other_versions_are_not_found(site: Site, version: str) -> None:
    answer = await site.client.get(f"/downloads/agent/{version}")
    assert answer.status_code == 404
    assert answer.json()["code"] in {"agent-package-not-found", "not-found"}


async def test_a_version_in_use_is_offered_while_it_is(site: Site) -> None:
    await site.vault()
    path = "/downloads/agent/9.63.1.2"
    problem(await site.client.get(path), 404, "agent-package-not-found")
    server = await site.configuration_server(agentVersion="9.63.1.2")
    assert (await site.client.get(path)).status_code == 200
    # A process server's version alone is not what others should install.
    await site.process_server(server, agentVersion="9.60.1.1")
    problem(await site.client.get("/downloads/agent/9.60.1.1"), 404, "agent-package-not-found")
    await site.client.delete("/api/v1/vaults/contoso/configuration-servers/cs-1", params={"force": "true"})
    problem(await site.client.get(path), 404, "agent-package-not-found")


async def test_a_withdrawn_release_is_offered_only_to_who_runs_it(site: Site) -> None:
    path = "/downloads/agent/9.57.6920.1"
    assert (await site.client.get(path)).status_code == 200
    assert (await site.client.delete("/api/v1/releases/9.57.6920.1")).status_code in {200, 204}
    problem(await site.client.get(path), 404, "agent-package-not-found")
    await site.vault()
    await site.configuration_server(agentVersion="9.57.6920.1")
    assert (await site.client.get(path)).status_code == 200


async def test_replicas_serve_the_same_bytes(site: Site, database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    async with new_site(database_url, clock, tmp_path / "other") as other:
        assert (await other.client.get(DOWNLOAD)).content == (await site.client.get(DOWNLOAD)).content


async def test_few_packages_are_kept() -> None:
    depot = Depot()
    for minor in range(KEPT_PACKAGES + 3):
        await depot.package(f"9.{minor}.1.1")
    assert list(depot._kept) == [f"9.{minor}.1.1" for minor in range(3, KEPT_PACKAGES + 3)]
    first = await depot.package("9.3.1.1")
    assert first is await depot.package("9.3.1.1")


def test_what_is_in_the_package() -> None:
    package = build(VERSION)
    assert build(VERSION) == package
    assert build("9.61.7016.1").sha256 != package.sha256
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        names = archive.namelist()
        assert archive.read(STAMP) == f"{VERSION}\n".encode()
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names == sorted(names)
    agent = Path(app.__file__).parent / "agent"
    assert {f"app/agent/{path.relative_to(agent).as_posix()}" for path in agent.rglob("*.py")} <= set(names)
    assert "app/agent/muster-agent.service" in names
    assert not [
        name for name in names if name.startswith("app/") and not name.startswith(("app/agent/", "app/__init__"))
    ]
    assert not [name for name in names if name.endswith((".pyc", ".so", ".pyd")) or name.startswith("../")]
    for distribution in ("muster", *DISTRIBUTIONS):
        licenses = [name for name in names if name.lower().startswith(distribution) and "/licenses/" in name]
        assert licenses, f"the license of {distribution} is missing"


def test_what_is_bundled_is_what_httpx_needs_on_any_python() -> None:
    needed: set[str] = set()
    pending = ["httpx"]
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            environments = [{"python_version": f"3.{minor}", "extra": ""} for minor in range(10, 16)]
            if requirement.marker is None or any(requirement.marker.evaluate(values) for values in environments):
                pending.append(canonicalize_name(requirement.name))
    assert {canonicalize_name(name) for name in DISTRIBUTIONS} == needed
    assert set(THIRD_PARTY) == set(DISTRIBUTIONS)
    for name in DISTRIBUTIONS:
        files = [str(file) for file in importlib.metadata.distribution(name).files or []]
        assert not [file for file in files if file.endswith((".so", ".pyd", ".dll"))], f"{name} is not pure Python"
