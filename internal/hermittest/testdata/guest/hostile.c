/* A guest that makes calls at random: hostile SEED N. All processors do it at once, with
 * the same memory, so that structures change while they are read. Whatever the machine
 * answers is right, as long as it stays where the guest may be written: answers go to
 * memory behind the image, or nowhere. */
#include "calls.h"

struct dice { u64 state; };

static u64 roll(struct dice *d) {
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return d->state * 2685821657736338717ull;
}

static u64 below(struct dice *d, u64 n) { return (roll(d) >> 20) % n; }

static u64 first, last; /* memory to spoil: physical addresses */

/* Where the page tables that are made up lie, and what they map. */
enum { PCI_PORTS = 0xcf8, GARBAGE = 1024 }; /* from this page of VIRTUAL on */

enum { NAME_ROOM = 4200 };
static const char *const names[] = {
	"/data/file", "/data/file", "/data/big", "/data/dir", "/data/dir/inner", "/data/link", "/data/abs", "/data/dangling",
	"/data/loop", "/data/out", "/data/outer", "/ro/file", "/ro", "/ro/new", "/single/one", "/single/missing", "/single",
	"/", "", ".", "..", "../../../../../../../etc/passwd", "/../../etc/passwd", "/data/../../../etc/passwd",
	"/etc/passwd", "/proc/self/mem", "/dev/kvm", "/data/dir/../../../../etc/shadow", "/data/./././x", "/tmp/a/b/c",
	"new1", "new2", "/data/new1", "/data/new2", "/data/new3/below", "/unmapped/x", "data//file/", "/data/file/", "\xff\xfe/\x80",
};

static u64 name_at(u32 i) { return first + (u64)i * NAME_ROOM; }

static u64 some_address(struct dice *d) {
	u64 size = last - first;
	switch (below(d, 16)) {
	case 0:
		return boot->ram_end - below(d, 64);
	case 1:
		return boot->ram_end - PAGE + below(d, 2 * PAGE);
	case 2:
		return boot->ram_end + below(d, 1ull << 32);
	case 3:
		return roll(d) | 1ull << 40;
	case 4:
		return ~0ull - below(d, 5000);
	case 5:
		return (1ull << 63) + below(d, 3) - 1;
	case 6:
	case 7:
		return ((first + below(d, size)) & ~(PAGE - 1)) + PAGE - 1 - below(d, 40);
	default:
		return first + below(d, size);
	}
}

static u64 some_virtual(struct dice *d) {
	switch (below(d, 8)) {
	case 0:
		return roll(d) | 1ull << 47; /* not canonical, or in the upper half, which is empty */
	case 1:
		return RAM + boot->ram_end - boot->ram_start - below(d, 10000);
	case 2:
	case 3:
		return VIRTUAL + GARBAGE * PAGE + below(d, (VIRTUAL_PAGES - GARBAGE) * PAGE);
	case 4:
		return ~0ull - below(d, 3 * PAGE) - (1ull << 39); /* beside the last entry */
	default:
		return RAM + some_address(d) - boot->ram_start;
	}
}

static u64 some_length(struct dice *d) {
	switch (below(d, 16)) {
	case 0:
		return roll(d);
	case 1:
		return (1ull << below(d, 64)) - below(d, 3);
	case 2:
		return below(d, 64 << 10);
	case 3:
		return PAGE - 2 + below(d, 5);
	default:
		return below(d, 300);
	}
}

static u32 some_descriptor(struct dice *d) {
	static const u32 odd[] = {0, 1, 2, ~0u, 0x80000000, 0x7fffffff, 1023, 1024, 1025, 65536};
	u64 n = below(d, 32);
	if (n < COUNT(odd))
		return odd[n];
	return n == 31 ? (u32)roll(d) : 3 + (u32)below(d, 24);
}

static u32 some_flags(struct dice *d) {
	static const u32 usual[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_TRUNC, O_DIRECTORY, O_WRONLY | O_APPEND};
	u64 n = below(d, 10);
	return n < COUNT(usual) ? usual[n] : (u32)roll(d);
}

static u64 some_name(struct dice *d) {
	if (below(d, 12) == 0)
		return some_address(d);
	u32 i = (u32)below(d, COUNT(names));
	if (below(d, 16) == 0)
		return name_at(i) + below(d, NAME_ROOM); /* within one, or in what is behind it */
	return name_at(i);
}

static i64 some_offset(struct dice *d) {
	u64 n = below(d, 8);
	return n == 0 ? (i64)roll(d) : n == 1 ? -(i64)below(d, 1000) : (i64)below(d, 1 << 20);
}

/* slots are addresses for strings. What is in them the machine writes to, so they cannot be
 * just anywhere: a guest at address 0 would take any small number for one. */
static u64 slots[256];

static u64 some_slots(struct dice *d) {
	u64 n = below(d, 8);
	return n == 0 ? boot->ram_end - below(d, 8) : n == 1 ? ~0ull - below(d, 2000) : addr(slots) + 8 * below(d, 64);
}

