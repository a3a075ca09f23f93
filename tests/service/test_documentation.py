"""The documentation pages work where there is no internet."""

import re

from tests.support.muster import Site, client_of, problem


async def test_the_page_and_all_it_needs_come_from_here(site: Site) -> None:
    async with client_of(site.app, None) as nobody:
        page = await nobody.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "://" not in page.text, "the page refers to another host"
        addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
        assert len(addresses) >= 3
        kinds = {}
        for address in addresses:
            answer = await nobody.get(address)
            assert answer.status_code == 200, address
            assert len(answer.content) > 500, address
            kinds[address.rsplit(".", 1)[1]] = answer.headers["content-type"]
        assert "javascript" in kinds["js"]
        assert "css" in kinds["css"]
        assert kinds["png"] == "image/png"


async def test_the_page_reads_the_document(site: Site) -> None:
    page = (await site.client.get("/docs")).text
    assert "'/openapi.json'" in page
    document = (await site.client.get("/openapi.json")).json()
    assert document["info"]["title"] == "Muster"
    assert document == site.app.api.openapi()


async def test_assets_lead_nowhere_else(site: Site) -> None:
    for path in ("/docs/assets/../main.py", "/docs/assets/%2e%2e/%2e%2e/main.py", "/docs/assets/", "/docs/assets/x"):
        answer = await site.client.get(path)
        problem(answer, 404, "not-found")


async def test_other_documentation_pages_of_the_framework_are_off(site: Site) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        problem(await site.client.get(path), 404, "not-found")


async def test_the_pages_understand_the_version_of_the_document_they_show(site: Site) -> None:
    version = (await site.client.get("/openapi.json")).json()["openapi"]
    assert version.startswith("3.1")
    script = await site.client.get("/docs/assets/swagger-ui-bundle.js")
    assert script.status_code == 200
    # Swagger UI 4 shows "Unable to render this definition" instead: it knows nothing of 3.1.
    assert "OpenAPI31" in script.text or "openapi31" in script.text.lower()
