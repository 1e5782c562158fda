/* Page tables of our own beside those that the machine made. */
#include "guest.h"

enum { PRESENT = 1, WRITABLE = 2, HUGE = 0x80 };

static u64 small_pages[VIRTUAL_PAGES] __attribute__((aligned(4096)));
static u64 small_pd[512] __attribute__((aligned(4096)));
static u64 small_pdpt[512] __attribute__((aligned(4096)));
static u64 ram_pd[4][512] __attribute__((aligned(4096)));
static u64 ram_pdpt[512] __attribute__((aligned(4096)));

static u64 *top(u64 va) { return (u64 *)at(cr3() & ~(PAGE - 1)) + (va >> 39 & 511); }

/* The image is mapped one to one, so that an address is a physical one, too. */
void map(u64 va, u64 entry) {
	for (u64 i = 0; i < VIRTUAL_PAGES / 512; i++)
		small_pd[i] = addr(small_pages + 512 * i) | PRESENT | WRITABLE;
	small_pdpt[0] = addr(small_pd) | PRESENT | WRITABLE;
	*top(VIRTUAL) = addr(small_pdpt) | PRESENT | WRITABLE;
	small_pages[(va - VIRTUAL) >> 12] = entry;
	invlpg(va);
}

void map_ram(void) {
	u64 pa = boot->ram_start;
	for (u64 i = 0; i < COUNT(ram_pd) * 512 && pa < boot->ram_end; i++, pa += LARGE) {
		ram_pd[i >> 9][i & 511] = pa | PRESENT | WRITABLE | HUGE;
		ram_pdpt[i >> 9] = addr(ram_pd[i >> 9]) | PRESENT | WRITABLE;
	}
	*top(RAM) = addr(ram_pdpt) | PRESENT | WRITABLE;
}
