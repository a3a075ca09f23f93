"""Sizing over HTTP."""

from fastapi import APIRouter

from app.access.principals import Reader
from app.core.documentation import errors
from app.sizing import service
from app.sizing.schemas import SizingRecommendation, SizingRequest

router = APIRouter(prefix="/api/v1", tags=["sizing"])


@router.post(
    "/sizing-recommendations",
    summary="Recommend servers for a load",
    operation_id="recommendSizing",
    responses=errors(body=True),
)
async def recommend_sizing(body: SizingRequest, _: Reader) -> SizingRecommendation:
    """How many configuration and process servers a load needs, of which size, and why; nothing is created.

    Give totals or a list of machines. A machine above 2 TB a day is named in `notProtectable` and left out. A tier's
    upper bound is inclusive: 85 machines and 250 GB a day are still the small tier. 1 GB = 2^30 bytes.
    """
    return await service.recommend_aside(body)
