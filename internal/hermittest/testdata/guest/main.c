/* Chooses the program by the application's words: NAME [KEY=VALUE]... The guest ends
 * with code=N, or with 1 if something was not as it had to be. */
#include "guest.h"

struct boot_info *boot;
struct entry entries[MAX_CPUS];

#ifdef LEGACY
/* asked are the application's words as old kernels ask for them. */
static struct words asked;

static void ask(void) {
	static struct v1_cmdsize size;
	static struct v1_cmdval val;
	static u64 slots[128], env_slots[128];
	static char room[16 << 10], env_room[16 << 10];
	call_v1(V1_CMDSIZE, (u32)addr(&size));
	char *p = room;
	for (i32 i = 0; i < size.argc; p += size.argsz[i++])
		slots[i] = addr(p);
	char *e = env_room;
	for (i32 i = 0; i < size.envc; e += size.envsz[i++])
		env_slots[i] = addr(e);
	if (p > room + sizeof room || e > env_room + sizeof env_room) {
		fail(__FILE__, __LINE__, "the command line is too long", p - room, e - env_room);
		return;
	}
	val.argv = addr(slots), val.envp = addr(env_slots);
	call_v1(V1_CMDVAL, (u32)addr(&val));
	i32 first = 1;
	for (i32 i = size.argc - 1; i > 0; i--)
		if (equal(at(slots[i]), "--"))
			first = i + 1;
	for (i32 i = first; i < size.argc; i++)
		asked.v[asked.n++] = at(slots[i]);
}
#endif

static const struct program *find(const char *name) {
	static const struct program *const tables[] = {
		boot_programs, call_programs, file_programs, small_programs, smp_programs, hostile_programs,
		net_programs,
	};
	for (u32 t = 0; t < COUNT(tables); t++)
		for (const struct program *p = tables[t]; p->name; p++)
			if (equal(p->name, name))
				return p;
	return 0;
}

__attribute__((visibility("hidden"))) NORETURN void enter(struct entry *e) {
	u32 cpu = (u32)e->rsi;
	if (cpu >= MAX_CPUS)
		for (;;)
			__asm__ volatile("hlt");
	entries[cpu] = *e;
	if (cpu != 0)
		wait_for_work(cpu);
	boot = at(e->rdi);
	map_ram();
	read_tree();
	struct words *args = &app_args;
#ifdef LEGACY
	ask();
	args = &asked;
#endif
	const struct program *p = args->n ? find(args->v[0]) : 0;
	if (!p) {
		print("no program %s\n", args->n ? args->v[0] : "is asked for");
		quit(2);
	}
	if (!p->all)
		halt_others();
	p->run(args);
	const char *code = option(args, "code");
	quit(failures ? 1 : code ? (i32)number(code) : 0);
}
