package fusetest

import (
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Sample is a valid request.
type Sample struct {
	Name    string // the opcode's, and more where there are several of one
	Op      fuse.Opcode
	Request []byte
	Reply   int // room that Linux gives for the reply, header included; 0 for none
}

// Samples returns valid requests of every opcode, as a guest sends them that
// agreed on all that [Linux] offers: material for truncation, mutation and
// fuzzing. INIT and DESTROY are the first and the last.
func Samples() []Sample {
	var list []Sample
	add := func(name string, op fuse.Opcode, reply int, args Append, ext []byte) {
		h := Header{Op: op, Unique: uint64(2 * (len(list) + 1)), Node: 1, UID: 1000, GID: 1001, PID: 1002}
		if reply >= 0 {
			reply += OutHeaderSize
		} else {
			reply = 0
		}
		list = append(list, Sample{name, op, Request(h, args, ext), reply})
	}
	plain := func(op fuse.Opcode, reply int, args Append) { add(op.String(), op, reply, args, nil) }
	none := Append(nil)
	const noReply = -1

	in := Linux()
	plain(fuse.INIT, InitSize, none.U32(in.Major).U32(in.Minor).U32(in.MaxReadahead).
		U32(uint32(in.Flags)).U32(uint32(in.Flags>>32)).Zero(44))
	plain(fuse.LOOKUP, EntrySize, none.Str("name"))
	plain(fuse.FORGET, noReply, none.U64(3))
	plain(fuse.GETATTR, AttrSize, none.U32(1).U32(0).U64(3))
	plain(fuse.SETATTR, AttrSize, none.U32(uint32(vfs.SetMode|vfs.SetSize|vfs.SetMtime)).U32(0).U64(3).U64(100).
		U64(0).U64(1).U64(2).U64(3).U32(4).U32(5).U32(6).U32(0o600).U32(0).U32(7).U32(8).U32(0))
	plain(fuse.READLINK, 4095, none)
	ext := append(GroupsExt(5), SecurityExt("security.selinux", "system_u:object_r:etc_t:s0")...)
	add("SYMLINK", fuse.SYMLINK, EntrySize, none.Str("name").Str("../target"), ext)
	add("MKNOD", fuse.MKNOD, EntrySize, none.U32(unix.S_IFIFO|0o666).U32(0).U32(0o22).U32(0).Str("name"), ext)
	add("MKDIR", fuse.MKDIR, EntrySize, none.U32(0o777).U32(0o22).Str("name"), ext)
	plain(fuse.UNLINK, 0, none.Str("name"))
	plain(fuse.RMDIR, 0, none.Str("name"))
	plain(fuse.RENAME, 0, none.U64(1).Str("old").Str("new"))
	plain(fuse.LINK, EntrySize, none.U64(2).Str("name"))
	plain(fuse.OPEN, OpenSize, none.U32(unix.O_RDWR).U32(1))
	rw := func(size uint32) Append { return none.U64(3).U64(4096).U32(size).U32(0).U64(9).U32(unix.O_RDWR).U32(0) }
	plain(fuse.READ, 64, rw(64))
	plain(fuse.WRITE, 8, rw(64).Zero(64))
	plain(fuse.STATFS, StatfsSize, none)
	release := none.U64(3).U32(unix.O_RDWR).U32(2).U64(9)
	plain(fuse.RELEASE, 0, release)
	plain(fuse.FSYNC, 0, none.U64(3).U32(1).U32(0))
	plain(fuse.SETXATTR, 0, none.U32(5).U32(1).U32(1).U32(0).Str("user.name").Bytes([]byte("value")))
	plain(fuse.GETXATTR, 256, none.U32(256).U32(0).Str("user.name"))
	add("GETXATTR-length", fuse.GETXATTR, 8, none.U64(0).Str("user.name"), nil)
	plain(fuse.LISTXATTR, 512, none.U32(512).U32(0))
	add("LISTXATTR-length", fuse.LISTXATTR, 8, none.U64(0), nil)
	plain(fuse.REMOVEXATTR, 0, none.Str("user.name"))
	plain(fuse.FLUSH, 0, none.U64(3).U64(0).U64(9))
	plain(fuse.OPENDIR, OpenSize, none.U32(unix.O_DIRECTORY).U32(0))
	plain(fuse.READDIR, 256, none.U64(3).U64(0).U32(256).U32(0).U64(0).U32(0).U32(0))
	plain(fuse.RELEASEDIR, 0, release)
	plain(fuse.FSYNCDIR, 0, none.U64(3).U32(0).U32(0))
	lock := none.U64(3).U64(9).U64(0).U64(vfs.MaxLockEnd).U32(unix.F_WRLCK).U32(1002).U32(0).U32(0)
	plain(fuse.GETLK, 24, lock)
	plain(fuse.SETLK, 0, lock)
	plain(fuse.SETLKW, 0, lock)
	plain(fuse.ACCESS, 0, none.U32(4).U32(0))
	add("CREATE", fuse.CREATE, EntrySize+OpenSize, none.U32(unix.O_RDWR).U32(unix.S_IFREG|0o666).U32(0o22).U32(0).Str("name"), ext)
	plain(fuse.INTERRUPT, noReply, none.U64(2))
	plain(fuse.BMAP, 8, none.U64(0).U64(4096))
	plain(fuse.IOCTL, 16+28, none.U64(3).U32(0).U32(0x401c5820).U64(0).U32(28).U32(28).Zero(28))
	plain(fuse.POLL, 8, none.U64(3).U64(0).U64(0))
	plain(fuse.NOTIFY_REPLY, noReply, none.Zero(40))
	plain(fuse.BATCH_FORGET, noReply, none.U32(2).U32(0).U64(2).U64(1).U64(3).U64(2))
	plain(fuse.FALLOCATE, 0, none.U64(3).U64(0).U64(4096).U32(1).U32(0))
	plain(fuse.READDIRPLUS, 1024, none.U64(3).U64(0).U32(1024).U32(0).U64(0).U32(0).U32(0))
	plain(fuse.RENAME2, 0, none.U64(1).U32(1).U32(0).Str("old").Str("new"))
	plain(fuse.LSEEK, 8, none.U64(3).U64(100).U32(unix.SEEK_DATA).U32(0))
	copyRange := none.U64(3).U64(0).U64(2).U64(4).U64(100).U64(4096).U64(0)
	plain(fuse.COPY_FILE_RANGE, 8, copyRange)
	plain(fuse.SETUPMAPPING, 0, none.Zero(40))
	plain(fuse.REMOVEMAPPING, 0, none.U32(1).Zero(16))
	plain(fuse.SYNCFS, 0, none.U64(0))
	add("TMPFILE", fuse.TMPFILE, EntrySize+OpenSize, none.U32(unix.O_RDWR).U32(unix.S_IFREG|0o666).U32(0o22).U32(0).Str("/"), ext)
	plain(fuse.STATX, StatxSize, none.U32(1).U32(0).U64(3).U32(0).U32(0xfff))
	plain(fuse.COPY_FILE_RANGE_64, 8, copyRange)
	plain(fuse.DESTROY, 0, none)
	return list
}
