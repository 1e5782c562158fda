/* Work for all processors. They wait until there is some, or until they are told to halt. */
#include "guest.h"

static void (*volatile work)(u32 cpu);
static volatile u32 turn, done;
static volatile int released;

NORETURN void wait_for_work(u32 cpu) {
	for (u32 seen = 0;;) {
		u32 now;
		while ((now = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) == seen) {
			if (released)
				__asm__ volatile("hlt");
			relax();
		}
		seen = now;
		work(cpu);
		__atomic_add_fetch(&done, 1, __ATOMIC_RELEASE);
	}
}

void halt_others(void) { released = 1; }

void on_all(void (*f)(u32 cpu)) {
	work = f;
	done = 0;
	__atomic_add_fetch(&turn, 1, __ATOMIC_RELEASE);
	f(0);
	while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) != boot->cpus - 1)
		relax();
}

/* meet waits until all processors have come. */
static void meet(volatile u32 *here) {
	__atomic_add_fetch(here, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(here, __ATOMIC_ACQUIRE) < boot->cpus)
		relax();
}

static void identity(u32 cpu) {
	u32 r[4], max[4];
	cpuid(0, 0, max);
	cpuid(1, 0, r);
	EQ(r[1] >> 24, cpu);
	static const u32 topology[] = {0xb, 0x1f};
	for (u32 i = 0; i < COUNT(topology); i++) {
		if (max[0] < topology[i])
			continue;
		cpuid(topology[i], 0, r);
		if (r[1] & 0xffff)
			EQ(r[3], cpu);
	}
	/* The local APIC itself, in memory that the machine has not mapped. */
	u64 base = rdmsr(0x1b);
	TRUE(base & 1 << 11);
	EQ(base >> 8 & 1, cpu == 0); /* the bootstrap processor */
	struct entry *e = &entries[cpu];
	EQ(e->rsi, cpu);
	EQ(e->rdi, addr(boot));
	EQ(e->rsp, entries[0].rsp);
	EQ(e->rflags, 2);
}

enum { ROUNDS = 40, RECORD = 32 };
static i32 shared, shared_out;
static u8 taken[MAX_CPUS * ROUNDS];

static i32 open_native(const char *name, i32 flags) { return native->open(addr(name), flags, 0600); }

static void fill(u8 *record, u32 cpu, u32 round) {
	for (u32 i = 0; i < RECORD; i++)
		record[i] = (u8)(cpu * 16 + i);
	record[0] = (u8)cpu, record[1] = (u8)round;
}

static int whole(const u8 *record) {
	for (u32 i = 2; i < RECORD; i++)
		if (record[i] != (u8)(record[0] * 16 + i))
			return 0;
	return 1;
}

/* The stubs with watched structures are for one processor. */
static i64 transfer(u32 write, i32 fd, void *buf, u64 len) {
#if INTERFACE == 1
	if (write) {
		struct v1_write w = {fd, addr(buf), len};
		call_v1(V1_WRITE, (u32)addr(&w));
		return (i64)len;
	}
	struct v1_read r = {fd, addr(buf), len, 0};
	call_v1(V1_READ, (u32)addr(&r));
	return r.ret;
#else
	struct rw p = {len, 0, addr(buf), fd};
	call_v2(write ? WRITE : READ, addr(&p));
	return p.ret;
#endif
}

/* All append to one file by one descriptor and by their own; read one by one
 * descriptor; and open and close others. */
