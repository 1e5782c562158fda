/* The guests of uhyve's own tests, told again: the same names, the same steps. Where one
 * of theirs panics, so does ours, with the code that Hermit's panic has. */
#include "calls.h"

NORETURN static void panic(const char *why, i64 got) {
	print("panic: %s: %d\n", why, got);
	quit(-1);
}

static i64 must(const char *what, i64 got) {
	if (got < 0)
		panic(what, got);
	return got;
}

static i32 open_file(const char *name, i32 flags) { return (i32)must(name, native->open(path(name), flags, 0644)); }
static void remove_file(const char *name) { must(name, native->unlink(path(name))); }

static void put(i32 fd, const char *s) {
	i64 n = (i64)strlen(s);
	if (must("write", native->write(fd, addr(s), (u64)n)) != n)
		panic("a short write", n);
}

static void expect(i32 fd, const char *want) {
	memset(io, 0, 100);
	i64 n = must("read", native->read(fd, addr(io), 99));
	if (n != (i64)strlen(want) || memcmp(io, want, (u64)n))
		panic("other content", n);
}

static void make_and_read(const char *name) {
	i32 fd = open_file(name, O_WRONLY | O_CREAT | O_TRUNC);
	put(fd, "Hello, world!");
	must("close", native->close(fd));
	fd = open_file(name, O_RDONLY);
	expect(fd, "Hello, world!");
	must("close", native->close(fd));
}

static const char *name_of(struct words *args, const char *otherwise) {
	const char *name = option(args, "name");
	return name ? name : otherwise;
}

static void create_mapped_parent_nonpresent_file(struct words *args) {
	make_and_read("/uhyve_mount/file");
	remove_file("/uhyve_mount/file");
	(void)args;
}

static void create_write_mapped_nonpresent_file(struct words *args) {
	make_and_read("/root/foo.txt");
	(void)args;
}

static void create_write_unmapped_nonpresent_file(struct words *args) {
	make_and_read("/root/foo.txt");
	remove_file("/root/foo.txt");
	(void)args;
}

static void remove(struct words *args) { remove_file(name_of(args, "/root/file_to_remove.txt")); }

static i32 made(struct words *args) {
	i32 fd = open_file(name_of(args, "/root/opened.txt"), O_RDWR | O_CREAT);
	put(fd, "Hello, world!");
	return fd;
}

static void fd_open_remove_close(struct words *args) {
	i32 fd = made(args);
	remove_file(name_of(args, "/root/opened.txt"));
	must("close", native->close(fd));
}

static void fd_open_remove_before_and_after_closing(struct words *args) {
	fd_open_remove_close(args);
	remove_file(name_of(args, "/root/opened.txt"));
}

static void fd_remove_twice_before_closing(struct words *args) {
	i32 fd = made(args);
	remove_file(name_of(args, "/root/opened.txt"));
	remove_file(name_of(args, "/root/opened.txt"));
	must("close", native->close(fd));
}

static void open_read_only_write(struct words *args) {
	i32 fd = open_file(name_of(args, "/root/read_only.txt"), O_RDONLY);
	WRITE_IS(native, fd, addr("Hello, world!"), 13, -EBADF);
	expect(fd, "as it was");
	must("close", native->close(fd));
}

static void fd_write_to_fd(struct words *args) {
	put(1, "Wrote to stdout manually!\n");
	put(2, "Wrote to stderr manually!\n");
	i32 fd = open_file("/root/leaked.txt", O_RDWR | O_CREAT);
	if (fd != 3)
		panic("the first descriptor", fd);
	WRITE_IS(native, 42, addr("x"), 1, -EBADF);
	put(fd, "Wrote to a leaked descriptor");
	must("lseek", native->lseek(fd, 0, SEEK_SET));
	expect(fd, "Wrote to a leaked descriptor");
	(void)args;
}

static void lseek_test(struct words *args) {
	i32 fd = open_file("/root/lseek_file", O_RDWR | O_CREAT);
	put(fd, "lseek is a syscall.");
	expect(fd, "");
	EQ(native->lseek(fd, 0, SEEK_SET), 0);
	expect(fd, "lseek is a syscall.");
	EQ(native->lseek(fd, 5, SEEK_SET), 5);
	expect(fd, " is a syscall.");
	EQ(native->lseek(fd, 0, SEEK_CUR), 19);
	must("close", native->close(fd));
	(void)args;
}

static void mounts_test(struct words *args) {
	static const struct { const char *name, *content; } files[] = {
		{"/testdir1/test_a.txt", "12345"},
		{"/testdir2/test_b.txt", "abcde"},
		{"/testdir4/test_c.txt", "a1b2c3"},
		{"/a/very/deep/path/test_b.txt", "abcde"},
		{"/anothermountpoint/test_a.txt", "12345"},
	};
	for (u32 i = 0; i < COUNT(files); i++) {
		i32 fd = open_file(files[i].name, O_RDONLY);
		expect(fd, files[i].content);
		must("close", native->close(fd));
	}
	(void)args;
}