/* The layout of a structure: letters, each for a field. Capitals are of 8 bytes. */
static const struct { u16 port; const char *fields; } calls[] = {
	{V1_WRITE, "dVL"},
	{V1_OPEN, "Nfmr"},
	{V1_CLOSE, "dr"},
	{V1_READ, "dVLR"},
	{V1_LSEEK, "dOw"},
	{V1_NETWRITE, "dVL"},
	{V1_NETREAD, "dVL"},
	{V1_NETSTAT, "dVL"},
	{V1_CMDSIZE, "r"},
	{V1_CMDVAL, "SS"},
	{V1_UART, "r"},
	{V1_UNLINK, "Nr"},
	{V1_SERIAL, "AL"},
	{SERIAL_BYTE, "R"},
	{SERIAL, "LA"},
	{SERIAL_READ_BYTE, "R"},
	{SERIAL_READ, "LLA"},
	{WRITE, "LRAd"},
	{OPEN, "Nfmr"},
	{CLOSE, "dr"},
	{READ, "LRAd"},
	{LSEEK, "Owd"},
	{UNLINK, "Nr"},
	{GETDENTS, "drALrrR"},
	{STAT, "NwrArr"},
	{FSTAT, "drArr"},
	{MKDIR, "NLrr"},
	{SHM_OPEN, "AR"},
	{SHM_CLOSE, "AR"},
};

static u32 make_up(struct dice *d, u8 *params, const char *fields) {
	u32 n = 0;
	for (; *fields; fields++) {
		u64 v = roll(d);
		switch (*fields) {
		case 'd': v = some_descriptor(d); break;
		case 'f': v = some_flags(d); break;
		case 'm': v = below(d, 2) ? 0666 : v; break;
		case 'w': v = below(d, 8) ? below(d, 6) : v; break;
		case 'A': v = some_address(d); break;
		case 'V': v = some_virtual(d); break;
		case 'S': v = some_slots(d); break;
		case 'L': v = some_length(d); break;
		case 'N': v = some_name(d); break;
		case 'O': v = (u64)some_offset(d); break;
		}
		u32 size = *fields < 'a' ? 8 : 4;
		memcpy(params + n, &v, size);
		n += size;
	}
	return n;
}

static u64 seed, count;

/* inside tells whether n bytes from a physical address on may be spoilt. */
static int inside(u64 pa, u64 n) { return pa >= first && pa <= last - n; }

static void one_call(struct dice *d) {
	u8 params[64];
	if (below(d, 16) == 0) {
		/* Any port but those that end the machine or belong to interrupt controllers. The value
		 * that version 2 writes is the address of a structure of version 1. */
		u16 port = (u16)roll(d);
		if (port < 0x300 || port == EXIT || (port & ~7u) == PCI_PORTS)
			return;
		if (port < 0x1000)
			call_v1(port, (u32)boot->ram_end + (u32)below(d, 1 << 20));
		else
			call_v2(port, some_address(d));
		return;
	}
	u32 i = (u32)below(d, COUNT(calls));
	if (calls[i].port < 0x1000 && last >> 32)
		return; /* its structure cannot be there */
	u64 to = some_address(d);
	u32 n = make_up(d, params, calls[i].fields);
	if (inside(to, n))
		memcpy(ram(to), params, n);
	else if (inside(to, 1))
		memcpy(ram(to), params, last - to);
	if (calls[i].port >= 0x1000) {
		call_v2(calls[i].port, to);
		return;
	}
	/* Of an address above 4 GiB version 1 sees the lower half, where the guest may be. */
	if (inside((u32)to, 1) || (u32)to >= boot->ram_end)
		call_v1(calls[i].port, (u32)to);
	if (below(d, 64) == 0)
		call_v1(V1_EXIT, (u32)boot->ram_end);
}

static void storm(u32 cpu) {
	struct dice d = {(seed + 1) * 0x9e3779b97f4a7c15ull + cpu};
	for (u64 i = 0; i < count; i++)
		one_call(&d);
}

static void hostile(struct words *args) {
	seed = args->n > 1 ? (u64)number(args->v[1]) : 1;
	count = args->n > 2 ? (u64)number(args->v[2]) : 1000;
	first = (boot->kernel_end + 2 * LARGE - 1) & ~(LARGE - 1);
	if (boot->fdt >= first)
		first = (boot->fdt + (1 << 20) + LARGE - 1) & ~(LARGE - 1);
	last = boot->ram_end;
	struct dice d = {seed * 77 + 5};
	for (u32 i = 0; i < VIRTUAL_PAGES - GARBAGE; i++) {
		u64 e = roll(&d);
		if (below(&d, 4))
			e = (first + below(&d, last - first)) & ~(PAGE - 1);
		else
			e |= 1ull << 45; /* far from memory */
		map(VIRTUAL + (GARBAGE + i) * PAGE, e | below(&d, 8));
	}
	for (u32 i = 0; i < COUNT(slots); i++)
		slots[i] = some_address(&d);
	for (u32 i = 0; i < COUNT(names); i++)
		copy((char *)ram(name_at(i)), names[i]);
	on_all(storm);

	/* The machine is as before: files can be opened, read and closed. */
	for (i32 fd = 3; fd < 2000; fd++)
		api2.close(fd);
	CONTENT(&api2, "/ro/file", "read only");
	static struct attr a;
	EQ(do_stat(path("/ro/file"), FOLLOW, addr(&a)), 0);
	EQ(a.size, 9);
}

const struct program hostile_programs[] = {
	{"hostile", hostile, 1},
	{0},
};
