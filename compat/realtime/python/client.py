"""A Python client of SignalR, told what to do by lines of JSON; see agent.mjs."""

import asyncio
import json
import sys

from pysignalr.client import SignalRClient
from pysignalr.protocol.json import JSONProtocol
from pysignalr.protocol.messagepack import MessagepackProtocol

PROTOCOLS = {"json": JSONProtocol, "messagepack": MessagepackProtocol}
FRAME_BYTES_MAX = 4 * 1024 * 1024


def write(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Client:
    """One connection, and the task that keeps it."""

    def __init__(self, name, command):
        self.name = name
        token = command.get("accessToken")
        self.hub = SignalRClient(
            command["url"],
            protocol=PROTOCOLS[command["protocol"]](),
            headers={"Authorization": f"Bearer {token}"} if token else None,
            max_size=FRAME_BYTES_MAX,
            retry_sleep=0.05,
        )
        self.opened = asyncio.Event()
        self.hub.on("news", self.on_news)
        self.hub.on("double", self.on_double)
        self.hub.on("throw", self.on_throw)
        self.hub.on("silent", self.on_silent)
        self.hub.on_open(self.on_open)
        self.hub.on_close(self.on_close)
        self.hub.on_error(self.on_error)
        self.was_open = False

    async def start(self):
        self.task = asyncio.create_task(self.run())
        opened = asyncio.create_task(self.opened.wait())
        await asyncio.wait([self.task, opened], return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if self.task.done():
            raise self.failure or RuntimeError("the client ended before it was open")

    async def run(self):
        self.failure = None
        try:
            await self.hub.run()
        except Exception as error:
            self.failure = error
            self.life("closed", str(error))

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def life(self, what, detail=None):
        write({"client": self.name, "event": "life", "what": what, "detail": detail})

    async def on_open(self):
        self.life("reconnected" if self.was_open else "opened")
        self.was_open = True
        self.opened.set()

    async def on_close(self):
        self.life("reconnecting")

    async def on_error(self, message):
        """Errors of calls reach the callbacks of the calls as well, which is where they are looked at."""

    async def on_news(self, arguments):
        write({"client": self.name, "event": "news", "args": arguments})

    async def on_double(self, arguments):
        return arguments[0] * 2

    async def on_throw(self, arguments):
        raise RuntimeError(arguments[0])

    async def on_silent(self, arguments):
        """Gives no result."""

    async def invoke(self, command):
        answer = asyncio.get_running_loop().create_future()

        async def on_answer(message):
            answer.set_result(message)

        await self.hub.send(command["target"], command["args"], on_answer)
        message = await answer
        if message.error:
            raise RuntimeError(message.error)
        return message.result

    async def run_method(self, command):
        value = await self.invoke(command)
        if value is not None:
            raise RuntimeError(f"{command['target']} gave {value}")

    async def send(self, command):
        await self.hub.send(command["target"], command["args"])

    async def stream(self, command):
        items = []
        ended = asyncio.get_running_loop().create_future()

        async def on_next(item):
            items.append(item)

        async def on_complete(message):
            if not ended.done():
                ended.set_result({"items": items})

        async def on_failure(message):
            ended.set_result({"items": items, "error": message.error})

        await self.hub.stream(command["target"], command["args"], on_next, on_complete, on_failure)
        return await ended

    async def upload(self, command):
        async with self.hub.client_stream(command["target"]) as stream:
            for item in command["items"]:
                await stream.send(item)


CLIENTS = {}


async def obey(command):
    name = command["client"]
    if command["do"] == "start":
        CLIENTS[name] = Client(name, command)
        return await CLIENTS[name].start()
    client = CLIENTS[name]
    if command["do"] == "stop":
        return await client.stop()
    methods = {"invoke": client.invoke, "run": client.run_method, "send": client.send, "stream": client.stream, "upload": client.upload}
    return await methods[command["do"]](command)


async def answer(command):
    try:
        write({"id": command["id"], "value": await obey(command)})
    except Exception as error:
        write({"id": command["id"], "error": str(error) or type(error).__name__})


async def main():
    reader = asyncio.StreamReader(limit=FRAME_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
