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
    """Serve `app` on the settings of `muster serve` that matter for speed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
        server_header=False,
        date_header=False,
    )
