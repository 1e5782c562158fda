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

// tolerates are the features that make no difference to a child.
func tolerates(child vfs.FileSystem) vfs.Features {
	if t, ok := child.(vfs.Tolerant); ok {
		return t.Tolerates()
	}
	return 0
}

// Tolerates implements [vfs.Tolerant]: what makes no difference to the children, or
// only to the lower one and is none of its business.
func (fs *FS) Tolerates() vfs.Features {
	return tolerates(fs.upper) & (tolerates(fs.lower) | ofUpper) &^ notOffered
}

// Init implements [vfs.FileSystem]. A feature is agreed to if a child wants it that
// has a say in it, and the other does or tolerates it. A child that agreed to more is
// asked again, so that none acts upon what was not agreed with the guest.
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.Destroy()
	upperCan, lowerCan := tolerates(fs.upper), tolerates(fs.lower)|ofUpper
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
		fromLower &^= ofUpper
		agreed := (fromUpper | fromLower) & (fromUpper | upperCan) & (fromLower | lowerCan)
		lost := (fromUpper | fromLower) &^ agreed
		if lost == 0 {
			want = agreed
			break
		}
		want &^= lost
	}
	if errno := fs.enterRoot(); errno != 0 {
		return 0, errno
	}
	fs.features.Store(uint64(want))
	return want, 0
}

// agreed tells whether a feature was agreed with the guest.
func (fs *FS) agreed(f vfs.Features) bool { return vfs.Features(fs.features.Load()).Has(f) }
