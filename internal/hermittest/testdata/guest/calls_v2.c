/* What versions 2 and 3 added: the console by RDI, listings, attributes, directories. */
#include "calls.h"

static void console(void) {
	for (const char *s = "[bytes: ab\xff\x01"; *s; s++)
		call_v2(SERIAL_BYTE, 0xffffffffffffff00ull | (u8)*s);
	call_v2(SERIAL_BYTE, 0);
	FRESH(serial, p);
	char *text = "]\n[buffer: over a page]\n";
	memcpy(io + 4090, text, strlen(text));
	p.buf = addr(io + 4090), p.len = strlen(text);
	issue(SERIAL, &p, sizeof p, 0, 0);
	p.len = 0;
	issue(SERIAL, &p, sizeof p, 0, 0);
	p.buf = boot->ram_end - 1, p.len = 2;
	issue(SERIAL, &p, sizeof p, 0, 0);
	p.buf = addr(io), p.len = ~0ull;
	issue(SERIAL, &p, sizeof p, 0, 0);
}

/* The input of the test is "input\n". */
static void input(void) {
	FRESH(serial_read, p);
	memset(io, PAINT, 64);
	p.buf = addr(io), p.maxlen = 2;
	ISSUE(SERIAL_READ, p, len);
	EQ(p.len, 2);
	TRUE(!memcmp(io, "in", 2));
	UNPAINTED(io + 2, 62);
	p.buf = boot->ram_end - 1;
	ISSUE(SERIAL_READ, p, len);
	EQ(p.len, 0);
	READ_IS(&api2, 0, 2, "pu", 2);
	READ_IS(&api2, 0, 10, "t\n", 2);
	READ_IS(&api2, 0, 10, "", 0);
	p.buf = addr(io);
	ISSUE(SERIAL_READ, p, len);
	EQ(p.len, 0);
	call_v2(SERIAL_READ_BYTE, 0);
}

static void nothing(void) {
	static u8 params[64];
	static const u16 reserved[] = {SHM_OPEN, SHM_CLOSE, SERIAL_READ_BYTE};
	for (u32 i = 0; i < COUNT(reserved); i++)
		issue(reserved[i], params, sizeof params, 0, 0);
	/* Ports that are nobody's. */
	static const u16 unknown[] = {0x3f8, 0x410, 0x442, 0x7ff, 0x801, 0x8c0, 0x1000, 0x1011, 0x10f0, 0x11a0, 0x1220, 0x5000, 0xffff};
	for (u32 i = 0; i < COUNT(unknown); i++) {
		issue(unknown[i], params, sizeof params, 0, 0);
		out8(unknown[i], 1);
		out16(unknown[i], 2);
		EQ(in8(unknown[i]), 0xff);
		EQ(in32(unknown[i]), 0xffffffff);
	}
	/* Calls cannot be read. */
	static const u16 calls[] = {V1_WRITE, V1_OPEN, V1_EXIT, V1_UART, EXIT, SERIAL_BYTE, WRITE, MKDIR};
	for (u32 i = 0; i < COUNT(calls); i++) {
		EQ(in8(calls[i]), 0xff);
		EQ(in16(calls[i]), 0xffff);
		EQ(in32(calls[i]), 0xffffffff);
	}
}

/* A call changes no register but for what INS would. */
static void registers(void) {
	u64 in[8], out[8];
	for (u32 i = 0; i < 8; i++)
		in[i] = 0x1111111111111111ull * (i + 1);
	FRESH(close, p);
	p.fd = 77;
	__asm__ volatile("mov 0(%[in]), %%rbx\n mov 8(%[in]), %%rcx\n mov 16(%[in]), %%r8\n mov 24(%[in]), %%r9\n"
			 "mov 32(%[in]), %%r10\n mov 40(%[in]), %%r11\n mov $0x123456789abcdef0, %%rax\n outl %%eax, %%dx\n"
			 "mov %%rbx, 0(%[out])\n mov %%rcx, 8(%[out])\n mov %%r8, 16(%[out])\n mov %%r9, 24(%[out])\n"
			 "mov %%r10, 32(%[out])\n mov %%r11, 40(%[out])\n mov %%rax, 48(%[out])\n mov %%rdi, 56(%[out])\n"
			 :
			 : [in] "r"(in), [out] "r"(out), "D"(&p), "d"(CLOSE)
			 : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "memory");
	for (u32 i = 0; i < 6; i++)
		EQ(out[i], in[i]);
	EQ(out[6], 0x123456789abcdef0);
	EQ(out[7], addr(&p));
	EQ(p.ret, -EBADF);
}

