package fuse

// The structures of linux/fuse.h 7.45 that this package reads and writes, in
// the order of that file. Every Go struct has the C struct's layout, padding
// written out; wire_unsafe.go asserts sizes and offsets when it is compiled.
// Integers are in the byte order of the host, which on the platforms supported
// here is the little-endian order that virtio 1.3 §5.11.6 asks for.

// inHeader is struct fuse_in_header: it begins every request.
type inHeader struct {
	length uint32 // of the whole request, this header included
	opcode Opcode
	unique uint64
	nodeid uint64
	uid    uint32
	gid    uint32
	pid    uint32
	extlen uint16 // of the extensions at the end, in units of 8 bytes
	_      uint16
}

// outHeader is struct fuse_out_header: it begins every reply.
type outHeader struct {
	length uint32 // of the whole reply, this header included
	errno  int32  // zero or a negative error number
	unique uint64
}

// Attributes.

// wireAttr is struct fuse_attr.
type wireAttr struct {
	ino       uint64
	size      uint64
	blocks    uint64
	atime     uint64 // seconds since 1970 as a signed number
	mtime     uint64
	ctime     uint64
	atimensec uint32
	mtimensec uint32
	ctimensec uint32
	mode      uint32
	nlink     uint32
	uid       uint32
	gid       uint32
	rdev      uint32
	blksize   uint32
	flags     uint32
}

// entryOut is struct fuse_entry_out.
type entryOut struct {
	nodeid         uint64
	generation     uint64
	entryValid     uint64
	attrValid      uint64
	entryValidNsec uint32
	attrValidNsec  uint32
	attr           wireAttr
}

// getattrIn is struct fuse_getattr_in.
type getattrIn struct {
	flags uint32
	_     uint32
	fh    uint64
}

// attrOut is struct fuse_attr_out.
type attrOut struct {
	attrValid     uint64
	attrValidNsec uint32
	_             uint32
	attr          wireAttr
}

// setattrIn is struct fuse_setattr_in.
type setattrIn struct {
	valid     uint32
	_         uint32
	fh        uint64
	size      uint64
	lockOwner uint64
	atime     uint64
	mtime     uint64
	ctime     uint64
	atimensec uint32
	mtimensec uint32
	ctimensec uint32
	mode      uint32
	_         uint32
	uid       uint32
	gid       uint32
	_         uint32
}

// statxIn is struct fuse_statx_in.
type statxIn struct {
	getattrFlags uint32
	_            uint32
	fh           uint64
	flags        uint32
	mask         uint32
}

// sxTime is struct fuse_sx_time.
type sxTime struct {
	sec  int64
	nsec uint32
	_    int32
}

// wireStatx is struct fuse_statx, which is struct statx of linux/stat.h.
type wireStatx struct {
	mask           uint32
	blksize        uint32
	attributes     uint64
	nlink          uint32
	uid            uint32
	gid            uint32
	mode           uint16
	_              uint16
	ino            uint64
	size           uint64
	blocks         uint64
	attributesMask uint64
	atime          sxTime
	btime          sxTime
	ctime          sxTime
	mtime          sxTime
	rdevMajor      uint32
	rdevMinor      uint32
	devMajor       uint32
	devMinor       uint32
	_              [14]uint64
}

// statxOut is struct fuse_statx_out.
type statxOut struct {
	attrValid     uint64
	attrValidNsec uint32
	_             uint32
	_             [2]uint64
	stat          wireStatx
}

// accessIn is struct fuse_access_in.
type accessIn struct {
	mask uint32
	_    uint32
}

// statfsOut is struct fuse_statfs_out.
type statfsOut struct {
	blocks  uint64
	bfree   uint64
	bavail  uint64
	files   uint64
	ffree   uint64
	bsize   uint32
	namelen uint32
	frsize  uint32
	_       uint32
	_       [6]uint32
}

// Names and nodes.

// forgetIn is struct fuse_forget_in.
type forgetIn struct {
	nlookup uint64
}

// forgetOne is struct fuse_forget_one.
type forgetOne struct {
	nodeid  uint64
	nlookup uint64
}

// batchForgetIn is struct fuse_batch_forget_in, which count forgetOne follow.
type batchForgetIn struct {
	count uint32
	_     uint32
}

// mknodIn is struct fuse_mknod_in.
type mknodIn struct {
	mode  uint32
	rdev  uint32
	umask uint32
	_     uint32
}

// mkdirIn is struct fuse_mkdir_in.
type mkdirIn struct {
	mode  uint32
	umask uint32
}

// renameIn is struct fuse_rename_in.
type renameIn struct {
	newdir uint64
}

// rename2In is struct fuse_rename2_in.
type rename2In struct {
	newdir uint64
	flags  uint32
	_      uint32
}

// linkIn is struct fuse_link_in.
type linkIn struct {
	oldnodeid uint64
}

// Open files.

// openIn is struct fuse_open_in.
type openIn struct {
	flags     uint32
	openFlags uint32
}

// createIn is struct fuse_create_in.
type createIn struct {
	flags     uint32
	mode      uint32
	umask     uint32
	openFlags uint32
}

