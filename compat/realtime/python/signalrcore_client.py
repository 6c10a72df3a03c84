"""`signalrcore`, another Python client of SignalR, told what to do by lines of JSON; see agent.mjs. It works with threads."""

import json
import sys
import threading

from signalrcore.hub_connection_builder import HubConnectionBuilder
from signalrcore.types import HttpTransportType, HubProtocolEncoding

ENCODINGS = {"json": HubProtocolEncoding.text, "messagepack": HubProtocolEncoding.binary}
PATIENCE_S = 20
LOCK = threading.Lock()


def write(line):
    with LOCK:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


class Client:
    """One connection."""

    def __init__(self, name, command):
        self.name = name
        # Its poll requests have no header for the token, so the token is in the address.
        url = f"{command['url']}&access_token={command['accessToken']}"
        options = {"transport": HttpTransportType(command["transport"])}
        builder = HubConnectionBuilder().with_url(url, options=options).with_hub_protocol(ENCODINGS[command["protocol"]])
        # It stops only when its next ping is due.
        builder.keep_alive_interval = 1
        self.hub = builder.build()
        self.opened = threading.Event()
        self.waiting = {}
        self.hub.on("news", lambda arguments: write({"client": self.name, "event": "news", "args": arguments}))
        self.hub.on_open(self.opened.set)
        self.hub.on_close(lambda: write({"client": self.name, "event": "life", "what": "closed", "detail": None}))
        self.hub.on_error(self.on_completion)

    def start(self):
        self.hub.start()
        if not self.opened.wait(PATIENCE_S):
            raise RuntimeError("the client was not open in time")

    def on_completion(self, message):
        answer = self.waiting.pop(message.invocation_id, None)
        if answer:
            answer["message"] = message
            answer["there"].set()

    def invoke(self, command):
        answer = {"there": threading.Event()}
        invocation_id = f"call-{command['id']}"
        self.waiting[invocation_id] = answer
        self.hub.invoke(command["target"], command["args"], self.on_completion, invocation_id)
        if not answer["there"].wait(PATIENCE_S):
            raise RuntimeError(f"{command['target']} was not answered")
        if answer["message"].error:
            raise RuntimeError(answer["message"].error)
        return answer["message"].result


CLIENTS = {}


def obey(command):
    name = command["client"]
    if command["do"] == "start":
        CLIENTS[name] = Client(name, command)
        return CLIENTS[name].start()
    if command["do"] == "stop":
        return CLIENTS[name].hub.stop()
    if command["do"] == "invoke":
        return CLIENTS[name].invoke(command)
    raise RuntimeError(f"this client cannot {command['do']}")


def answer(command):
    try:
        write({"id": command["id"], "value": obey(command)})
    except Exception as error:
        write({"id": command["id"], "error": str(error) or type(error).__name__})


for line in sys.stdin:
    threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
