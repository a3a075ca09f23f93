"""Runs a load generator in a process of its own: wrk where it is installed, else the built-in one."""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.beats import LoadPlan, LoadResult, body_parts, head_parts

WRK = "wrk"
BUILT_IN = "built-in"
_GRACE_SECONDS = 30
_RESULT = "RESULT "

# The answers are not looked at one by one: handing them to Lua would make wrk slower than the bare
# application. wrk itself counts those that are no success.
_LUA = """
local credentials = {}
for line in io.lines(%(credentials)s) do credentials[#credentials + 1] = line end
local head, head_end = %(head)s, %(head_end)s
local before, between, after = %(before)s, %(between)s, %(after)s
local turn, sequence = 0, %(first_sequence)d

function request()
  turn = turn + 1
  if turn > #credentials then
    turn = 1
    sequence = sequence + 1
  end
  local body = before .. sequence .. between .. (1000000000 + sequence) .. after
  return head .. credentials[turn] .. head_end .. #body .. "\\r\\n\\r\\n" .. body
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"answers": %%d, "refused": %%d, "broken": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d}\\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
"""

Generator = Callable[[LoadPlan, Path], LoadResult]


class GeneratorFailedError(RuntimeError):
    """The load generator itself failed, so there is nothing to report."""


def available() -> str:
    """Return the name of the best generator on this machine."""
    return WRK if shutil.which(WRK) else BUILT_IN


def generator_named(name: str) -> Generator:
    """Return a generator by its name."""
    return {WRK: run_wrk, BUILT_IN: run_built_in}[name]


def run_wrk(plan: LoadPlan, folder: Path) -> LoadResult:
    """Carry out a plan with wrk, on one thread; `folder` takes the script."""
    credentials = folder / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text("\n".join(plan.credentials) + "\n")
    head, head_end = head_parts(plan.port)
    before, between, after = body_parts(plan.boot_id)
    texts = {"head": head, "head_end": head_end, "before": before, "between": between, "after": after}
    texts["credentials"] = str(credentials)
    script = folder / "heartbeats.lua"
    values = {name: _lua_string(text) for name, text in texts.items()}
    script.write_text(_LUA % {**values, "first_sequence": plan.first_sequence})
    options = f"--threads 1 --connections {plan.connections} --duration {plan.seconds}s --timeout 10s".split()
    address = f"http://127.0.0.1:{plan.port}/"
    output, busy = _run([WRK, *options, "--script", str(script), address], plan.seconds)
    line = next((line for line in output.splitlines() if line.startswith(_RESULT)), None)
    if line is None:
        raise GeneratorFailedError(f"wrk gave no result:\n{output}")
    figures = json.loads(line.removeprefix(_RESULT))
    return LoadResult(
        acknowledged=figures["answers"] - figures["refused"],
        failed=figures["refused"] + figures["broken"],
        seconds=figures["microseconds"] / 1e6,
        p50_milliseconds=figures["p50"] / 1e3,
        p99_milliseconds=figures["p99"] / 1e3,
        generator_busy=busy,
    )


def run_built_in(plan: LoadPlan, folder: Path) -> LoadResult:
    """Carry out a plan with the built-in generator; `folder` takes the plan."""
    file = folder / "plan.json"
    plan.write(file)
    output, busy = _run([sys.executable, "-m", "tests.bench.load", str(file)], plan.seconds)
    return replace(LoadResult(**json.loads(output)), generator_busy=busy)


def _run(arguments: list[str], seconds: int) -> tuple[str, float]:
    before, started_at = _children_seconds(), time.perf_counter()
    try:
        answer = subprocess.run(
            arguments, capture_output=True, text=True, check=False, timeout=seconds + _GRACE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise GeneratorFailedError(f"{arguments[0]} did not end") from error
    busy = (_children_seconds() - before) / (time.perf_counter() - started_at)
    if answer.returncode != 0:
        raise GeneratorFailedError(f"{arguments[0]} ended with {answer.returncode}:\n{answer.stdout}{answer.stderr}")
    return answer.stdout, busy


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _lua_string(text: str) -> str:
    # JSON's escapes of the characters that occur here are Lua's too.
    return json.dumps(text)
