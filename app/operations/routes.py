"""Liveness, readiness, metrics and the documentation pages."""

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.core.db import database_of
from app.core.documentation import errors
from app.core.errors import NotReady
from app.operations import exposition, readiness
from app.operations.census import Census
from app.operations.schemas import Alive, Ready

router = APIRouter(tags=["operations"])
ASSETS = "/docs/assets"


@router.get("/healthz", summary="Is the process alive", operation_id="readLiveness", responses=errors(token=False))
async def healthz() -> Alive:
    """Says nothing of the database: restarting the process would not mend that."""
    return Alive(status="alive")


@router.get("/readyz", summary="Can it serve", operation_id="readReadiness", responses=errors(NotReady, token=False))
async def readyz(request: Request) -> Ready:
    """Database, schema revision and the monitor's last tick; 503 with every reason otherwise."""
    return await readiness.check(request.app.state)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    operation_id="readMetrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"example": "muster_heartbeats_accepted_total 812.0\n"}}},
        **errors(token=False),
    },
)
async def metrics(request: Request) -> Response:
    """Over all worker processes where there are several, and the fleet as the database has it.

    It answers while the database does not: `muster_database_up` is 0 then, and the fleet's numbers are missing.
    """
    census: Census = request.app.state.census
    readings = await census.readings(database_of(request))
    return Response(await run_in_threadpool(exposition.render, readings), media_type=exposition.CONTENT_TYPE)


def install_documentation_pages(app: FastAPI) -> None:
    """`/docs` from files that are installed with Muster: it works where there is no internet."""
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]), name="documentation assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Muster API",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
            swagger_ui_parameters={"persistAuthorization": False, "displayRequestDuration": True},
        )
