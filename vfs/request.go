package vfs

// Request says who makes a call and how. It is owned by the door; a file
// system reads it during the call and keeps nothing of it.
type Request struct {
	// UID, GID and PID are those of the calling guest process.
	UID, GID, PID uint32
	// Groups are the supplementary groups that matter for this call, as far
	// as the guest sent them (see FeatSuppGroups).
	Groups []uint32
	// Umask of the caller; meaningful in calls that create, and only where
	// FeatDontMask was agreed: otherwise the mode has been masked already.
	Umask uint32
	// Security holds the security contexts for an object that this call
	// creates (see FeatSecurityContext).
	Security []SecurityContext
	// Nowait is set when the call must not wait; see the package text.
	Nowait bool
	// Interrupt is closed when the guest no longer waits for the answer. It
	// is nil in calls that have Nowait set. Only lock waits look at it.
	Interrupt <-chan struct{}
}

// SecurityContext is a security attribute that belongs to a new object from
// the start, such as security.selinux. Both slices end with the call; Name has
// its terminating NUL.
type SecurityContext struct {
	Name  []byte
	Value []byte
}

// Features are the abilities that a door and a file system agree on in
// [FileSystem.Init].
type Features uint64

const (
	FeatPOSIXLocks      Features = 1 << iota // fcntl locks are kept here, not in the guest
	FeatFlock                                // flock locks are kept here, not in the guest
	FeatAtomicTrunc                          // Open takes O_TRUNC
	FeatDontMask                             // the file system applies the umask
	FeatReaddirplus                          // directory listings carry entries
	FeatReaddirplusAuto                      // the guest chooses when to ask for them
	FeatWriteback                            // the guest caches writes
	FeatParallelDirops                       // lookups and listings of a directory may overlap
	FeatAutoInval                            // the guest drops cached data when mtime or size change
	FeatKillPriv                             // we clear setuid, setgid and capabilities (v2)
	FeatPOSIXACL                             // ACLs are honoured by guest and host
	FeatSetxattrExt                          // Setxattr carries flags
	FeatCacheSymlinks                        // link targets may be cached
	FeatNoOpen                               // Open may answer ENOSYS: no opens are wanted
	FeatNoOpendir                            // Opendir may answer ENOSYS
	FeatSubmounts                            // AttrSubmount is understood
	FeatSecurityContext                      // creating calls carry security contexts
	FeatSuppGroups                           // creating calls carry a supplementary group
	FeatDirectIOMmap                         // files in direct mode may be mapped shared
	FeatIoctlDir                             // ioctls on directories
	FeatAsyncDIO                             // direct I/O may be asynchronous
	FeatIDMap                                // mounts of the share may be id-mapped in the guest
	FeatInodeDAX                             // AttrDAX is understood
	FeatExport                               // lookups of "." and ".." by id
	FeatSubmountsEnd                         // submounts may go away while files in them are open
)

// Has reports whether all of f are in the set.
func (s Features) Has(f Features) bool { return s&f == f }
