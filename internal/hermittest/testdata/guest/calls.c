/* The calls for files that versions 1 and 2 have, good and bad. What is there is made by
 * the host: see layout in the tests. */
#include "calls.h"

u8 io[64 << 10] __attribute__((aligned(4096)));

/* A path is put over the end of a page, and once in a while at the end of memory. */
u64 path(const char *s) {
	static u8 room[3 * PAGE];
	static u32 turn;
	u64 n = strlen(s) + 1;
	end_in_use = turn++ % 5 == 0 && n < PAGE;
	if (end_in_use) {
		copy((char *)ram(boot->ram_end) - n, s);
		return boot->ram_end - n;
	}
	u64 border = (addr(room) + 2 * PAGE - 1) & ~(PAGE - 1);
	u8 *p = n < PAGE ? at(border - n / 2) : room;
	copy((char *)p, s);
	return addr(p);
}

u8 big_byte(u64 i) { return (u8)(i * 7 + i / 251); }

/* read_is reads, and wants n bytes, all others of the buffer as they were. */
void read_is(const char *file, int line, const struct api *api, i32 fd, u64 len, const void *want, i64 n) {
	enum { AT = 4000 }; /* over a page */
	memset(io + AT - 32, PAINT, (u64)n + 64);
	i64 got = api->read(fd, addr(io + AT), len);
	if (got != n)
		fail(file, line, "read", got, n);
	if (n > 0 && memcmp(io + AT, want, (u64)n))
		fail(file, line, "what was read", io[AT], *(const u8 *)want);
	unpainted(file, line, io + AT - 32, 32);
	unpainted(file, line, io + AT + n, 32);
}

void lseek_is(const char *file, int line, const struct api *api, i32 fd, i64 offset, u32 whence, i64 want) {
	if (want < 0 && api->version == 1)
		want = -1;
	i64 got = api->lseek(fd, offset, whence);
	if (got != want)
		fail(file, line, "lseek", got, want);
}

void write_is(const char *file, int line, const struct api *api, i32 fd, u64 buf, u64 len, i64 want) {
	i64 got = api->write(fd, buf, len);
	if (api->told && got != want)
		fail(file, line, "write", got, want);
}

/* content wants a file to be of these bytes. */
void content_is(const char *file, int line, const struct api *api, const char *name, const char *want) {
	i32 fd = api->open(path(name), O_RDONLY, 0);
	if (fd < 3) {
		fail(file, line, name, fd, 3);
		return;
	}
	read_is(file, line, api, fd, 1000, want, (i64)strlen(want));
	read_is(file, line, api, fd, 1, "", 0);
	EQ(api->close(fd), 0);
}

/* bad_addresses are of a byte that is no memory, or followed by one. */
static u64 bad[8];
static u32 bads;

static void find_bad_addresses(void) {
	bads = 0;
	bad[bads++] = boot->ram_end;
	bad[bads++] = boot->ram_end - 1; /* with a length from 2 on */
	bad[bads++] = 1ull << 40;
	bad[bads++] = 1ull << 63;
	bad[bads++] = ~0ull - (1ull << 40); /* virtual, not in the tables that the last entry shows */
	bad[bads++] = ~0ull;
	if (boot->ram_start) {
		bad[bads++] = 0;
		bad[bads++] = boot->ram_start - 1;
	}
}

static char many[5000];

static const char *repeat(const char *s, u32 n, const char *end) {
	char *p = many;
	while (n--)
		p = copy(p, s);
	copy(p, end);
	return many;
}