static void together(u32 cpu) {
	static volatile u32 here;
	meet(&here);
	identity(cpu);
	u8 record[RECORD];
	struct open o = {addr("/data/appended"), O_WRONLY | O_APPEND, 0, 0};
	struct close c = {0, 0};
	call_v2(OPEN, addr(&o));
	TRUE(o.ret > 3);
	for (u32 i = 0; i < ROUNDS; i++) {
		fill(record, cpu, i);
		EQ(transfer(1, i & 1 ? shared_out : o.ret, record, RECORD), RECORD);
		struct open one = {addr(i & 1 ? "/ro/file" : "/data/absent"), O_RDONLY, 0, 0};
		call_v2(OPEN, addr(&one));
		EQ(one.ret > 3, i & 1);
		if (i & 1) {
			EQ(transfer(0, one.ret, record, 9), 9);
			TRUE(!memcmp(record, "read only", 9));
			c.fd = one.ret;
			call_v2(CLOSE, addr(&c));
			EQ(c.ret, 0);
		}
	}
	c.fd = o.ret;
	call_v2(CLOSE, addr(&c));
	EQ(c.ret, 0);
}

static void take(u32 cpu) {
	u8 record[RECORD];
	i64 n;
	while ((n = transfer(0, shared, record, RECORD)) > 0) {
		EQ(n, RECORD);
		TRUE(whole(record));
		if (record[0] >= MAX_CPUS || record[1] >= ROUNDS) {
			fail(__FILE__, __LINE__, "a record", record[0], record[1]);
			return;
		}
		__atomic_add_fetch(&taken[record[0] * ROUNDS + record[1]], 1, __ATOMIC_RELAXED);
	}
	EQ(n, 0);
	(void)cpu;
}

static void smp(struct words *args) {
	const char *cpus = option(args, "cpus");
	EQ(boot->cpus, cpus ? number(cpus) : 1);
	EQ(tree.cpus, boot->cpus);
	shared_out = open_native("/data/appended", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
	EQ(shared_out, 3);
	on_all(together);
	shared = open_native("/data/appended", O_RDONLY);
	on_all(take);
	for (u32 i = 0; i < boot->cpus * ROUNDS; i++)
		EQ(taken[i], 1);
	EQ(native->close(shared), 0);
	EQ(native->close(shared_out), 0);
	EQ(native->unlink(addr("/data/appended")), 0);
	for (u32 i = 0; i < boot->cpus; i++)
		EQ(entries[i].rsi, i);
}

/* Each does its share of the work, and all of it is done. */
static u64 sums[MAX_CPUS];

static void sum(u32 cpu) {
	u64 s = 0;
	for (u64 i = cpu; i < 100000; i += boot->cpus)
		s += i * i;
	sums[cpu] = s;
}

static void multicore_test(struct words *args) {
	on_all(sum);
	u64 all = 0;
	for (u32 i = 0; i < boot->cpus; i++) {
		TRUE(sums[i] != 0);
		all += sums[i];
	}
	EQ(all, 333328333350000ull);
	(void)args;
}

/* All end at once; the first that does gives the code. */
static void end(u32 cpu) {
	static volatile u32 here;
	meet(&here);
	quit((i32)(40 + cpu));
}

static void all_exit(struct words *args) {
	on_all(end);
	(void)args;
}

/* The last processor ends the machine while the others sleep or spin. */
static void last(u32 cpu) {
	if (cpu == boot->cpus - 1)
		quit(77);
	for (;;)
		if (cpu & 1)
			__asm__ volatile("hlt");
}

static void last_exits(struct words *args) {
	on_all(last);
	(void)args;
}

/* One waits for input that does not come; the other ends. */
static void wait_or_end(u32 cpu) {
	static volatile u32 here;
	if (cpu == 1) {
		meet(&here);
		static u8 room[8];
		transfer(0, 0, room, 8);
	} else if (cpu == 0) {
		meet(&here);
		for (u32 i = 0; i < 100000; i++)
			relax();
		quit(33);
	}
}

static void exit_while_reading(struct words *args) {
	on_all(wait_or_end);
	(void)args;
}

const struct program smp_programs[] = {
	{"smp", smp, 1},
	{"multicore_test", multicore_test, 1},
	{"all-exit", all_exit, 1},
	{"last-exits", last_exits, 1},
	{"exit-while-reading", exit_while_reading, 1},
	{0},
};
