"""A baseline of `bench functions`: the library azure-functions called in a loop, without a worker process and a host.

Each line of standard input holds milliseconds; the answer is a line of JSON: calls, their wall time, and p50 and p99 of one call, in
nanoseconds. The argument is the app's folder.
"""

import asyncio
import json
import sys
import time

from azure.functions import http, meta

sys.path.insert(0, sys.argv[1])
import function_app  # noqa: E402

HANDLER = function_app.app.get_functions()[0].get_user_function()


def text(value):
    return meta.Datum(value=value, type="string")


async def call():
    head = {
        "method": text("GET"),
        "url": text("http://127.0.0.1:7071/api/hello"),
        "headers": {"host": text("127.0.0.1:7071")},
        "params": {},
        "query": {},
        "body": meta.Datum(value=b"", type="bytes"),
    }
    request = http.HttpRequestConverter.decode(meta.Datum(value=head, type="http"), trigger_metadata={})
    response = await HANDLER(request)
    return http.HttpResponseConverter.encode(response, expected_type=None)


async def sample(ms):
    times = []
    began = now = time.perf_counter_ns()
    until = began + ms * 1_000_000
    while now < until:
        await call()
        end = time.perf_counter_ns()
        times.append(end - now)
        now = end
    times.sort()
    middle, high = times[len(times) // 2], times[(len(times) - 1) * 99 // 100]
    return {"calls": len(times), "wall_ns": now - began, "p50_ns": middle, "p99_ns": high}


async def main():
    assert (await call()).type == "http"
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(await sample(int(line))), flush=True)


asyncio.run(main())
