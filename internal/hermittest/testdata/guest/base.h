/* Types, instructions and strings: what there is without a C library. */
#ifndef BASE_H
#define BASE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#define PACKED __attribute__((packed))
#define NORETURN __attribute__((noreturn))
#define HOT __attribute__((always_inline)) static inline
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE 4096ull
#define LARGE (2ull << 20)

HOT void out8(u16 port, u8 v) { __asm__ volatile("outb %0, %1" ::"a"(v), "d"(port) : "memory"); }
HOT void out16(u16 port, u16 v) { __asm__ volatile("outw %0, %1" ::"a"(v), "d"(port) : "memory"); }
HOT void out32(u16 port, u32 v) { __asm__ volatile("outl %0, %1" ::"a"(v), "d"(port) : "memory"); }
HOT u8 in8(u16 port) {
	u8 v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "d"(port) : "memory");
	return v;
}
HOT u16 in16(u16 port) {
	u16 v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "d"(port) : "memory");
	return v;
}
HOT u32 in32(u16 port) {
	u32 v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "d"(port) : "memory");
	return v;
}
HOT u64 rdtsc(void) {
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
HOT u64 rdmsr(u32 msr) {
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
HOT void cpuid(u32 leaf, u32 sub, u32 r[4]) {
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}
HOT u64 cr0(void) {
	u64 v;
	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}
HOT u64 cr3(void) {
	u64 v;
	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}
HOT u64 cr4(void) {
	u64 v;
	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
HOT void invlpg(u64 va) { __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory"); }
HOT void relax(void) { __asm__ volatile("pause" ::: "memory"); }
HOT u64 addr(const void *p) { return (u64)p; }
HOT void *at(u64 a) { return (void *)a; }

void *memset(void *p, int c, unsigned long n);
void *memcpy(void *to, const void *from, unsigned long n);
int memcmp(const void *a, const void *b, unsigned long n);
unsigned long strlen(const char *s);
int equal(const char *a, const char *b);
int begins(const char *s, const char *prefix);
char *copy(char *to, const char *from); /* returns where the NUL is */
i64 number(const char *s);              /* decimal, or hexadecimal behind 0x */

#endif
