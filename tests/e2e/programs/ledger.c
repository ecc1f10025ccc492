/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Books of what arrives: requests whose bodies, and the answers to them, are known to both ends.
 *
 *	ledger serve IDS                          prints its port; at the end of its standard input, what it has seen, as JSON
 *	ledger ask PORT CONNECTIONS REQUESTS BASE SPREAD   asks as all clients do, once a line was read; "right" if all answers are
 *	ledger ask PORT CONNECTIONS REQUESTS SIZES         likewise: bodies and answers of these sizes, by commas, each with each in turn
 *	ledger wait PORT CONNECTIONS REQUESTS SIZES        likewise, and waits for all of an answer in one call (MSG_WAITALL)
 *	ledger verify REQUESTS OFFSET LENGTH      so many answers, one behind the other, on standard input
 *
 * The N-th request goes to /N/OFFSET/LENGTH/OFFSET/LENGTH: which part of an endless pattern its body is, and which its answer is to
 * be. IDS gets what the headers of each say: lower half of the trace id, and span id, 16 bytes.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PERIOD	 65521
#define PIECE	 (1 << 20)
#define MAX_HEAD 16384
#define ROOM	 (256 << 10)

static unsigned char pattern[PERIOD + PIECE];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pattern_fill(void)
{
	uint32_t x = 1;
	for (size_t i = 0; i < sizeof(pattern); i++) {
		x = x * 1103515245 + 12345;
		pattern[i] = i < PERIOD ? x >> 16 : pattern[i - PERIOD];
	}
}

/* --- a stream that is read -------------------------------------------------------------------------------------------- */

struct stream {
	int fd;
	size_t begin, end; /* what was received and is not taken */
	char data[ROOM];
};

static bool stream_more(struct stream *s)
{
	if (s->begin == s->end)
		s->begin = s->end = 0;
	if (s->end == ROOM) {
		memmove(s->data, s->data + s->begin, s->end - s->begin);
		s->end -= s->begin;
		s->begin = 0;
	}
	ssize_t n = s->end < ROOM ? read(s->fd, s->data + s->end, ROOM - s->end) : 0;
	s->end += n > 0 ? n : 0;
	return n > 0;
}

/* Takes a head, up to and with the empty line: its length, or 0 at the end. It ends in 0 instead of the last line feed. */
static size_t stream_head(struct stream *s, char *ret)
{
	for (;;) {
		char *end = memmem(s->data + s->begin, s->end - s->begin, "\r\n\r\n", 4);
		size_t len = end ? (size_t)(end + 4 - s->data) - s->begin : s->end - s->begin;
		if (len >= MAX_HEAD || (!end && !stream_more(s)))
			return 0;
		if (!end)
			continue;
		memcpy(ret, s->data + s->begin, len);
		ret[len - 1] = '\0';
		s->begin += len;
		return len;
	}
}

/* Takes what has to be this part of the pattern: 1 it is, 0 it is not, -1 it ends too early. */
static int stream_matches(struct stream *s, uint64_t at, uint64_t len)
{
	int right = 1;
	while (len) {
		if (s->begin == s->end && !stream_more(s))
			return -1;
		size_t here = s->end - s->begin < len ? s->end - s->begin : len;
		if (memcmp(s->data + s->begin, pattern + at % PERIOD, here) != 0)
			right = 0;
		s->begin += here;
		at += here;
		len -= here;
	}
	return right;
}

/* A head, and behind it a part of the pattern. */
static bool send_all(int fd, const char *head, size_t head_len, uint64_t at, uint64_t len)
{
	while (head_len || len) {
		size_t piece = len < PIECE ? len : PIECE;
		struct iovec v[2] = {{(void *)head, head_len}, {pattern + at % PERIOD, piece}};
		ssize_t n = head_len ? writev(fd, v, 2) : write(fd, v[1].iov_base, piece);
		if (n <= 0)
			return false;
		size_t of_head = (size_t)n < head_len ? (size_t)n : head_len;
		head += of_head;
		head_len -= of_head;
		at += n - of_head;
		len -= n - of_head;
	}
	return true;
}

/* --- serve ------------------------------------------------------------------------------------------------------------ */

static atomic_ulong requests, with, without, wrong, bad, cut, request_bytes, answer_bytes, connections;
static pthread_mutex_t ids_lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *ids;

struct said {
	unsigned trace_id, parent_id, tags, traceparent, tracestate; /* how many of each */
	uint64_t datadog_trace, datadog_parent, tid, trace_hi, trace_lo, span, state;
	bool misplaced;
};

static bool is_header(const char *line, const char *name, const char **ret_value)
{
	size_t len = strlen(name);
	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return false;
	*ret_value = line + len + 1 + strspn(line + len + 1, " ");
	return true;
}

static uint64_t hex(const char *from, size_t len)
{
	char digits[17] = "";
	memcpy(digits, from, len < 16 ? len : 16);
	return strtoull(digits, NULL, 16);
}