void calls_v2(struct words *args) {
	file_calls(&api2, args);
	console();
	if (option(args, "input"))
		input();
	nothing();
	registers();
}

static const char *const listed[] = {"dir", "file", "link", "dangling", "loop", "empty"};

/* look wants one record, at p, to be as it has to be. */
static void look(const struct dirent *d, u64 left, u32 *seen) {
	static struct attr attr;
	static char name[300];
	TRUE(d->reclen % 8 == 0 && d->reclen >= 24 && d->reclen <= left);
	u64 n = strlen(d->name);
	EQ(d->reclen, (sizeof *d + n + 1 + 7) & ~7ull);
	for (u64 i = n; i < d->reclen - sizeof *d; i++)
		EQ(d->name[i], 0);
	if (equal(d->name, ".") || equal(d->name, "..")) {
		EQ(d->type, DT_DIR);
		*seen |= d->name[1] ? 2 : 1;
		return;
	}
	copy(copy(name, "/data/"), d->name);
	EQ(do_stat(path(name), NOFOLLOW, addr(&attr)), 0);
	EQ(d->type, (attr.mode & S_IFMT) >> 12);
	EQ(d->ino, attr.ino);
	for (u32 i = 0; i < COUNT(listed); i++)
		if (equal(d->name, listed[i]))
			*seen |= 4 << i;
}

/* list reads a directory from its position to its end with a buffer of so many bytes. */
static u32 list(i32 fd, u64 size, u32 *seen) {
	u32 n = 0;
	u64 bytes;
	for (;;) {
		memset(io + 100, PAINT, size + 32);
		i32 r = do_getdents(fd, addr(io + 100), size, &bytes);
		if (r == END) {
			UNPAINTED(io + 100, size);
			return n;
		}
		EQ(r, 0);
		TRUE(bytes > 0 && bytes <= size);
		if (r || bytes > size)
			return n;
		UNPAINTED(io + 100 + bytes, size + 32 - bytes);
		for (u64 at = 0; at < bytes;) {
			struct dirent *d = (struct dirent *)(io + 100 + at);
			if (d->reclen == 0)
				return n;
			look(d, bytes - at, seen);
			if (at + d->reclen >= bytes)
				LSEEK_IS(&api2, fd, 0, SEEK_CUR, d->off);
			at += d->reclen;
			n++;
		}
	}
}

static void listing(void) {
	u32 seen = 0, again = 0;
	u64 bytes;
	i32 fd = api2.open(path("/data"), O_RDONLY | O_DIRECTORY, 0);
	EQ(fd, 3);
	u32 n = list(fd, 4096, &seen);
	EQ(seen, (4 << COUNT(listed)) - 1);
	EQ(do_getdents(fd, addr(io), 4096, &bytes), END);
	LSEEK_IS(&api2, fd, 0, SEEK_SET, 0);
	EQ(list(fd, 40, &again), n); /* a record or so at a time */
	EQ(again, seen);
	LSEEK_IS(&api2, fd, 0, SEEK_SET, 0);
	memset(io, PAINT, 64);
	EQ(do_getdents(fd, addr(io), 23, &bytes), -EINVAL);
	EQ(do_getdents(fd, addr(io), 0, &bytes), -EINVAL);
	UNPAINTED(io, 64);
	EQ(do_getdents(fd, boot->ram_end - 8, 4096, &bytes), -EFAULT);
	EQ(do_getdents(fd, ~0ull, 4096, &bytes), -EFAULT);
	again = 0;
	EQ(list(fd, 4096, &again), n); /* errors do not move it */
	EQ(api2.close(fd), 0);
	EQ(do_getdents(fd, addr(io), 4096, &bytes), -EBADF);
	EQ(do_getdents(-1, addr(io), 4096, &bytes), -EBADF);
	EQ(do_getdents(1, addr(io), 4096, &bytes), -ENOTDIR);
	fd = api2.open(path("/data/file"), O_RDONLY, 0);
	EQ(do_getdents(fd, addr(io), 4096, &bytes), -ENOTDIR);
	EQ(api2.close(fd), 0);
	fd = api2.open(path("/"), O_RDONLY, 0);
	EQ(do_getdents(fd, addr(io), 4096, &bytes), 0);
	EQ(api2.close(fd), 0);
}

