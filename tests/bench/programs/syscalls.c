/* SPDX-License-Identifier: Apache-2.0 */
/* A program that is not traced and calls the system all the time: `syscalls COUNT` prints ns per getppid() and per one-byte
 * read() of /dev/zero. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000000;
	int fd = open("/dev/zero", O_RDONLY);
	char c;
	double a = now_ns();
	for (long i = 0; i < n; i++)
		syscall(SYS_getppid);
	double b = now_ns();
	for (long i = 0; i < n; i++)
		if (read(fd, &c, 1) != 1)
			return 1;
	printf("%.1f %.1f\n", (b - a) / (double)n, (now_ns() - b) / (double)n);
	return 0;
}
