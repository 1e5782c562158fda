package rules

import (
	"testing"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vfs/vfstest"
)

// TestConformance puts rules that should not be noticed through the suite.
func TestConformance(t *testing.T) {
	// The ids that the suite uses stand for themselves, but everything passes
	// the translation.
	beside := mapOf(t, "map:4000000000:3000000000:1000", "forbid-guest:3500000000:10", "squash-host:3600000000:1:10")
	xattrs := func(rules string) func(vfs.FileSystem) vfs.FileSystem {
		m := parse(t, rules)
		return func(fs vfs.FileSystem) vfs.FileSystem { return MapXattrs(fs, m) }
	}
	const never, always = passthrough.NegotiateNever, passthrough.NegotiateAlways
	for _, tt := range []struct {
		name     string
		parent   string
		rule     func(vfs.FileSystem) vfs.FileSystem
		acl      passthrough.Negotiate
		lacks    vfstest.Lack
		readOnly bool
	}{
		{"id maps", "/tmp", func(fs vfs.FileSystem) vfs.FileSystem { return TranslateIDs(fs, beside, beside) }, never, 0, false},
		{"all names ok", "/dev/shm", xattrs(":ok:all:::"), always, 0, false},
		// The names are seen to be other ones, so the attributes themselves
		// are not for the suite.
		{"all names mapped", "/dev/shm", xattrs(mapAll), never, vfstest.NoXattr, false},
		{"capabilities mapped", "/dev/shm", xattrs(mapCapability), always, 0, false},
		// Modes are not what they are on the twin where bits are hidden, and the
		// suite has bits of all kinds. Here are calls on all other things.
		{"no devices", "/dev/shm", func(fs vfs.FileSystem) vfs.FileSystem { return Restrict(fs, Restrictions{NoDev: true}) },
			always, vfstest.NoSpecial, false},
		{"read-only", "/dev/shm", ReadOnly, never, 0, true},
		{"read-only after all", "/dev/shm", func(fs vfs.FileSystem) vfs.FileSystem {
			return ReadOnly(TranslateIDs(xattrs(mapCapability)(fs), beside, beside))
		}, never, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vfstest.Run(t, func(t *testing.T) vfstest.Subject {
				sub := vfstest.Subject{Dir: tempDir(t, tt.parent), Twin: tempDir(t, tt.parent), Lacks: tt.lacks, ReadOnly: tt.readOnly}
				if tt.readOnly {
					must(t, vfstest.Populate(sub.Dir, true))
					must(t, vfstest.Populate(sub.Twin, true))
				}
				fs := share(t, passthrough.Config{
					Path: sub.Dir, Xattr: true, PosixACL: tt.acl, SecurityLabel: passthrough.NegotiateAlways, KillPriv: true,
					Locks: passthrough.Locks{POSIX: true, Flock: true},
				})
				sub.FS = tt.rule(fs)
				sub.Stats = func() (nodes, handles, fds int) {
					s := fs.Stats()
					return s.Nodes, s.Handles, s.FDs
				}
				return sub
			})
		})
	}
}
