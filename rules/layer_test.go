package rules

import (
	"syscall"
	"testing"

	"github.com/isthmus-fs/isthmus/vfs"
)

// optional is a file system that has all there is beside a [vfs.FileSystem].
type optional struct {
	vfs.Unimplemented
	wants vfs.Features
}

func (o *optional) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	return o.wants & offered, 0
}

func (*optional) Counts() vfs.Counts {
	return vfs.Counts{Nodes: 1, Handles: 2, Descriptors: 3, Bytes: 4}
}

// Backing answers for handle 7 of node 5 only.
func (*optional) Backing(node vfs.NodeID, h vfs.Handle) (int, bool) {
	return 42, node == 5 && h == 7
}

func (*optional) Tolerates() vfs.Features { return vfs.FeatWriteback | vfs.FeatExport }

// Getattr shows a file without set-ID bits.
func (*optional) Getattr(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	out.Attr.Mode = 0o100755
	return 0
}

// TestLayersPassOnWhatIsOptional puts each rule around a file system that has all of it
// and around one that has none.
func TestLayersPassOnWhatIsOptional(t *testing.T) {
	ids := mapOf(t, "map:0:100000:1000")
	for name, tt := range map[string]struct {
		rule    func(vfs.FileSystem) vfs.FileSystem
		backing bool
		adds    vfs.Features // to what is tolerated
	}{
		"read-only": {ReadOnly, true, vfs.FeatAtomicTrunc | vfs.FeatKillPriv},
		"ids":       {func(fs vfs.FileSystem) vfs.FileSystem { return TranslateIDs(fs, ids, ids) }, true, 0},
		"names":     {func(fs vfs.FileSystem) vfs.FileSystem { return MapXattrs(fs, parse(t, mapTrusted)) }, true, 0},
		// Capabilities by another name are taken away when a file is written.
		"capabilities": {func(fs vfs.FileSystem) vfs.FileSystem { return MapXattrs(fs, parse(t, mapCapability)) }, false, 0},
		"nodev":        {func(fs vfs.FileSystem) vfs.FileSystem { return Restrict(fs, Restrictions{NoDev: true}) }, true, 0},
		"noexec":       {func(fs vfs.FileSystem) vfs.FileSystem { return Restrict(fs, Restrictions{NoExec: true}) }, true, 0},
		"nosuid":       {func(fs vfs.FileSystem) vfs.FileSystem { return Restrict(fs, Restrictions{NoSUID: true}) }, true, 0},
	} {
		all, none := tt.rule(&optional{}), tt.rule(quiet{})
		if c := all.(vfs.Counter).Counts(); c != (&optional{}).Counts() {
			t.Errorf("%s: the counts are %+v", name, c)
		}
		if c := none.(vfs.Counter).Counts(); c != (vfs.Counts{}) {
			t.Errorf("%s: of what cannot count, the counts are %+v", name, c)
		}
		if fd, ok := all.(vfs.Backer).Backing(5, 7); ok != tt.backing || ok && fd != 42 {
			t.Errorf("%s: the backing file is %d, %v", name, fd, ok)
		}
		if _, ok := all.(vfs.Backer).Backing(5, 8); ok {
			t.Errorf("%s: a file that has no backing file has one", name)
		}
		if _, ok := none.(vfs.Backer).Backing(5, 7); ok {
			t.Errorf("%s: of what has no backing files, one has", name)
		}
		if f := all.(vfs.Tolerant).Tolerates(); f != vfs.FeatWriteback|vfs.FeatExport|tt.adds {
			t.Errorf("%s: it tolerates %#x", name, f)
		}
		if f := none.(vfs.Tolerant).Tolerates(); f != tt.adds {
			t.Errorf("%s: of what tolerates nothing, it tolerates %#x", name, f)
		}
	}
}
