package rules

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// quiet answers everything at once and keeps nothing.
type quiet struct{ vfs.Unimplemented }

func (quiet) Init(f vfs.Features) (vfs.Features, syscall.Errno) { return f, 0 }

func (quiet) Lookup(_ *vfs.Request, _ vfs.NodeID, _ vfs.Name, out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: vfs.Attr{Mode: unix.S_IFREG}}
	return 0
}

// Getattr shows a file that rules have the most to do with.
func (quiet) Getattr(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	out.Attr.Mode = unix.S_IFREG | 0o6755
	return 0
}

func (quiet) Setattr(*vfs.Request, vfs.NodeID, vfs.Handle, *vfs.SetAttr, *vfs.AttrOut) syscall.Errno {
	return 0
}

func (quiet) Statx(*vfs.Request, vfs.NodeID, vfs.Handle, uint32, uint32, *vfs.Statx) syscall.Errno {
	return 0
}

func (quiet) Access(*vfs.Request, vfs.NodeID, uint32) syscall.Errno { return 0 }

func (quiet) Mkdir(*vfs.Request, vfs.NodeID, vfs.Name, uint32, *vfs.Entry) syscall.Errno { return 0 }

func (quiet) Unlink(*vfs.Request, vfs.NodeID, vfs.Name) syscall.Errno { return 0 }

func (quiet) Open(*vfs.Request, vfs.NodeID, uint32, bool, *vfs.Opened) syscall.Errno { return 0 }

func (quiet) Create(*vfs.Request, vfs.NodeID, vfs.Name, uint32, uint32, *vfs.Entry, *vfs.Opened) syscall.Errno {
	return 0
}

func (quiet) Read(*vfs.Request, vfs.NodeID, vfs.Handle, []unix.Iovec, uint64, uint32) (int, syscall.Errno) {
	return 0, 0
}

func (quiet) Write(*vfs.Request, vfs.NodeID, vfs.Handle, []unix.Iovec, uint64, uint32, vfs.WriteFlags) (int, syscall.Errno) {
	return 0, 0
}

func (quiet) Readdir(_ *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint64, sink vfs.DirSink) syscall.Errno {
	sink.Add(someName, 2, 1, unix.S_IFREG, &someEntry)
	return 0
}

func (quiet) Getxattr(*vfs.Request, vfs.NodeID, []byte, []byte) (int, syscall.Errno) {
	return 0, syscall.ENODATA
}

func (quiet) Setxattr(*vfs.Request, vfs.NodeID, []byte, []byte, uint32, bool) syscall.Errno { return 0 }

func (quiet) Listxattr(_ *vfs.Request, _ vfs.NodeID, buf []byte) (int, syscall.Errno) {
	switch n := len(someList); {
	case len(buf) == 0:
		return n, 0
	case len(buf) < n:
		return 0, syscall.ERANGE
	}
	return copy(buf, someList), 0
}

var (
	someName  = []byte("name")
	someEntry = vfs.Entry{Node: 2}
	someList  = []byte("user.virtiofs.user.a\x00user.b\x00")
)

// nowhere is a DirSink that takes and forgets everything.
type nowhere struct{ entries int }

func (*nowhere) Plus() bool    { return true }
func (*nowhere) Fits(int) bool { return true }

func (s *nowhere) Add([]byte, uint64, uint64, uint32, *vfs.Entry) { s.entries++ }

