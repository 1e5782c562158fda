/* The uhyve interface, versions 1 to 3, to the byte. */
#ifndef INTERFACE_H
#define INTERFACE_H

#include "base.h"

enum {
	V1_WRITE = 0x400,
	V1_OPEN = 0x440,
	V1_CLOSE = 0x480,
	V1_READ = 0x500,
	V1_EXIT = 0x540,
	V1_LSEEK = 0x580,
	V1_NETWRITE = 0x640,
	V1_NETREAD = 0x680,
	V1_NETSTAT = 0x700,
	V1_CMDSIZE = 0x740,
	V1_CMDVAL = 0x780,
	V1_UART = 0x800,
	V1_UNLINK = 0x840,
	V1_SERIAL = 0x880,

	EXIT = 0x1010,
	SERIAL_BYTE = 0x1020,
	SERIAL = 0x1030,
	SERIAL_READ_BYTE = 0x1040,
	SERIAL_READ = 0x1050,
	WRITE = 0x1100,
	OPEN = 0x1110,
	CLOSE = 0x1120,
	READ = 0x1130,
	LSEEK = 0x1140,
	UNLINK = 0x1150,
	GETDENTS = 0x1160,
	STAT = 0x1170,
	FSTAT = 0x1180,
	MKDIR = 0x1190,
	SHM_OPEN = 0x1200,
	SHM_CLOSE = 0x1210,
};

/* Version 1, packed. */
struct v1_write { i32 fd; u64 buf, len; } PACKED;
struct v1_read { i32 fd; u64 buf, len; i64 ret; } PACKED;
struct v1_lseek { i32 fd; i64 offset; i32 whence; } PACKED;
struct v1_exit { i32 code; } PACKED;
struct v1_cmdsize { i32 argc, argsz[128], envc, envsz[128]; } PACKED;
struct v1_cmdval { u64 argv, envp; } PACKED;
struct v1_serial { u64 buf, len; } PACKED;

/* All versions, packed. */
struct open { u64 name; i32 flags, mode, ret; } PACKED;
struct close { i32 fd, ret; } PACKED;
struct unlink { u64 name; i32 ret; } PACKED;

/* Versions 2 and 3, aligned. */
struct rw { u64 len; i64 ret; u64 buf; i32 fd; };
struct lseek { i64 offset; u32 whence; i32 fd; };
struct serial { u64 len, buf; };
struct serial_read { u64 maxlen, len, buf; };
struct getdents { i32 fd; u64 buf, len; u32 tag; u64 payload; };
struct mkdir { u64 path, len; u32 tag; i32 error; };
struct stat { u64 name; u32 kind; u64 attr; u32 tag; i32 error; };
struct fstat { i32 fd; u64 attr; u32 tag; i32 error; };
struct timespec { i64 sec; i32 nsec; u32 pad; };
struct attr {
	u64 dev, ino, nlink;
	u32 mode, uid, gid, pad;
	u64 rdev;
	i64 size, blksize, blocks;
	struct timespec atime, mtime, ctime;
};
struct dirent { u64 ino; i64 off; u16 reclen; u8 type; char name[]; } PACKED;

#define SIZE(t, n) _Static_assert(sizeof(struct t) == (n), #t)
SIZE(v1_write, 20);
SIZE(v1_read, 28);
SIZE(v1_lseek, 16);
SIZE(v1_exit, 4);
SIZE(v1_cmdsize, 1032);
SIZE(v1_cmdval, 16);
SIZE(v1_serial, 16);
SIZE(open, 20);
SIZE(close, 8);
SIZE(unlink, 12);
SIZE(rw, 32);
SIZE(lseek, 16);
SIZE(serial, 16);
SIZE(serial_read, 24);
SIZE(getdents, 40);
SIZE(mkdir, 24);
SIZE(stat, 32);
SIZE(fstat, 24);
SIZE(attr, 120);
SIZE(dirent, 19);

enum { SUCCESS = 1, END = 2, ERROR = 2, GETDENTS_ERROR = 3 };
enum { FOLLOW = 0, NOFOLLOW = 1 };

/* Flags, modes and errors are those of Linux. */
enum {
	O_RDONLY = 0,
	O_WRONLY = 1,
	O_RDWR = 2,
	O_CREAT = 0100,
	O_EXCL = 0200,
	O_TRUNC = 01000,
	O_APPEND = 02000,
	O_NONBLOCK = 04000,
	O_DIRECTORY = 0200000,
	O_CLOEXEC = 02000000,
};
enum { SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE };
enum { S_IFDIR = 0040000, S_IFREG = 0100000, S_IFLNK = 0120000, S_IFMT = 0170000 };
enum { DT_DIR = 4, DT_REG = 8, DT_LNK = 10 };
enum {
	ENOENT = 2,
	EBADF = 9,
	EFAULT = 14,
	EEXIST = 17,
	ENOTDIR = 20,
	EISDIR = 21,
	EINVAL = 22,
	EMFILE = 24,
	ESPIPE = 29,
	EROFS = 30,
	ENAMETOOLONG = 36,
	ELOOP = 40,
	ENXIO = 6,
};

/* In version 1 the value that is written is the argument. RDI must not matter. */
HOT void call_v1(u16 port, u32 arg) {
	__asm__ volatile("outl %0, %1" ::"a"(arg), "d"(port), "D"(0xdeadbeefdeadbeefull) : "memory");
}

/* Later the argument is in RDI, and the value written means nothing. */
HOT void call_v2(u16 port, u64 arg) {
	__asm__ volatile("outl %0, %1" ::"a"(0x1234), "d"(port), "D"(arg) : "memory");
}

#endif
