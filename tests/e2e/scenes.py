# SPDX-License-Identifier: Apache-2.0
"""Both ends of a connection, system call by system call:

    scenes.py SCENE server             prints "port N" (or "port /path"), waits for a line on stdin, then serves
    scenes.py SCENE client PORT [HOST] prints "pid N", waits for a line on stdin, then asks

Each exits with 0 when it saw what it should. Nothing in here knows of spanhound."""
import array
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
MSG_TRUNC = 0x20


# --- system calls that Python has no name for -----------------------------------------------------------------------

class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class MsgHdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(IoVec)), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]


class MmsgHdr(ctypes.Structure):
    _fields_ = [("hdr", MsgHdr), ("len", ctypes.c_uint)]


def mmsghdrs(pieces):
    """One message per piece of memory."""
    vecs = (IoVec * len(pieces))(*(IoVec(ctypes.addressof(p), len(p)) for p in pieces))
    headers = (MmsgHdr * len(pieces))()
    for i, h in enumerate(headers):
        h.hdr.iov = ctypes.pointer(vecs[i])
        h.hdr.iovlen = 1
    return headers, vecs


def sendmmsg(sock, *pieces):
    memory = [(ctypes.c_char * len(p)).from_buffer_copy(p) for p in pieces]
    headers, _keep = mmsghdrs(memory)
    assert libc.sendmmsg(sock.fileno(), headers, len(pieces), 0) == len(pieces)
    assert [h.len for h in headers] == [len(p) for p in pieces]


def recvmmsg(sock, size, cnt=2):
    memory = [ctypes.create_string_buffer(size) for _ in range(cnt)]
    headers, _keep = mmsghdrs(memory)
    got = libc.recvmmsg(sock.fileno(), headers, cnt, socket.MSG_WAITFORONE if hasattr(socket, "MSG_WAITFORONE") else 0x10000, None)
    assert got >= 0, errno.errorcode[ctypes.get_errno()]
    return b"".join(memory[i].raw[:headers[i].len] for i in range(got))


