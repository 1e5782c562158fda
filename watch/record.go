package watch

import (
	"syscall"
	"time"

	"github.com/isthmus-fs/isthmus/vfs"
)

// A Recorder is told of calls when they have ended.
type Recorder interface {
	// Record is called by the goroutine that serves the guest, which waits for it,
	// from any number of them at once. rec and its slices are valid until it
	// returns.
	Record(rec *Record)
}

// Record is one call of a guest's process and how it ended. What a call does not have
// is zero; [Op.Fields] says what it has.
type Record struct {
	Start    time.Time     // when it came here
	Duration time.Duration // until it was answered, waiting for locks included
	Op       Op
	// PID, UID and GID are those of the guest's process. Calls that the guest's
	// kernel makes for itself, such as writing back, have PID 0.
	PID, UID, GID uint32
	Errno         syscall.Errno // ENOENT also where the absence of a name is an answer
	// Node is what the call is about: what it found or made, if it did; otherwise
	// the directory that it was made in.
	Node   vfs.NodeID
	Handle vfs.Handle // vfs.NoHandle if there is none
	// Path is that of the file that the call is about, as [FS.Path] has it after
	// the call; empty if its node is not known. Calls that take a name have the
	// path of that name, whether it is there or not.
	Path []byte
	// Path2 belongs to the fields To, Target and Name.
	Path2  []byte
	Offset uint64
	// Length is what was asked for, in bytes; 0 in a lock that reaches to the end
	// of the file.
	Length uint64
	// Count is what came of it: bytes, entries of a directory, a position.
	Count uint64
	Flags uint32
	Mode  uint32 // permission bits, and the type where the call has one
	// Owner and Group are what a change of attributes sets.
	Owner, Group uint32
}

// Fields says which parts of a [Record] a call has beside those that all have.
type Fields uint16

const (
	HasHandle Fields = 1 << iota
	HasOffset
	HasLength
	HasCount // unless it failed
	HasFlags // see the comments at the Op
	HasMode
	HasTo     // Path2 is a second path
	HasTarget // Path2 is what a symbolic link leads to, never resolved
	HasName   // Path2 is the name of an extended attribute
	HasOwner
	HasGroup
)

// Op is a method of [vfs.FileSystem].
type Op uint8

const (
	OpLookup  Op = iota
	OpGetattr    // Handle may be vfs.NoHandle
	OpSetattr    // Flags is a vfs.SetAttrMask; what it does not name is 0
	OpStatx      // Flags are STATX_* that were asked for
	OpAccess     // Flags are R_OK, W_OK, X_OK
	OpReadlink
	OpSymlink
	OpMknod
	OpMkdir
	OpLink // To is the new name
	OpUnlink
	OpRmdir
	OpRename  // Flags are RENAME_*
	OpOpen    // Flags are O_*
	OpCreate  // Flags are O_*
	OpTmpfile // Flags are O_*; Path is that of the new file
	OpRead
	OpWrite
	OpFlush
	OpRelease
	OpFsync     // Flags is 1 for fdatasync(2)
	OpFallocate // Flags are FALLOC_FL_*
	OpLseek     // Flags is SEEK_*; Count is a position
	OpCopyRange // Offset is that of the source; To is the destination
	OpOpendir   // Flags are O_*
	OpReaddir   // Offset is a position that an earlier call gave; Count are entries
	OpReleasedir
	OpFsyncdir // Flags is 1 for fdatasync(2)
	OpStatfs
	OpSyncfs
	OpGetxattr // Length is the room for the value
	OpListxattr
	OpSetxattr // Length is that of the value; Flags are XATTR_*
	OpRemovexattr
	OpGetlk // Flags is F_RDLCK or F_WRLCK
	OpSetlk // Flags is F_RDLCK, F_WRLCK or F_UNLCK
	OpIoctl // Flags is the command
	NumOps
)

var ops = [NumOps]struct {
	name   string
	fields Fields
}{
	OpLookup:      {"lookup", 0},
	OpGetattr:     {"getattr", HasHandle},
	OpSetattr:     {"setattr", HasHandle | HasFlags},
	OpStatx:       {"statx", HasHandle | HasFlags},
	OpAccess:      {"access", HasFlags},
	OpReadlink:    {"readlink", HasCount},
	OpSymlink:     {"symlink", HasTarget},
	OpMknod:       {"mknod", HasMode},
	OpMkdir:       {"mkdir", HasMode},
	OpLink:        {"link", HasTo},
	OpUnlink:      {"unlink", 0},
	OpRmdir:       {"rmdir", 0},
	OpRename:      {"rename", HasTo | HasFlags},
	OpOpen:        {"open", HasHandle | HasFlags},
	OpCreate:      {"create", HasHandle | HasFlags | HasMode},
	OpTmpfile:     {"tmpfile", HasHandle | HasFlags | HasMode},
	OpRead:        {"read", HasHandle | HasOffset | HasLength | HasCount},
	OpWrite:       {"write", HasHandle | HasOffset | HasLength | HasCount},
	OpFlush:       {"flush", HasHandle},
	OpRelease:     {"release", HasHandle},
	OpFsync:       {"fsync", HasHandle | HasFlags},
	OpFallocate:   {"fallocate", HasHandle | HasOffset | HasLength | HasFlags},
	OpLseek:       {"lseek", HasHandle | HasOffset | HasCount | HasFlags},
	OpCopyRange:   {"copy_file_range", HasHandle | HasOffset | HasLength | HasCount | HasTo},
	OpOpendir:     {"opendir", HasHandle | HasFlags},
	OpReaddir:     {"readdir", HasHandle | HasOffset | HasCount},
	OpReleasedir:  {"releasedir", HasHandle},
	OpFsyncdir:    {"fsyncdir", HasHandle | HasFlags},
	OpStatfs:      {"statfs", 0},
	OpSyncfs:      {"syncfs", 0},
	OpGetxattr:    {"getxattr", HasName | HasLength | HasCount},
	OpListxattr:   {"listxattr", HasLength | HasCount},
	OpSetxattr:    {"setxattr", HasName | HasLength | HasFlags},
	OpRemovexattr: {"removexattr", HasName},
	OpGetlk:       {"getlk", HasHandle | HasOffset | HasLength | HasFlags},
	OpSetlk:       {"setlk", HasHandle | HasOffset | HasLength | HasFlags},
	OpIoctl:       {"ioctl", HasHandle | HasFlags},
}

// String returns the name of the call in small letters.
func (o Op) String() string {
	if o >= NumOps {
		return "unknown"
	}
	return ops[o].name
}

// Fields returns what a record of the call has.
func (o Op) Fields() Fields {
	if o >= NumOps {
		return 0
	}
	return ops[o].fields
}

// setFields says what a change of attributes has for what it sets.
var setFields = [...]struct {
	set vfs.SetAttrMask
	has Fields
}{{vfs.SetSize, HasLength}, {vfs.SetMode, HasMode}, {vfs.SetUID, HasOwner}, {vfs.SetGID, HasGroup}}

// Fields returns what this record has: as its Op, and for a change of attributes what
// is changed.
func (r *Record) Fields() Fields {
	f := r.Op.Fields()
	if r.Op == OpSetattr {
		for _, s := range setFields {
			if vfs.SetAttrMask(r.Flags)&s.set != 0 {
				f |= s.has
			}
		}
	}
	if r.Errno != 0 {
		f &^= HasCount
	}
	return f
}
