package fsx

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// call is a kind of step that an actor makes, mostly a system call.
type call int

const (
	callOpen call = iota
	callClose
	callPread
	callRead // lseek and read
	callReadv
	callPwrite
	callWrite // lseek and write
	callWritev
	callTruncate  // by name
	callFtruncate // by descriptor
	callFallocate
	callMap
	callUnmap
	callLoad
	callStore
	callMsync
	callCopy
	callExtents
	callFsync
	callFdatasync
	callDrop
	callRename
	callUnlink
	callLink
	callSize  // by descriptor
	callStat  // the size by name
	callChurn // writes and reads back, again and again
	callReset // closes everything and goes to another directory
)

var callNames = [...]string{
	callOpen: "open", callClose: "close",
	callPread: "pread", callRead: "read", callReadv: "preadv",
	callPwrite: "pwrite", callWrite: "write", callWritev: "pwritev",
	callTruncate: "truncate", callFtruncate: "ftruncate", callFallocate: "fallocate",
	callMap: "mmap", callUnmap: "munmap", callLoad: "load", callStore: "store", callMsync: "msync",
	callCopy: "copy_file_range", callExtents: "SEEK_DATA and SEEK_HOLE",
	callFsync: "fsync", callFdatasync: "fdatasync", callDrop: "fsync and drop from the cache",
	callRename: "rename", callUnlink: "unlink", callLink: "link",
	callSize: "fstat", callStat: "stat", callChurn: "churn", callReset: "reset",
}

// op is one step with its arguments. It is plain data, because it is sent to
// the other process and printed.
type op struct {
	Call     call
	Slot     int    // of the descriptor
	Name, To string // of files
	Flags    int    // of open and fallocate
	Off, Len int64
	Parts    []int  // lengths of the pieces of Len
	Data     []byte // what is written
	From     int    // slot that is copied from
	FromOff  int64
	Rounds   int    // of churn
	Seed     uint64 // of what churn writes
}

// String is what a failure shows. What is written is told by the step alone.
func (o op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", callNames[o.Call])
	switch o.Call {
	case callOpen:
		fmt.Fprintf(&b, " %s as %d with %s", o.Name, o.Slot, flagNames(o.Flags, openFlags))
	case callRename, callLink:
		fmt.Fprintf(&b, " %s %s", o.Name, o.To)
	case callTruncate:
		fmt.Fprintf(&b, " %s to %d", o.Name, o.Len)
	case callUnlink, callStat, callReset:
		fmt.Fprintf(&b, " %s", o.Name)
	default:
		fmt.Fprintf(&b, " %d", o.Slot)
	}
	switch o.Call {
	case callFtruncate:
		fmt.Fprintf(&b, " to %d", o.Len)
	case callFallocate:
		fmt.Fprintf(&b, " with %s, %d at %d", flagNames(o.Flags, fallocFlags), o.Len, o.Off)
	case callPread, callRead, callReadv, callPwrite, callWrite, callWritev, callLoad, callStore:
		fmt.Fprintf(&b, ", %d at %d", o.Len, o.Off)
	case callChurn:
		fmt.Fprintf(&b, ", %d at %d, %d times", o.Len, o.Off, o.Rounds)
	case callCopy:
		fmt.Fprintf(&b, ", %d at %d, from %d at %d", o.Len, o.Off, o.From, o.FromOff)
	}
	if len(o.Parts) > 1 {
		fmt.Fprintf(&b, " in %d", o.Parts)
	}
	return b.String()
}

type flagName struct {
	flag int
	name string
}

var (
	openFlags = []flagName{
		{unix.O_RDWR, "O_RDWR"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_CREAT, "O_CREAT"}, {unix.O_TRUNC, "O_TRUNC"},
		{unix.O_APPEND, "O_APPEND"}, {unix.O_DIRECT, "O_DIRECT"}, {unix.O_DSYNC, "O_DSYNC"},
	}
	fallocFlags = []flagName{
		{unix.FALLOC_FL_KEEP_SIZE, "KEEP_SIZE"}, {unix.FALLOC_FL_PUNCH_HOLE, "PUNCH_HOLE"}, {unix.FALLOC_FL_ZERO_RANGE, "ZERO_RANGE"},
		{unix.FALLOC_FL_COLLAPSE_RANGE, "COLLAPSE_RANGE"}, {unix.FALLOC_FL_INSERT_RANGE, "INSERT_RANGE"},
	}
)

func flagNames(flags int, names []flagName) string {
	var set []string
	for _, f := range names {
		if flags&f.flag != 0 {
			set = append(set, f.name)
		}
	}
	if len(set) == 0 {
		return "0"
	}
	return strings.Join(set, "|")
}

// answer is what came of a step.
type answer struct {
	N       int64 // bytes moved, or a size
	Errno   syscall.Errno
	Data    []byte
	Extents []extent
	// Wrong says what an actor itself found to be wrong.
	Wrong string
}

// extent is a piece of a file that is data, or else a hole.
type extent struct {
	Off, End int64
	Hole     bool
}