static u64 colon(const char **s) {
	char text[32], *p = text;
	while (**s && **s != ':' && p < text + sizeof text - 1)
		*p++ = *(*s)++;
	*p = 0;
	*s += **s == ':';
	return (u64)number(text);
}

/* parse reads nlink:mode:uid:gid:size:blksize:blocks and three times sec:nsec. */
static void parse(const char *s, struct attr *a) {
	memset(a, 0, sizeof *a);
	a->dev = 1;
	a->nlink = colon(&s);
	a->mode = (u32)colon(&s);
	a->uid = (u32)colon(&s);
	a->gid = (u32)colon(&s);
	a->size = (i64)colon(&s);
	a->blksize = (i64)colon(&s);
	a->blocks = (i64)colon(&s);
	struct timespec *t[] = {&a->atime, &a->mtime, &a->ctime};
	for (u32 i = 0; i < COUNT(t); i++)
		t[i]->sec = (i64)colon(&s), t[i]->nsec = (i32)colon(&s);
}

/* get asks for attributes at a place where each byte of them and around is watched. */
static i32 get(const char *name, u32 kind, i32 fd, struct attr *a) {
	u8 *p = io + 4096 - 61;
	memset(p - 32, PAINT, sizeof *a + 64);
	i32 r = name ? do_stat(path(name), kind, addr(p)) : do_fstat(fd, addr(p));
	UNPAINTED(p - 32, 32);
	UNPAINTED(p + sizeof *a, 32);
	if (r)
		UNPAINTED(p, sizeof *a);
	memcpy(a, p, sizeof *a);
	if (r == 0) {
		TRUE(a->ino != 0);
		EQ(a->dev, 1);
		EQ(a->pad, 0);
		EQ(a->atime.pad | a->mtime.pad | a->ctime.pad, 0);
	}
	return r;
}

