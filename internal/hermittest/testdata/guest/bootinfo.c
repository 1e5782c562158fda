/* What the machine is like when the guest begins. */
#include "guest.h"

/* Relocations that a loader must do: of the image's own addresses, and of a symbol
 * that nobody defines. With -shared, exported ones are looked up by name. */
#define EXPORTED __attribute__((visibility("default")))
EXPORTED u64 exported = 0x1234;
EXPORTED u64 *const exported_at[] = {&exported, &exported + 1};
extern u64 absent __attribute__((weak, visibility("default")));
u64 *const absent_at = &absent;

static int one(int x) { return x + 1; }
static int two(int x) { return x * 2; }
EXPORTED int three(int x) { return x - 3; }
static int (*const volatile functions[])(int) = {one, two, three};
static const char *const volatile texts[] = {"first", "second"};

static void relocations(void) {
	EQ(functions[0](20), 21);
	EQ(functions[1](20), 40);
	EQ(functions[2](20), 17);
	EQ(three(20), 17);
	TRUE(equal(texts[0], "first") && equal(texts[1], "second"));
	EQ(exported, 0x1234);
	EQ(*exported_at[0], 0x1234);
	EQ(exported_at[1] - exported_at[0], 1);
	EQ(addr(&absent), 0);
	EQ(addr(absent_at), 0);
	/* Where this runs is where it was loaded. */
	u64 here;
	__asm__("lea 0(%%rip), %0" : "=r"(here));
	TRUE(here >= boot->kernel_start && here < boot->kernel_end);
	EQ(addr(image_start), boot->kernel_start);
	EQ(addr(image_end), boot->kernel_end);
	/* Memory without data in the file is zero. */
	static u64 zero[1000];
	for (u32 i = 0; i < COUNT(zero); i++)
		EQ(zero[i], 0);
}

static void thread_local_segment(void) {
	static const u8 initial[] = {0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 't', 'h', 'r', 'e', 'a', 'd', '-', 'l', 'o', 'c', 'a', 'l', 0};
	EQ(boot->tls_filesz, sizeof initial);
	EQ(boot->tls_memsz, 32 + 40);
	EQ(boot->tls_align, 32);
	TRUE(boot->tls_start >= boot->kernel_start && boot->tls_start < boot->kernel_end);
	EQ(boot->tls_start % 32, 0);
	TRUE(!memcmp(at(boot->tls_start), initial, sizeof initial));
}

static void information(struct words *args) {
	const u8 *raw = (const u8 *)boot;
	static const u8 padding[][2] = {{18, 24}, {84, 88}, {89, 96}, {108, 112}};
	for (u32 i = 0; i < COUNT(padding); i++)
		for (u32 j = padding[i][0]; j < padding[i][1]; j++)
			EQ(raw[j], 0);
	EQ(addr(boot) % 8, 0);
	const char *v;
	if ((v = option(args, "ram")))
		EQ(boot->ram_end - boot->ram_start, number(v));
	if ((v = option(args, "base")))
		EQ(boot->ram_start, number(v));
	if ((v = option(args, "moved")))
		TRUE(boot->ram_start != (u64)number(v));
	if ((v = option(args, "cpus")))
		EQ(boot->cpus, number(v));
	if ((v = option(args, "now"))) {
		/* In 128 bits; an hour either way is near enough. */
		u64 seconds = (boot->boot_time_low / 1000000) / 1000;
		EQ(boot->boot_time_high, 0);
		TRUE(seconds + 3600 > (u64)number(v) && seconds < (u64)number(v) + 3600);
	}
	EQ(boot->ram_start % LARGE, 0);
	EQ(boot->ram_end % LARGE, 0);
#if INTERFACE == 1
	EQ(boot->serial_port, V1_UART);
	TRUE(boot->ram_end <= 3ull << 30);
#else
	EQ(boot->serial_port, SERIAL);
	TRUE(boot->ram_start >= 4ull << 30 && boot->ram_end <= 64ull << 30);
#endif
	EQ(boot->platform, 1);
	EQ(boot->has_pci, 1);
	EQ(boot->kernel_start % PAGE, 0);
	TRUE(boot->kernel_start >= boot->ram_start + 0x40000 && boot->kernel_end <= boot->ram_end);
	TRUE(addr(boot) >= boot->ram_start && addr(boot) + sizeof *boot <= boot->kernel_start - 0x8000);
	TRUE(boot->tsc_khz > 1000);
	thread_local_segment();
}

