package fuse

import "unsafe"

// Sizes of the structures that decoding and encoding compute with.
const (
	inHeaderSize  = int(unsafe.Sizeof(inHeader{}))
	outHeaderSize = int(unsafe.Sizeof(outHeader{}))
	forgetOneSize = int(unsafe.Sizeof(forgetOne{}))
	direntSize    = int(unsafe.Sizeof(dirent{}))
	plusSize      = int(unsafe.Sizeof(direntPlus{}))
	ioctlOutSize  = int(unsafe.Sizeof(ioctlOut{}))
)

// wire is every structure that may be laid over bytes of a message.
type wire interface {
	inHeader | outHeader | entryOut | getattrIn | attrOut | setattrIn | statxIn | statxOut | accessIn | statfsOut |
		forgetIn | forgetOne | batchForgetIn | mknodIn | mkdirIn | renameIn | rename2In | linkIn |
		openIn | createIn | openOut | createOut | releaseIn | flushIn | readIn | writeIn | writeOut | fsyncIn |
		fallocateIn | lseekIn | lseekOut | copyFileRangeIn | copyFileRangeOut | syncfsIn | ioctlIn | ioctlOut |
		setxattrCompatIn | setxattrIn | getxattrIn | getxattrOut | lkIn | lkOut | interruptIn |
		initIn | initExtIn | initOut | dirent | direntPlus
}

// view lays a structure over the first bytes of b, which must be our own copy
// of a message, long enough and aligned to 8 bytes. Shorter is a bug of ours
// and panics.
func view[T wire](b []byte) *T {
	var t T
	_ = b[unsafe.Sizeof(t)-1]
	return (*T)(unsafe.Pointer(unsafe.SliceData(b)))
}

// sizeof returns the size of a structure on the wire.
func sizeof[T wire]() int {
	var t T
	return int(unsafe.Sizeof(t))
}

// Each line compiles only if both lengths are the same.
var (
	_ [40]struct{}  = [unsafe.Sizeof(inHeader{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(outHeader{})]struct{}{}
	_ [88]struct{}  = [unsafe.Sizeof(wireAttr{})]struct{}{}
	_ [128]struct{} = [unsafe.Sizeof(entryOut{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(getattrIn{})]struct{}{}
	_ [104]struct{} = [unsafe.Sizeof(attrOut{})]struct{}{}
	_ [88]struct{}  = [unsafe.Sizeof(setattrIn{})]struct{}{}
	_ [24]struct{}  = [unsafe.Sizeof(statxIn{})]struct{}{}
	_ [256]struct{} = [unsafe.Sizeof(wireStatx{})]struct{}{}
	_ [288]struct{} = [unsafe.Sizeof(statxOut{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(accessIn{})]struct{}{}
	_ [80]struct{}  = [unsafe.Sizeof(statfsOut{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(forgetIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(forgetOne{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(batchForgetIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(mknodIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(mkdirIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(renameIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(rename2In{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(linkIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(openIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(createIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(openOut{})]struct{}{}
	_ [144]struct{} = [unsafe.Sizeof(createOut{})]struct{}{}
	_ [24]struct{}  = [unsafe.Sizeof(releaseIn{})]struct{}{}
	_ [24]struct{}  = [unsafe.Sizeof(flushIn{})]struct{}{}
	_ [40]struct{}  = [unsafe.Sizeof(readIn{})]struct{}{}
	_ [40]struct{}  = [unsafe.Sizeof(writeIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(writeOut{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(fsyncIn{})]struct{}{}
	_ [32]struct{}  = [unsafe.Sizeof(fallocateIn{})]struct{}{}
	_ [24]struct{}  = [unsafe.Sizeof(lseekIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(lseekOut{})]struct{}{}
	_ [56]struct{}  = [unsafe.Sizeof(copyFileRangeIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(copyFileRangeOut{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(syncfsIn{})]struct{}{}
	_ [32]struct{}  = [unsafe.Sizeof(ioctlIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(ioctlOut{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(setxattrCompatIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(setxattrIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(getxattrIn{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(getxattrOut{})]struct{}{}
	_ [48]struct{}  = [unsafe.Sizeof(lkIn{})]struct{}{}
	_ [24]struct{}  = [unsafe.Sizeof(lkOut{})]struct{}{}
	_ [8]struct{}   = [unsafe.Sizeof(interruptIn{})]struct{}{}
	_ [16]struct{}  = [unsafe.Sizeof(initIn{})]struct{}{}
	_ [64]struct{}  = [unsafe.Sizeof(initExtIn{})]struct{}{}
	_ [64]struct{}  = [unsafe.Sizeof(initOut{})]struct{}{}
	_ [24]struct{}  = [unsafe.Sizeof(dirent{})]struct{}{}
	_ [152]struct{} = [unsafe.Sizeof(direntPlus{})]struct{}{}

	_ [36]struct{}  = [unsafe.Offsetof(inHeader{}.extlen)]struct{}{}
	_ [60]struct{}  = [unsafe.Offsetof(wireAttr{}.mode)]struct{}{}
	_ [84]struct{}  = [unsafe.Offsetof(wireAttr{}.flags)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(entryOut{}.attr)]struct{}{}
	_ [68]struct{}  = [unsafe.Offsetof(setattrIn{}.mode)]struct{}{}
	_ [76]struct{}  = [unsafe.Offsetof(setattrIn{}.uid)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(wireStatx{}.ino)]struct{}{}
	_ [128]struct{} = [unsafe.Offsetof(wireStatx{}.rdevMajor)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(statxOut{}.stat)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(flushIn{}.lockOwner)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(readIn{}.flags)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(writeIn{}.flags)]struct{}{}
	_ [40]struct{}  = [unsafe.Offsetof(lkIn{}.flags)]struct{}{}
	_ [28]struct{}  = [unsafe.Offsetof(initOut{}.maxPages)]struct{}{}
	_ [32]struct{}  = [unsafe.Offsetof(initOut{}.flags2)]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(initExtIn{}.flags2)]struct{}{}
	_ [128]struct{} = [unsafe.Offsetof(direntPlus{}.dirent)]struct{}{}
)
