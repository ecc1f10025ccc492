/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of heads that both halves share, against the user half's own (protocol/http1_head.c, trace/propagation/): what it
 * is sure of is so; and nothing behind the head changes what it says. Input: the head, or the numbers of parts of one. */
#include <stdint.h>
#include <stdlib.h>

#include "../unit/head_help.h"
#include "parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const parts[] = {
	"GET / HTTP/1.1\r\n",
	"POST /a?b=c HTTP/1.0\r\n",
	"\r\n",
	"\r\n\r\n",
	"\n",
	"\r",
	" ",
	"\t",
	":",
	"-",
	",",
	"=",
	"0",
	"1",
	"9",
	"a",
	"\x1a",
	"Host: h\r\n",
	"Content-Length: ",
	"content-length:",
	"Content-Length : ",
	"Transfer-Encoding: chunked\r\n",
	"Transfer-Encoding: ",
	"Upgrade: websocket\r\n",
	"HTTP2-Settings: x\r\n",
	"traceparent: ",
	"Traceparent:",
	"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	"00-00000000000000008448eb211c80319c-b7ad6b7169203331-00",
	"tracestate: dd=s:2;o:rum;p:b7ad6b7169203331\r\n",
	"x-datadog-trace-id: ",
	"X-Datadog-Parent-Id: ",
	"x-datadog-sampling-priority: ",
	"x-datadog-tags: ",
	"x-datadog-origin: rum\r\n",
	"x-datado",
	"9532127138774266268",
	"13235353014750950193",
	"18446744073709551616",
	"_dd.p.tid=",
	"_dd.p.dm=-4",
	"0af7651916cd43dd",
	"6b01f95000000000",
	"b3: 0\r\n",
	"b3:",
	"B3: 0af7651916cd43dd-b7ad6b7169203331-d\r\n",
	"x-b3-traceid: 0af7651916cd43dd\r\n",
	"X-B3-TraceId: ",
	"x-b3-spanid:b7ad6b7169203331\r\n",
	"X-B3-Sampled: 1\r\n",
	"x-b3-flags: 1\r\n",
	"x",
	"_",
	"F",
	"User-Agent: curl/7.88.1\r\nAccept: */*\r\n",
	"A: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n",
	"X-B3-ParentSpanId: b7ad6b7169203331\r\n",
	"b3: 00000000000000008448eb211c80319c-b7ad6b7169203331",
	"-1-b7ad6b7169203331\r\n",
	"tracestate: a=b,dd=p:",
	";p:",
	"b7ad6b7169203331",
	"Cookie: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct head_checker checker;
	static bool begun;
	if (!begun)
		head_checker_init(&checker);
	begun = true;
	if (!size)
		return 0;
	/* In memory of its own, that ends where it ends. */
	char *text = malloc(SH_MAX_HEAD + 1);
	size_t len = size - 1 < SH_MAX_HEAD ? size - 1 : SH_MAX_HEAD;
	if (!text)
		return 0;
	if (data[0] & 1)
		len = parts_compose(parts, PARTS, data + 1, size - 1, text, SH_MAX_HEAD);
	else
		memcpy(text, data + 1, len);
	char *exact = realloc(text, len ? len : 1);
	__u64 order = data[0] >> 1;
	__u32 reads = head_any_reads(&order);
	const char *wrong = head_check(&checker, exact, len, reads);
	if (wrong) {
		fprintf(stderr, "%s, of who reads %x:\n%.*s\n", wrong, reads, (int)len, exact);
		abort();
	}
	free(exact);
	return 0;
}