static void read_header(struct said *s, const char *line)
{
	const char *value, *tid;
	if (is_header(line, "x-datadog-trace-id", &value)) {
		s->trace_id++;
		s->datadog_trace = strtoull(value, NULL, 10);
	} else if (is_header(line, "x-datadog-parent-id", &value)) {
		s->parent_id++;
		s->datadog_parent = strtoull(value, NULL, 10);
	} else if (is_header(line, "x-datadog-tags", &value)) {
		s->tags++;
		tid = strstr(value, "_dd.p.tid=");
		s->tid = tid ? hex(tid + 10, 16) : 0;
	} else if (is_header(line, "traceparent", &value)) {
		s->traceparent++;
		if (strcspn(value, "\r") == 55) {
			s->trace_hi = hex(value + 3, 16);
			s->trace_lo = hex(value + 19, 16);
			s->span = hex(value + 36, 16);
		}
	} else if (is_header(line, "tracestate", &value)) {
		s->tracestate++;
		s->state = strncmp(value, "dd=p:", 5) == 0 ? hex(value + 5, 16) : 0;
	}
}

/* One block, right behind the request line, of headers that agree. */
static void check_head(const char *head)
{
	struct said s = {0};
	const char *line = strstr(head, "\r\n") + 2;
	s.misplaced = strncmp(line, "x-datadog-trace-id: ", 20) != 0;
	for (; *line && *line != '\r'; line = strstr(line, "\r\n") + 2)
		read_header(&s, line);
	if (!s.trace_id && !s.parent_id && !s.tags && !s.traceparent && !s.tracestate) {
		without++;
		return;
	}
	bool once = s.trace_id == 1 && s.parent_id == 1 && s.tags == 1 && s.traceparent == 1 && s.tracestate == 1;
	if (!once || s.misplaced || !s.span || !s.trace_lo || s.datadog_trace != s.trace_lo ||
	    s.datadog_parent != s.span || s.tid != s.trace_hi || s.state != s.span) {
		if (!wrong++)
			fprintf(stderr, "%s\n", head);
		return;
	}
	uint64_t pair[2] = {s.trace_lo, s.span};
	with++;
	pthread_mutex_lock(&ids_lock);
	if (fwrite(pair, sizeof(pair), 1, ids) != 1)
		die("ids");
	pthread_mutex_unlock(&ids_lock);
}

/* False: the connection is over. */
static bool serve_one(struct stream *s, char *head)
{
	unsigned long number, at, len, answer_at, answer_len;
	char method[16], answer[128];
	if (!stream_head(s, head))
		return false;
	if (sscanf(head, "%15s /%lu/%lu/%lu/%lu/%lu HTTP/1.1\r\n", method, &number, &at, &len, &answer_at,
		   &answer_len) != 6) {
		fprintf(stderr, "no request: %s\n", head);
		exit(1);
	}
	requests++;
	check_head(head);
	int right = stream_matches(s, at, len);
	bad += right == 0;
	cut += right < 0;
	if (right < 0)
		return false;
	request_bytes += len;
	answer_bytes += answer_len;
	int n = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %lu\r\n\r\n", answer_len);
	return send_all(s->fd, answer, n, answer_at, answer_len);
}

static void *serve(void *arg)
{
	struct stream *s = arg;
	char *head = malloc(MAX_HEAD);
	while (head && serve_one(s, head))
		;
	close(s->fd);
	free(head);
	free(s);
	return NULL;
}

static struct stream *stream_new(int fd)
{
	int one = 1;
	struct stream *s = malloc(sizeof(*s));
	if (!s)
		die("malloc");
	s->fd = fd;
	s->begin = s->end = 0;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return s;
}

static void *accept_all(void *arg)
{
	int listener = *(int *)arg;
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;
		if (fd < 0)
			die("accept");
		connections++;
		if (pthread_create(&thread, NULL, serve, stream_new(fd)))
			die("pthread_create");
		pthread_detach(thread);
	}
	return NULL;
}

static int serve_all(const char *path)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t thread;
	ids = fopen(path, "w");
	if (!ids || fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 1024) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0 || pthread_create(&thread, NULL, accept_all, &fd))
		die("listen");
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	while (getchar() != EOF)
		;
	pthread_mutex_lock(&ids_lock);
	fflush(ids);
	printf("{\"requests\":%lu,\"with\":%lu,\"without\":%lu,\"wrong\":%lu,\"bad\":%lu,\"cut\":%lu,\"request_bytes\":%lu,"
	       "\"answer_bytes\":%lu,\"connections\":%lu}\n",
	       requests, with, without, wrong, bad, cut, request_bytes, answer_bytes, connections);
	fflush(stdout);
	_exit(0);
}

/* --- ask -------------------------------------------------------------------------------------------------------------- */

static atomic_ulong next_request;
static unsigned long ask_cnt, base, spread, sizes[32], size_cnt, largest;
static bool waits;
static struct sockaddr_in ask_at = {.sin_family = AF_INET};

static unsigned long len_of(unsigned long i)
{
	if (size_cnt)
		return sizes[i % size_cnt];
	return base || i % 3 ? base + i * 37 % spread : 0;
}

