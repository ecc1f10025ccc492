# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 on the wire, system call by system call (scenes.py): what each way of moving bytes must come to as spans. Both ends
are traced unless a test says otherwise, so each request is two spans, joined."""
import os
import subprocess

import pytest

import harness
import web
from web import End, check, check_joined, check_request, check_sane, path_of, paths, status


@pytest.fixture
def ends(tmp_path):
    """ends(SCENE, "server" | "client", ...) -> web.End; killed at the end of the test."""
    running = []

    def start(*args, **kwargs):
        e = End(str(tmp_path), *map(str, args), **kwargs)
        running.append(e)
        return e

    yield start
    for e in running:
        e.kill()


@pytest.fixture
def play(spanhound, ends):
    """play(SCENE) -> web.Seen: starts both ends, attaches, lets them talk, and stops when both are done."""
    def play(scene, trace=("server", "client"), options=(), host=(), env=None):
        server = ends(scene, "server")
        client = ends(scene, "client", server.said[1], *host)
        pids = [e.pid for e, what in ((server, "server"), (client, "client")) if what in trace]
        s = spanhound("--pid", ",".join(map(str, pids)), *options, env=env)
        server.go()
        if scene.startswith(("Refused", "ReusePort")):
            server.read_line()
        client.go().finish()
        if scene.startswith("ReusePort"):
            server.go()
        server.finish()
        got = web.seen(s.stop())
        check_sane(got.spans)
        assert not got.summary["unaccounted"], got.summary
        return got

    return play


def joined(got, cnt, not_http=0):
    """All requests were seen at both ends and belong together."""
    assert len(got.servers) == len(got.clients) == cnt == len(got.spans) / 2, [(s["name"], path_of(s)) for s in got.spans]
    for client, server in got.pairs:
        check_joined(client, server)
        assert path_of(client) == path_of(server) and status(client) == status(server)
    assert got.summary["dropped"] == ({"not_http": not_http} if not_http else {}), got.summary
    return got.pairs


def one(got):
    """(client, server) of a run with one request."""
    return joined(got, 1)[0]


def test_plain(play):
    client, server = one(play("Plain"))
    for s in (client, server):
        check_request(s, "GET", "/plain", 200, 0, 2)
        check(s, resource="GET /plain")
    check(client, parent_id=0, out__host="scene", spanhound__link=None)
    assert client["metrics"]["network.destination.port"] > 0 and client["metrics"]["spanhound.connect_ns"] > 0
    assert client["metrics"]["_dd.top_level"] == server["metrics"]["_dd.top_level"] == 1


@pytest.mark.parametrize("read,write", [("read", "write"), ("readv", "writev"), ("recvfrom", "sendto"), ("recvmsg", "sendmsg"),
                                        ("recvmmsg", "sendmmsg")])
def test_system_calls(play, read, write):
    for s in one(play(f"Calls:{read}-{write}")):
        check_request(s, "POST", "/calls", 201, 5, 21)
        check(s, http__useragent="scene/1")


def test_head_byte_by_byte(play):
    for s in one(play("ByteByByte")):
        check_request(s, "PUT", "/byte/by/byte", 202, 3, 5)


def test_peeked_bytes_count_once(play):
    for s in one(play("Peek")):
        check_request(s, "GET", "/peek", 200, 0, 2)


def test_eagain_eintr_and_empty_reads(play):
    for s in one(play("Again")):
        check_request(s, "GET", "/again", 200, 0, 2)


def test_partial_writes(play):
    for s in one(play("Partial")):
        check_request(s, "POST", "/partial", 200, 3_000_000, 3_000_000)


@pytest.mark.parametrize("answers", ["together", "apart"])
def test_pipelined(play, answers):
    got = play(f"Pipelined:{answers}")
    for i, (client, server) in enumerate(joined(got, 3)):
        for s in (client, server):
            check_request(s, "GET", f"/pipelined/{'abc'[i]}", 200 + i, 0, i)
    assert len({s["trace_id"] for s in got.servers}) == 3


def test_expect_continue(play):
    for s in one(play("Expect")):
        check_request(s, "POST", "/expect", 201, 10, 2)


def test_interim_answers(play):
    for s in one(play("Interim")):
        check_request(s, "GET", "/interim", 200, 0, 2)
        assert s["duration"] > 20e6, "the answer, not the word before it, ends it"


def test_answers_without_body(play):
    for i, (client, server) in enumerate(joined(play("Empty"), 5)):
        method, code = [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404), ("GET", 200)][i]
        for s in (client, server):
            check_request(s, method, f"/empty/{'abcde'[i]}", code, 0, 2 if i == 4 else 0)


def test_chunked(play):
    for i, (client, server) in enumerate(joined(play("Chunked"), 2)):
        for s in (client, server):
            check_request(s, "POST", f"/chunked/{'ab'[i]}", 200 + i, 36, 36)


def test_chunked_beyond_what_is_copied(play):
    first, after = joined(play("ChunkedLarge"), 2)
    for s in first:
        check_request(s, "GET", "/chunked/large", 200)
        assert 20 * 0xf000 <= s["metrics"]["http.response.content_length"] <= 20 * (0xf000 + 10), "the framing may be counted"
        assert s["duration"] > 25e6, "the last chunk ends it"
    for s in after:
        check_request(s, "GET", "/chunked/after", 201, 0, 2)


def test_chunked_by_vectored_calls(spanhound, ends):
    """The last chunk is recognised wherever it lies."""
    server = ends("ChunkedVectors", "server")
    client = ends("ChunkedVectors", "client", server.said[1])
    s = spanhound("--pid", f"{server.pid},{client.pid}")
    server.go()
    client.go()
    for cut in range(1, 10):
        assert client.read_line() == "answered\n"
        s.wait_spans(2 * cut)
        client.go()
    client.finish()
    server.finish()
    for i, pair in enumerate(joined(web.seen(s.stop()), 9)):
        for span in pair:
            check_request(span, "GET", f"/vectors/{i + 1}", 200)


def test_bodies_that_look_like_messages(play):
    first, after = joined(play("Lookalike"), 2, not_http=2)
    for s in first:
        check_request(s, "POST", "/lookalike", 200, 88, 83)
    for s in after:
        check_request(s, "GET", "/lookalike/after", 200, 0, 2)


def test_websocket(play):
    for s in one(play("WebSocket")):
        check_request(s, "GET", "/websocket", 101)
        assert s["duration"] < 200e6, "the request ends with the answer that switches protocols"


def test_connect(play):
    for s in one(play("Connect")):
        check(s, http__method="CONNECT", http__status_code="200", resource="CONNECT", error=0)


def test_half_close(play):
    for s in one(play("HalfClose")):
        check_request(s, "POST", "/half-close", 200, 4, 2)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_client_leaves_before_the_answer(play, how):
    client, server = one(play(f"ClientLeaves:{how}"))
    check(server, spanhound__aborted="client", error=0, http__status_code=None)
    check(client, error=1, http__status_code=None)
    assert client["meta"]["error.message"]


def test_client_leaves_in_the_middle_of_the_answer(play):
    client, server = one(play("ClientLeavesMidway"))
    check(server, spanhound__aborted="client", error=0, http__status_code="200")
    check(client, http__status_code="200")
    assert 0 < server["metrics"]["http.response.content_length"] < 100000000


@pytest.mark.parametrize("how,message", [("rst", "reset"), ("midway", "reset"), ("close", "closed")])
def test_server_leaves(play, how, message):
    client, server = one(play(f"Reset:{how}"))
    check(client, error=1, http__status_code="200" if how == "midway" else None)
    assert message in client["meta"]["error.message"].lower(), client
    assert client["meta"]["error.type"]
    check(server, error=1)


def test_refused(play):
    got = play("Refused", trace=["client"])
    client, = got.spans
    check(client, error=1, span__kind="client", out__host="127.0.0.1", parent_id=0)
    assert "refused" in client["meta"]["error.message"].lower()
    assert client["metrics"]["network.destination.port"] > 0


def test_answer_before_the_request_is_over(play):
    client, server = one(play("EarlyAnswer"))
    for s in (client, server):
        check_request(s, "POST", "/early", 413, response_sz=2)


def test_body_until_close(play):
    for s in one(play("UntilClose")):
        check_request(s, "GET", "/until/close", 200, 0, 16)


def test_http_1_0(play):
    for s in one(play("Http10")):
        check_request(s, "GET", "/old", 200, 0, 2, minor="1.0")


def test_http_1_0_kept_alive(play):
    for i, pair in enumerate(joined(play("Http10:keep"), 2)):
        for s in pair:
            check_request(s, "GET", f"/old/{'ab'[i]}", 200, 0, 2, minor="1.0")


def test_keepalive(play):
    got = play("Keepalive")
    for i, pair in enumerate(joined(got, 20)):
        for s in pair:
            check_request(s, "GET", f"/keepalive/{chr(97 + i)}", 200, 0, i)
    assert len({s["trace_id"] for s in got.clients}) == 20, "each is a trace of its own"
    assert sum("spanhound.connect_ns" in c["metrics"] for c in got.clients) == 1, "of the connection's first request"


def test_long_heads(play):
    """What was cut off is not needed for the tags; lengths of bodies are still right."""
    for i, pair in enumerate(joined(play("LongHead"), 2)):
        for s in pair:
            check_request(s, "POST", f"/long/{'ab'[i]}", 200)


def test_long_target_is_said_to_be_cut(play):
    for s in one(play("LongTarget")):
        check(s, http__method="GET", spanhound__truncated="true", http__status_code="200")
        assert path_of(s).startswith("/long?q=1&q=1")


@pytest.mark.parametrize("how", ["sendfile", "splice"])
def test_bodies_that_were_never_in_memory(play, how):
    for i, pair in enumerate(joined(play(f"Sendfile:{how}"), 2)):
        for s in pair:
            check_request(s, "GET", f"/sendfile/{'ab'[i]}", 200 + i, 0, 500_000)


@pytest.mark.parametrize("how", ["splice", "trunc"])
def test_bodies_spliced_or_thrown_away(play, how):
    for i, pair in enumerate(joined(play(f"SpliceIn:{how}"), 2)):
        for s in pair:
            check_request(s, "POST", f"/spliced/{'ab'[i]}", 200 + i, 200_000, 2)


def test_dup(play):
    for s in one(play("Dup")):
        check_request(s, "GET", "/dup", 203, 0, 2)


def test_child_per_request(play):
    got = play("ForkEach")
    joined(got, 3)
    assert len({s["metrics"]["process_id"] for s in got.servers}) == 3


def test_child_answers(play):
    for s in one(play("ForkAfterRead")):
        check_request(s, "GET", "/forkafterread", 206, 0, 2)


def test_connection_passed_to_another_process(play):
    got = play("PassedOn")
    joined(got, 3)


def test_descriptors_used_again(play):
    pairs = joined(play("FdReuse"), 8)
    assert [path_of(c) for c, _ in pairs] == [f"/fd/{x}" for x in "abdeghjk"]


def test_unix_sockets(play):
    for client, server in joined(play("Unix"), 3):
        check_request(client, "GET", "/unix", 200, 0, 2)
        check_request(server, "GET", "/unix", 200, 0, 2)


def test_unix_socket_passed_to_another_process(play):
    joined(play("UnixPassedOn"), 3)


def test_unix_socket_of_expect(play):
    """What looks like a request in the body is none, and is not counted as one."""
    got = play("UnixExpect")
    for client, server in joined(got, 9, not_http=got.summary["dropped"].get("not_http", 0)):
        assert path_of(client) == path_of(server)


def test_unix_socket_pipelined(play):
    """Which one is read cannot be told: no links from there on, and none that is false."""
    got = play("UnixPipelined")
    assert len(got.servers) == len(got.clients) == 5
    by_id = {c["span_id"]: c for c in got.clients}
    linked = [s for s in got.servers if s["parent_id"]]
    assert all(path_of(by_id[s["parent_id"]]) == path_of(s) for s in linked)
    assert {path_of(s) for s in linked} <= {"/pipe/0", "/pipe/1"}


def test_socketpair(play):
    joined(play("UnixPair"), 6)


def test_ipv6(play):
    one(play("Ipv6"))


def test_ipv4_client_of_an_ipv6_server(play):
    one(play("Mapped"))


def test_ipv6_client_of_an_ipv6_server(play):
    one(play("Mapped", host=["::1"]))


def test_listener_on_any_address(play):
    one(play("AnyAddress"))


def test_answered_by_another_thread(play):
    for s in one(play("TwoThreads")):
        check_request(s, "GET", "/twothreads", 200, 0, 2)


def test_socket_activation(play):
    """The process that answers executed its program with the connection already open."""
    one(play("Activated"))


def test_workers_on_one_port(play):
    got = play("ReusePort")
    joined(got, 30)
    assert len({s["metrics"]["process_id"] for s in got.servers}) > 1


def test_what_is_not_http_gives_nothing(play):
    got = play("Silent")
    assert not got.spans
    assert set(got.summary["dropped"]) <= {"not_http"}, got.summary


@pytest.mark.parametrize("who", ["server", "client"])
def test_processes_not_chosen_give_nothing(play, who):
    got = play("Keepalive", trace=[who])
    assert len(got.spans) == 20
    assert {web.kind(s) for s in got.spans} == {who}
    assert len(got.servers if who == "server" else got.clients) == 20
    assert {s["parent_id"] for s in got.spans} == {0}


def test_connection_older_than_the_attach(spanhound, ends):
    server = ends("Before:5", "server").go()
    client = ends("Before:5", "client", server.said[1]).go()
    client.read_line()  # the first one was answered
    s = spanhound("--pid", f"{server.pid},{client.pid}")
    for i in range(4):
        client.go()
        if i < 3:
            client.read_line()
    client.finish()
    server.finish()
    got = web.seen(s.stop())
    assert paths(got.clients) == [f"/before/{x}" for x in "bcde"]
    joined(got, 4)


def test_attach_between_request_and_answer(spanhound, ends):
    """Of the request under way nothing can be known; the next one is whole."""
    server = ends("Between", "server").go()
    client = ends("Between", "client", server.said[1]).go()
    server.read_line()
    s = spanhound("--pid", f"{server.pid},{client.pid}")
    server.go()
    client.finish()
    server.finish()
    got = web.seen(s.stop())
    assert paths(got.spans) == ["/between/b"] * 2, (got.summary, s.stderr)
    joined(got, 1)


def test_two_ends_attached_one_after_the_other(spanhound, ends):
    """Two collectors, each of its own process: each sees its own spans alone."""
    server = ends("Plain", "server")
    client = ends("Plain", "client", server.said[1])
    a = spanhound("--pid", server.pid)
    b = spanhound("--pid", client.pid)
    server.go()
    client.go().finish()
    server.finish()
    a, b = web.seen(a.stop()), web.seen(b.stop())
    assert len(a.servers) == len(a.spans) == 1 and len(b.clients) == len(b.spans) == 1


@pytest.mark.parametrize("scene,cnt", [("AnyAddress", 1), ("AnyKept", 20)])
def test_across_network_namespaces(spanhound, ends, namespaces, scene, cnt):
    (a, _), (b, address) = namespaces
    server = ends(scene, "server", prefix=["ip", "netns", "exec", b])
    client = ends(scene, "client", server.said[1], address, prefix=["ip", "netns", "exec", a])
    s = spanhound("--pid", f"{server.pid},{client.pid}")
    server.go()
    client.go().finish()
    server.finish()
    joined(web.seen(s.stop()), cnt)


# --- whose work it is -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("scene", ["Proxy", "LookalikeProxy", "BodyLater", "ExpectProxy"])
def test_proxy_on_one_thread(spanhound, ends, scene):
    """client -> proxy -> server: one trace, each under the one before. Also when the proxy reads a body that looks like
    another request, or waits for one."""
    server = ends("Plain", "server")
    proxy = ends(f"{scene}:{server.said[1]}", "server")
    client = ends(scene, "client", proxy.said[1])
    s = spanhound("--pid", f"{server.pid},{proxy.pid},{client.pid}")
    server.go()
    proxy.go()
    client.go().finish()
    proxy.finish()
    server.finish()
    got = web.seen(s.stop())
    assert len(got.spans) == 4 and len({x["trace_id_128"] for x in got.spans}) == 1, [
        (web.kind(x), path_of(x), x["trace_id_128"]) for x in got.spans]
    root, = [x for x in got.spans if not x["parent_id"]]
    child = {x["parent_id"]: x for x in got.spans}
    chain = [root]
    while chain[-1]["span_id"] in child:
        chain.append(child[chain[-1]["span_id"]])
    assert [(web.kind(x), path_of(x)) for x in chain] == [("client", f"/{scene.lower()}"), ("server", f"/{scene.lower()}"), ("client", "/plain"),
                                                          ("server", "/plain")]
    check(chain[2], spanhound__link="connection" if scene == "BodyLater" else "thread")
