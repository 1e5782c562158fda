package tree

import (
	"fmt"
	"math/bits"
	"strings"
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// rule says how a feature that is agreed for a whole tree comes about.
type rule uint8

const (
	// allMust: it is on if a file system wants it and all others do too or are
	// [vfs.Tolerant] of it, as any other would do wrong with it on.
	allMust rule = iota
	// anyMay: it is on if one file system wants it. The others do not mind, or
	// the tree acts for them.
	anyMay
)

// combine has an entry for each feature.
var combine = [...]struct {
	feature vfs.Features
	name    string
	rule    rule
	adapt   uint32 // what the tree does for a file system that does not want it
}{
	// Guests send locks for all mounts or none. To lose them silently, which
	// guard data between guests, would be worse than ENOLCK on other mounts.
	{vfs.FeatPOSIXLocks, "POSIX locks", anyMay, 0},
	{vfs.FeatFlock, "flock locks", anyMay, 0},
	// One that does not want O_TRUNC may have to clear setuid first.
	{vfs.FeatAtomicTrunc, "O_TRUNC in open", allMust, 0},
	{vfs.FeatDontMask, "umask on the host", anyMay, adaptUmask},
	{vfs.FeatReaddirplus, "readdirplus", anyMay, adaptPlain},
	{vfs.FeatReaddirplusAuto, "readdirplus where useful", anyMay, 0},
	// A file system that does not count on it lacks descriptors that can
	// read, and answers EBADF.
	{vfs.FeatWriteback, "write-back cache", allMust, 0},
	// All calls of a file system may overlap.
	{vfs.FeatParallelDirops, "parallel lookups", anyMay, 0},
	{vfs.FeatAutoInval, "dropping of stale data", anyMay, 0},
	// One that does not clear setuid would leave it set.
	{vfs.FeatKillPriv, "clearing of setuid on the host", allMust, 0},
	{vfs.FeatPOSIXACL, "POSIX ACLs", anyMay, adaptACL},
	// It matters to who sets ACLs, which are kept away from the others.
	{vfs.FeatSetxattrExt, "flags of setxattr", anyMay, 0},
	{vfs.FeatCacheSymlinks, "caching of links", allMust, 0},
	{vfs.FeatNoOpen, "no opens", allMust, 0},
	{vfs.FeatNoOpendir, "no opens of directories", allMust, 0},
	{vfs.FeatSubmounts, "submounts", anyMay, 0},
	// More in a request than a file system asked for is not looked at.
	{vfs.FeatSecurityContext, "security contexts", anyMay, 0},
	{vfs.FeatSuppGroups, "supplementary groups", anyMay, 0},
	// One that does not allow shared maps of files in direct mode has no other
	// way to say so.
	{vfs.FeatDirectIOMmap, "shared maps in direct mode", allMust, 0},
	{vfs.FeatIoctlDir, "ioctls on directories", anyMay, 0},
	{vfs.FeatAsyncDIO, "asynchronous direct I/O", anyMay, 0},
	// Requests then tell who calls only where something is made.
	{vfs.FeatIDMap, "id-mapped mounts", allMust, 0},
	{vfs.FeatInodeDAX, "DAX by file", anyMay, 0},
	{vfs.FeatExport, "lookups by id", allMust, 0},
}

// byRule are the features of each rule.
var byRule = func() (set [2]vfs.Features) {
	for _, c := range combine {
		set[c.rule] |= c.feature
	}
	return set
}()

// describe lists features in words.
func describe(f vfs.Features) string {
	var names []string
	for _, c := range combine {
		if f.Has(c.feature) {
			names = append(names, c.name)
			f &^= c.feature
		}
	}
	for ; f != 0; f &= f - 1 {
		names = append(names, fmt.Sprintf("feature %d", bits.TrailingZeros64(uint64(f))))
	}
	return strings.Join(names, ", ")
}

// tolerated are the features that a file system can do with and need not want.
func tolerated(child vfs.FileSystem) vfs.Features {
	if t, ok := child.(vfs.Tolerant); ok {
		return t.Tolerates()
	}
	return 0
}

// negotiate begins a session in all file systems and finds what they can agree
// to. Features are only ever taken away, so it comes to an end.
func (fs *FS) negotiate(offered vfs.Features) (vfs.Features, syscall.Errno) {
	list := fs.inside("/")
	if fs.root != fs.synthMount {
		list = append([]*mount{fs.root}, list...)
	}
	wants := make([]vfs.Features, len(list))
	offer := offered
	for first := true; ; first = false {
		every, some := ^vfs.Features(0), vfs.Features(0)
		for i, m := range list {
			if first || wants[i]&^offer != 0 {
				w, errno := m.child.Init(offer)
				if errno != 0 {
					fs.log.Error("a mount refuses the guest", "mount", m.path, "error", errno)
					return 0, errno
				}
				wants[i] = w & offer
			}
			every &= wants[i] | tolerated(m.child)
			some |= wants[i]
		}
		agreed := some&(byRule[anyMay]|every&byRule[allMust]) | fs.wishes()&offered
		// What somebody wants and does not get must not be counted on.
		lost := some &^ agreed
		if lost == 0 {
			for i, m := range list {
				m.adaptTo(wants[i], agreed)
			}
			fs.synth.Init(agreed)
			return agreed, 0
		}
		fs.log.Info("features are off, as not all mounts of the share can do with them", "features", describe(lost))
		offer &^= lost
	}
}

// wishes are the features that the tree wants for itself. With a root of its own it
// begins with all that can do no harm to the mounts that come later.
func (fs *FS) wishes() vfs.Features {
	if fs.root != fs.synthMount {
		return vfs.FeatSubmounts
	}
	return vfs.FeatSubmounts | vfs.FeatReaddirplus | vfs.FeatReaddirplusAuto | vfs.FeatParallelDirops |
		vfs.FeatAutoInval | vfs.FeatAsyncDIO | vfs.FeatSuppGroups | vfs.FeatIoctlDir
}

// adaptTo notes what the tree is to do for a file system that wants only a part of
// what was agreed.
func (m *mount) adaptTo(wants, agreed vfs.Features) {
	var adapts uint32
	for _, c := range combine {
		if agreed.Has(c.feature) && !wants.Has(c.feature) {
			adapts |= c.adapt
		}
	}
	m.adapts.Store(adapts)
}

// join has a file system take part in a session that is under way. It must do
// with what was agreed.
func (fs *FS) join(m *mount) error {
	wants, errno := m.child.Init(fs.agreed)
	if errno != 0 {
		return &PathError{Op: "mount", Path: m.path, Err: errno,
			Why: fmt.Sprintf("the file system does not do with what was agreed with the guest: %v", errno)}
	}
	if lacks := fs.agreed & byRule[allMust] &^ (wants | tolerated(m.child)); lacks != 0 {
		m.child.Destroy()
		return &PathError{Op: "mount", Path: m.path, Err: syscall.EPROTO,
			Why: fmt.Sprintf("the guest was promised what the file system does not do (%s); mount it before the guest starts", describe(lacks))}
	}
	m.adaptTo(wants, fs.agreed)
	return nil
}
