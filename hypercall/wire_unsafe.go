package hypercall

import "unsafe"

// Bytes returns the bytes of a structure as they stand in guest memory. They are
// those of *p: a write to one is seen in the other.
func Bytes[T Struct](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// Where in their structures the answers begin.
const (
	readRetV1   = uint64(unsafe.Offsetof(ReadParamsV1{}.Ret))
	lseekRetV1  = uint64(unsafe.Offsetof(LseekParamsV1{}.Offset))
	openRet     = uint64(unsafe.Offsetof(OpenParams{}.Ret))
	closeRet    = uint64(unsafe.Offsetof(CloseParams{}.Ret))
	unlinkRet   = uint64(unsafe.Offsetof(UnlinkParams{}.Ret))
	writeRet    = uint64(unsafe.Offsetof(WriteParams{}.Ret))
	lseekRet    = uint64(unsafe.Offsetof(LseekParams{}.Offset))
	serialLen   = uint64(unsafe.Offsetof(SerialReadBufferParams{}.Len))
	getdentsRet = uint64(unsafe.Offsetof(GetdentsParams{}.Tag))
	mkdirRet    = uint64(unsafe.Offsetof(MkdirParams{}.Tag))
	statRet     = uint64(unsafe.Offsetof(StatParams{}.Tag))
	fstatRet    = uint64(unsafe.Offsetof(FstatParams{}.Tag))
)

const direntSize = int(unsafe.Sizeof(Dirent64{}))

// Each line compiles only if both lengths are the same: sizes,
var (
	_ [20]struct{}   = [unsafe.Sizeof(WriteParamsV1{})]struct{}{}
	_ [28]struct{}   = [unsafe.Sizeof(ReadParamsV1{})]struct{}{}
	_ [16]struct{}   = [unsafe.Sizeof(LseekParamsV1{})]struct{}{}
	_ [4]struct{}    = [unsafe.Sizeof(ExitParams{})]struct{}{}
	_ [1032]struct{} = [unsafe.Sizeof(CmdsizeParams{})]struct{}{}
	_ [16]struct{}   = [unsafe.Sizeof(CmdvalParams{})]struct{}{}
	_ [16]struct{}   = [unsafe.Sizeof(SerialWriteBufferParamsV1{})]struct{}{}
	_ [20]struct{}   = [unsafe.Sizeof(OpenParams{})]struct{}{}
	_ [8]struct{}    = [unsafe.Sizeof(CloseParams{})]struct{}{}
	_ [12]struct{}   = [unsafe.Sizeof(UnlinkParams{})]struct{}{}
	_ [32]struct{}   = [unsafe.Sizeof(WriteParams{})]struct{}{}
	_ [16]struct{}   = [unsafe.Sizeof(LseekParams{})]struct{}{}
	_ [16]struct{}   = [unsafe.Sizeof(SerialWriteBufferParams{})]struct{}{}
	_ [24]struct{}   = [unsafe.Sizeof(SerialReadBufferParams{})]struct{}{}
	_ [40]struct{}   = [unsafe.Sizeof(GetdentsParams{})]struct{}{}
	_ [24]struct{}   = [unsafe.Sizeof(MkdirParams{})]struct{}{}
	_ [32]struct{}   = [unsafe.Sizeof(StatParams{})]struct{}{}
	_ [24]struct{}   = [unsafe.Sizeof(FstatParams{})]struct{}{}
	_ [120]struct{}  = [unsafe.Sizeof(FileAttr{})]struct{}{}
	_ [16]struct{}   = [unsafe.Sizeof(Timespec{})]struct{}{}
	_ [19]struct{}   = [unsafe.Sizeof(Dirent64{})]struct{}{}
)

// and offsets of what does not come first.
var (
	_ [4]struct{}   = [unsafe.Offsetof(WriteParamsV1{}.Buf)]struct{}{}
	_ [12]struct{}  = [unsafe.Offsetof(WriteParamsV1{}.Len)]struct{}{}
	_ [4]struct{}   = [unsafe.Offsetof(ReadParamsV1{}.Buf)]struct{}{}
	_ [12]struct{}  = [unsafe.Offsetof(ReadParamsV1{}.Len)]struct{}{}
	_ [20]struct{}  = [unsafe.Offsetof(ReadParamsV1{}.Ret)]struct{}{}
	_ [4]struct{}   = [unsafe.Offsetof(LseekParamsV1{}.Offset)]struct{}{}
	_ [12]struct{}  = [unsafe.Offsetof(LseekParamsV1{}.Whence)]struct{}{}
	_ [4]struct{}   = [unsafe.Offsetof(CmdsizeParams{}.ArgSz)]struct{}{}
	_ [516]struct{} = [unsafe.Offsetof(CmdsizeParams{}.Envc)]struct{}{}
	_ [520]struct{} = [unsafe.Offsetof(CmdsizeParams{}.EnvSz)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(CmdvalParams{}.Envp)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(SerialWriteBufferParamsV1{}.Len)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(OpenParams{}.Flags)]struct{}{}
	_ [12]struct{}  = [unsafe.Offsetof(OpenParams{}.Mode)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(OpenParams{}.Ret)]struct{}{}
	_ [4]struct{}   = [unsafe.Offsetof(CloseParams{}.Ret)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(UnlinkParams{}.Ret)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(WriteParams{}.Ret)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(WriteParams{}.Buf)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(WriteParams{}.FD)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(LseekParams{}.Whence)]struct{}{}
	_ [12]struct{}  = [unsafe.Offsetof(LseekParams{}.FD)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(SerialWriteBufferParams{}.Buf)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(SerialReadBufferParams{}.Len)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(SerialReadBufferParams{}.Buf)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(GetdentsParams{}.Buf)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(GetdentsParams{}.Len)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(GetdentsParams{}.Tag)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(GetdentsParams{}.Payload)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(MkdirParams{}.Len)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(MkdirParams{}.Tag)]struct{}{}
	_ [20]struct{}  = [unsafe.Offsetof(MkdirParams{}.Errno)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(StatParams{}.Kind)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(StatParams{}.Attr)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(StatParams{}.Tag)]struct{}{}
	_ [28]struct{}  = [unsafe.Offsetof(StatParams{}.Errno)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(FstatParams{}.Attr)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(FstatParams{}.Tag)]struct{}{}
	_ [20]struct{}  = [unsafe.Offsetof(FstatParams{}.Errno)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(FileAttr{}.Ino)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(FileAttr{}.Nlink)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(FileAttr{}.Mode)]struct{}{}
	_ [28]struct{}  = [unsafe.Offsetof(FileAttr{}.UID)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(FileAttr{}.GID)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(FileAttr{}.Rdev)]struct{}{}
	_ [48]struct{}  = [unsafe.Offsetof(FileAttr{}.Size)]struct{}{}
	_ [56]struct{}  = [unsafe.Offsetof(FileAttr{}.Blksize)]struct{}{}
	_ [64]struct{}  = [unsafe.Offsetof(FileAttr{}.Blocks)]struct{}{}
	_ [72]struct{}  = [unsafe.Offsetof(FileAttr{}.Atime)]struct{}{}
	_ [88]struct{}  = [unsafe.Offsetof(FileAttr{}.Mtime)]struct{}{}
	_ [104]struct{} = [unsafe.Offsetof(FileAttr{}.Ctime)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(Timespec{}.Nsec)]struct{}{}
	_ [8]struct{}   = [unsafe.Offsetof(Dirent64{}.Off)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(Dirent64{}.Reclen)]struct{}{}
	_ [18]struct{}  = [unsafe.Offsetof(Dirent64{}.Type)]struct{}{}
)
