package fuse

import (
	"strconv"
	"syscall"
)

// Opcode says what a request asks for (enum fuse_opcode).
type Opcode uint32

// The opcodes of linux/fuse.h 7.45.
const (
	LOOKUP             Opcode = 1
	FORGET             Opcode = 2
	GETATTR            Opcode = 3
	SETATTR            Opcode = 4
	READLINK           Opcode = 5
	SYMLINK            Opcode = 6
	MKNOD              Opcode = 8
	MKDIR              Opcode = 9
	UNLINK             Opcode = 10
	RMDIR              Opcode = 11
	RENAME             Opcode = 12
	LINK               Opcode = 13
	OPEN               Opcode = 14
	READ               Opcode = 15
	WRITE              Opcode = 16
	STATFS             Opcode = 17
	RELEASE            Opcode = 18
	FSYNC              Opcode = 20
	SETXATTR           Opcode = 21
	GETXATTR           Opcode = 22
	LISTXATTR          Opcode = 23
	REMOVEXATTR        Opcode = 24
	FLUSH              Opcode = 25
	INIT               Opcode = 26
	OPENDIR            Opcode = 27
	READDIR            Opcode = 28
	RELEASEDIR         Opcode = 29
	FSYNCDIR           Opcode = 30
	GETLK              Opcode = 31
	SETLK              Opcode = 32
	SETLKW             Opcode = 33
	ACCESS             Opcode = 34
	CREATE             Opcode = 35
	INTERRUPT          Opcode = 36
	BMAP               Opcode = 37
	DESTROY            Opcode = 38
	IOCTL              Opcode = 39
	POLL               Opcode = 40
	NOTIFY_REPLY       Opcode = 41
	BATCH_FORGET       Opcode = 42
	FALLOCATE          Opcode = 43
	READDIRPLUS        Opcode = 44
	RENAME2            Opcode = 45
	LSEEK              Opcode = 46
	COPY_FILE_RANGE    Opcode = 47
	SETUPMAPPING       Opcode = 48
	REMOVEMAPPING      Opcode = 49
	SYNCFS             Opcode = 50
	TMPFILE            Opcode = 51
	STATX              Opcode = 52
	COPY_FILE_RANGE_64 Opcode = 53
	CUSE_INIT          Opcode = 4096
)

// numOpcodes is one more than the last opcode of a file system.
const numOpcodes = int(COPY_FILE_RANGE_64) + 1

// String returns the name that linux/fuse.h gives the opcode.
func (op Opcode) String() string {
	if uint64(op) < uint64(len(operations)) && operations[op].name != "" {
		return operations[op].name
	}
	return "opcode " + strconv.FormatUint(uint64(op), 10)
}

// tail says what becomes of the bytes behind the fixed arguments.
type tail uint8

const (
	ignored tail = iota // nothing belongs there
	copied              // names and small values, copied into c.body
	left                // data that stays where it is; c.dataLen counts it
)

// replies says whether an operation is answered.
type replies uint8

const (
	always replies = iota
	ifRoom         // where c.Out has room: some guests give none
	never
)

// operation is how one opcode is served.
type operation struct {
	name    string
	args    int  // bytes of fixed arguments, at least
	tail    tail // what follows them
	replies replies
	reply   int  // bytes that the smallest payload of a good reply has
	creates bool // may carry extensions
	class   class
	// stateless operations are served without a session.
	stateless bool
	// handle decodes, calls the file system, and encodes the payload of
	// the reply, whose length it returns. It may run twice for a request:
	// again when it returned vfs.WouldBlock. Nil is ENOSYS.
	handle func(*Server, *Call) (int, syscall.Errno)
}

// unknown serves the opcodes that have no entry in the table.
var unknown operation

