package audit

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// flagNames say how the flags of an op are written: the name of the number in the bits
// of mask, and the names of all other bits that are set.
type flagNames struct {
	mask    uint32
	numbers []string
	bits    []bitName
}

// bitName names bits. What needs more bits comes before what needs some of them.
type bitName struct {
	bits uint32
	name string
}

// Bits of linux/fs.h and of asm-generic/fcntl.h that package unix has no fit names for.
const (
	fmodeExec = 0x20   // __FMODE_EXEC: opened to be run
	largeFile = 0x8000 // O_LARGEFILE, which is 0 for programs of 64 bits
)

var openFlags = flagNames{unix.O_ACCMODE, []string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}, []bitName{
	{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"},
	{unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_SYNC, "O_SYNC"}, {unix.O_DSYNC, "O_DSYNC"},
	{unix.O_ASYNC, "O_ASYNC"}, {unix.O_DIRECT, "O_DIRECT"}, {largeFile, "O_LARGEFILE"},
	{unix.O_TMPFILE, "O_TMPFILE"}, {unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_NOATIME, "O_NOATIME"}, {unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"}, {fmodeExec, "FMODE_EXEC"},
}}

var lockTypes = flagNames{^uint32(0), []string{unix.F_RDLCK: "F_RDLCK", unix.F_WRLCK: "F_WRLCK", unix.F_UNLCK: "F_UNLCK"}, nil}

var datasync = flagNames{bits: []bitName{{1, "datasync"}}}

// flags has an entry for each op that has flags. An empty one is for bits without names.
var flags = [watch.NumOps]flagNames{
	watch.OpSetattr: {bits: []bitName{
		{uint32(vfs.SetMode), "mode"}, {uint32(vfs.SetUID), "uid"}, {uint32(vfs.SetGID), "gid"}, {uint32(vfs.SetSize), "size"},
		{uint32(vfs.SetAtime), "atime"}, {uint32(vfs.SetMtime), "mtime"}, {uint32(vfs.SetAtimeNow), "atime_now"},
		{uint32(vfs.SetMtimeNow), "mtime_now"}, {uint32(vfs.SetCtime), "ctime"}, {uint32(vfs.SetKillSUIDGID), "kill_suidgid"},
	}},
	watch.OpAccess: {bits: []bitName{{unix.R_OK, "R_OK"}, {unix.W_OK, "W_OK"}, {unix.X_OK, "X_OK"}}},
	watch.OpRename: {bits: []bitName{
		{unix.RENAME_NOREPLACE, "RENAME_NOREPLACE"}, {unix.RENAME_EXCHANGE, "RENAME_EXCHANGE"}, {unix.RENAME_WHITEOUT, "RENAME_WHITEOUT"},
	}},
	watch.OpOpen:     openFlags,
	watch.OpCreate:   openFlags,
	watch.OpTmpfile:  openFlags,
	watch.OpOpendir:  openFlags,
	watch.OpFsync:    datasync,
	watch.OpFsyncdir: datasync,
	watch.OpFallocate: {bits: []bitName{
		{unix.FALLOC_FL_KEEP_SIZE, "FALLOC_FL_KEEP_SIZE"}, {unix.FALLOC_FL_PUNCH_HOLE, "FALLOC_FL_PUNCH_HOLE"},
		{unix.FALLOC_FL_COLLAPSE_RANGE, "FALLOC_FL_COLLAPSE_RANGE"}, {unix.FALLOC_FL_ZERO_RANGE, "FALLOC_FL_ZERO_RANGE"},
		{unix.FALLOC_FL_INSERT_RANGE, "FALLOC_FL_INSERT_RANGE"}, {unix.FALLOC_FL_UNSHARE_RANGE, "FALLOC_FL_UNSHARE_RANGE"},
	}},
	watch.OpLseek: {mask: ^uint32(0), numbers: []string{
		unix.SEEK_SET: "SEEK_SET", unix.SEEK_CUR: "SEEK_CUR", unix.SEEK_END: "SEEK_END", unix.SEEK_DATA: "SEEK_DATA", unix.SEEK_HOLE: "SEEK_HOLE",
	}},
	watch.OpSetxattr: {bits: []bitName{{unix.XATTR_CREATE, "XATTR_CREATE"}, {unix.XATTR_REPLACE, "XATTR_REPLACE"}}},
	watch.OpGetlk:    lockTypes,
	watch.OpSetlk:    lockTypes,
}

// appendFlagField appends the flags of a call, if it has any.
func appendFlagField(b []byte, op watch.Op, v uint32) []byte {
	const key = `,"flags":"`
	b = append(b, key...)
	begin := len(b)
	b = flags[op].append(b, v)
	if len(b) == begin {
		return b[:begin-len(key)]
	}
	return append(b, '"')
}

func (f *flagNames) append(b []byte, v uint32) []byte {
	begin := len(b)
	next := func() {
		if len(b) != begin {
			b = append(b, '|')
		}
	}
	if i := v & f.mask; uint64(i) < uint64(len(f.numbers)) {
		b = append(b, f.numbers[i]...)
		v &^= f.mask
	}
	for i := range f.bits {
		if n := &f.bits[i]; v&n.bits == n.bits {
			next()
			b = append(b, n.name...)
			v &^= n.bits
		}
	}
	if v != 0 {
		next()
		b = append(b, "0x"...)
		b = strconv.AppendUint(b, uint64(v), 16)
	}
	return b
}