static void device_tree(struct words *args) {
	TRUE(boot->fdt >= boot->ram_start && boot->fdt < boot->ram_end);
	EQ(tree.ram_start, boot->ram_start);
	EQ(tree.ram_size, boot->ram_end - boot->ram_start);
	EQ(tree.tsc_khz, boot->tsc_khz);
	EQ(tree.cpus, boot->cpus);
	TRUE(tree.compatible && equal(tree.compatible, "hermit,uhyve"));
	/* Mounts are given with a comma behind each. */
	const char *want = option(args, "mounts");
	if (!want)
		return;
	u64 n = 0;
	for (; want[n]; n++)
		if (n >= tree.mounts_size || tree.mounts[n] != (want[n] == ',' ? 0 : want[n])) {
			fail(__FILE__, __LINE__, want, (i64)n, tree.mounts_size);
			return;
		}
	EQ(tree.mounts_size, n);
}

static void registers(void) {
	struct entry *e = &entries[0];
	EQ(cr0(), 0x80000031);
	EQ(cr4(), 0x20);
	EQ(rdmsr(0xc0000080), 0xd00);
	EQ(e->rflags, 2);
	EQ(e->rdi, addr(boot));
	EQ(e->rsi, 0);
	EQ(e->rsp, boot->kernel_start - 0x8000);
	EQ(entry_rax | entry_rbx | e->rcx | e->rdx | e->rbp | e->r8 | e->r9 | e->r10 | e->r11 | e->r12 | e->r13 | e->r14 | e->r15, 0);

	u16 cs, ds, es, ss, fs, gs;
	__asm__("mov %%cs, %0" : "=r"(cs));
	__asm__("mov %%ds, %0" : "=r"(ds));
	__asm__("mov %%es, %0" : "=r"(es));
	__asm__("mov %%ss, %0" : "=r"(ss));
	__asm__("mov %%fs, %0" : "=r"(fs));
	__asm__("mov %%gs, %0" : "=r"(gs));
	EQ(cs, 8);
	EQ(ds, 16);
	EQ(es, 16);
	EQ(ss, 16);
	EQ(fs, 0);
	EQ(gs, 0);
	struct { u16 limit; u64 base; } PACKED gdtr;
	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	EQ(gdtr.limit, 23);
	TRUE(gdtr.base >= boot->ram_start && gdtr.base + 24 <= boot->kernel_start - 0x8000);
	u64 *gdt = at(gdtr.base);
	EQ(gdt[0], 0);
	EQ(gdt[1] & ~(1ull << 40), 0x00af9b000000ffff & ~(1ull << 40)); /* the processor may set accessed */
	EQ(gdt[2] & ~(1ull << 40), 0x00cf93000000ffff & ~(1ull << 40));
	/* They can be loaded, and hold data as before. */
	__asm__ volatile("mov %0, %%ds\n mov %0, %%es\n mov %0, %%ss" ::"r"(16));
	EQ(rdmsr(0xc0000100) | rdmsr(0xc0000101), 0); /* FS and GS begin at 0 */
	TRUE(rdmsr(0x1a0) & 1); /* fast strings */
}

enum { PRESENT = 1, WRITABLE = 2, USER = 4, HUGE = 0x80 };
#define ADDRESS 0x000ffffffffff000ull

static u64 mapped; /* bytes, one to one */

/* walk looks at a table, and wants what it maps to be mapped one to one. */
static void walk(u64 *table, int shift, u64 va) {
	TRUE(addr(table) >= boot->ram_start && addr(table) + PAGE <= boot->kernel_start - 0x8000);
	for (u64 i = 0; i < 512; i++) {
		u64 e = table[i], at_va = va | i << shift;
		if (!(e & PRESENT) || (shift == 39 && (i == 511 || i == (RAM >> 39))))
			continue;
		TRUE(e & WRITABLE);
		EQ(e >> 63, 0);
		if (shift == 12 || e & HUGE) {
			u64 size = 1ull << shift;
			EQ(e & ADDRESS & ~(size - 1), at_va);
			mapped += size;
		} else {
			walk(at(e & ADDRESS), shift - 9, at_va);
		}
	}
}

static int is_mapped(u64 va) {
	u64 *table = at(cr3() & ADDRESS);
	for (int shift = 39;; shift -= 9) {
		u64 e = table[va >> shift & 511];
		if (!(e & PRESENT))
			return 0;
		if (shift == 12 || e & HUGE)
			return 1;
		table = at(e & ADDRESS);
	}
}