static void attributes(struct words *args) {
	static struct attr want, got, again;
	static const struct { const char *option, *name; u32 kind; } known[] = {
		{"attr.file", "/data/file", FOLLOW},
		{"attr.file", "/data/file", NOFOLLOW},
		{"attr.file", "/data/link", FOLLOW},
		{"attr.file", "/data/abs", FOLLOW},
		{"attr.link", "/data/link", NOFOLLOW},
		{"attr.dir", "/data/dir", FOLLOW},
		{"attr.big", "data/big", FOLLOW},
		{"attr.ro", "/ro/file", FOLLOW},
		{"attr.one", "/single/one", FOLLOW},
	};
	for (u32 i = 0; i < COUNT(known); i++) {
		const char *text = option(args, known[i].option);
		TRUE(text != 0);
		if (!text || get(known[i].name, known[i].kind, 0, &got))
			continue;
		parse(text, &want);
		want.ino = got.ino;
		SAME_ATTR(&got, &want);
		if (known[i].kind == NOFOLLOW)
			continue;
		i32 fd = api2.open(path(known[i].name), O_RDONLY, 0);
		EQ(get(0, 0, fd, &again), 0);
		SAME_ATTR(&again, &got);
		EQ(api2.close(fd), 0);
	}
	static const struct { const char *name; u32 kind; i32 want; u32 type; } others[] = {
		{"/", FOLLOW, 0, S_IFDIR},
		{".", NOFOLLOW, 0, S_IFDIR},
		{"/data", FOLLOW, 0, S_IFDIR},
		{"/single", FOLLOW, 0, S_IFDIR},
		{"/data/dangling", NOFOLLOW, 0, S_IFLNK},
		{"/data/dangling", FOLLOW, -ENOENT, 0},
		{"/data/loop", FOLLOW, -ELOOP, 0},
		{"/data/file/x", FOLLOW, -ENOTDIR, 0},
		{"/data/absent", FOLLOW, -ENOENT, 0},
		{"", FOLLOW, -ENOENT, 0},
		{"/data/file", 2, -EINVAL, 0},
		{"/data/file", ~0u, -EINVAL, 0},
	};
	for (u32 i = 0; i < COUNT(others); i++) {
		i32 r = get(others[i].name, others[i].kind, 0, &got);
		if (r != others[i].want || (r == 0 && (got.mode & S_IFMT) != others[i].type))
			fail(__FILE__, __LINE__, others[i].name, r, others[i].want);
	}
	static const i32 wrong[] = {0, 1, 2, -1, 77, 0x7fffffff};
	for (u32 i = 0; i < COUNT(wrong); i++)
		EQ(get(0, 0, wrong[i], &got), -EBADF);
	const u64 nowhere[] = {boot->ram_end - 119, boot->ram_end, ~0ull, 1ull << 63};
	i32 fd = api2.open(path("/data/file"), O_RDONLY, 0);
	for (u32 i = 0; i < COUNT(nowhere); i++) {
		end_in_use = 1;
		memset(ram(boot->ram_end) - 119, PAINT, 119);
		EQ(do_fstat(fd, nowhere[i]), -EFAULT);
		EQ(do_stat(nowhere[i], FOLLOW, addr(io)), -EFAULT);
		UNPAINTED(ram(boot->ram_end) - 119, 119);
		EQ(do_stat(path("/data/file"), FOLLOW, nowhere[i]), -EFAULT);
	}
	EQ(api2.close(fd), 0);
	/* What a write changes. */
	fd = api2.open(path("/data/grown"), O_RDWR | O_CREAT | O_EXCL, 0106640);
	EQ(get(0, 0, fd, &got), 0);
	EQ(got.mode, S_IFREG | (0640 & ~(u32)number(option(args, "umask") ? option(args, "umask") : "0")));
	EQ(got.size, 0);
	EQ(got.nlink, 1);
	EQ(api2.write(fd, addr(io), 5000), 5000);
	EQ(get(0, 0, fd, &again), 0);
	EQ(again.size, 5000);
	EQ(again.ino, got.ino);
	TRUE(again.mtime.sec >= got.mtime.sec);
	EQ(api2.unlink(path("/data/grown")), 0);
	EQ(get(0, 0, fd, &again), 0);
	EQ(again.nlink, 0);
	EQ(api2.close(fd), 0);
}

static void directories(void) {
	static const struct { const char *name; i32 want; } tests[] = {
		{"/data/d", 0},
		{"/data/d", -EEXIST},
		{"/data/d/e", 0},
		{"/data//d/./e/f", 0},
		{"/unmapped.dir", 0},
		{"/un/mapped/dir", 0},
		{"/data/file", -EEXIST},
		{"/data/dangling", -EEXIST},
		{"/data/file/x", -ENOTDIR},
		{"/data/absent/x", -ENOENT},
		{"/ro/d", -EROFS},
		{"/ro/file", -EEXIST},
		{"", -ENOENT},
		{"..", -ENOENT},
		{"/", -EEXIST},
		{"/data/d/..", -EEXIST},
	};
	static struct attr a;
	for (u32 i = 0; i < COUNT(tests); i++) {
		i32 r = do_mkdir(path(tests[i].name));
		if (r != tests[i].want)
			fail(__FILE__, __LINE__, tests[i].name, r, tests[i].want);
		if (r)
			continue;
		EQ(get(tests[i].name, NOFOLLOW, 0, &a), 0);
		EQ(a.mode & S_IFMT, S_IFDIR);
	}
	EQ(do_mkdir(boot->ram_end), -EFAULT);
	i32 fd = api2.open(path("/data/d/e/f/file"), O_RDWR | O_CREAT, 0600);
	EQ(fd, 3);
	EQ(api2.close(fd), 0);
	EQ(api2.unlink(path("/data/d/e/f/file")), 0);
	EQ(api2.unlink(path("/data/d/e/f")), -EISDIR);
}

void calls_v3(struct words *args) {
	listing();
	attributes(args);
	directories();
}

void calls_v1(struct words *args);

const struct program call_programs[] = {
	{"calls-v1", calls_v1, 0},
	{"calls-v2", calls_v2, 0},
	{"calls-v3", calls_v3, 0},
	{0},
};
