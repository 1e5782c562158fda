package fuse_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// wireFlags lists the bit of linux/fuse.h for each feature, and those that are
// accepted without being one.
var wireFlags = []struct {
	bit  uint
	feat vfs.Features
}{
	{0, 0}, {5, 0}, {22, 0}, {30, 0},
	{1, vfs.FeatPOSIXLocks}, {3, vfs.FeatAtomicTrunc}, {6, vfs.FeatDontMask}, {10, vfs.FeatFlock},
	{11, vfs.FeatIoctlDir}, {12, vfs.FeatAutoInval}, {13, vfs.FeatReaddirplus}, {14, vfs.FeatReaddirplusAuto},
	{15, vfs.FeatAsyncDIO}, {16, vfs.FeatWriteback}, {17, vfs.FeatNoOpen}, {18, vfs.FeatParallelDirops},
	{20, vfs.FeatPOSIXACL}, {23, vfs.FeatCacheSymlinks}, {24, vfs.FeatNoOpendir}, {27, vfs.FeatSubmounts},
	{28, vfs.FeatKillPriv}, {29, vfs.FeatSetxattrExt}, {32, vfs.FeatSecurityContext}, {33, vfs.FeatInodeDAX},
	{34, vfs.FeatSuppGroups}, {36, vfs.FeatDirectIOMmap}, {40, vfs.FeatIDMap},
}

const initExt = fusetest.InitExt

// featuresFS wants some features and notes what it was offered.
type featuresFS struct {
	fusetest.NullFS
	want    vfs.Features
	errno   syscall.Errno
	offered vfs.Features
	events  []string
}

func (f *featuresFS) Init(offered vfs.Features) (vfs.Features, syscall.Errno) {
	f.offered = offered
	f.events = append(f.events, "init")
	return f.want, f.errno
}

func (f *featuresFS) Destroy() { f.events = append(f.events, "destroy") }

func newClient(fs vfs.FileSystem, opt fuse.Options) (*fuse.Server, *fusetest.Client) {
	s := fuse.NewServer(fs, opt)
	return s, fusetest.NewClient(fusetest.NewDirect(s))
}

