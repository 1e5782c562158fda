/* What the tests of the calls share. */
#ifndef CALLS_H
#define CALLS_H

#include "guest.h"

extern u8 io[64 << 10];
u64 path(const char *s); /* its physical address, until the next */
u8 big_byte(u64 i);      /* of the file big */

void read_is(const char *file, int line, const struct api *api, i32 fd, u64 len, const void *want, i64 n);
void write_is(const char *file, int line, const struct api *api, i32 fd, u64 buf, u64 len, i64 want);
void lseek_is(const char *file, int line, const struct api *api, i32 fd, i64 offset, u32 whence, i64 want);
void content_is(const char *file, int line, const struct api *api, const char *name, const char *want);
#define READ_IS(api, fd, len, want, n) read_is(__FILE__, __LINE__, api, fd, len, want, n)
#define WRITE_IS(api, fd, buf, len, want) write_is(__FILE__, __LINE__, api, fd, buf, len, want)
#define LSEEK_IS(api, fd, offset, whence, want) lseek_is(__FILE__, __LINE__, api, fd, offset, whence, want)
#define CONTENT(api, name, want) content_is(__FILE__, __LINE__, api, name, want)

void file_calls(const struct api *api, struct words *args);

#endif
