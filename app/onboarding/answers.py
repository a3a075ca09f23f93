"""The answer to a download: the whole file, a part, or that the caller has it."""

from fastapi import Response

from app.core.errors import RangeNotSatisfiable
from app.onboarding.bundle import Package
from app.onboarding.ranges import UnsatisfiableError, is_known, read_range, still_holds


def answer(
    package: Package, media_type: str, if_none_match: str | None, byte_range: str | None, if_range: str | None
) -> Response:
    """200, 206 or 304. Raises RangeNotSatisfiable."""
    etag = f'"{package.sha256}"'
    headers = {
        "ETag": etag,
        "X-Checksum-SHA256": package.sha256,
        "Accept-Ranges": "bytes",
        # A version's file is another one after an upgrade of Muster.
        "Cache-Control": "no-cache",
    }
    if is_known(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{package.file_name}"'
    size = len(package.content)
    try:
        span = read_range(byte_range if still_holds(if_range, etag) else None, size)
    except UnsatisfiableError:
        raise RangeNotSatisfiable(
            f"the range '{byte_range}' begins behind the end of the file, which has {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        ) from None
    if span is None:
        return Response(package.content, headers=headers, media_type=media_type)
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    return Response(package.content[span.start : span.stop], 206, headers, media_type)