static unsigned long answer_len_of(unsigned long i)
{
	return size_cnt ? sizes[(i + i / size_cnt + 1) % size_cnt] : base + i * 61 % spread;
}

/* The head of an answer that is right so far, and says this length? */
static bool head_says(const char *head, unsigned long len)
{
	if (strncmp(head, "HTTP/1.1 200 ", 13) != 0)
		return false;
	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, "content-length: ", 16) == 0)
			return strtoul(line + 16, NULL, 10) == len;
	}
	return false;
}

/* An answer of which no byte more is asked for than there is to come, and then all of it at once. Its beginning was looked at
 * before. */
static bool wait_for_answer(int fd, char *head, unsigned char *body, uint64_t at, size_t len)
{
	size_t n = 0, first = len < 5000 ? len : 5000;
	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0)
		if (n == MAX_HEAD - 1 || recv(fd, head + n++, 1, MSG_WAITALL) != 1)
			return false;
	head[n] = '\0';
	if (!head_says(head, len) || (len && recv(fd, body, first, MSG_PEEK | MSG_WAITALL) != (ssize_t)first) ||
	    memcmp(body, pattern + at % PERIOD, first) != 0)
		return false;
	memset(body, 0, first);
	if (len && recv(fd, body, len, MSG_WAITALL) != (ssize_t)len)
		return false;
	for (n = 0; n < len; n += first) {
		first = len - n < PIECE ? len - n : PIECE;
		if (memcmp(body + n, pattern + (at + n) % PERIOD, first) != 0)
			return false;
	}
	return true;
}

static bool ask_one(struct stream *s, unsigned long i, char *head, unsigned char *body)
{
	unsigned long at = i % PERIOD, len = len_of(i), answer_at = i * 7 % PERIOD, answer_len = answer_len_of(i);
	int n = snprintf(head, MAX_HEAD,
			 "%s /%lu/%lu/%lu/%lu/%lu HTTP/1.1\r\nHost: ledger\r\nContent-Length: %lu\r\n\r\n",
			 len ? "POST" : "GET", i, at, len, answer_at, answer_len, len);
	if (waits)
		return send(s->fd, head, n, len ? MSG_MORE : 0) == n && send_all(s->fd, NULL, 0, at, len) &&
		       wait_for_answer(s->fd, head, body, answer_at, answer_len);
	return send_all(s->fd, head, n, at, len) && stream_head(s, head) && head_says(head, answer_len) &&
	       stream_matches(s, answer_at, answer_len) == 1;
}

static void *ask(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char *head = malloc(MAX_HEAD);
	unsigned char *body = malloc(largest + 1);
	if (fd < 0 || !head || !body || connect(fd, (struct sockaddr *)&ask_at, sizeof(ask_at)) < 0)
		die("connect");
	struct stream *s = stream_new(fd);
	for (unsigned long i; (i = next_request++) < ask_cnt;)
		if (!ask_one(s, i, head, body)) {
			fprintf(stderr, "request %lu: %s\n", i, head);
			exit(1);
		}
	close(fd);
	free(s);
	free(head);
	free(body);
	return arg;
}

static int ask_all(int threads)
{
	pthread_t thread[256];
	ask_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (getchar() == EOF || threads < 1 || threads > 256)
		return 1;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, ask, NULL))
			die("pthread_create");
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	puts("right");
	return 0;
}

static int verify(unsigned long cnt, unsigned long at, unsigned long len)
{
	struct stream *s = stream_new(STDIN_FILENO);
	for (unsigned long i = 0; i < cnt; i++)
		if (stream_matches(s, at, len) != 1) {
			fprintf(stderr, "answer %lu\n", i);
			return 1;
		}
	if (s->begin != s->end || stream_more(s))
		return 1;
	free(s);
	puts("right");
	return 0;
}

static unsigned long number(char **argv, int i)
{
	return strtoul(argv[i], NULL, 10);
}

static void read_sizes(const char *list)
{
	for (char *end; *list && size_cnt < sizeof(sizes) / sizeof(sizes[0]); list = *end == ',' ? end + 1 : end) {
		sizes[size_cnt] = strtoul(list, &end, 10);
		if (end == list)
			exit(2);
		largest = sizes[size_cnt] > largest ? sizes[size_cnt] : largest;
		size_cnt++;
	}
}

int main(int argc, char **argv)
{
	pattern_fill();
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve_all(argv[2]);
	if (argc == 5 && strcmp(argv[1], "verify") == 0)
		return verify(number(argv, 2), number(argv, 3), number(argv, 4));
	waits = argc == 6 && strcmp(argv[1], "wait") == 0;
	if (!waits && ((argc != 6 && argc != 7) || strcmp(argv[1], "ask") != 0))
		return 2;
	ask_at.sin_port = htons(number(argv, 2));
	ask_cnt = number(argv, 4);
	if (argc == 6) {
		read_sizes(argv[5]);
	} else {
		base = number(argv, 5);
		spread = number(argv, 6);
	}
	return ask_all(number(argv, 3));
}
