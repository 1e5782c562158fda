/* Strings, text for the console, and failures. */
#include "guest.h"

#include <stdarg.h>

void *memset(void *p, int c, unsigned long n) {
	void *to = p;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return p;
}

void *memcpy(void *to, const void *from, unsigned long n) {
	void *d = to;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
	return to;
}

int memcmp(const void *a, const void *b, unsigned long n) {
	const u8 *x = a, *y = b;
	for (; n && *x == *y; n--)
		x++, y++;
	return n ? *x - *y : 0;
}

unsigned long strlen(const char *s) {
	unsigned long n = 0;
	while (s[n])
		n++;
	return n;
}

int begins(const char *s, const char *prefix) {
	while (*prefix && *s == *prefix)
		s++, prefix++;
	return !*prefix;
}

int equal(const char *a, const char *b) { return begins(a, b) && strlen(a) == strlen(b); }

char *copy(char *to, const char *from) {
	while ((*to = *from))
		to++, from++;
	return to;
}

i64 number(const char *s) {
	u64 v = 0;
	int minus = *s == '-';
	s += minus;
	u64 base = begins(s, "0x") ? 16 : 10;
	for (s += base == 16 ? 2 : 0; *s; s++)
		v = v * base + (*s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10);
	return minus ? -(i64)v : (i64)v;
}

void lock(volatile int *l) {
	while (__atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE))
		relax();
}

void unlock(volatile int *l) { __atomic_store_n(l, 0, __ATOMIC_RELEASE); }

static char line[1024];
static u32 used;

/* write_line sends text to the console in the way of the kernel's version. */
static void write_line(const char *s, u32 n) {
#ifdef LEGACY
	for (u32 i = 0; i < n; i++)
		out8(boot->serial_port, s[i]);
#elif INTERFACE == 1
	struct v1_serial p = {addr(s), n};
	call_v1(V1_SERIAL, (u32)addr(&p));
#else
	struct serial p = {n, addr(s)};
	call_v2(SERIAL, addr(&p));
#endif
}

void flush_line(void) {
	if (used)
		write_line(line, used);
	used = 0;
}

static void put(char c) {
	line[used++] = c;
	if (c == '\n' || used == sizeof line)
		flush_line();
}

static void put_number(u64 v, u32 base) {
	char digits[24];
	int n = 0;
	do {
		digits[n++] = "0123456789abcdef"[v % base];
	} while (v /= base);
	while (n)
		put(digits[--n]);
}

static volatile int printing;

void print(const char *format, ...) {
	va_list ap;
	va_start(ap, format);
	lock(&printing);
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		case 'c':
			put((char)va_arg(ap, int));
			break;
		case 'x':
			put_number(va_arg(ap, u64), 16);
			break;
		case 'd': {
			i64 v = va_arg(ap, i64);
			if (v < 0)
				put('-');
			put_number(v < 0 ? -(u64)v : (u64)v, 10);
		}
		}
	}
	unlock(&printing);
	va_end(ap);
}

volatile int failures;

void fail(const char *file, int line, const char *what, i64 got, i64 want) {
	if (__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED) <= 30)
		print("FAIL %s:%d: %s: got %d (0x%x), want %d (0x%x)\n", file, (i64)line, what, got, got, want, want);
}

void quit(i32 code) {
	flush_line();
#if INTERFACE == 1
	struct v1_exit p = {code};
	call_v1(V1_EXIT, (u32)addr(&p));
#else
	call_v2(EXIT, 0xabcdef0000000000ull | (u32)code);
#endif
	for (;;)
		__asm__ volatile("hlt");
}
