/* SPDX-License-Identifier: Apache-2.0 */
/* hostile CASE [ARGUMENTS]: a process that makes it hard for whoever looks at it. Says "pid N" when its trap is set, then
 * calls p_step() a thousand times a second until its standard input ends. As a child of nobody's it is harmless.
 *
 *	maps N		its own executable, mapped as code N times
 *	files N DIR	N files, each of its own, mapped as code
 *	sparse DIR	an ELF file of a terabyte, with tables to match, mapped as code
 *	changing DIR	a copy of its executable, mapped as code, that shrinks and grows all the time
 *	names		calls itself something else all the time, and has children that end at once
 *	plain		nothing */
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static char dir[400];
static volatile unsigned sink;

__attribute__((noinline)) void p_step(unsigned n)
{
	sink += n;
	__asm__ volatile("" ::: "memory");
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int make(const char *name, const void *data, size_t len)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0755);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		fail(path);
	return fd;
}

static void map_code(int fd)
{
	if (mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		fail("mmap");
}

static void maps(int cnt)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	for (int i = 0; i < cnt; i++)
		map_code(fd);
	close(fd);
}

/* The whole of our own file. */
static char *own_file(size_t *ret_len)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	off_t len = lseek(fd, 0, SEEK_END);
	char *data = malloc((size_t)len);
	if (pread(fd, data, (size_t)len, 0) != len)
		fail("own file");
	close(fd);
	*ret_len = (size_t)len;
	return data;
}

static void files(int cnt)
{
	char name[32];
	size_t len;
	char *data = own_file(&len);
	for (int i = 0; i < cnt; i++) {
		snprintf(name, sizeof(name), "lib%d.so", i);
		int fd = make(name, data, len);
		map_code(fd);
		close(fd);
	}
	free(data);
}

static void sparse(void)
{
	static char head[PAGE];
	Elf64_Ehdr *h = (Elf64_Ehdr *)head;
	Elf64_Phdr *p = (Elf64_Phdr *)(h + 1);
	off_t size = 1LL << 40;
	size_t len;
	char *own = own_file(&len);
	memcpy(h, own, sizeof(*h));
	free(own);
	h->e_phoff = sizeof(*h);
	h->e_phnum = 1;
	*p = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = (uint64_t)size, .p_memsz = (uint64_t)size};
	/* Sixty thousand sections, all zeroes but for these three: names, symbols, strings of a quarter of a terabyte. */
	h->e_shoff = PAGE;
	h->e_shnum = 60000;
	h->e_shstrndx = 1;
	int fd = make("libsparse.so", head, sizeof(head));
	uint64_t quarter = (uint64_t)size / 4;
	Elf64_Shdr s[] = {
		{0},
		{.sh_type = SHT_STRTAB, .sh_offset = quarter, .sh_size = quarter},
		{.sh_type = SHT_SYMTAB, .sh_offset = quarter, .sh_size = quarter, .sh_link = 3, .sh_entsize = 24},
		{.sh_type = SHT_STRTAB, .sh_offset = quarter, .sh_size = quarter}};
	if (pwrite(fd, s, sizeof(s), PAGE) != sizeof(s) || ftruncate(fd, size) < 0)
		fail("libsparse.so");
	map_code(fd);
}

static void *change(void *arg)
{
	int fd = *(int *)arg;
	size_t len;
	char *data = own_file(&len);
	for (unsigned n = 0;; n++) {
		size_t keep = n % 3 == 0 ? 0 : n % 3 == 1 ? 600 : len / 2;
		if (ftruncate(fd, (off_t)keep) < 0 || pwrite(fd, data + keep, len - keep, (off_t)keep) < 0)
			fail("change");
	}
	return NULL;
}

static void changing(void)
{
	static int fd;
	static pthread_t t;
	size_t len;
	char *data = own_file(&len);
	fd = make("libchanging.so", data, len);
	free(data);
	map_code(fd);
	pthread_create(&t, NULL, change, &fd);
}

static void *names(void *arg)
{
	for (unsigned n = 0;; n++) {
		prctl(PR_SET_NAME, n % 2 ? "\033[2J\033]0;x\a\xff" : "hot) R 1 1 1\n(");
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
		usleep(500);
	}
	return arg;
}

int main(int argc, char **argv)
{
	const char *c = argc > 1 ? argv[1] : "plain";
	pthread_t t;
	int cnt = argc > 2 ? atoi(argv[2]) : 0;
	snprintf(dir, sizeof(dir), "%s", argv[argc - 1]);
	if (!strcmp(c, "maps"))
		maps(cnt);
	else if (!strcmp(c, "files"))
		files(cnt);
	else if (!strcmp(c, "sparse"))
		sparse();
	else if (!strcmp(c, "changing"))
		changing();
	else if (!strcmp(c, "names"))
		pthread_create(&t, NULL, names, NULL);
	printf("pid %d\n", getpid());
	fflush(stdout);
	fcntl(0, F_SETFL, O_NONBLOCK);
	char byte;
	for (unsigned n = 0; read(0, &byte, 1) != 0; n++) {
		p_step(n);
		usleep(1000);
	}
	return 0;
}
