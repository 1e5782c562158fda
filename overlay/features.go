package overlay

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	// notOffered are the features that an overlay cannot have, whatever its
	// children can: a lock would stay on the lower file, opens are what follows
	// a copy-up, and a directory of another file system below would lose its
	// mark when it gets an upper part.
	notOffered = vfs.FeatPOSIXLocks | vfs.FeatFlock | vfs.FeatNoOpen | vfs.FeatNoOpendir |
		vfs.FeatSubmounts | vfs.FeatInodeDAX | vfs.FeatExport

	// ofUpper are those that concern changes only. What the lower child thinks of
	// them does not matter.
	ofUpper = vfs.FeatAtomicTrunc | vfs.FeatDontMask | vfs.FeatWriteback | vfs.FeatKillPriv |
		vfs.FeatSetxattrExt | vfs.FeatSecurityContext | vfs.FeatSuppGroups
)

// Init implements [vfs.FileSystem]. A child that agreed to more than the other
// is asked again, so that none acts upon what was not agreed with the guest.
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.Destroy()
	want := offered &^ notOffered
	for {
		fromUpper, errno := fs.upper.Init(want)
		if errno != 0 {
			return 0, errno
		}
		fromLower, errno := fs.lower.Init(want)
		if errno != 0 {
			return 0, errno
		}
		agreed := fromUpper & (fromLower | ofUpper)
		if agreed == fromUpper && agreed&^ofUpper == fromLower&^ofUpper {
			want = agreed
			break
		}
		want = agreed
	}
	if errno := fs.enterRoot(); errno != 0 {
		return 0, errno
	}
	fs.features.Store(uint64(want))
	return want, 0
}

// agreed tells whether a feature was agreed with the guest.
func (fs *FS) agreed(f vfs.Features) bool { return vfs.Features(fs.features.Load()).Has(f) }