static void opening(const struct api *api) {
	static const struct { const char *name; i32 flags, want; } refused[] = {
		{"", O_RDONLY, -ENOENT},
		{"/data/absent", O_RDONLY, -ENOENT},
		{"/absent", O_RDWR, -ENOENT},
		{"../data/file", O_RDONLY, -ENOENT},
		{"a/../../file", O_RDONLY, -ENOENT},
		{"/data/absent/file", O_RDWR | O_CREAT, -ENOENT},
		{"/data/file/below", O_RDONLY, -ENOTDIR},
		{"/data/file/below", O_RDWR | O_CREAT, -ENOTDIR},
		{"/data/link/below", O_RDONLY, -ENOTDIR},
		{"/data/file", O_DIRECTORY, -ENOTDIR},
		{"/data/file", O_RDWR | O_CREAT | O_EXCL, -EEXIST},
		{"/data/link", O_RDWR | O_CREAT | O_EXCL, -EEXIST},
		{"/data/dangling", O_RDWR | O_CREAT | O_EXCL, -EEXIST},
		{"/data/dangling", O_RDWR, -ENOENT},
		{"/data/loop", O_RDONLY, -ELOOP},
		{"/data/loop", O_RDWR | O_CREAT, -ELOOP},
		{"/data/loop/x", O_RDONLY, -ELOOP},
		{"/data/out", O_RDONLY, -ENOENT},
		{"/data/outer", O_RDONLY, -ENOENT},
		{"/data/new", O_RDWR | O_CREAT | O_DIRECTORY, -EINVAL},
		{"/data/file", 3, -EINVAL},
		{"/data/dir", O_WRONLY, -EISDIR},
		{"/data/dir", O_RDWR | O_DIRECTORY, -EISDIR},
		{"/data/dir", O_RDONLY | O_TRUNC, -EISDIR},
		{"/data/dir", O_RDONLY | O_CREAT, -EISDIR},
		{"/data", O_RDWR, -EISDIR},
		{"/", O_RDWR, -EISDIR},
		{"/ro/file", O_RDWR, -EROFS},
		{"/ro/file", O_WRONLY, -EROFS},
		{"/ro/file", O_RDONLY | O_TRUNC, -EROFS},
		{"/ro/new", O_RDWR | O_CREAT, -EROFS},
	};
	for (u32 i = 0; i < COUNT(refused); i++) {
		i32 got = api->open(path(refused[i].name), refused[i].flags, 0644);
		if (got != refused[i].want)
			fail(__FILE__, __LINE__, refused[i].name, got, refused[i].want);
	}
	EQ(api->open(path(repeat("n", 256, "")), O_RDONLY, 0), -ENAMETOOLONG);
	EQ(api->open(path(repeat("n", 256, "")), O_RDWR | O_CREAT, 0644), -ENAMETOOLONG);
	EQ(api->open(path(repeat("/", 4096, "")), O_RDONLY, 0), -ENAMETOOLONG);
	for (u32 i = 0; i < bads; i++) {
		*ram(boot->ram_end - 1) = 'x'; /* a name that does not end before memory does */
		EQ(api->open(bad[i], O_RDONLY, 0), -EFAULT);
		EQ(api->open(bad[i], O_RDWR | O_CREAT, 0644), -EFAULT);
		EQ(api->unlink(bad[i]), -EFAULT);
	}

	static const struct { const char *name; i32 flags; } good[] = {
		{"/data/file", O_RDONLY},
		{"/data/file", O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | (i32)0x80000000},
		{"data/file", O_RDONLY},
		{"//data/./dir/..//file", O_RDONLY},
		{"/../data/file", O_RDONLY},
		{"/data/absent/../file", O_RDONLY}, /* as text first */
		{"/data/link", O_RDONLY},
		{"/data/abs", O_RDONLY},
		{"/ro/../data/file", O_RDONLY},
	};
	for (u32 i = 0; i < COUNT(good); i++) {
		i32 fd = api->open(path(good[i].name), good[i].flags, 0);
		if (fd != 3)
			fail(__FILE__, __LINE__, good[i].name, fd, 3);
		READ_IS(api, fd, 100, "0123456789", 10);
		EQ(api->close(fd), 0);
	}
	i32 fd = api->open(path(repeat("./", 2042, "data/file")), O_RDONLY, 0);
	EQ(fd, 3);
	READ_IS(api, fd, 100, "0123456789", 10);
	EQ(api->close(fd), 0);
}

