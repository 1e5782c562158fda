/* What the files of the guest share. */
#ifndef GUEST_H
#define GUEST_H

#include "interface.h"

/* INTERFACE is the version that the kernel's note states, 1 without one; LEGACY is set
 * for a kernel of the time before the ABI tag. The build gives both. */

enum { MAX_CPUS = 16, STACK = 16384 };

/* How a processor entered, as start.S saves it; the two that it needs first are apart. */
struct entry {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rsp, rflags;
};
extern u64 entry_rax, entry_rbx;

/* RawBootInfo of entry version 4. */
struct boot_info {
	u64 ram_start, ram_end;
	u16 serial_port;
	u64 fdt;
	u64 kernel_start, kernel_end;
	u64 tls_start, tls_filesz, tls_memsz, tls_align;
	u32 platform, pad;
	u8 has_pci;
	u64 cpus;
	u32 tsc_khz;
	u64 boot_time_low, boot_time_high; /* ns since 1970 */
};
SIZE(boot_info, 128);

extern struct boot_info *boot;
extern struct entry entries[MAX_CPUS];
extern u8 image_start[], image_end[];

/* boot.c: the device tree and the words in it */
struct words { int n; char *v[260]; };
struct tree {
	u64 ram_start, ram_size;
	u32 tsc_khz;
	int cpus;
	char *mounts; /* one behind the other, each with a NUL */
	u32 mounts_size;
	char *bootargs;
	u64 initrd_start, initrd_end;
	char *compatible;
};
extern struct tree tree;
extern struct words kernel_args, app_args; /* of the device tree */
void read_tree(void);
const char *option(struct words *w, const char *key); /* what follows "key=", or 0 */

/* lib.c */
void print(const char *format, ...); /* %s, %d and %x of 64 bits, %c; a line at a time */
void flush_line(void);
NORETURN void quit(i32 code);
extern volatile int failures;
void fail(const char *file, int line, const char *what, i64 got, i64 want);
#define EQ(got, want)                                                                                                          \
	do {                                                                                                                   \
		i64 got_ = (i64)(got), want_ = (i64)(want);                                                                    \
		if (got_ != want_)                                                                                             \
			fail(__FILE__, __LINE__, #got, got_, want_);                                                           \
	} while (0)
#define TRUE(cond) EQ(!!(cond), 1)
void lock(volatile int *l);
void unlock(volatile int *l);

/* memory.c: page tables of our own. Addresses from VIRTUAL on have pages of 4 KiB. */
#define VIRTUAL (200ull << 39)
#define VIRTUAL_PAGES 2048
void map(u64 va, u64 entry);     /* sets the entry of a page from VIRTUAL on */
void map_ram(void);              /* maps all memory at RAM */
#define RAM (201ull << 39)
HOT u8 *ram(u64 pa) { return at(RAM + pa - boot->ram_start); }

/* frames.c: calls with structures whose every byte is watched */
void issue(u16 port, void *params, u32 size, u32 answer, u32 length);
#define ISSUE(port, p, first) \
	issue(port, &(p), sizeof(p), __builtin_offsetof(__typeof__(p), first), sizeof((p).first))
extern int end_in_use; /* something else is at the end of memory */
#define PAINT 0xaa
#define FRESH(type, name) \
	struct type name; \
	memset(&name, PAINT, sizeof name)
#define PAINTED 0xaaaaaaaau
void unpainted(const char *file, int line, const u8 *p, u64 n); /* fails if one byte of them is not PAINT */
#define UNPAINTED(p, n) unpainted(__FILE__, __LINE__, p, n)

struct api {
	int version;
	int told; /* write has an answer */
	i32 (*open)(u64 name, i32 flags, i32 mode);
	i32 (*close)(i32 fd);
	i64 (*read)(i32 fd, u64 buf, u64 len);
	i64 (*write)(i32 fd, u64 buf, u64 len);
	i64 (*lseek)(i32 fd, i64 offset, u32 whence);
	i32 (*unlink)(u64 name);
};
extern const struct api api1, api2;
/* The one of the version that the kernel is of. */
#define native (INTERFACE == 1 ? &api1 : &api2)

i32 do_getdents(i32 fd, u64 buf, u64 len, u64 *bytes); /* 0, -errno or END; bytes are set at 0 */
i32 do_mkdir(u64 path);
i32 do_stat(u64 name, u32 kind, u64 attr);
i32 do_fstat(i32 fd, u64 attr);
void same_attr(const char *file, int line, const struct attr *got, const struct attr *want);
#define SAME_ATTR(got, want) same_attr(__FILE__, __LINE__, got, want)

/* smp.c: runs f on all processors and waits for all of them */
void on_all(void (*f)(u32 cpu));
NORETURN void wait_for_work(u32 cpu);
void halt_others(void); /* lets the other processors sleep for good */

/* Programs. */
struct program {
	const char *name;
	void (*run)(struct words *args); /* args begin with the name */
	int all; /* needs all processors; otherwise the others sleep */
};
extern const struct program boot_programs[], call_programs[], file_programs[], small_programs[], smp_programs[], hostile_programs[], net_programs[];

#endif