// operations is indexed by opcode. Where Linux sends more than one structure
// for an opcode (INIT, SETXATTR), args is the shorter one and the handler asks
// for the rest.
var operations = [numOpcodes]operation{
	LOOKUP:             {name: "LOOKUP", tail: copied, reply: sizeof[entryOut](), handle: (*Server).lookup},
	FORGET:             {name: "FORGET", args: sizeof[forgetIn](), replies: never, handle: (*Server).forget},
	GETATTR:            {name: "GETATTR", args: sizeof[getattrIn](), reply: sizeof[attrOut](), handle: (*Server).getattr},
	SETATTR:            {name: "SETATTR", args: sizeof[setattrIn](), reply: sizeof[attrOut](), handle: (*Server).setattr},
	READLINK:           {name: "READLINK", handle: (*Server).readlink},
	SYMLINK:            {name: "SYMLINK", tail: copied, creates: true, reply: sizeof[entryOut](), handle: (*Server).symlink},
	MKNOD:              {name: "MKNOD", args: sizeof[mknodIn](), tail: copied, creates: true, reply: sizeof[entryOut](), handle: (*Server).mknod},
	MKDIR:              {name: "MKDIR", args: sizeof[mkdirIn](), tail: copied, creates: true, reply: sizeof[entryOut](), handle: (*Server).mkdir},
	UNLINK:             {name: "UNLINK", tail: copied, handle: (*Server).unlink},
	RMDIR:              {name: "RMDIR", tail: copied, handle: (*Server).rmdir},
	RENAME:             {name: "RENAME", args: sizeof[renameIn](), tail: copied, handle: (*Server).rename},
	LINK:               {name: "LINK", args: sizeof[linkIn](), tail: copied, reply: sizeof[entryOut](), handle: (*Server).link},
	OPEN:               {name: "OPEN", args: sizeof[openIn](), reply: sizeof[openOut](), handle: (*Server).open},
	READ:               {name: "READ", args: sizeof[readIn](), handle: (*Server).read},
	WRITE:              {name: "WRITE", args: sizeof[writeIn](), tail: left, reply: sizeof[writeOut](), handle: (*Server).write},
	STATFS:             {name: "STATFS", reply: sizeof[statfsOut](), handle: (*Server).statfs},
	RELEASE:            {name: "RELEASE", args: sizeof[releaseIn](), handle: (*Server).release},
	FSYNC:              {name: "FSYNC", args: sizeof[fsyncIn](), handle: (*Server).fsync},
	SETXATTR:           {name: "SETXATTR", args: sizeof[setxattrCompatIn](), tail: copied, handle: (*Server).setxattr},
	GETXATTR:           {name: "GETXATTR", args: sizeof[getxattrIn](), tail: copied, handle: (*Server).getxattr},
	LISTXATTR:          {name: "LISTXATTR", args: sizeof[getxattrIn](), handle: (*Server).listxattr},
	REMOVEXATTR:        {name: "REMOVEXATTR", tail: copied, handle: (*Server).removexattr},
	FLUSH:              {name: "FLUSH", args: sizeof[flushIn](), handle: (*Server).flush},
	INIT:               {name: "INIT", args: sizeof[initIn](), tail: copied, reply: sizeof[initOut](), class: lifecycle, stateless: true, handle: (*Server).initSession},
	OPENDIR:            {name: "OPENDIR", args: sizeof[openIn](), reply: sizeof[openOut](), handle: (*Server).opendir},
	READDIR:            {name: "READDIR", args: sizeof[readIn](), handle: (*Server).readdir},
	RELEASEDIR:         {name: "RELEASEDIR", args: sizeof[releaseIn](), handle: (*Server).releasedir},
	FSYNCDIR:           {name: "FSYNCDIR", args: sizeof[fsyncIn](), handle: (*Server).fsyncdir},
	GETLK:              {name: "GETLK", args: sizeof[lkIn](), reply: sizeof[lkOut](), handle: (*Server).getlk},
	SETLK:              {name: "SETLK", args: sizeof[lkIn](), handle: (*Server).setlk},
	SETLKW:             {name: "SETLKW", args: sizeof[lkIn](), class: locking, handle: (*Server).setlkw},
	ACCESS:             {name: "ACCESS", args: sizeof[accessIn](), handle: (*Server).access},
	CREATE:             {name: "CREATE", args: sizeof[createIn](), tail: copied, creates: true, reply: sizeof[createOut](), handle: (*Server).create},
	INTERRUPT:          {name: "INTERRUPT", args: sizeof[interruptIn](), replies: never, handle: (*Server).interrupt},
	BMAP:               {name: "BMAP"},
	DESTROY:            {name: "DESTROY", replies: ifRoom, class: lifecycle, stateless: true, handle: (*Server).destroySession},
	IOCTL:              {name: "IOCTL", args: sizeof[ioctlIn](), tail: copied, reply: sizeof[ioctlOut](), handle: (*Server).ioctl},
	POLL:               {name: "POLL"},
	NOTIFY_REPLY:       {name: "NOTIFY_REPLY"},
	BATCH_FORGET:       {name: "BATCH_FORGET", args: sizeof[batchForgetIn](), tail: left, replies: never, handle: (*Server).batchForget},
	FALLOCATE:          {name: "FALLOCATE", args: sizeof[fallocateIn](), handle: (*Server).fallocate},
	READDIRPLUS:        {name: "READDIRPLUS", args: sizeof[readIn](), handle: (*Server).readdirplus},
	RENAME2:            {name: "RENAME2", args: sizeof[rename2In](), tail: copied, handle: (*Server).rename2},
	LSEEK:              {name: "LSEEK", args: sizeof[lseekIn](), reply: sizeof[lseekOut](), handle: (*Server).lseek},
	COPY_FILE_RANGE:    {name: "COPY_FILE_RANGE", args: sizeof[copyFileRangeIn](), reply: sizeof[writeOut](), handle: (*Server).copyFileRange},
	SETUPMAPPING:       {name: "SETUPMAPPING"},
	REMOVEMAPPING:      {name: "REMOVEMAPPING"},
	SYNCFS:             {name: "SYNCFS", args: sizeof[syncfsIn](), handle: (*Server).syncfs},
	TMPFILE:            {name: "TMPFILE", args: sizeof[createIn](), tail: copied, creates: true, reply: sizeof[createOut](), handle: (*Server).tmpfile},
	STATX:              {name: "STATX", args: sizeof[statxIn](), reply: sizeof[statxOut](), handle: (*Server).statxNode},
	COPY_FILE_RANGE_64: {name: "COPY_FILE_RANGE_64", args: sizeof[copyFileRangeIn](), reply: sizeof[copyFileRangeOut](), handle: (*Server).copyFileRange64},
}