static void page_tables(void) {
	u64 top = cr3();
	EQ(top % PAGE, 0);
	u64 *pml4 = at(top);
	EQ(pml4[511] & ADDRESS, top);
	EQ(pml4[511] & (PRESENT | WRITABLE | HUGE), PRESENT | WRITABLE);
	u64 *through = at(0xfffffffffffff000);
	EQ(through[511], pml4[511]);
	walk(pml4, 39, 0);
	/* All from the beginning of memory to the end of the kernel, and what else is used. */
	for (u64 va = boot->ram_start; va < boot->kernel_end; va += LARGE)
		TRUE(is_mapped(va));
	TRUE(is_mapped(boot->kernel_end - 1));
	TRUE(is_mapped(boot->fdt));
#ifdef LEGACY
	/* The whole of the GiB, as these kernels un-map its end. */
	u64 gib = boot->kernel_start & ~((1ull << 30) - 1);
	for (u64 va = boot->ram_start; va < gib + (1ull << 30); va += LARGE)
		TRUE(is_mapped(va));
	EQ((boot->kernel_end + LARGE - 1) / LARGE * LARGE > gib + (1ull << 30), 0);
#else
	TRUE(mapped <= boot->ram_end - boot->ram_start);
#endif
}

static void processor(struct words *args) {
	u32 r[4];
	cpuid(1, 0, r);
	TRUE(r[2] >> 31);     /* a hypervisor is there */
	TRUE(r[2] >> 24 & 1); /* TSC deadline */
	TRUE(r[3] >> 5 & 1);  /* MSRs */
	EQ(r[1] >> 24, 0);
	char brand[49] = {0};
	for (u32 i = 0; i < 3; i++) {
		cpuid(0x80000002 + i, 0, r);
		memcpy(brand + 16 * i, r, 16);
	}
	const char *want = option(args, "brand");
	if (want && !begins(brand, want)) {
		print("brand %s\n", brand);
		fail(__FILE__, __LINE__, want, 0, 0);
	}
	cpuid(0, 0, r);
	if (r[0] >= 0xa) {
		cpuid(0xa, 0, r);
		EQ(r[0], 0);
	}
	u64 before = rdtsc();
	TRUE(rdtsc() > before);
}

static void bootinfo(struct words *args) {
	information(args);
	relocations();
	registers();
	page_tables();
	processor(args);
	if (boot->fdt)
		device_tree(args);
}

/* Memory of all sizes: each large page can be written at both of its ends. */
static void memory_test(struct words *args) {
	u64 first = (boot->kernel_end + LARGE - 1) & ~(LARGE - 1);
	for (u64 pa = first; pa < boot->ram_end; pa += LARGE) {
		*(volatile u64 *)ram(pa) = pa;
		*(volatile u64 *)(ram(pa) + LARGE - 8) = ~pa;
	}
	for (u64 pa = first; pa < boot->ram_end; pa += LARGE) {
		EQ(*(volatile u64 *)ram(pa), pa);
		EQ(*(volatile u64 *)(ram(pa) + LARGE - 8), ~pa);
	}
	information(args);
	print("Hello, world!\n");
}

/* initrd want=TEXT: the text is somewhere in the archive, which is where the tree says,
 * reserved there, and mapped. */
static void initrd(struct words *args) {
	const char *want = option(args, "want");
	TRUE(tree.initrd_start >= boot->kernel_end && tree.initrd_start < tree.initrd_end && tree.initrd_end <= boot->ram_end);
	EQ(tree.initrd_start % PAGE, 0);
	for (u64 va = tree.initrd_start; va < tree.initrd_end; va += PAGE)
		TRUE(is_mapped(va));
	EQ((tree.initrd_end - tree.initrd_start) % 512, 0);
	u64 n = strlen(want);
	if (failures)
		return;
	/* What an archive has begins at multiples of 512. */
	for (const char *p = at(tree.initrd_start); addr(p) + n <= tree.initrd_end; p += 512)
		if (!memcmp(p, want, n))
			return;
	fail(__FILE__, __LINE__, want, 0, 1);
}

static void where(struct words *args) {
	print("%x %x\n", boot->ram_start, boot->kernel_start);
	(void)args;
}

const struct program boot_programs[] = {
	{"where", where, 0},
	{"initrd", initrd, 0},
	{"bootinfo", bootinfo, 0},
	{"memory_test", memory_test, 0},
	{0},
};