// openOut is struct fuse_open_out.
type openOut struct {
	fh        uint64
	openFlags uint32
	_         int32 // a backing file id, for FUSE_PASSTHROUGH
}

// createOut is the reply to CREATE and TMPFILE.
type createOut struct {
	entry entryOut
	open  openOut
}

// releaseIn is struct fuse_release_in.
type releaseIn struct {
	fh           uint64
	flags        uint32
	releaseFlags uint32
	lockOwner    uint64
}

// flushIn is struct fuse_flush_in.
type flushIn struct {
	fh        uint64
	_         uint32
	_         uint32
	lockOwner uint64
}

// readIn is struct fuse_read_in.
type readIn struct {
	fh        uint64
	offset    uint64
	size      uint32
	readFlags uint32
	lockOwner uint64
	flags     uint32
	_         uint32
}

// writeIn is struct fuse_write_in, which size bytes of data follow.
type writeIn struct {
	fh         uint64
	offset     uint64
	size       uint32
	writeFlags uint32
	lockOwner  uint64
	flags      uint32
	_          uint32
}

// writeOut is struct fuse_write_out.
type writeOut struct {
	size uint32
	_    uint32
}

// fsyncIn is struct fuse_fsync_in.
type fsyncIn struct {
	fh    uint64
	flags uint32
	_     uint32
}

// fallocateIn is struct fuse_fallocate_in.
type fallocateIn struct {
	fh     uint64
	offset uint64
	length uint64
	mode   uint32
	_      uint32
}

// lseekIn is struct fuse_lseek_in.
type lseekIn struct {
	fh     uint64
	offset uint64
	whence uint32
	_      uint32
}

// lseekOut is struct fuse_lseek_out.
type lseekOut struct {
	offset uint64
}

// copyFileRangeIn is struct fuse_copy_file_range_in.
type copyFileRangeIn struct {
	fhIn      uint64
	offIn     uint64
	nodeidOut uint64
	fhOut     uint64
	offOut    uint64
	length    uint64
	flags     uint64
}

// copyFileRangeOut is struct fuse_copy_file_range_out.
type copyFileRangeOut struct {
	copied uint64
}

// syncfsIn is struct fuse_syncfs_in.
type syncfsIn struct {
	_ uint64
}

// ioctlIn is struct fuse_ioctl_in, which inSize bytes of data follow.
type ioctlIn struct {
	fh      uint64
	flags   uint32
	cmd     uint32
	arg     uint64
	inSize  uint32
	outSize uint32
}

// ioctlOut is struct fuse_ioctl_out, which the result's data follow.
type ioctlOut struct {
	result  int32
	flags   uint32
	inIovs  uint32
	outIovs uint32
}

// Extended attributes.

// setxattrCompatIn is struct fuse_setxattr_in up to
// FUSE_COMPAT_SETXATTR_IN_SIZE. A name and size bytes follow.
type setxattrCompatIn struct {
	size  uint32
	flags uint32
}

// setxattrIn is struct fuse_setxattr_in, sent where FUSE_SETXATTR_EXT was
// agreed. A name and size bytes follow.
type setxattrIn struct {
	setxattrCompatIn
	setxattrFlags uint32
	_             uint32
}

// getxattrIn is struct fuse_getxattr_in.
type getxattrIn struct {
	size uint32
	_    uint32
}

// getxattrOut is struct fuse_getxattr_out.
type getxattrOut struct {
	size uint32
	_    uint32
}

// Locks.

// fileLock is struct fuse_file_lock.
type fileLock struct {
	start uint64
	end   uint64
	typ   uint32
	pid   uint32
}

// lkIn is struct fuse_lk_in.
type lkIn struct {
	fh    uint64
	owner uint64
	lk    fileLock
	flags uint32
	_     uint32
}

// lkOut is struct fuse_lk_out.
type lkOut struct {
	lk fileLock
}

// interruptIn is struct fuse_interrupt_in.
type interruptIn struct {
	unique uint64
}

// Sessions.

// initIn is struct fuse_init_in without the tail that INIT_EXT adds.
type initIn struct {
	major        uint32
	minor        uint32
	maxReadahead uint32
	flags        uint32
}

// initExtIn is struct fuse_init_in, sent with FUSE_INIT_EXT.
type initExtIn struct {
	initIn
	flags2 uint32
	_      [11]uint32
}

// initOut is struct fuse_init_out.
type initOut struct {
	major               uint32
	minor               uint32
	maxReadahead        uint32
	flags               uint32
	maxBackground       uint16
	congestionThreshold uint16
	maxWrite            uint32
	timeGran            uint32
	maxPages            uint16
	mapAlignment        uint16
	flags2              uint32
	maxStackDepth       uint32
	requestTimeout      uint16
	_                   [11]uint16
}

// Directories.

// dirent is struct fuse_dirent. The name follows, padded to 8 bytes.
type dirent struct {
	ino     uint64
	off     uint64
	namelen uint32
	typ     uint32
}

// direntPlus is struct fuse_direntplus. The name follows, padded to 8 bytes.
type direntPlus struct {
	entry entryOut
	dirent
}
