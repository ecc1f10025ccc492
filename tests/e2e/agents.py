# SPDX-License-Identifier: Apache-2.0
"""Receivers of spans: the real test agent of Datadog's tracer teams, and two of ours that can misbehave."""
import hashlib
import http.server
import json
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import msgpack

from harness import wait_for

ALL_CHECKS = ("trace_count_header,meta_tracer_version_header,trace_content_length,trace_stall,trace_peer_service,"
              "meta_events_is_valid_json,trace_dd_service")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class TestAgent:
    """ddapm-test-agent with every check enabled; a failed check answers with an error and is kept."""

    __test__ = False

    def __init__(self, tmp, port=None, uds=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(os.path.join(tmp, f"test-agent-{self.port}.log"), "ab")
        command = [os.path.join(os.path.dirname(sys.executable), "ddapm-test-agent"), "--port", str(self.port),
                   "--otlp-http-port", str(free_port()), "--otlp-grpc-port", str(free_port()),
                   "--pool-trace-check-failures", "true", "--snapshot-dir", tmp]
        if uds:
            command += ["--trace-uds-socket", uds]
        # Its --enabled-checks takes no list (argparse splits the text into letters); the variable does.
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                        env={**os.environ, "ENABLED_CHECKS": ALL_CHECKS})
        wait_for(self._up, "the test agent")

    def _up(self):
        try:
            return self.get("/info")
        except OSError:
            return None

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as r:
            return r.read().decode()

    def traces(self):
        return json.loads(self.get("/test/traces"))

    def spans(self):
        return [s for t in self.traces() for s in t]

    def requests(self):
        return json.loads(self.get("/test/session/requests"))

    def failures(self):
        """Text of failed checks; empty: none."""
        try:
            said = self.get("/test/trace_check/failures")
        except urllib.error.HTTPError as e:
            return f"{e.code}: {e.read().decode()}"
        return said

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class FakeAgent:
    """Records requests and decodes them with an independent msgpack. behave(number, path) decides each answer: an HTTP status,
    "hang" (no answer), "close" (connection closed), or seconds to wait before a 200."""

    def __init__(self, behave=lambda number, path: 200, port=0):
        self.requests = []
        self.connections = []
        self.accepted = []  # spans of requests answered with 200
        self.rates = {"service:,env:": 1}
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer(200, json.dumps({"version": "7.99.0", "endpoints": ["/v0.4/traces", "/info"],
                                             "client_drop_p0s": True, "span_events": True}).encode())

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                number = len(agent.requests)
                agent.requests.append((self.path, dict(self.headers), body, time.monotonic()))
                what = agent.behave(number, self.path)
                if what == "hang":
                    agent.released.wait(120)
                    return
                if what == "close":
                    self.close_connection = True
                    self.connection.close()
                    return
                if isinstance(what, float):
                    agent.released.wait(what)
                    what = 200
                if what == 200:
                    agent.accepted += [s for c in msgpack.unpackb(body, strict_map_key=False) for s in c]
                self.answer(what, json.dumps({"rate_by_service": agent.rates}).encode())

            do_PUT = do_POST

            def log_message(self, *_):
                pass

            def handle(self):
                agent.connections.append(self.connection)
                try:
                    super().handle()
                except OSError:
                    pass

        self.behave = behave
        self.released = threading.Event()
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def chunks(self):
        return [c for _, _, body, _ in self.requests for c in msgpack.unpackb(body, strict_map_key=False)]

    def stop(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        for c in self.connections:  # those kept alive, too: nobody is there any more
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def decode(path, body):
    """The chunks of a body as lists of span maps, of v0.4 or v0.5."""
    data = msgpack.unpackb(body, strict_map_key=False)
    if not path.startswith("/v0.5/"):
        return data
    strings, chunks = data
    assert strings[0] == "" and len(set(strings)) == len(strings), "each string once"

    def span(x):
        assert len(x) == 12
        service, name, resource, trace, own, parent, start, duration, error, meta, metrics, kind = x
        return {"service": strings[service], "name": strings[name], "resource": strings[resource], "trace_id": trace,
                "span_id": own, "parent_id": parent, "start": start, "duration": duration, "error": error,
                "meta": {strings[k]: strings[v] for k, v in meta.items()},
                "metrics": {strings[k]: v for k, v in metrics.items()}, "type": strings[kind]}

    return [[span(x) for x in c] for c in chunks]


class FaultAgent:
    """An Agent by turns: fault(seconds since its start, request number) names what happens to a request of traces:
    "ok"; a status; "slow" (0.5 s); "hang" (no answer); "half" (the answer breaks off); "hang_half" (its rest never comes);
    "reset" (RST before an answer). GET /info answers info(seconds), bytes, and every reply carries its hash.
    At a TCP port of 127.0.0.1 (with a certificate: https), or at a Unix socket that vanish() and appear() take away."""

    INFO = {"version": "7.99.0", "endpoints": ["/v0.4/traces", "/v0.5/traces", "/info"], "client_drop_p0s": True}

    def __init__(self, fault=lambda seconds, number: "ok", info=None, port=0, uds=None, certificate=None):
        self.fault, self.uds, self.certificate = fault, uds, certificate
        self.info = info or (lambda seconds: json.dumps(self.INFO).encode())
        self.started = time.monotonic()
        self.number, self.infos, self.seen = 0, 0, []
        self.accepted = []  # span ids of requests that were answered with 200, whole
        self.paths = set()
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.port = port
        self.server = None
        self.connections = []
        self.appear()

    @property
    def url(self):
        return f"unix://{self.uds}" if self.uds else f"{'https' if self.certificate else 'http'}://localhost:{self.port}"

    def appear(self):
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                agent.infos += 1
                self.reply(200, agent.info(time.monotonic() - agent.started))

            def do_POST(self):
                agent.serve(self)

            def reply(self, status, body, promised=None):
                self.send_response(status)
                state = agent.info(time.monotonic() - agent.started)
                self.send_header("Datadog-Agent-State", hashlib.sha256(state).hexdigest())
                self.send_header("Content-Length", str(promised or len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def address_string(self):
                return "test"

            def log_message(self, *_):
                pass

            def handle(self):
                agent.connections.append(self.request)
                try:
                    super().handle()
                except (OSError, ValueError):
                    pass

        base = socketserver.ThreadingUnixStreamServer if self.uds else http.server.ThreadingHTTPServer
        server = type("Server", (base,), {"daemon_threads": True, "allow_reuse_address": True, "request_queue_size": 64,
                                          "handle_error": lambda *_: None})
        self.server = server(self.uds or ("127.0.0.1", self.port), Handler)
        if not self.uds:
            self.port = self.server.server_address[1]
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self.lock:
            number = self.number
            self.number += 1
        self.paths.add(request.path)
        what = self.fault(time.monotonic() - self.started, number)
        self.seen.append(what)
        rates = b'{"rate_by_service":{"service:,env:":1}}'
        if what == "slow":
            self.released.wait(0.5)
        elif what in ("hang", "hang_half", "half", "reset"):
            request.close_connection = True
            if what in ("half", "hang_half"):
                request.reply(200, rates[:7], len(rates))
            if what in ("hang", "hang_half"):
                self.released.wait(60)
            if what == "reset":
                request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                request.connection.close()
            return
        elif isinstance(what, int):
            request.reply(what, b'payload-too-large' if what == 413 else b'{}')
            return
        ids = [x["span_id"] for c in decode(request.path, body) for x in c]
        request.reply(200, rates)
        with self.lock:
            self.accepted += ids

    def vanish(self):
        self.server.shutdown()
        self.server.server_close()
        if self.uds:
            os.unlink(self.uds)
        for c in self.connections:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections.clear()

    def stop(self):
        self.released.set()
        self.vanish()