// hotCalls are what a guest does all day.
func hotCalls(fs vfs.FileSystem) map[string]func() syscall.Errno {
	n := name("name")
	r := &vfs.Request{UID: 1, GID: 2, Groups: []uint32{3, 4}}
	labelled := &vfs.Request{Security: []vfs.SecurityContext{{Name: []byte("security.selinux\x00"), Value: []byte("label")}}}
	sink := &nowhere{}
	x := []byte("user.a\x00")
	buf := make([]byte, 100)
	var e vfs.Entry
	var o vfs.Opened
	var a vfs.AttrOut
	var stx vfs.Statx
	set := vfs.SetAttr{Valid: vfs.SetUID | vfs.SetSize}
	mode := vfs.SetAttr{Valid: vfs.SetMode, Mode: 0o755}
	return map[string]func() syscall.Errno{
		"lookup":   func() syscall.Errno { return fs.Lookup(r, vfs.Root, n, &e) },
		"getattr":  func() syscall.Errno { return fs.Getattr(r, 2, vfs.NoHandle, &a) },
		"setattr":  func() syscall.Errno { return fs.Setattr(r, 2, vfs.NoHandle, &set, &a) },
		"statx":    func() syscall.Errno { return fs.Statx(r, 2, vfs.NoHandle, 0, 0, &stx) },
		"access":   func() syscall.Errno { return fs.Access(r, 2, unix.W_OK) },
		"execute":  func() syscall.Errno { return fs.Access(r, 2, unix.X_OK) },
		"chmod":    func() syscall.Errno { return fs.Setattr(r, 2, vfs.NoHandle, &mode, &a) },
		"mkdir":    func() syscall.Errno { return fs.Mkdir(labelled, vfs.Root, n, 0, &e) },
		"unlink":   func() syscall.Errno { return fs.Unlink(r, vfs.Root, n) },
		"open":     func() syscall.Errno { return fs.Open(r, 2, unix.O_RDWR, false, &o) },
		"truncate": func() syscall.Errno { return fs.Open(r, 2, unix.O_TRUNC, false, &o) },
		"create":   func() syscall.Errno { return fs.Create(r, vfs.Root, n, unix.O_TRUNC, 0, &e, &o) },
		"labelled": func() syscall.Errno { return fs.Create(labelled, vfs.Root, n, 0, 0, &e, &o) },
		"read":     func() syscall.Errno { _, errno := fs.Read(r, 2, 3, nil, 0, 0); return errno },
		"write":    func() syscall.Errno { _, errno := fs.Write(r, 2, 3, nil, 0, 0, 0); return errno },
		"readdir":  func() syscall.Errno { return fs.Readdir(r, vfs.Root, 3, 0, sink) },
		"getxattr": func() syscall.Errno { _, errno := fs.Getxattr(r, 2, x, buf); return errno },
		"setxattr": func() syscall.Errno { return fs.Setxattr(r, 2, x, buf, 0, false) },
		"list":     func() syscall.Errno { _, errno := fs.Listxattr(r, 2, buf); return errno },
		"list size": func() syscall.Errno {
			_, errno := fs.Listxattr(r, 2, nil)
			return errno
		},
		"list into little room": func() syscall.Errno { _, errno := fs.Listxattr(r, 2, buf[:10]); return errno },
	}
}

// rulesets are file systems with each of the rules, and all.
func rulesets(t testing.TB, inner vfs.FileSystem) map[string]vfs.FileSystem {
	uids := mapOf(t, "map:0:100000:1000", "squash-guest:1000:7:1000")
	all := MapXattrs(inner, parse(t, mapAll))
	return map[string]vfs.FileSystem{
		"ids":        TranslateIDs(inner, uids, uids),
		"xattrs":     MapXattrs(inner, parse(t, mapTrusted)),
		"all names":  all,
		"read-only":  ReadOnly(inner),
		"restricted": Restrict(inner, Restrictions{NoDev: true, NoExec: true, NoSUID: true}),
		"all":        ReadOnly(Restrict(TranslateIDs(all, uids, uids), Restrictions{NoDev: true, NoExec: true, NoSUID: true})),
	}
}

func TestAllocs(t *testing.T) {
	for rule, fs := range rulesets(t, quiet{}) {
		for what, call := range hotCalls(fs) {
			switch errno := call(); errno {
			case 0, syscall.EROFS, syscall.EEXIST, syscall.EACCES, syscall.ENODATA, syscall.ERANGE:
			default:
				t.Errorf("%s, %s: %v", rule, what, errno)
			}
			// The whole process is counted: what the call allocates it allocates each time.
			n := testing.AllocsPerRun(100, func() { call() })
			for again := 0; n != 0 && again < 3; again++ {
				n = min(n, testing.AllocsPerRun(100, func() { call() }))
			}
			if n != 0 {
				t.Errorf("%s, %s: %v allocations", rule, what, n)
			}
		}
	}
}

func BenchmarkCalls(b *testing.B) {
	for rule, fs := range rulesets(b, quiet{}) {
		for what, call := range hotCalls(fs) {
			b.Run(rule+"/"+what, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					call()
				}
			})
		}
	}
}