static void descriptors(const struct api *api, i32 max) {
	i32 fd = 3, last;
	while ((last = api->open(path("/data/file"), O_RDONLY, 0)) == fd)
		fd++;
	EQ(last, -EMFILE);
	EQ(fd, max);
	EQ(api->open(path("/data/toomany"), O_RDWR | O_CREAT, 0644), -EMFILE);
	static const i32 holes[] = {6, 4, 5};
	for (u32 i = 0; i < COUNT(holes); i++) {
		EQ(api->close(holes[i]), 0);
		EQ(api->close(holes[i]), -EBADF);
	}
	EQ(api->open(path("/data/toomany"), O_RDONLY, 0), -ENOENT);
	for (i32 want = 4; want <= 6; want++)
		EQ(api->open(path("/data/file"), O_RDONLY, 0), want);
	while (--fd >= 3)
		EQ(api->close(fd), 0);
	static const i32 wrong[] = {-1, (i32)0x80000000, 3, 1023, 1024, 0x7fffffff};
	for (u32 i = 0; i < COUNT(wrong); i++) {
		EQ(api->close(wrong[i]), -EBADF);
		EQ(api->read(wrong[i], addr(io), 1), -EBADF);
		WRITE_IS(api, wrong[i], addr(io), 1, -EBADF);
		LSEEK_IS(api, wrong[i], 0, SEEK_SET, -EBADF);
	}
	for (i32 i = 0; i < 3; i++)
		EQ(api->close(i), 0);
	EQ(api->read(1, addr(io), 1), -EBADF);
	EQ(api->read(2, addr(io), 1), -EBADF);
	WRITE_IS(api, 0, addr(io), 1, -EBADF);
	for (i32 i = 0; i < 3; i++)
		LSEEK_IS(api, i, 0, SEEK_SET, -ESPIPE);
}

static void reading(const struct api *api) {
	i32 fd = api->open(path("/data/file"), O_RDONLY, 0);
	EQ(fd, 3);
	READ_IS(api, fd, 4, "0123", 4);
	READ_IS(api, fd, 0, "", 0);
	READ_IS(api, fd, 100, "456789", 6);
	READ_IS(api, fd, 100, "", 0);
	LSEEK_IS(api, fd, 3, SEEK_SET, 3);
	for (u32 i = 0; i < bads; i++) {
		EQ(api->read(fd, bad[i], 2), -EFAULT);
		WRITE_IS(api, 1, bad[i], 2, -EFAULT);
	}
	/* One byte too many, to or from the end of memory: nothing is moved. In version 1
	 * the address is virtual. */
	u64 end = api->version == 1 ? RAM + boot->ram_end - boot->ram_start : boot->ram_end;
	end_in_use = 1;
	memset(ram(boot->ram_end) - 20, PAINT, 20);
	EQ(api->read(fd, end - 6, 7), -EFAULT);
	EQ(api->read(fd, end - 20, ~0ull >> 2), -EFAULT);
	UNPAINTED(ram(boot->ram_end) - 20, 20);
	EQ(api->read(fd, end - 6, 6), 6);
	TRUE(!memcmp(ram(boot->ram_end) - 6, "345678", 6));
	LSEEK_IS(api, fd, 0, SEEK_CUR, 9);
	EQ(api->read(fd, addr(io), 1ull << 32), -EFAULT);
	EQ(api->read(fd, addr(io), 1ull << 63), -EINVAL);
	EQ(api->read(fd, addr(io), ~0ull), -EINVAL);
	EQ(api->read(fd, addr(io), (1ull << 63) - 1), -EFAULT);
	WRITE_IS(api, fd, addr(io), 1, -EBADF); /* open for reading */
	EQ(api->close(fd), 0);
	CONTENT(api, "/data/file", "0123456789");
	CONTENT(api, "/data/empty", "");
	CONTENT(api, "/ro/file", "read only");
	CONTENT(api, "/single/one", "single");

	fd = api->open(path("/data/dir"), O_RDONLY | O_DIRECTORY, 0);
	EQ(fd, 3);
	EQ(api->read(fd, addr(io), 1), -EISDIR);
	WRITE_IS(api, fd, addr(io), 1, -EBADF);
	EQ(api->close(fd), 0);

	fd = api->open(path("/data/big"), O_RDONLY, 0);
	EQ(fd, 3);
	for (u64 pos = 0, n; pos < 20000; pos += n) {
		n = 20000 - pos < 7000 ? 20000 - pos : 7000;
		EQ(api->read(fd, addr(io + 1), 7000), n);
		for (u64 i = 0; i < n; i += 97)
			EQ(io[1 + i], big_byte(pos + i));
	}
	EQ(api->close(fd), 0);
}

