"""A collector for tests: takes OTLP over HTTP, reads it with OpenTelemetry's own message classes, prints a JSON line a span.

The first line says which port it listens on. It ends when its standard input closes.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector(BaseHTTPRequestHandler):
    """Answers like a collector that keeps everything."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource_spans in request.resource_spans:
            service = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    self.report(service, span)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def report(self, service, span):
        line = {
            "path": self.path,
            "contentType": self.headers["content-type"],
            "service": service.get("service.name"),
            "name": span.name,
            "traceId": span.trace_id.hex(),
            "spanId": span.span_id.hex(),
            "parentSpanId": span.parent_span_id.hex(),
            "durationNs": span.end_time_unix_nano - span.start_time_unix_nano,
        }
        print(json.dumps(line), flush=True)

    def log_message(self, *_):
        """Standard error is for mistakes only."""


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
