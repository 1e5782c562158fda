/* What only version 1 has: virtual buffers, the command line, its console. */
#include "calls.h"

enum { FRAMES = 16 };
static u8 frames[FRAMES][PAGE] __attribute__((aligned(4096)));

static u64 page(u32 i) { return VIRTUAL + i * PAGE; }

/* frame_of is such that no page is followed by the one that follows it in memory. */
static u32 frame_of(u32 i) { return (i * 7 + 3) % FRAMES; }

static void scattered(void) {
	for (u32 i = 0; i < VIRTUAL_PAGES; i++)
		map(page(i), addr(frames[frame_of(i)]) | 1);
	for (u32 i = 0; i < FRAMES; i++)
		memset(frames[i], 'a' + (int)i, PAGE);
	i32 fd = api1.open(path("/data/scattered"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	EQ(fd, 3);

	/* All pages in one call: more pieces than the host takes at a time. */
	const u64 all = VIRTUAL_PAGES * PAGE - 10;
	api1.write(fd, page(0) + 10, all);
	LSEEK_IS(&api1, fd, 0, SEEK_CUR, (i64)all);
	LSEEK_IS(&api1, fd, 0, SEEK_END, (i64)all);
	for (u32 i = 0; i < VIRTUAL_PAGES; i += 61) {
		u8 around[2];
		i64 border = (i64)((i + 1) * PAGE) - 11;
		LSEEK_IS(&api1, fd, border, SEEK_SET, border);
		EQ(api1.read(fd, addr(around), 2), i == VIRTUAL_PAGES - 1 ? 1 : 2);
		EQ(around[0], 'a' + frame_of(i));
		if (i != VIRTUAL_PAGES - 1)
			EQ(around[1], 'a' + frame_of(i + 1));
	}

	/* Back, over three pages. */
	for (u32 i = 0; i < FRAMES; i++)
		memset(frames[i], PAINT, PAGE);
	LSEEK_IS(&api1, fd, 2 * (i64)PAGE - 10 - 5, SEEK_SET, 2 * (i64)PAGE - 15);
	EQ(api1.read(fd, page(4) - 5, PAGE + 10), PAGE + 10);
	u8 *p3 = frames[frame_of(3)], *p4 = frames[frame_of(4)], *p5 = frames[frame_of(5)];
	UNPAINTED(p3, PAGE - 5);
	for (u32 i = 0; i < 5; i++) {
		EQ(p3[PAGE - 5 + i], 'a' + frame_of(1));
		EQ(p5[i], 'a' + frame_of(3));
	}
	EQ(p4[0], 'a' + frame_of(2));
	EQ(p4[PAGE - 1], 'a' + frame_of(2));
	UNPAINTED(p5 + 5, PAGE - 5);

	/* A page that is missing, or that leads out of memory, in the middle: nothing is moved. */
	const u64 entries[] = {0, addr(frames[0]) | 2, boot->ram_end | 1, ((1ull << 52) - PAGE) | 1};
	for (u32 i = 0; i < COUNT(entries); i++) {
		map(page(4), entries[i]);
		memset(p3, PAINT, PAGE);
		LSEEK_IS(&api1, fd, 100, SEEK_SET, 100);
		EQ(api1.read(fd, page(4) - 5, 6), -EFAULT);
		EQ(api1.read(fd, page(4), 1), -EFAULT);
		EQ(api1.read(fd, page(3), 3 * PAGE), -EFAULT);
		UNPAINTED(p3, PAGE);
		api1.write(fd, page(4) - 5, 6);
		LSEEK_IS(&api1, fd, 0, SEEK_CUR, 100);
		EQ(api1.read(fd, page(4) - 5, 5), 5);
	}
	static const u64 nowhere[] = {1ull << 47, 0xffff000000000000ull - 1, 0x8000000000000000ull, 202ull << 39};
	for (u32 i = 0; i < COUNT(nowhere); i++)
		EQ(api1.read(fd, nowhere[i], 1), -EFAULT);
	LSEEK_IS(&api1, fd, 0, SEEK_END, (i64)all);
	EQ(api1.close(fd), 0);
	EQ(api1.unlink(path("/data/scattered")), 0);
}

/* A write to the console from the tables themselves, which are mapped by their own last
 * entry. */
static void recursive(void) {
	i32 fd = api1.open(path("/data/tables"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	EQ(fd, 3);
	api1.write(fd, 0xfffffffffffff000ull, PAGE);
	LSEEK_IS(&api1, fd, 0, SEEK_SET, 0);
	EQ(api1.read(fd, addr(io), sizeof io), PAGE);
	u64 *pml4 = at(cr3() & ~(PAGE - 1));
	TRUE(!memcmp(io, pml4, PAGE));
	EQ(api1.close(fd), 0);
	EQ(api1.unlink(path("/data/tables")), 0);
}

static char strings[128][256];
static u64 slots[129];

/* command_line wants what cmdsize and cmdval tell to be what the tree says. */
static void command_line(void) {
	static struct v1_cmdsize size;
	memset(&size, PAINT, sizeof size);
	issue(V1_CMDSIZE, &size, sizeof size, 0, sizeof size);
	TRUE(size.argc >= 1 && size.argc <= 128);
	TRUE(size.envc >= 0 && size.envc <= 128);
	for (i32 i = size.argc; i < 128; i++)
		EQ(size.argsz[i], 0);
	for (i32 i = size.envc; i < 128; i++)
		EQ(size.envsz[i], 0);

	static u64 env_slots[129];
	memset(strings, PAINT, sizeof strings);
	memset(env_slots, PAINT, sizeof env_slots);
	for (i32 i = 0; i < size.argc; i++)
		slots[i] = addr(strings[i]);
	slots[size.argc] = addr(strings[127]);
	FRESH(v1_cmdval, val);
	val.argv = addr(slots);
	static char env[128][256];
	memset(env, PAINT, sizeof env);
	for (i32 i = 0; i < size.envc; i++)
		env_slots[i] = addr(env[i]);
	val.envp = addr(env_slots);
	issue(V1_CMDVAL, &val, sizeof val, 0, 0);
	for (i32 i = 0; i < size.argc; i++) {
		EQ(strlen(strings[i]) + 1, size.argsz[i]);
		UNPAINTED((u8 *)strings[i] + size.argsz[i], sizeof strings[i] - (u64)size.argsz[i]);
	}
	if (size.argc < 128)
		UNPAINTED((u8 *)strings[size.argc], sizeof strings[0]);
	i32 given = 0;
	for (i32 i = 0; i < kernel_args.n; i++)
		if (begins(kernel_args.v[i], "env=")) {
			TRUE(given < size.envc && equal(kernel_args.v[i] + 4, env[given]));
			given++;
		}
#ifdef LEGACY
	/* Old kernels do not end their list, and need one of eight at least. */
	for (; given < 8; given++)
		EQ(env[given][0], 0);
#endif
	EQ(size.envc, given);
	for (i32 i = 0; i < size.envc; i++) {
		EQ(strlen(env[i]) + 1, size.envsz[i]);
		UNPAINTED((u8 *)env[i] + size.envsz[i], sizeof env[i] - (u64)size.envsz[i]);
	}
	/* The application's words come last. */
	TRUE(size.argc > app_args.n);
	for (i32 i = 0; i < app_args.n && size.argc > app_args.n; i++)
		if (!equal(strings[size.argc - app_args.n + i], app_args.v[i]))
			fail(__FILE__, __LINE__, app_args.v[i], i, 0);

	/* Addresses that are not memory keep nothing else from being told. */
	memset(strings, PAINT, sizeof strings);
	slots[0] = boot->ram_end - 1;
	slots[1] = 1ull << 50;
	*ram(boot->ram_end - 1) = PAINT;
	val.envp = boot->ram_end;
	issue(V1_CMDVAL, &val, sizeof val, 0, 0);
	if (size.argc > 2)
		EQ(strlen(strings[2]) + 1, size.argsz[2]);
	EQ(*ram(boot->ram_end - 1), PAINT);
	val.argv = val.envp = ~0ull - 7;
	issue(V1_CMDVAL, &val, sizeof val, 0, 0);
}

static void old_console(void) {
	for (const char *s = "[uart: ab\xff\x01"; *s; s++)
		out8(V1_UART, (u8)*s);
	out16(V1_UART, 0xfe00 | 'w'); /* of wider values, the lowest byte */
	call_v1(V1_UART, 0x12345600 | 'd');
	out8(V1_UART, 0);
	FRESH(v1_serial, p);
	char *text = "]\n[buffer: over a page]\n";
	memcpy(io + 4090, text, strlen(text));
	p.buf = addr(io + 4090), p.len = strlen(text);
	issue(V1_SERIAL, &p, sizeof p, 0, 0);
	p.len = 0;
	issue(V1_SERIAL, &p, sizeof p, 0, 0);
	p.buf = boot->ram_end - 1, p.len = 2;
	issue(V1_SERIAL, &p, sizeof p, 0, 0);
	p.buf = addr(io), p.len = ~0ull;
	issue(V1_SERIAL, &p, sizeof p, 0, 0);
}

void calls_v1(struct words *args) {
	file_calls(&api1, args);
	scattered();
	recursive();
	command_line();
	old_console();
	static u8 params[64];
	static const u16 nothing[] = {V1_NETWRITE, V1_NETREAD, V1_NETSTAT};
	for (u32 i = 0; i < COUNT(nothing); i++)
		issue(nothing[i], params, sizeof params, 0, 0);
}