static void getdents_test(struct words *args) {
	i32 fd = open_file("/testdir", O_RDONLY | O_DIRECTORY);
	u64 bytes = 0;
	u32 seen = 0;
	must("getdents", -(i64)(do_getdents(fd, addr(io), 4096, &bytes) != 0));
	for (u64 at = 0; at < bytes;) {
		struct dirent *d = (struct dirent *)(io + at);
		if (d->reclen == 0)
			panic("a record", (i64)at);
		if (equal(d->name, ".") || equal(d->name, ".."))
			EQ(d->type, DT_DIR);
		else if (equal(d->name, "file"))
			EQ(d->type, DT_REG);
		else
			panic(d->name, d->type);
		seen++;
		at += d->reclen;
	}
	EQ(seen, 3);
	must("close", native->close(fd));
	(void)args;
}

static void looks_like_a_file(const struct attr *a) {
	TRUE(a->mode != 0 && a->size != 0 && a->blocks != 0 && a->atime.sec != 0);
	EQ(a->mode & S_IFMT, S_IFREG);
}

static void hypercall_stat(struct words *args) {
	static struct attr a, b;
	must("stat", do_stat(path("/root/stat.txt"), FOLLOW, addr(&a)));
	must("lstat", do_stat(path("/root/stat.txt"), NOFOLLOW, addr(&b)));
	looks_like_a_file(&a);
	SAME_ATTR(&a, &b);
	(void)args;
}

static void hypercall_fstat(struct words *args) {
	static struct attr a;
	i32 fd = open_file("/root/stat.txt", O_RDONLY);
	must("fstat", do_fstat(fd, addr(&a)));
	looks_like_a_file(&a);
	must("close", native->close(fd));
	(void)args;
}

static void hypercall_mkdir(struct words *args) {
	static const char *const files[] = {"/root/made/a.txt", "/root/made/b.txt", "/root/made/c.txt"};
	must("mkdir", do_mkdir(path("/root/made")));
	for (u32 i = 0; i < COUNT(files); i++) {
		i32 fd = open_file(files[i], O_WRONLY | O_CREAT | O_EXCL);
		put(fd, "Hello, world!");
		must("close", native->close(fd));
	}
	(void)args;
}

static void env(struct words *args) {
	for (int i = 0; i < kernel_args.n; i++)
		if (begins(kernel_args.v[i], "env="))
			print("%s\n", kernel_args.v[i] + 4);
	(void)args;
}

/* cat PATH */
static void cat(struct words *args) {
	i32 fd = open_file(args->v[1], O_RDONLY);
	for (i64 n; (n = must("read", native->read(fd, addr(io), sizeof io))) > 0;)
		native->write(1, addr(io), (u64)n);
	must("close", native->close(fd));
}

static void panic_test(struct words *args) {
	panic("as was asked for", 0);
	(void)args;
}

static void serial(struct words *args) {
	for (const char *s = "Hello from serial!\n"; *s; s++)
		call_v2(SERIAL_BYTE, (u8)*s);
	static const char *const texts[] = {"ABCD\n", "1234ASDF!@#$\n"};
	for (u32 i = 0; i < COUNT(texts); i++) {
		struct serial p = {strlen(texts[i]), addr(texts[i])};
		call_v2(SERIAL, addr(&p));
	}
	(void)args;
}

const struct program file_programs[] = {
	{"create_mapped_parent_nonpresent_file", create_mapped_parent_nonpresent_file, 0},
	{"create_write_mapped_nonpresent_file", create_write_mapped_nonpresent_file, 0},
	{"create_write_unmapped_nonpresent_file", create_write_unmapped_nonpresent_file, 0},
	{"remove_file", remove, 0},
	{"fd_open_remove_close", fd_open_remove_close, 0},
	{"fd_open_remove_before_and_after_closing", fd_open_remove_before_and_after_closing, 0},
	{"fd_remove_twice_before_closing", fd_remove_twice_before_closing, 0},
	{"open_read_only_write", open_read_only_write, 0},
	{"fd_write_to_fd", fd_write_to_fd, 0},
	{"lseek_test", lseek_test, 0},
	{"mounts_test", mounts_test, 0},
	{"getdents_test", getdents_test, 0},
	{"hypercall_stat", hypercall_stat, 0},
	{"hypercall_fstat", hypercall_fstat, 0},
	{"hypercall_mkdir", hypercall_mkdir, 0},
	{"env", env, 0},
	{"panic_test", panic_test, 0},
	{"cat", cat, 0},
	{"serial", serial, 0},
	{0},
};
