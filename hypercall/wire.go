package hypercall

import "encoding/binary"

// The fields of structures are little-endian and have no alignment, as those of
// version 1 stand where they come.
type (
	I32 [4]byte
	U32 [4]byte
	I64 [8]byte
	U64 [8]byte
)

func (v *I32) Get() int32  { return int32(binary.LittleEndian.Uint32(v[:])) }
func (v *U32) Get() uint32 { return binary.LittleEndian.Uint32(v[:]) }
func (v *I64) Get() int64  { return int64(binary.LittleEndian.Uint64(v[:])) }
func (v *U64) Get() uint64 { return binary.LittleEndian.Uint64(v[:]) }

func (v *I32) Set(x int32)  { binary.LittleEndian.PutUint32(v[:], uint32(x)) }
func (v *U32) Set(x uint32) { binary.LittleEndian.PutUint32(v[:], x) }
func (v *I64) Set(x int64)  { binary.LittleEndian.PutUint64(v[:], uint64(x)) }
func (v *U64) Set(x uint64) { binary.LittleEndian.PutUint64(v[:], x) }

// Struct is every structure that a call takes or fills in.
type Struct interface {
	WriteParamsV1 | ReadParamsV1 | LseekParamsV1 | ExitParams | CmdsizeParams | CmdvalParams | SerialWriteBufferParamsV1 |
		OpenParams | CloseParams | UnlinkParams |
		WriteParams | LseekParams | SerialWriteBufferParams | SerialReadBufferParams |
		GetdentsParams | MkdirParams | StatParams | FstatParams | FileAttr | Dirent64
}

// Structures of version 1 only. They have no padding.
type (
	// WriteParamsV1 is for V1FileWrite, which has no answer.
	WriteParamsV1 struct {
		FD  I32
		Buf U64 // virtual
		Len U64
	}

	// ReadParamsV1 is for V1FileRead.
	ReadParamsV1 struct {
		FD  I32
		Buf U64 // virtual
		Len U64
		Ret I64 // bytes, 0 at the end of the file, or -errno
	}

	// LseekParamsV1 is for V1FileLseek.
	LseekParamsV1 struct {
		FD     I32
		Offset I64 // in and out; -1 for an error
		Whence I32
	}

	// ExitParams is for V1Exit.
	ExitParams struct {
		Code I32
	}

	// CmdsizeParams is for V1Cmdsize, which fills it in: the numbers of arguments
	// and environment strings and their sizes, each with its NUL.
	CmdsizeParams struct {
		Argc  I32
		ArgSz [MaxStrings]I32
		Envc  I32
		EnvSz [MaxStrings]I32
	}

	// CmdvalParams is for V1Cmdval. Both are physical addresses of arrays of
	// physical addresses, as many as V1Cmdsize said, to which the strings go.
	CmdvalParams struct {
		Argv U64
		Envp U64
	}

	// SerialWriteBufferParamsV1 is for V1SerialWriteBuffer.
	SerialWriteBufferParamsV1 struct {
		Buf U64 // physical
		Len U64
	}
)

// MaxStrings is how many arguments, and how many environment strings, [CmdsizeParams]
// has room for.
const MaxStrings = 128

// Structures that all versions share. They have no padding either.
type (
	// OpenParams is for V1FileOpen and FileOpen.
	OpenParams struct {
		Name  U64 // physical; ends in a NUL
		Flags I32
		Mode  I32
		Ret   I32 // descriptor or -errno
	}

	// CloseParams is for V1FileClose and FileClose.
	CloseParams struct {
		FD  I32
		Ret I32 // 0 or -errno
	}

	// UnlinkParams is for V1FileUnlink and FileUnlink.
	UnlinkParams struct {
		Name U64 // physical; ends in a NUL
		Ret  I32 // 0 or -errno
	}
)

// Structures of versions 2 and 3, laid out as in C. All addresses are physical.
type (
	// WriteParams is for FileWrite.
	WriteParams struct {
		Len U64
		Ret I64 // bytes or -errno
		Buf U64
		FD  I32
		_   [4]byte
	}

	// ReadParams is for FileRead.
	ReadParams = WriteParams

	// LseekParams is for FileLseek.
	LseekParams struct {
		Offset I64 // in and out; -errno for an error
		Whence U32
		FD     I32
	}

	// SerialWriteBufferParams is for SerialWriteBuffer.
	SerialWriteBufferParams struct {
		Len U64
		Buf U64
	}

	// SerialReadBufferParams is for SerialReadBuffer.
	SerialReadBufferParams struct {
		MaxLen U64
		Len    U64 // bytes read; 0 at the end of the input or for an error
		Buf    U64
	}

	// GetdentsParams is for Getdents. Records are of [Dirent64].
	GetdentsParams struct {
		FD      I32
		_       [4]byte
		Buf     U64
		Len     U64
		Tag     U32 // GetdentsSuccess, GetdentsEnd or GetdentsError
		_       [4]byte
		Payload U64 // bytes or, in the lower half, errno
	}

	// MkdirParams is for Mkdir.
	MkdirParams struct {
		Path  U64 // ends in a NUL
		Len   U64 // ignored
		Tag   U32 // Success or Error
		Errno I32
	}

	// StatParams is for FileStat.
	StatParams struct {
		Name  U64 // ends in a NUL
		Kind  U32 // KindStat or KindLstat
		_     [4]byte
		Attr  U64 // of a FileAttr
		Tag   U32 // Success or Error
		Errno I32
	}

	// FstatParams is for FileFstat.
	FstatParams struct {
		FD    I32
		_     [4]byte
		Attr  U64 // of a FileAttr
		Tag   U32 // Success or Error
		Errno I32
	}

	// FileAttr is what FileStat and FileFstat tell.
	FileAttr struct {
		Dev     U64
		Ino     U64
		Nlink   U64
		Mode    U32
		UID     U32
		GID     U32
		_       [4]byte
		Rdev    U64
		Size    I64
		Blksize I64
		Blocks  I64 // of 512 bytes
		Atime   Timespec
		Mtime   Timespec
		Ctime   Timespec
	}

	// Timespec is a point in time, since 1970.
	Timespec struct {
		Sec  I64
		Nsec I32
		_    [4]byte
	}

	// Dirent64 begins a record of a directory listing. The name, with a NUL,
	// follows at once. A record is as long as a multiple of 8.
	Dirent64 struct {
		Ino    U64
		Off    I64 // position behind the record, for lseek
		Reclen U16
		Type   uint8 // S_IFMT bits >> 12, 0 for unknown
	}
)

// U16 is a little-endian field as the others are.
type U16 [2]byte

func (v *U16) Get() uint16  { return binary.LittleEndian.Uint16(v[:]) }
func (v *U16) Set(x uint16) { binary.LittleEndian.PutUint16(v[:], x) }

// Values of Tag in MkdirParams, StatParams and FstatParams. Guests set 0 before.
const (
	Success = 1
	Error   = 2 // errno follows, positive
)

// Values of GetdentsParams.Tag. Guests set 0 before.
const (
	GetdentsSuccess = 1
	GetdentsEnd     = 2 // end of the directory
	GetdentsError   = 3
)

// Values of StatParams.Kind.
const (
	KindStat  = 0 // follow a symbolic link
	KindLstat = 1 // tell of the link itself
)
