package passthrough

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// Negotiate says how to agree with a guest on a feature that both must have.
type Negotiate uint8

const (
	// NegotiateNever: it is off.
	NegotiateNever Negotiate = iota
	// NegotiateAuto: it is on for guests that offer all it takes, and off, with
	// a warning, for others.
	NegotiateAuto
	// NegotiateAlways: it is on, and guests that do not offer all it takes are
	// refused: Init is EPROTO.
	NegotiateAlways
)

// needACL is all that ACLs take.
const needACL = vfs.FeatPOSIXACL | vfs.FeatDontMask | vfs.FeatSetxattrExt

// wishes are the features that this file system wants always or by option, from
// every guest that has them.
func (fs *FS) wishes() vfs.Features {
	want := vfs.FeatAtomicTrunc | vfs.FeatParallelDirops | vfs.FeatAutoInval | vfs.FeatAsyncDIO |
		vfs.FeatSuppGroups | vfs.FeatIDMap | vfs.FeatIoctlDir
	c := &fs.cfg
	for _, w := range [...]struct {
		on bool
		f  vfs.Features
	}{
		{!c.NoReaddirplus && c.Cache != CacheNever, vfs.FeatReaddirplus | vfs.FeatReaddirplusAuto},
		{c.Cache != CacheNever, vfs.FeatCacheSymlinks},
		{c.AnnounceSubmounts, vfs.FeatSubmounts},
		{c.Writeback, vfs.FeatWriteback},
		{c.KillPriv, vfs.FeatKillPriv},
		{c.Xattr, vfs.FeatSetxattrExt},
		{c.DirectIOMmap, vfs.FeatDirectIOMmap},
		{c.Locks.POSIX, vfs.FeatPOSIXLocks},
		{c.Locks.Flock, vfs.FeatFlock},
	} {
		if w.on {
			want |= w.f
		}
	}
	return want
}

// negotiate returns the features that are taken whole or not at all. EPROTO says
// that the guest lacks what an option cannot do without.
func (fs *FS) negotiate(offered vfs.Features) (vfs.Features, syscall.Errno) {
	var agreed vfs.Features
	for _, n := range [...]struct {
		how    Negotiate
		need   vfs.Features
		option string
	}{
		{fs.cfg.PosixACL, needACL, "POSIX ACLs"},
		{fs.cfg.SecurityLabel, vfs.FeatSecurityContext, "security labels"},
	} {
		switch {
		case n.how == NegotiateNever:
		case offered.Has(n.need):
			agreed |= n.need
		case n.how == NegotiateAlways:
			fs.log.Error("the guest does not support an option of this share; it is refused", "path", fs.cfg.Name, "option", n.option)
			return 0, syscall.EPROTO
		default:
			fs.log.Warn("the guest does not support an option of this share; it does without", "path", fs.cfg.Name, "option", n.option)
		}
	}
	return agreed, 0
}

// Init implements [vfs.FileSystem]. EPROTO says that the guest lacks what an
// option cannot do without.
func (fs *FS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	fs.Destroy()
	agreed, errno := fs.negotiate(offered)
	if errno != 0 {
		return 0, errno
	}
	agreed |= fs.wishes() & offered
	if !agreed.Has(vfs.FeatKillPriv) {
		// Without it, clearing setuid is a change of mode that the guest
		// asks for beside the truncation; but Linux does not send it when
		// the truncation is part of the open.
		agreed &^= vfs.FeatAtomicTrunc
	}
	fs.features.Store(uint64(agreed))
	return agreed, 0
}

// Destroy implements [vfs.FileSystem].
func (fs *FS) Destroy() {
	fs.handles.clear()
	fs.locks.clear(fs)
	fs.nodes.clear()
	fs.features.Store(0)
}

// agreed tells whether a feature was agreed with the guest.
func (fs *FS) agreed(f vfs.Features) bool { return vfs.Features(fs.features.Load()).Has(f) }
