/* Calls whose structures are put where it is hard, and whose every byte is watched. */
#include "guest.h"

/* Around a structure this many bytes are painted. */
enum { GUARD = 24, ROOM = 1200 };

int end_in_use;

static u8 arena[3 * PAGE] __attribute__((aligned(4096)));

/* places are where structures begin, from the end of a page on: far before it, at odd
 * addresses, and over it. */
static const int places[] = {-1500, 8, -1233, -9, 3, -4, -17};

static void watched(u16 port, u8 *at, u64 physical, void *params, u32 size, u32 answer, u32 length) {
	memcpy(at, params, size);
	if (port < 0x1000)
		call_v1(port, (u32)physical);
	else
		call_v2(port, physical);
	if (memcmp(at, params, answer) || memcmp(at + answer + length, (u8 *)params + answer + length, size - answer - length))
		fail(__FILE__, __LINE__, "a structure beside its answer, of call", port, 0);
	memcpy(params, at, size);
}

/* issue makes a call and takes the answer back into params. Bytes of the structure but
 * those from answer on must stay as they are, and so must those around. */
void issue(u16 port, void *params, u32 size, u32 answer, u32 length) {
	static u32 turn;
	u32 place = turn++ % (COUNT(places) + 1);
	if (place == COUNT(places) && end_in_use)
		place = 0;
	if (place == COUNT(places)) {
		/* At the end of memory. */
		u8 *end = ram(boot->ram_end);
		memset(end - size - GUARD, PAINT, GUARD);
		watched(port, end - size, boot->ram_end - size, params, size, answer, length);
		UNPAINTED(end - size - GUARD, GUARD);
		return;
	}
	u8 *to = arena + 2 * PAGE + places[place];
	memset(to - GUARD, PAINT, GUARD);
	memset(to + size, PAINT, GUARD);
	watched(port, to, addr(to), params, size, answer, length);
	UNPAINTED(to - GUARD, GUARD);
	UNPAINTED(to + size, GUARD);
}

void unpainted(const char *file, int line, const u8 *p, u64 n) {
	for (; n; n--, p++)
		if (*p != PAINT) {
			fail(file, line, "a byte that is nobody's", *p, PAINT);
			return;
		}
}

static i32 open_by(u16 port, u64 name, i32 flags, i32 mode) {
	FRESH(open, p);
	p.name = name, p.flags = flags, p.mode = mode;
	ISSUE(port, p, ret);
	return p.ret;
}

static i32 close_by(u16 port, i32 fd) {
	FRESH(close, p);
	p.fd = fd;
	ISSUE(port, p, ret);
	return p.ret;
}

static i32 unlink_by(u16 port, u64 name) {
	FRESH(unlink, p);
	p.name = name;
	ISSUE(port, p, ret);
	return p.ret;
}

static i32 open1(u64 name, i32 flags, i32 mode) { return open_by(V1_OPEN, name, flags, mode); }
static i32 open2(u64 name, i32 flags, i32 mode) { return open_by(OPEN, name, flags, mode); }
static i32 close1(i32 fd) { return close_by(V1_CLOSE, fd); }
static i32 close2(i32 fd) { return close_by(CLOSE, fd); }
static i32 unlink1(u64 name) { return unlink_by(V1_UNLINK, name); }
static i32 unlink2(u64 name) { return unlink_by(UNLINK, name); }

static i64 read1(i32 fd, u64 buf, u64 len) {
	FRESH(v1_read, p);
	p.fd = fd, p.buf = buf, p.len = len;
	ISSUE(V1_READ, p, ret);
	return p.ret;
}

static i64 read2(i32 fd, u64 buf, u64 len) {
	FRESH(rw, p);
	p.fd = fd, p.buf = buf, p.len = len;
	ISSUE(READ, p, ret);
	return p.ret;
}

static i64 write1(i32 fd, u64 buf, u64 len) {
	FRESH(v1_write, p);
	p.fd = fd, p.buf = buf, p.len = len;
	issue(V1_WRITE, &p, sizeof p, 0, 0);
	return (i64)len;
}

static i64 write2(i32 fd, u64 buf, u64 len) {
	FRESH(rw, p);
	p.fd = fd, p.buf = buf, p.len = len;
	ISSUE(WRITE, p, ret);
	return p.ret;
}

static i64 lseek1(i32 fd, i64 offset, u32 whence) {
	FRESH(v1_lseek, p);
	p.fd = fd, p.offset = offset, p.whence = (i32)whence;
	ISSUE(V1_LSEEK, p, offset);
	return p.offset;
}

static i64 lseek2(i32 fd, i64 offset, u32 whence) {
	FRESH(lseek, p);
	p.fd = fd, p.offset = offset, p.whence = whence;
	ISSUE(LSEEK, p, offset);
	return p.offset;
}

const struct api api1 = {1, 0, open1, close1, read1, write1, lseek1, unlink1};
const struct api api2 = {2, 1, open2, close2, read2, write2, lseek2, unlink2};

i32 do_getdents(i32 fd, u64 buf, u64 len, u64 *bytes) {
	FRESH(getdents, p);
	p.fd = fd, p.buf = buf, p.len = len, p.tag = 0;
	issue(GETDENTS, &p, sizeof p, 24, 16);
	UNPAINTED((u8 *)&p + 28, 4);
	switch (p.tag) {
	case SUCCESS:
		*bytes = p.payload;
		return 0;
	case END:
		UNPAINTED((u8 *)&p + 32, 8);
		return END;
	}
	EQ(p.tag, GETDENTS_ERROR);
	EQ(p.payload >> 32, 0);
	return -(i32)p.payload;
}

static i32 tagged(u32 tag, i32 error) {
	if (tag == SUCCESS) {
		EQ((u32)error, PAINTED);
		return 0;
	}
	EQ(tag, ERROR);
	TRUE(error > 0);
	return -error;
}

i32 do_mkdir(u64 path) {
	FRESH(mkdir, p);
	p.path = path, p.tag = 0;
	issue(MKDIR, &p, sizeof p, 16, 8);
	return tagged(p.tag, p.error);
}

i32 do_stat(u64 name, u32 kind, u64 attr) {
	FRESH(stat, p);
	p.name = name, p.kind = kind, p.attr = attr, p.tag = 0;
	issue(STAT, &p, sizeof p, 24, 8);
	return tagged(p.tag, p.error);
}

i32 do_fstat(i32 fd, u64 attr) {
	FRESH(fstat, p);
	p.fd = fd, p.attr = attr, p.tag = 0;
	issue(FSTAT, &p, sizeof p, 16, 8);
	return tagged(p.tag, p.error);
}

void same_attr(const char *file, int line, const struct attr *got, const struct attr *want) {
#define FIELD(f) \
	if (got->f != want->f) \
		fail(file, line, "attribute " #f, (i64)got->f, (i64)want->f)
	FIELD(dev);
	FIELD(ino);
	FIELD(nlink);
	FIELD(mode);
	FIELD(uid);
	FIELD(gid);
	FIELD(rdev);
	FIELD(size);
	FIELD(blksize);
	FIELD(blocks);
	FIELD(atime.sec);
	FIELD(atime.nsec);
	FIELD(mtime.sec);
	FIELD(mtime.nsec);
	FIELD(ctime.sec);
	FIELD(ctime.nsec);
}