def halves(data):
    """In three pieces, none of them at a line's end."""
    a, b = max(1, len(data) // 3), max(2, len(data) // 2 + 1)
    return [p for p in (data[:a], data[a:b], data[b:]) if p]


WRITES = {
    "write": lambda s, d: os.write(s.fileno(), d),
    "writev": lambda s, d: os.writev(s.fileno(), halves(d)),
    "sendto": lambda s, d: s.send(d),
    "sendmsg": lambda s, d: s.sendmsg(halves(d)),
    "sendmmsg": lambda s, d: sendmmsg(s, *halves(d)),
}


def readv(s, n):
    pieces = [bytearray(7), bytearray(1), bytearray(n)]
    got = os.readv(s.fileno(), pieces)
    return b"".join(pieces)[:got]


READS = {
    "read": lambda s, n: os.read(s.fileno(), n),
    "readv": readv,
    "recvfrom": lambda s, n: s.recv(n),
    "recvmsg": lambda s, n: s.recvmsg(n)[0],
    "recvmmsg": recvmmsg,
}


# --- HTTP by hand ---------------------------------------------------------------------------------------------------

def request(target="/", method="GET", body=b"", headers="", version="1.1"):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/{version}\r\nHost: scene\r\n{headers}{length}\r\n".encode() + body


def response(status=200, body=b"ok", headers="", version="1.1", length=True):
    said = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"HTTP/{version} {status} Reason\r\n{headers}{said}\r\n".encode() + body


def read_until(sock, end, read=READS["recvfrom"], size=65536):
    """Up to and including `end`, and what came with it."""
    got = b""
    while end not in got:
        piece = read(sock, size)
        assert piece, f"closed after {got!r}"
        got += piece
    return got


def read_head_alone(sock):
    """In one call, whatever has come behind it."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen = sock.recv(65536, socket.MSG_PEEK)
        assert seen, "closed"
    return sock.recv(seen.index(b"\r\n\r\n") + 4)


def read_cnt(sock, cnt, got=b""):
    while len(got) < cnt:
        piece = sock.recv(65536)
        assert piece, f"closed after {len(got)} bytes"
        got += piece
    return got


def read_all(sock):
    got = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return got
        got += piece


def read_head(sock):
    return read_until(sock, b"\r\n\r\n")


def read_response(sock, body=b"ok"):
    got = read_head(sock)
    return read_cnt(sock, got.index(b"\r\n\r\n") + 4 + len(body), got)


def settle():
    """So long that what was written before arrives on its own."""
    time.sleep(0.03)


# --- scenes ---------------------------------------------------------------------------------------------------------

class Scene:
    """One request, one response. `unit`: a Unix socket; else TCP at `listen`."""
    family = socket.AF_INET
    address = "127.0.0.1"
    connects = 1

    def __init__(self, arg=""):
        self.arg = arg

    def listener(self):
        s = socket.socket(self.family, socket.SOCK_STREAM)
        if self.family == socket.AF_UNIX:
            s.bind(os.path.join(tempfile.mkdtemp(prefix="scene-"), "socket"))
        else:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((self.address, 0))
        s.listen(64)
        return s

    def server(self, listener):
        for _ in range(self.connects):
            conn, _ = listener.accept()
            self.serve(conn)
            conn.close()

    def client(self, connect):
        for _ in range(self.connects):
            c = connect()
            self.ask(c)
            c.close()

    def serve(self, conn):
        read_head(conn)
        conn.sendall(response())

    def ask(self, c):
        c.sendall(request(f"/{type(self).__name__.lower()}"))
        read_response(c)


class Plain(Scene):
    pass


class Calls(Scene):
    """arg: READ-WRITE, the system calls of both."""

    def both(self):
        read, write = self.arg.split("-")
        return READS[read], WRITES[write]

    def serve(self, conn):
        read, write = self.both()
        read_until(conn, b"12345", read)
        write(conn, response(201, b"a body of some length"))

    def ask(self, c):
        read, write = self.both()
        write(c, request("/calls", "POST", b"12345", "User-Agent: scene/1\r\n"))
        read_until(c, b"some length", read)


class ByteByByte(Scene):
    def serve(self, conn):
        read_until(conn, b"\r\n\r\nxyz", READS["read"], 1)
        for b in response(202, b"bytes"):
            conn.send(bytes([b]))

    def ask(self, c):
        for b in request("/byte/by/byte", "PUT", b"xyz"):
            c.send(bytes([b]))
        read_until(c, b"bytes", READS["read"], 1)


class Peek(Scene):
    def serve(self, conn):
        for _ in range(3):
            assert conn.recv(100, socket.MSG_PEEK)
        assert conn.recvmsg(100, 0, socket.MSG_PEEK)[0]
        read_head(conn)
        conn.sendall(response())

    def ask(self, c):
        c.sendall(request("/peek"))
        assert c.recv(100, socket.MSG_PEEK)
        read_response(c)


class Again(Scene):
    """EAGAIN before each piece, reads of nothing, and a signal in the middle of a wait (EINTR)."""

    def serve(self, conn):
        conn.setblocking(False)
        got = b""
        while b"\r\n\r\n" not in got:
            try:
                got += conn.recv(65536)
            except BlockingIOError:
                time.sleep(0.002)
            assert os.read(conn.fileno(), 0) == b"" and conn.recv(0, socket.MSG_DONTWAIT) == b"" if got else True
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        conn.setblocking(True)
        libc.recv(conn.fileno(), ctypes.create_string_buffer(1), 1, 0)  # EINTR
        assert ctypes.get_errno() == errno.EINTR
        conn.sendall(response())

    def ask(self, c):
        for piece in halves(request("/again")):
            c.sendall(piece)
            settle()
        read_response(c)


class Partial(Scene):
    """Writes that take less than they were given, both ways."""
    size = 3_000_000

    def push(self, sock, data):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        sock.setblocking(False)
        view, partial = memoryview(data), 0
        while view:
            try:
                n = sock.send(view)
                partial += n < len(view)
                view = view[n:]
            except BlockingIOError:
                time.sleep(0.0005)
        assert partial, "no write was partial"
        sock.setblocking(True)

    def serve(self, conn):
        got = read_head(conn)
        read_cnt(conn, got.index(b"\r\n\r\n") + 4 + self.size, got)
        self.push(conn, response(200, b"r" * self.size))

    def ask(self, c):
        self.push(c, request("/partial", "POST", b"q" * self.size))
        read_response(c, b"r" * self.size)


class Pipelined(Scene):
    """Three requests in one write, read by one read; the answers in one write (arg: or each alone)."""

    def serve(self, conn):
        got = b""
        while got.count(b"\r\n\r\n") < 3:
            got += conn.recv(65536)
        answers = [response(200 + i, b"x" * i) for i in range(3)]
        for piece in [b"".join(answers)] if self.arg != "apart" else answers:
            conn.sendall(piece)

    def ask(self, c):
        c.sendall(b"".join(request(f"/pipelined/{x}") for x in "abc"))
        read_until(c, b"xx")


class Expect(Scene):
    def serve(self, conn):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_cnt(conn, 10)
        conn.sendall(response(201))

    def ask(self, c):
        c.sendall(f"POST /expect HTTP/1.1\r\nHost: scene\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n".encode())
        assert b"100" in read_head(c)
        c.sendall(b"0123456789")
        read_response(c)


class Interim(Scene):
    """Answers before the answer: alone, and with it in one write."""

    def serve(self, conn):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        settle()
        conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(200))

    def ask(self, c):
        c.sendall(request("/interim"))
        read_until(c, b"ok")


class Empty(Scene):
    """Answers without a body that say a length all the same, on one connection with others."""
    asked = [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404), ("GET", 200)]

    def serve(self, conn):
        for method, status in self.asked:
            read_head(conn)
            body = b"ok" if (method, status) == ("GET", 200) else b""
            conn.sendall(response(status, body, "" if body or status == 204 else "Content-Length: 100\r\n", length=bool(body)))

    def ask(self, c):
        for i, (method, status) in enumerate(self.asked):
            c.sendall(request(f"/empty/{'abcde'[i]}", method))
            got = read_head(c)
            assert str(status).encode() in got
        assert got.endswith(b"ok")


class Chunked(Scene):
    """Chunks both ways, cut anywhere; what follows on the connection is seen, too."""
    body = b"5\r\nhello\r\n1f;a=b\r\n" + b"0123456789abcdef0123456789abcde" + b"\r\n0\r\nTrailer: x\r\n\r\n"

    def serve(self, conn):
        for i in range(2):
            read_until(conn, b"Trailer: x\r\n\r\n")
            whole = response(200 + i, self.body, "Transfer-Encoding: chunked\r\n", length=False)
            for piece in halves(whole) if i == 0 else [whole]:
                conn.sendall(piece)
                settle()

    def ask(self, c):
        for i in range(2):
            whole = request(f"/chunked/{'ab'[i]}", "POST", headers="Transfer-Encoding: chunked\r\n") + self.body
            for piece in halves(whole) if i == 0 else [whole]:
                c.sendall(piece)
                settle()
            read_until(c, b"Trailer: x\r\n\r\n")


class ChunkedLarge(Scene):
    """Chunks far larger than what is copied of a message, then another request."""

    def serve(self, conn):
        read_head(conn)
        chunk = b"f000\r\n" + b"c" * 0xf000 + b"\r\n"
        conn.sendall(response(200, b"", "Transfer-Encoding: chunked\r\n", length=False))
        for _ in range(20):
            conn.sendall(chunk)
        settle()
        conn.sendall(b"0\r\n\r\n")
        time.sleep(0.3)
        read_head(conn)
        conn.sendall(response(201))

    def ask(self, c):
        c.sendall(request("/chunked/large"))
        read_until(c, b"\r\n0\r\n\r\n")
        time.sleep(0.3)
        c.sendall(request("/chunked/after"))
        read_response(c)


class ChunkedVectors(Scene):
    """Large chunks in answers that pass by vectored calls, their end in more than one piece of memory. Behind each
    answer the client says so, and waits: nothing else tells that it is over."""
    cuts = range(1, 10)
    size = 5000

    def serve(self, conn):
        for cut in self.cuts:
            read_head(conn)
            conn.sendall(response(200, b"%x\r\n" % self.size, "Transfer-Encoding: chunked\r\n", length=False))
            whole = b"c" * self.size + b"\r\n0\r\n\r\n"
            # More pieces than proxies have in a call, small and large ones, none of them at a border of the framing.
            pieces = [whole[:100], *(whole[i:i + 1] for i in range(100, 130)), whole[130:-cut], whole[-cut:]]
            settle()
            assert os.writev(conn.fileno(), pieces) == len(whole)

    def ask(self, c):
        for cut in self.cuts:
            c.sendall(request(f"/vectors/{cut}"))
            while not c.recv(1000).endswith(b"\r\n%x\r\n" % self.size):
                pass
            end = self.size + 7
            time.sleep(0.1)
            pieces = [bytearray(90), *(bytearray(2) for _ in range(12)), bytearray(end - 114 - cut), bytearray(cut)]
            assert os.readv(c.fileno(), pieces) == end
            print("answered", flush=True)
            sys.stdin.readline()


class Lookalike(Scene):
    """Bodies that begin, at the beginning of a write, like messages."""
    body = request("/not/a/request") + response(500)
    answer = response(503) + request("/nor/this")

    def serve(self, conn):
        got = read_head(conn)
        read_cnt(conn, got.index(b"\r\n\r\n") + 4 + len(self.body), got)
        conn.sendall(response(200, self.answer)[:-len(self.answer)])
        settle()
        conn.sendall(self.answer)
        got = read_head(conn)
        conn.sendall(response(200))

    def ask(self, c):
        c.sendall(request("/lookalike", "POST", self.body)[:-len(self.body)])
        settle()
        c.sendall(self.body)
        read_response(c, self.answer)
        c.sendall(request("/lookalike/after"))
        read_response(c)


class WebSocket(Scene):
    def serve(self, conn):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        time.sleep(0.2)
        for _ in range(5):
            assert conn.recv(100)
            conn.sendall(request("/in/a/frame"))

    def ask(self, c):
        c.sendall(request("/websocket", headers="Upgrade: websocket\r\nConnection: Upgrade\r\n"))
        read_head(c)
        for _ in range(5):
            c.sendall(b"\x81\x85abcdHELLO")
            assert c.recv(100)


class Connect(Scene):
    """A tunnel, through which HTTP passes that is not this process's."""

    def serve(self, conn):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        read_head(conn)
        conn.sendall(response(404))

    def ask(self, c):
        c.sendall(b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n")
        read_head(c)
        c.sendall(request("/in/the/tunnel"))
        read_head(c)


class HalfClose(Scene):
    def serve(self, conn):
        assert read_all(conn).endswith(b"\r\n\r\nbody")
        conn.sendall(response(200))

    def ask(self, c):
        c.sendall(request("/half-close", "POST", b"body"))
        c.shutdown(socket.SHUT_WR)
        assert read_all(c).endswith(b"ok")


class ClientLeaves(Scene):
    """Before it has its answer. arg "rst": with a reset."""

    def serve(self, conn):
        read_head(conn)
        try:
            while conn.recv(100):
                pass
        except ConnectionResetError:
            pass

    def ask(self, c):
        c.sendall(request("/client/leaves"))
        settle()
        if self.arg == "rst":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class ClientLeavesMidway(Scene):
    """With half of its answer. The server hears of it when it writes."""

    def serve(self, conn):
        read_head(conn)
        try:
            conn.sendall(response(200, b"", "Content-Length: 100000000\r\n", length=False))
            for _ in range(1000):
                conn.sendall(b"x" * 100000)
            raise AssertionError("nobody left")
        except (ConnectionResetError, BrokenPipeError):
            pass

    def ask(self, c):
        c.sendall(request("/client/leaves/midway"))
        read_cnt(c, 100000)


class Reset(Scene):
    """The server resets the connection (arg "midway": in the middle of its answer; "close": closes it)."""

    def serve(self, conn):
        read_head(conn)
        if self.arg == "midway":
            conn.sendall(response(200, b"", "Content-Length: 1000\r\n", length=False) + b"begin")
            settle()
        if self.arg != "close":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def ask(self, c):
        c.sendall(request("/reset"))
        try:
            got = read_all(c)
            assert self.arg == "close" and not got
        except ConnectionResetError:
            assert self.arg != "close"


class Refused(Scene):
    """Nobody listens."""

    def server(self, listener):
        pass

    def client(self, connect):
        try:
            connect()
        except ConnectionRefusedError:
            return
        raise AssertionError("not refused")


class EarlyAnswer(Scene):
    """413 while the body is still on its way."""

    def serve(self, conn):
        read_head(conn)
        conn.sendall(response(413, b"no", "Connection: close\r\n"))
        while conn.recv(65536):
            pass

    def ask(self, c):
        c.sendall(request("/early", "POST", headers="Content-Length: 300000\r\n"))
        for _ in range(30):
            c.sendall(b"b" * 10000)
            time.sleep(0.001)
        read_response(c, b"no")


class UntilClose(Scene):
    """A body whose end is the connection's."""

    def serve(self, conn):
        read_head(conn)
        conn.sendall(response(200, b"first", "Connection: close\r\n", length=False))
        settle()
        conn.sendall(b" and second")

    def ask(self, c):
        c.sendall(request("/until/close", headers="Connection: close\r\n"))
        assert read_all(c).endswith(b"first and second")


class Http10(Scene):
    """arg "keep": with the keepalive that came before 1.1."""

    def serve(self, conn):
        keep = self.arg == "keep"
        for i in range(2 if keep else 1):
            read_head(conn)
            conn.sendall(response(200, b"ok", "Connection: keep-alive\r\n" if keep else "", "1.0", length=keep))

    def ask(self, c):
        if self.arg == "keep":
            for x in "ab":
                c.sendall(request(f"/old/{x}", headers="Connection: keep-alive\r\n", version="1.0"))
                read_response(c)
            return
        c.sendall(b"GET /old HTTP/1.0\r\n\r\n")
        assert read_all(c).endswith(b"ok")


class Keepalive(Scene):
    cnt = 20

    def serve(self, conn):
        for i in range(self.cnt):
            read_head(conn)
            conn.sendall(response(200, b"k" * i))

    def ask(self, c):
        for i in range(self.cnt):
            c.sendall(request(f"/keepalive/{chr(97 + i)}", headers=f"X-Number: {i}\r\n"))
            read_response(c, b"k" * i)


class LongHead(Scene):
    """Longer than what is copied of a message; the body after it is counted all the same."""

    def serve(self, conn):
        for _ in range(2):
            read_until(conn, b"the-end")
            conn.sendall(response(200, b"ok", f"X-Long: {'r' * 3000}\r\n"))

    def ask(self, c):
        for x in "ab":
            c.sendall(request(f"/long/{x}", "POST", b"the-end", f"X-Long: {'q' * 3000}\r\n"))
            read_until(c, b"\r\n\r\nok")


class LongTarget(Scene):
    def serve(self, conn):
        read_head(conn)
        conn.sendall(response())

    def ask(self, c):
        c.sendall(request("/long?" + "q=1&" * 700))
        read_response(c)


class Sendfile(Scene):
    """A body that never was in the process's memory. arg: sendfile or splice."""
    size = 500_000

    def serve(self, conn):
        with tempfile.TemporaryFile() as f:
            f.write(b"f" * self.size)
            f.flush()
            for status in (200, 201):
                read_head(conn)
                conn.sendall(response(status, b"", f"Content-Length: {self.size}\r\n", length=False))
                self.send(conn, f.fileno())

    def send(self, conn, fd):
        r, w = os.pipe()
        sent = 0
        while sent < self.size:
            if self.arg == "sendfile":
                sent += os.sendfile(conn.fileno(), fd, sent, self.size - sent)
            else:
                n = os.splice(fd, w, 65536, sent)
                while n:
                    m = os.splice(r, conn.fileno(), n)
                    sent, n = sent + m, n - m
        os.close(r)
        os.close(w)

    def ask(self, c):
        for x in "ab":
            c.sendall(request(f"/sendfile/{x}"))
            read_response(c, b"f" * self.size)


class SpliceIn(Scene):
    """A request's body that is spliced out of the socket into a pipe, and one that is thrown away unseen (MSG_TRUNC)."""
    size = 200_000

    def serve(self, conn):
        r, w = os.pipe()
        for i in range(2):
            got = conn.recv(1000)
            left = self.size + got.index(b"\r\n\r\n") + 4 - len(got)
            while left:
                if self.arg == "splice":
                    n = os.splice(conn.fileno(), w, min(left, 60000))
                    os.read(r, n)
                else:
                    n = libc.recv(conn.fileno(), None, min(left, 60000), MSG_TRUNC)
                assert n > 0
                left -= n
            conn.sendall(response(200 + i))

    def ask(self, c):
        for x in "ab":
            c.sendall(request(f"/spliced/{x}", "POST", b"s" * self.size))
            read_response(c)


class Dup(Scene):
    """Read by one descriptor, written by another one; the first is closed in between."""

    def serve(self, conn):
        other = os.dup(conn.fileno())
        read_head(conn)
        conn.close()
        os.write(other, response(203))
        os.close(other)


class ForkEach(Scene):
    """A child per request; the parent closes its descriptor."""
    connects = 3

    def server(self, listener):
        for _ in range(self.connects):
            conn, _ = listener.accept()
            if os.fork() == 0:
                self.serve(conn)
                conn.close()
                os._exit(0)
            conn.close()
        for _ in range(self.connects):
            assert os.wait()[1] == 0


class ForkAfterRead(Scene):
    """The request is read by the parent and answered by a child."""

    def serve(self, conn):
        read_head(conn)
        if os.fork() == 0:
            conn.sendall(response(206))
            os._exit(0)
        assert os.wait()[1] == 0


class PassedOn(Scene):
    """Accepted by one process, served by another one (SCM_RIGHTS)."""
    connects = 3

    def server(self, listener):
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.fork() == 0:
            here.close()
            for _ in range(self.connects):
                _, ancillary, _, _ = there.recvmsg(10, socket.CMSG_SPACE(4))
                conn = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
                self.serve(conn)
                conn.close()
            os._exit(0)
        for _ in range(self.connects):
            conn, _ = listener.accept()
            here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [conn.fileno()]))])
            conn.close()
        assert os.wait()[1] == 0