static void writing(const struct api *api) {
	static const char *const names[] = {"/data/made", "/unmapped", "/not/mapped/at/all"};
	for (u32 i = 0; i < COUNT(names); i++) {
		const char *name = names[i];
		i32 fd = api->open(path(name), O_RDWR | O_CREAT | O_EXCL, 0600);
		EQ(fd, 3);
		if (fd < 0)
			continue;
		memcpy(io + 4090, "hello, world", 12);
		WRITE_IS(api, fd, addr(io + 4090), 12, 12);
		WRITE_IS(api, fd, addr(io + 4090), 0, 0);
		for (u32 b = 0; b < bads; b++)
			WRITE_IS(api, fd, bad[b], 2, -EFAULT);
		WRITE_IS(api, fd, addr(io), ~0ull, -EINVAL);
		WRITE_IS(api, fd, addr(io), 1ull << 62, -EFAULT);
		READ_IS(api, fd, 10, "", 0);
		LSEEK_IS(api, fd, 0, SEEK_CUR, 12);
		LSEEK_IS(api, fd, 7, SEEK_SET, 7);
		READ_IS(api, fd, 10, "world", 5);
		EQ(api->close(fd), 0);
		EQ(api->open(path(name), O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
		CONTENT(api, name, "hello, world");

		fd = api->open(path(name), O_WRONLY | O_APPEND, 0);
		EQ(fd, 3);
		memcpy(io, "abcd", 4);
		WRITE_IS(api, fd, addr(io), 2, 2);
		LSEEK_IS(api, fd, 0, SEEK_CUR, 14);
		LSEEK_IS(api, fd, 1, SEEK_SET, 1);
		WRITE_IS(api, fd, addr(io + 2), 2, 2);
		EQ(api->read(fd, addr(io), 1), -EBADF);
		EQ(api->close(fd), 0);
		CONTENT(api, name, "hello, worldabcd");

		fd = api->open(path(name), O_RDWR | O_TRUNC, 0);
		EQ(fd, 3);
		LSEEK_IS(api, fd, 0, SEEK_END, 0);
		LSEEK_IS(api, fd, 3, SEEK_SET, 3);
		WRITE_IS(api, fd, addr(io), 1, 1);
		LSEEK_IS(api, fd, 0, SEEK_SET, 0);
		READ_IS(api, fd, 10, "\0\0\0a", 4);
		EQ(api->close(fd), 0);
		EQ(api->unlink(path(name)), 0);
		EQ(api->unlink(path(name)), -ENOENT);
		EQ(api->open(path(name), O_RDWR, 0), -ENOENT);
	}
	/* Through a link to nothing. */
	i32 fd = api->open(path("/data/dangling"), O_RDWR | O_CREAT, 0600);
	EQ(fd, 3);
	WRITE_IS(api, fd, addr(io), 4, 4);
	EQ(api->close(fd), 0);
	CONTENT(api, "/data/gone", "abcd");
	EQ(api->unlink(path("/data/gone")), 0);
	EQ(api->open(path("/data/dangling"), O_RDONLY, 0), -ENOENT);
}

static void seeking(const struct api *api) {
	i32 fd = api->open(path("/data/seek"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	EQ(fd, 3);
	WRITE_IS(api, fd, addr(io), 10, 10);
	const i64 most = (i64)(~0ull >> 1);
	const struct { i64 offset; u32 whence; i64 want; } tests[] = {
		{5, SEEK_SET, 5},
		{2, SEEK_CUR, 7},
		{-7, SEEK_CUR, 0},
		{-1, SEEK_CUR, -EINVAL},
		{0, SEEK_CUR, 0},
		{-1, SEEK_SET, -EINVAL},
		{-most - 1, SEEK_SET, -EINVAL},
		{0, SEEK_END, 10},
		{-1, SEEK_END, 9},
		{-11, SEEK_END, -EINVAL},
		{1ll << 40, SEEK_END, (1ll << 40) + 10},
		{most, SEEK_END, -EINVAL},
		{most, SEEK_CUR, -EINVAL},
		{most, SEEK_SET, most},
		{1, SEEK_CUR, -EINVAL},
		{0, SEEK_CUR, most},
		{0, SEEK_DATA, 0},
		{0, SEEK_HOLE, 10},
		{10, SEEK_DATA, -ENXIO},
		{-1, SEEK_HOLE, -ENXIO},
		{0, 5, -EINVAL},
		{0, ~0u, -EINVAL},
		{0, SEEK_SET, 0},
	};
	for (u32 i = 0; i < COUNT(tests); i++)
		LSEEK_IS(api, fd, tests[i].offset, tests[i].whence, tests[i].want);
	EQ(api->close(fd), 0);
	EQ(api->unlink(path("/data/seek")), 0);
	fd = api->open(path("/data/dir"), O_RDONLY, 0);
	EQ(fd, 3);
	LSEEK_IS(api, fd, 0, SEEK_END, -EINVAL);
	LSEEK_IS(api, fd, 0, SEEK_SET, 0);
	EQ(api->close(fd), 0);
}

static void unlinking(const struct api *api) {
	static const struct { const char *name; i32 want; } tests[] = {
		{"/data/dir", -EISDIR},
		{"/", -EISDIR},
		{"/..", -EISDIR},
		{"", -ENOENT},
		{"..", -ENOENT},
		{"/data/absent", -ENOENT},
		{"/data/dir/absent", -ENOENT},
		{"/data/absent/file", -ENOENT},
		{"/data/file/below", -ENOTDIR},
		{"/ro/file", -EROFS},
		{"/ro/absent", -EROFS},
	};
	for (u32 i = 0; i < COUNT(tests); i++) {
		i32 got = api->unlink(path(tests[i].name));
		if (got != tests[i].want)
			fail(__FILE__, __LINE__, tests[i].name, got, tests[i].want);
	}
	i32 fd = api->open(path("/data/open"), O_RDWR | O_CREAT | O_EXCL, 0600);
	EQ(fd, 3);
	memcpy(io, "still here", 10);
	WRITE_IS(api, fd, addr(io), 10, 10);
	EQ(api->unlink(path("/data/open")), 0);
	EQ(api->unlink(path("/data/open")), -ENOENT);
	LSEEK_IS(api, fd, 6, SEEK_SET, 6);
	READ_IS(api, fd, 100, "here", 4);
	EQ(api->close(fd), 0);
}

/* Structures that are not in memory, or not wholly: nothing happens. */
static void bad_structures(void) {
	static const u16 ports[] = {
		V1_WRITE, V1_OPEN, V1_CLOSE, V1_READ, V1_EXIT, V1_LSEEK, V1_NETWRITE, V1_NETREAD, V1_NETSTAT, V1_CMDSIZE, V1_CMDVAL,
		V1_UNLINK, V1_SERIAL, SERIAL, SERIAL_READ, WRITE, OPEN, CLOSE, READ, LSEEK, UNLINK, GETDENTS, STAT, FSTAT, MKDIR,
		SERIAL_READ_BYTE, SHM_OPEN, SHM_CLOSE,
	};
	for (u32 i = 0; i < COUNT(ports); i++) {
		u64 high = boot->ram_end - boot->ram_start > 64 ? 3 : 0; /* no structure is as short */
		memset(ram(boot->ram_end) - 64, PAINT, 64);
		for (u32 b = 0; b < bads; b++) {
			if (ports[i] >= 0x1000)
				call_v2(ports[i], bad[b]);
			else if (bad[b] >> 32 == 0 && bad[b] - boot->ram_start >= boot->ram_end - boot->ram_start)
				call_v1(ports[i], (u32)bad[b]);
		}
		if (ports[i] >= 0x1000)
			call_v2(ports[i], boot->ram_end - high);
		else if (boot->ram_end >> 32 == 0)
			call_v1(ports[i], (u32)(boot->ram_end - high));
		UNPAINTED(ram(boot->ram_end) - 64, 64);
	}
}

void file_calls(const struct api *api, struct words *args) {
	const char *max = option(args, "maxfiles");
	find_bad_addresses();
	opening(api);
	descriptors(api, max ? (i32)number(max) : 1024);
	reading(api);
	writing(api);
	seeking(api);
	unlinking(api);
	bad_structures();
}
