"""Liveness, readiness, metrics and the documentation pages."""

import os

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess

from app.core.documentation import errors
from app.core.errors import NotReady
from app.operations import readiness
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
def metrics() -> Response:
    """Over all worker processes where there are several."""
    registry = REGISTRY
    if multiprocess_folder():
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def multiprocess_folder() -> str | None:
    """Where several workers share their metrics; None for one worker."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


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
