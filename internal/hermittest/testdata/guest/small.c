/* Programs of a few lines: how a guest ends, does not end, or does the same many times. */
#include "calls.h"

static void nothing(struct words *args) { (void)args; }

/* exit CODE, by version 1 and, in memory that it cannot name, by version 2 */
static void exit_with(struct words *args) { quit(args->n > 1 ? (i32)number(args->v[1]) : 0); }

static void exit_v2(struct words *args) {
	call_v2(EXIT, 0x7777777700000000ull | (u32)number(args->v[1]));
	quit(1);
}

static void arguments(struct words *args) {
	for (int i = 1; i < args->n; i++)
		print("[%s]\n", args->v[i]);
}

static void kernel_arguments(struct words *args) {
	for (int i = 0; i < kernel_args.n; i++)
		print("[%s]\n", kernel_args.v[i]);
	(void)args;
}

/* With no table of interrupts, an exception is the end. */
static void triple_fault(struct words *args) {
	struct { u16 limit; u64 base; } PACKED none = {0, 0};
	__asm__ volatile("lidt %0\n ud2" ::"m"(none));
	(void)args;
}

/* Where no memory and no device is, all is ones; where firmware would be, zeros. */
static void no_memory(struct words *args) {
	volatile u8 *p = at(VIRTUAL);
	map(VIRTUAL, boot->ram_end | 3);
	EQ(*p, 0xff);
	EQ(*(volatile u16 *)(p + 2), 0xffff);
	EQ(*(volatile u32 *)(p + 4), 0xffffffff);
	EQ(*(volatile u64 *)(p + 8), ~0ull);
	*(volatile u64 *)(p + 8) = 0;
	*p = 1;
	EQ(*(volatile u64 *)(p + 8), ~0ull);
	if (boot->ram_start == 0)
		return;
	static const u64 firmware[] = {0x9f000, 0xf0000, 0xff000};
	for (u32 i = 0; i < COUNT(firmware); i++) {
		map(VIRTUAL, firmware[i] | 3);
		EQ(*(volatile u32 *)p, 0);
		EQ(*(volatile u32 *)(p + PAGE - 4), 0);
	}
	(void)args;
}

static void hang(struct words *args) {
	print("hanging\n");
	for (;;)
		relax();
	(void)args;
}

static void sleep(struct words *args) {
	print("sleeping\n");
	for (;;)
		__asm__ volatile("cli\n hlt");
	(void)args;
}

/* loop N: so many calls that do next to nothing */
static void loop(struct words *args) {
	struct lseek p = {0, SEEK_SET, 99};
	for (i64 n = args->n > 1 ? number(args->v[1]) : 0; n; n--)
		call_v2(LSEEK, addr(&p));
}

/* reads N SIZE: so many reads of a file from its beginning */
static void reads(struct words *args) {
	struct open o = {addr("/data/big"), O_RDONLY, 0, 0};
	call_v2(OPEN, addr(&o));
	u64 size = args->n > 2 ? (u64)number(args->v[2]) : 4096;
	struct rw r = {size, 0, addr(io), o.ret};
	for (i64 n = args->n > 1 ? number(args->v[1]) : 0; n; n--) {
		struct lseek s = {0, SEEK_SET, o.ret};
		call_v2(LSEEK, addr(&s));
		call_v2(READ, addr(&r));
		EQ(r.ret, size);
	}
}

static void echo(struct words *args) {
	i64 n;
	while ((n = native->read(0, addr(io), sizeof io)) > 0)
		native->write(1, addr(io), (u64)n);
	EQ(n, 0);
	(void)args;
}

enum { PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc };

/* pci [device=VENDOR]: where no device is, all is ones */
static void pci(struct words *args) {
	const char *device = option(args, "device");
	u32 found = 0;
	for (u32 bus = 0; bus < 32; bus++)
		for (u32 slot = 0; slot < 32; slot++) {
			out32(PCI_ADDRESS, 1u << 31 | bus << 16 | slot << 11);
			u32 id = in32(PCI_DATA);
			if (id == 0xffffffff)
				continue;
			found++;
			if (!device || (id & 0xffff) != (u64)number(device))
				fail(__FILE__, __LINE__, "a device", id, 0xffffffff);
		}
	EQ(found, device ? 1 : 0);
	out32(PCI_ADDRESS, 1u << 31 | 31 << 11 | 0x3c);
	EQ(in8(PCI_DATA + 1), 0xff);
	EQ(in16(PCI_DATA + 2), 0xffff);
	out32(PCI_ADDRESS, 0);
	EQ(in32(PCI_DATA), 0xffffffff);
	out32(PCI_DATA, 0);
}

/* For a debugger: values to look at and to change, and places to stop at. */
volatile u64 gdb_value = 5;
volatile u64 gdb_sum;

__attribute__((noinline)) void gdb_stop(void) { gdb_value++; }
__attribute__((noinline)) u64 gdb_add(u64 a, u64 b) {
	__asm__ volatile("" : "+r"(a));
	return a + b;
}

static void debugged(struct words *args) {
	gdb_stop();
	print("value %d\n", gdb_value);
	gdb_sum = gdb_add(2, 3);
	print("sum %d\n", gdb_sum);
	gdb_stop();
	print("value %d\n", gdb_value);
	(void)args;
}

const struct program small_programs[] = {
	{"nothing", nothing, 0},
	{"exit", exit_with, 0},
	{"exit-v2", exit_v2, 0},
	{"arguments", arguments, 0},
	{"kernel-arguments", kernel_arguments, 0},
	{"triplefault", triple_fault, 0},
	{"no-memory", no_memory, 0},
	{"hang", hang, 0},
	{"sleep", sleep, 0},
	{"loop", loop, 0},
	{"reads", reads, 0},
	{"echo", echo, 0},
	{"pci", pci, 0},
	{"gdb", debugged, 0},
	{0},
};