class FdReuse(Scene):
    """The same number for one connection after the other, some of them without a word."""
    connects = 12

    def server(self, listener):
        numbers = set()
        for _ in range(self.connects):
            conn, _ = listener.accept()
            numbers.add(conn.fileno())
            if conn.recv(1, socket.MSG_PEEK):
                self.serve(conn)
            conn.close()
        assert len(numbers) == 1

    def client(self, connect):
        for i in range(self.connects):
            c = connect()
            if i % 3 != 2:
                c.sendall(request(f"/fd/{chr(97 + i)}"))
                read_response(c)
            c.close()


class Unix(Scene):
    family = socket.AF_UNIX
    connects = 3


class UnixPassedOn(PassedOn):
    family = socket.AF_UNIX


class UnixPipelined(Unix):
    """Two requests before the first one is read, by system calls of their own; then one by one."""
    connects = 1

    def serve(self, conn):
        size = len(request("/pipe/0"))
        while len(conn.recv(2 * size, socket.MSG_PEEK)) < 2 * size:
            pass
        for _ in range(2):
            assert len(conn.recv(size)) == size
            conn.sendall(response())
        for _ in range(3):
            Scene.serve(self, conn)

    def ask(self, c):
        for i in range(2):
            c.sendall(request(f"/pipe/{i}"))
        read_cnt(c, 2 * len(response()))
        for i in range(2, 5):
            c.sendall(request(f"/pipe/{i}"))
            read_response(c)


