"""How the servers that Muster is compared with are run: as Muster runs itself."""

import argparse
import gc
from typing import Any

import uvicorn

READY_SECONDS = 30.0


def port_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows `--port`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    return parser


def serve(app: Any, port: int) -> None:
    """Serve `app` with uvicorn and the collector set as `muster serve` sets them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=210,
        timeout_graceful_shutdown=8,
    )