func TestInitVersions(t *testing.T) {
	for minor := uint32(0); minor <= 60; minor++ {
		for _, ext := range []bool{false, true} {
			t.Run(fmt.Sprintf("7.%d ext %v", minor, ext), func(t *testing.T) {
				fs := &featuresFS{want: ^vfs.Features(0)}
				s, c := newClient(fs, fuse.Options{})
				in := fusetest.InitIn{Major: 7, Minor: minor, MaxReadahead: 12345, Flags: 1<<0 | 1<<22 | 1<<32}
				if ext {
					in.Flags |= initExt
				}
				out, errno := c.Init(in)
				if minor < 27 {
					if errno != syscall.EPROTO || s.Session().Started || len(fs.events) != 0 {
						t.Errorf("%v, session %+v, %q", errno, s.Session(), fs.events)
					}
					return
				}
				want := fusetest.InitOut{
					Major: 7, Minor: min(minor, 45), MaxReadahead: 12345, Flags: 1<<0 | 1<<22,
					MaxBackground: 65535, Congestion: 49149, MaxWrite: 1 << 20, TimeGran: 1, MaxPages: 256,
				}
				session := fuse.Session{Started: true, Minor: min(minor, 45)}
				if ext {
					want.Flags = in.Flags
					session.Features = vfs.FeatSecurityContext
				}
				if errno != 0 {
					t.Fatal(errno)
				}
				if diff := cmp.Diff(want, out); diff != "" {
					t.Errorf("reply (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(session, s.Session()); diff != "" {
					t.Errorf("session (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestInitMajor(t *testing.T) {
	fs := &featuresFS{}
	s, c := newClient(fs, fuse.Options{})
	for _, major := range []uint32{0, 6} {
		if _, errno := c.Init(fusetest.InitIn{Major: major, Minor: 45}); errno != syscall.EPROTO {
			t.Errorf("major %d: %v", major, errno)
		}
	}
	for _, major := range []uint32{8, ^uint32(0)} {
		out, errno := c.Init(fusetest.InitIn{Major: major, Minor: 1, MaxReadahead: 5, Flags: 1})
		if diff := cmp.Diff(fusetest.InitOut{Major: 7, Minor: 45}, out); errno != 0 || diff != "" {
			t.Errorf("major %d: %v\n%s", major, errno, diff)
		}
		if s.Session().Started {
			t.Errorf("major %d began a session", major)
		}
	}
	if _, errno := c.Init(fusetest.Linux()); errno != 0 || !s.Session().Started {
		t.Errorf("INIT after a later major: %v", errno)
	}
}

// TestInitFlags offers and wants each flag alone.
func TestInitFlags(t *testing.T) {
	known := map[uint]vfs.Features{}
	for _, w := range wireFlags {
		known[w.bit] = w.feat
	}
	for bit := uint(0); bit < 64; bit++ {
		feat, accepted := known[bit]
		for _, wanted := range []bool{false, true} {
			fs := &featuresFS{}
			if wanted {
				fs.want = ^vfs.Features(0)
			}
			_, c := newClient(fs, fuse.Options{})
			out, errno := c.Init(fusetest.InitIn{Major: 7, Minor: 45, Flags: 1<<bit | initExt})
			if errno != 0 {
				t.Fatal(errno)
			}
			if feat == vfs.FeatSubmounts {
				feat |= vfs.FeatSubmountsEnd
			}
			if fs.offered != feat {
				t.Errorf("bit %d was offered as %#x, want %#x", bit, fs.offered, feat)
			}
			want := uint64(initExt)
			if accepted && (feat == 0 || wanted) {
				want |= 1 << bit
			}
			if out.Flags != want {
				t.Errorf("bit %d, wanted %v: accepted %#x, want %#x", bit, wanted, out.Flags, want)
			}
		}
	}
}

// TestSubmountsEnd: kernels before Linux 6.12 are not trusted to outlive the end of a
// submount.
func TestSubmountsEnd(t *testing.T) {
	for minor, end := range map[uint32]bool{38: false, 40: false, 41: true, 45: true} {
		fs := &featuresFS{}
		_, c := newClient(fs, fuse.Options{})
		if _, errno := c.Init(fusetest.InitIn{Major: 7, Minor: minor, Flags: 1 << 27}); errno != 0 {
			t.Fatal(errno)
		}
		if fs.offered.Has(vfs.FeatSubmountsEnd) != end || !fs.offered.Has(vfs.FeatSubmounts) {
			t.Errorf("minor %d: %#x was offered", minor, fs.offered)
		}
	}
}

func TestInitMaxWrite(t *testing.T) {
	for _, tc := range []struct {
		option, write uint32
		pages         uint16
	}{
		{0, 1 << 20, 256}, {1, 4096, 1}, {4096, 4096, 1}, {4097, 8192, 2},
		{16 << 20, 16 << 20, 4096}, {^uint32(0), 16 << 20, 4096},
	} {
		_, c := newClient(fusetest.NullFS{}, fuse.Options{MaxWrite: tc.option})
		out, errno := c.Init(fusetest.Linux())
		if errno != 0 || out.MaxWrite != tc.write || out.MaxPages != tc.pages {
			t.Errorf("MaxWrite %d: %v, %d bytes, %d pages", tc.option, errno, out.MaxWrite, out.MaxPages)
		}
	}
}

// TestInitShort checks that the flag for the long form needs the long form.
func TestInitShort(t *testing.T) {
	s, c := newClient(fusetest.NullFS{}, fuse.Options{})
	in := fusetest.Linux()
	in.Short = true
	if _, errno := c.Init(in); errno != syscall.EINVAL || s.Session().Started {
		t.Errorf("%v", errno)
	}
}

// TestSetxattrForms decodes the short form where the long one was not agreed.
func TestSetxattrForms(t *testing.T) {
	fs := &recordFS{}
	_, c := newClient(fs, fuse.Options{})
	if _, errno := c.Init(fusetest.InitIn{Major: 7, Minor: 32}); errno != 0 {
		t.Fatal(errno)
	}
	fs.take()
	if errno := c.Setxattr(5, "user.a", []byte("value"), 1, true); errno != 0 {
		t.Fatal(errno)
	}
	if diff := cmp.Diff([]string{`Setxattr 5 "user.a\x00" "value" 1 false`}, fs.take()); diff != "" {
		t.Error(diff)
	}
}

// TestSessions follows what the file system is told of sessions.
func TestSessions(t *testing.T) {
	fs := &featuresFS{}
	s, c := newClient(fs, fuse.Options{})
	expect := func(what string, started bool, events ...string) {
		t.Helper()
		if diff := cmp.Diff(events, fs.events); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		fs.events = nil
		if s.Session().Started != started {
			t.Errorf("%s: session %+v", what, s.Session())
		}
		_, errno := c.Getattr(1, vfs.NoHandle)
		if want := map[bool]syscall.Errno{true: 0, false: syscall.EIO}[started]; errno != want {
			t.Errorf("%s: GETATTR %v, want %v", what, errno, want)
		}
	}
	expect("at first", false)
	c.Forget(1, 1)
	c.Interrupt(2)
	if errno := c.Destroy(); errno != 0 {
		t.Errorf("DESTROY without INIT: %v", errno)
	}
	s.Reset()
	expect("before INIT", false)
	c.Init(fusetest.Linux())
	expect("INIT", true, "init")
	c.Init(fusetest.Linux())
	expect("INIT again", true, "init")
	c.Destroy()
	expect("DESTROY", false, "destroy")
	c.Destroy()
	expect("DESTROY again", false)
	c.Init(fusetest.Linux())
	s.Reset()
	expect("Reset", false, "init", "destroy")
	c.Init(fusetest.Linux())
	c.Init(fusetest.InitIn{Major: 8})
	expect("later major", false, "init", "destroy")
	c.Init(fusetest.Linux())
	c.Init(fusetest.InitIn{Major: 7, Minor: 26})
	expect("early minor", false, "init", "destroy")
	c.Init(fusetest.Linux())
	fs.errno = syscall.ENOMEM
	if _, errno := c.Init(fusetest.Linux()); errno != syscall.ENOMEM {
		t.Errorf("failed INIT: %v", errno)
	}
	expect("failed INIT", false, "init", "init", "destroy")
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// TestDestroyWithoutRoom serves a DESTROY that has no room for a reply.
func TestDestroyWithoutRoom(t *testing.T) {
	fs := &featuresFS{}
	s, _ := start(t, fs, fuse.Options{})
	request := fusetest.Request(fusetest.Header{Op: fuse.DESTROY, Unique: 2}, nil, nil)
	if reply := newRaw(s).serve(request, 0); len(reply) != 0 || s.Session().Started {
		t.Errorf("reply %x, session %+v", reply, s.Session())
	}
}