class UnixExpect(Unix):
    """100 Continue between head and body, and a body that looks like a request."""

    def serve(self, conn):
        for _ in range(3):
            read_head(conn)
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            read_cnt(conn, 20)
            conn.sendall(response())

    def ask(self, c):
        for i in range(3):
            c.sendall(request(f"/expect/{i}", "POST", headers="Content-Length: 20\r\nExpect: 100-continue\r\n"))
            read_head(c)
            c.sendall(b"GET /false HTTP/1.1\r\n"[:20])
            read_response(c)


class UnixPair(Scene):
    """A process and its child, over a socketpair() made before the fork: the child serves."""
    family = socket.AF_UNIX

    def client(self, connect):
        Scene.client(self, connect)
        here, there = socket.socketpair()
        if os.fork() == 0:
            here.close()
            for _ in range(5):
                self.serve(there)
            os._exit(0)
        there.close()
        for i in range(5):
            here.sendall(request(f"/pair/{i}"))
            read_response(here)
        assert os.wait()[1] == 0


class Ipv6(Scene):
    family = socket.AF_INET6
    address = "::1"


class Mapped(Scene):
    """The server listens on [::], the client comes by IPv4."""
    family = socket.AF_INET6
    address = "::"


class AnyAddress(Scene):
    address = "0.0.0.0"


class Before(Scene):
    """Requests on a connection opened before the attach: each waits for a line on stdin. arg: cnt."""

    def serve(self, conn):
        while True:
            got = conn.recv(65536)
            if not got:
                return
            conn.sendall(response())

    def ask(self, c):
        for i in range(int(self.arg)):
            if i:
                print("asked", flush=True)
                sys.stdin.readline()
            c.sendall(request(f"/before/{chr(97 + i)}"))
            read_response(c)


class Between(Scene):
    """The attach comes between the request and its answer; then one more. Both wait for a line on stdin."""

    def serve(self, conn):
        read_head(conn)
        print("read", flush=True)
        sys.stdin.readline()
        conn.sendall(response())
        read_head(conn)
        conn.sendall(response())

    def ask(self, c):
        for x in "ab":
            c.sendall(request(f"/between/{x}"))
            read_response(c)


class ReusePort(Scene):
    """Three processes that listen on one port."""
    connects = 30
    workers = 3

    def listener(self):
        s = socket.socket(self.family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((self.address, 0))
        return s

    def server(self, listener):
        pids = []
        ready, told = os.pipe()
        for _ in range(self.workers):
            pid = os.fork()
            if pid == 0:
                own = socket.socket(self.family, socket.SOCK_STREAM)
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                own.bind(listener.getsockname())
                own.listen(64)
                listener.close()
                os.write(told, b"r")
                while True:
                    conn, _ = own.accept()
                    self.serve(conn)
                    conn.close()
            pids.append(pid)
        got = b""
        while len(got) < self.workers:
            got += os.read(ready, 1)
        print("listening", flush=True)
        sys.stdin.readline()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
            os.wait()


class Activated(Scene):
    """As systemd does it: the listening socket is made first, the server executed with it as descriptor 3."""

    def server(self, listener):
        conn, _ = listener.accept()
        listener.close()
        os.dup2(conn.fileno(), 3, inheritable=True)
        os.execve(sys.executable, [sys.executable, os.path.abspath(__file__), "Activated", "inetd"], {**os.environ, "LISTEN_FDS": "1"})

    def inetd(self):
        self.serve(socket.socket(fileno=3))


class AnyKept(Keepalive):
    address = "0.0.0.0"


class TwoThreads(Scene):
    """One thread reads the request, another one writes the answer."""

    def serve(self, conn):
        read_head(conn)
        t = threading.Thread(target=lambda: conn.sendall(response(200)))
        t.start()
        t.join()


class Silent(Scene):
    """Nothing that is HTTP: spans must come of none of it."""

    def serve(self, conn):
        for i in range(20):
            read_until(conn, b"\n")
            conn.sendall(b"+OK\r\n" if i % 2 else b"GETTING THERE\r\n")

    def ask(self, c):
        for i in range(20):
            c.sendall([b"PING\r\n", b"GET key\r\n", b"GET \r\n", b"POST\x00\x01\r\n"][i % 4])
            read_until(c, b"\n")


class Proxy(Scene):
    """arg: PORT of another scene's server. One request in, one out, on one thread."""

    def serve(self, conn):
        self.read(conn)
        up = socket.create_connection(("127.0.0.1", int(self.arg)))
        up.sendall(request("/plain"))
        read_response(up)
        up.close()
        conn.sendall(response())

    def read(self, conn):
        read_head(conn)


class BodyLater(Proxy):
    """Waits, as event loops do, between the head and the body, and between the parts of the next hop's answer."""

    def read(self, conn):
        self.turn(conn)
        assert read_head_alone(conn)
        self.turn(conn)
        read_cnt(conn, 2000)

    def turn(self, *socks):
        poller = select.epoll()
        for s in socks:
            poller.register(s, select.EPOLLIN)
        assert poller.poll(10)
        poller.close()

    def ask(self, c):
        c.sendall(request("/bodylater", "POST", b"b" * 2000)[:-2000])
        settle()
        c.sendall(b"b" * 2000)
        read_response(c)


class ExpectProxy(Proxy):
    def read(self, conn):
        read_head(conn)
        conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_cnt(conn, 10)

    def ask(self, c):
        c.sendall(b"POST /expectproxy HTTP/1.1\r\nHost: scene\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        assert b"100" in read_head(c)
        c.sendall(b"0123456789")
        read_response(c)


class LookalikeProxy(Proxy):
    body = request("/not/a/request")

    def read(self, conn):
        assert read_head_alone(conn) and conn.recv(65536) == self.body

    def ask(self, c):
        c.sendall(request("/lookalikeproxy", "POST", self.body)[:-len(self.body)])
        settle()
        c.sendall(self.body)
        read_response(c)


def main():
    name, role = sys.argv[1].partition(":")[::2] if ":" in sys.argv[1] else (sys.argv[1], "")
    scene = globals()[name](role)
    if sys.argv[2] == "inetd":
        scene.inetd()
        return
    if sys.argv[2] == "server":
        listener = scene.listener()
        where = listener.getsockname()
        print("port", where if isinstance(where, str) else where[1], flush=True)
        sys.stdin.readline()
        if isinstance(scene, Refused):
            listener.close()
            print("closed", flush=True)
        scene.server(listener)
        return
    port = sys.argv[3]
    hosts = {socket.AF_INET6: "::1"}
    host = sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1" if scene.address in ("::", "0.0.0.0") else hosts.get(scene.family, scene.address)

    def connect():
        if scene.family == socket.AF_UNIX:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(port)
            return s
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        s.connect((host, int(port)))
        return s

    print("pid", os.getpid(), flush=True)
    sys.stdin.readline()
    scene.client(connect)


if __name__ == "__main__":
    main()
