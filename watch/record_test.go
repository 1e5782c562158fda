package watch_test

import (
	"reflect"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// kept is a Recorder that keeps all records.
type kept struct {
	mu   sync.Mutex
	recs []watch.Record
}

func (k *kept) Record(rec *watch.Record) {
	c := *rec
	c.Path, c.Path2 = append([]byte(nil), rec.Path...), append([]byte(nil), rec.Path2...)
	k.mu.Lock()
	k.recs = append(k.recs, c)
	k.mu.Unlock()
}

// answering is a file system that gives node 5 and handle 9 to all, counts of 3, and
// an error if it is told to.
type answering struct {
	vfs.FileSystem
	errno  syscall.Errno
	called string
	req    *vfs.Request
}

func (a *answering) got(call string, r *vfs.Request) syscall.Errno {
	a.called, a.req = call, r
	return a.errno
}

var someNames = [][]byte{[]byte("."), []byte(".."), []byte("x")}

var theEntry = vfs.Entry{Node: 5, Attr: vfs.Attr{Ino: 77, Mode: unix.S_IFREG}}

func (a *answering) Init(f vfs.Features) (vfs.Features, syscall.Errno) { return f, 0 }
func (a *answering) Destroy()                                          {}
func (a *answering) Forget(vfs.NodeID, uint64)                         { a.called = "Forget" }
func (a *answering) Lookup(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, e *vfs.Entry) syscall.Errno {
	*e = theEntry
	return a.got("Lookup", r)
}
func (a *answering) Getattr(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, o *vfs.AttrOut) syscall.Errno {
	o.TTL = 1
	return a.got("Getattr", r)
}
func (a *answering) Setattr(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ *vfs.SetAttr, o *vfs.AttrOut) syscall.Errno {
	o.TTL = 2
	return a.got("Setattr", r)
}
func (a *answering) Statx(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _, _ uint32, o *vfs.Statx) syscall.Errno {
	o.Mask = 3
	return a.got("Statx", r)
}
func (a *answering) Access(r *vfs.Request, _ vfs.NodeID, _ uint32) syscall.Errno {
	return a.got("Access", r)
}
func (a *answering) Readlink(r *vfs.Request, _ vfs.NodeID, _ []byte) (int, syscall.Errno) {
	return 3, a.got("Readlink", r)
}
func (a *answering) Symlink(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ []byte, e *vfs.Entry) syscall.Errno {
	*e = theEntry
	return a.got("Symlink", r)
}
func (a *answering) Mknod(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _, _ uint32, e *vfs.Entry) syscall.Errno {
	*e = theEntry
	return a.got("Mknod", r)
}
func (a *answering) Mkdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ uint32, e *vfs.Entry) syscall.Errno {
	*e = theEntry
	return a.got("Mkdir", r)
}
func (a *answering) Link(r *vfs.Request, _, _ vfs.NodeID, _ vfs.Name, e *vfs.Entry) syscall.Errno {
	*e = theEntry
	return a.got("Link", r)
}
func (a *answering) Unlink(r *vfs.Request, _ vfs.NodeID, _ vfs.Name) syscall.Errno {
	return a.got("Unlink", r)
}
func (a *answering) Rmdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Name) syscall.Errno {
	return a.got("Rmdir", r)
}
func (a *answering) Rename(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ vfs.NodeID, _ vfs.Name, _ uint32) syscall.Errno {
	return a.got("Rename", r)
}
func (a *answering) Open(r *vfs.Request, _ vfs.NodeID, _ uint32, _ bool, o *vfs.Opened) syscall.Errno {
	*o = vfs.Opened{Handle: 9, Flags: 4}
	return a.got("Open", r)
}
func (a *answering) Create(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _, _ uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	*e, *o = theEntry, vfs.Opened{Handle: 9}
	return a.got("Create", r)
}
func (a *answering) Tmpfile(r *vfs.Request, _ vfs.NodeID, _, _ uint32, e *vfs.Entry, o *vfs.Opened) syscall.Errno {
	*e, *o = vfs.Entry{Node: 15, Attr: vfs.Attr{Ino: 77}}, vfs.Opened{Handle: 9}
	return a.got("Tmpfile", r)
}
func (a *answering) Read(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ []unix.Iovec, _ uint64, _ uint32) (int, syscall.Errno) {
	return 3, a.got("Read", r)
}
func (a *answering) Write(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	return 3, a.got("Write", r)
}
func (a *answering) Flush(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint64) syscall.Errno {
	return a.got("Flush", r)
}
func (a *answering) Release(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ *vfs.ReleaseIn) syscall.Errno {
	return a.got("Release", r)
}
func (a *answering) Fsync(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ bool) syscall.Errno {
	return a.got("Fsync", r)
}
func (a *answering) Fallocate(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _, _ uint64, _ uint32) syscall.Errno {
	return a.got("Fallocate", r)
}
func (a *answering) Lseek(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint64, _ uint32) (uint64, syscall.Errno) {
	return 3, a.got("Lseek", r)
}
func (a *answering) CopyFileRange(r *vfs.Request, _ *vfs.CopyRange) (uint64, syscall.Errno) {
	return 3, a.got("CopyFileRange", r)
}
func (a *answering) Opendir(r *vfs.Request, _ vfs.NodeID, _ uint32, o *vfs.Opened) syscall.Errno {
	*o = vfs.Opened{Handle: 9}
	return a.got("Opendir", r)
}
func (a *answering) Readdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint64, sink vfs.DirSink) syscall.Errno {
	for _, s := range someNames {
		sink.Add(s, 1, 1, unix.S_IFDIR, nil)
	}
	return a.got("Readdir", r)
}
func (a *answering) Releasedir(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle) syscall.Errno {
	return a.got("Releasedir", r)
}
func (a *answering) Fsyncdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ bool) syscall.Errno {
	return a.got("Fsyncdir", r)
}
func (a *answering) Statfs(r *vfs.Request, _ vfs.NodeID, _ *vfs.Statfs) syscall.Errno {
	return a.got("Statfs", r)
}
func (a *answering) Syncfs(r *vfs.Request, _ vfs.NodeID) syscall.Errno { return a.got("Syncfs", r) }
func (a *answering) Getxattr(r *vfs.Request, _ vfs.NodeID, _, _ []byte) (int, syscall.Errno) {
	return 3, a.got("Getxattr", r)
}
func (a *answering) Listxattr(r *vfs.Request, _ vfs.NodeID, _ []byte) (int, syscall.Errno) {
	return 3, a.got("Listxattr", r)
}
func (a *answering) Setxattr(r *vfs.Request, _ vfs.NodeID, _, _ []byte, _ uint32, _ bool) syscall.Errno {
	return a.got("Setxattr", r)
}
func (a *answering) Removexattr(r *vfs.Request, _ vfs.NodeID, _ []byte) syscall.Errno {
	return a.got("Removexattr", r)
}
func (a *answering) Getlk(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, lk *vfs.Lock) syscall.Errno {
	*lk = vfs.Lock{Type: unix.F_UNLCK}
	return a.got("Getlk", r)
}
func (a *answering) Setlk(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ *vfs.Lock) syscall.Errno {
	return a.got("Setlk", r)
}
func (a *answering) Ioctl(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint32, _ uint64, _, _ []byte) (int, int32, syscall.Errno) {
	return 3, 4, a.got("Ioctl", r)
}

// made is what a call gave back.
type made struct {
	n   int
	e   vfs.Entry
	o   vfs.Opened
	a   vfs.AttrOut
	stx vfs.Statx
	lk  vfs.Lock
}

// someCall is a method with arguments, and what is recorded of it on node 5, which is
// /f, or on name n in directory 6, which is /d.
type someCall struct {
	method string
	call   func(vfs.FileSystem, *vfs.Request, *made) syscall.Errno
	want   watch.Record
}

const everySet = vfs.SetSize | vfs.SetMode | vfs.SetUID | vfs.SetGID

func someCalls() []someCall {
	n := name("n")
	iov := []unix.Iovec{{Len: 10}, {Len: 20}}
	x, buf := []byte("user.x\x00"), make([]byte, 100)
	f, dn := []byte("/f"), []byte("/d/n")
	const d, file, h = 6, 5, 9
	on := func(op watch.Op, rec watch.Record) watch.Record {
		rec.Op, rec.Node, rec.Path = op, file, f
		if rec.Handle == 0 {
			rec.Handle = vfs.NoHandle
		}
		return rec
	}
	in := func(op watch.Op, node vfs.NodeID, rec watch.Record) watch.Record {
		rec.Op, rec.Node, rec.Path = op, node, dn
		if rec.Handle == 0 {
			rec.Handle = vfs.NoHandle
		}
		return rec
	}
	type R = vfs.Request
	type FS = vfs.FileSystem
	return []someCall{
		{"Lookup", func(fs FS, r *R, m *made) syscall.Errno { return fs.Lookup(r, d, n, &m.e) }, in(watch.OpLookup, file, watch.Record{})},
		{"Getattr", func(fs FS, r *R, m *made) syscall.Errno { return fs.Getattr(r, file, h, &m.a) }, on(watch.OpGetattr, watch.Record{Handle: h})},
		{"Setattr", func(fs FS, r *R, m *made) syscall.Errno {
			return fs.Setattr(r, file, vfs.NoHandle, &vfs.SetAttr{Valid: everySet, Size: 7, Mode: 0o640, UID: 8, GID: 9}, &m.a)
		}, on(watch.OpSetattr, watch.Record{Flags: uint32(everySet), Length: 7, Mode: 0o640, Owner: 8, Group: 9})},
		{"Setattr", func(fs FS, r *R, m *made) syscall.Errno {
			return fs.Setattr(r, file, h, &vfs.SetAttr{Size: 7, Mode: 0o640, UID: 8, GID: 9}, &m.a)
		}, on(watch.OpSetattr, watch.Record{Handle: h})},
		{"Statx", func(fs FS, r *R, m *made) syscall.Errno { return fs.Statx(r, file, h, 1, 2, &m.stx) }, on(watch.OpStatx, watch.Record{Handle: h, Flags: 2})},
		{"Access", func(fs FS, r *R, m *made) syscall.Errno { return fs.Access(r, file, 4) }, on(watch.OpAccess, watch.Record{Flags: 4})},
		{"Readlink", func(fs FS, r *R, m *made) (e syscall.Errno) { m.n, e = fs.Readlink(r, file, buf); return e }, on(watch.OpReadlink, watch.Record{Count: 3})},
		{"Symlink", func(fs FS, r *R, m *made) syscall.Errno { return fs.Symlink(r, d, n, []byte("to\x00"), &m.e) },
			in(watch.OpSymlink, file, watch.Record{Path2: []byte("to")})},
		{"Mknod", func(fs FS, r *R, m *made) syscall.Errno { return fs.Mknod(r, d, n, 0o10644, 0, &m.e) }, in(watch.OpMknod, file, watch.Record{Mode: 0o10644})},
		{"Mkdir", func(fs FS, r *R, m *made) syscall.Errno { return fs.Mkdir(r, d, n, 0o755, &m.e) }, in(watch.OpMkdir, file, watch.Record{Mode: 0o755})},
		{"Link", func(fs FS, r *R, m *made) syscall.Errno { return fs.Link(r, file, d, n, &m.e) }, on(watch.OpLink, watch.Record{Path2: dn})},
		{"Unlink", func(fs FS, r *R, m *made) syscall.Errno { return fs.Unlink(r, d, n) }, in(watch.OpUnlink, d, watch.Record{})},
		{"Rmdir", func(fs FS, r *R, m *made) syscall.Errno { return fs.Rmdir(r, d, n) }, in(watch.OpRmdir, d, watch.Record{})},
		{"Rename", func(fs FS, r *R, m *made) syscall.Errno { return fs.Rename(r, d, n, vfs.Root, name("o"), 1) },
			in(watch.OpRename, d, watch.Record{Path2: []byte("/o"), Flags: 1})},
		{"Open", func(fs FS, r *R, m *made) syscall.Errno { return fs.Open(r, file, 2, false, &m.o) }, on(watch.OpOpen, watch.Record{Handle: h, Flags: 2})},
		{"Create", func(fs FS, r *R, m *made) syscall.Errno { return fs.Create(r, d, n, 2, 0o600, &m.e, &m.o) },
			in(watch.OpCreate, file, watch.Record{Handle: h, Flags: 2, Mode: 0o600})},
		{"Read", func(fs FS, r *R, m *made) (e syscall.Errno) { m.n, e = fs.Read(r, file, h, iov, 50, 0); return e },
			on(watch.OpRead, watch.Record{Handle: h, Offset: 50, Length: 30, Count: 3})},
		{"Write", func(fs FS, r *R, m *made) (e syscall.Errno) { m.n, e = fs.Write(r, file, h, iov, 50, 0, 0); return e },
			on(watch.OpWrite, watch.Record{Handle: h, Offset: 50, Length: 30, Count: 3})},
		{"Flush", func(fs FS, r *R, m *made) syscall.Errno { return fs.Flush(r, file, h, 1) }, on(watch.OpFlush, watch.Record{Handle: h})},
		{"Release", func(fs FS, r *R, m *made) syscall.Errno { return fs.Release(r, file, h, &vfs.ReleaseIn{}) }, on(watch.OpRelease, watch.Record{Handle: h})},
		{"Fsync", func(fs FS, r *R, m *made) syscall.Errno { return fs.Fsync(r, file, h, true) }, on(watch.OpFsync, watch.Record{Handle: h, Flags: 1})},
		{"Fallocate", func(fs FS, r *R, m *made) syscall.Errno { return fs.Fallocate(r, file, h, 1, 2, 3) },
			on(watch.OpFallocate, watch.Record{Handle: h, Offset: 1, Length: 2, Flags: 3})},
		{"Lseek", func(fs FS, r *R, m *made) syscall.Errno {
			pos, e := fs.Lseek(r, file, h, 1, 2)
			m.n = int(pos)
			return e
		}, on(watch.OpLseek, watch.Record{Handle: h, Offset: 1, Flags: 2, Count: 3})},
		{"CopyFileRange", func(fs FS, r *R, m *made) syscall.Errno {
			c, e := fs.CopyFileRange(r, &vfs.CopyRange{SrcNode: file, SrcHandle: h, SrcOff: 4, DstNode: d, DstOff: 5, Len: 6})
			m.n = int(c)
			return e
		}, on(watch.OpCopyRange, watch.Record{Handle: h, Offset: 4, Length: 6, Count: 3, Path2: []byte("/d")})},
		{"Opendir", func(fs FS, r *R, m *made) syscall.Errno { return fs.Opendir(r, file, 8, &m.o) }, on(watch.OpOpendir, watch.Record{Handle: h, Flags: 8})},
		{"Readdir", func(fs FS, r *R, m *made) syscall.Errno { return fs.Readdir(r, file, h, 11, &list{}) },
			on(watch.OpReaddir, watch.Record{Handle: h, Offset: 11, Count: 3})},
		{"Fsyncdir", func(fs FS, r *R, m *made) syscall.Errno { return fs.Fsyncdir(r, file, h, false) }, on(watch.OpFsyncdir, watch.Record{Handle: h})},
		{"Releasedir", func(fs FS, r *R, m *made) syscall.Errno { return fs.Releasedir(r, file, h) }, on(watch.OpReleasedir, watch.Record{Handle: h})},
		{"Statfs", func(fs FS, r *R, m *made) syscall.Errno { return fs.Statfs(r, file, new(vfs.Statfs)) }, on(watch.OpStatfs, watch.Record{})},
		{"Syncfs", func(fs FS, r *R, m *made) syscall.Errno { return fs.Syncfs(r, file) }, on(watch.OpSyncfs, watch.Record{})},
		{"Getxattr", func(fs FS, r *R, m *made) (e syscall.Errno) { m.n, e = fs.Getxattr(r, file, x, buf); return e },
			on(watch.OpGetxattr, watch.Record{Path2: []byte("user.x"), Length: 100, Count: 3})},
		{"Listxattr", func(fs FS, r *R, m *made) (e syscall.Errno) { m.n, e = fs.Listxattr(r, file, buf); return e },
			on(watch.OpListxattr, watch.Record{Length: 100, Count: 3})},
		{"Setxattr", func(fs FS, r *R, m *made) syscall.Errno { return fs.Setxattr(r, file, x, buf, 1, false) },
			on(watch.OpSetxattr, watch.Record{Path2: []byte("user.x"), Length: 100, Flags: 1})},
		{"Removexattr", func(fs FS, r *R, m *made) syscall.Errno { return fs.Removexattr(r, file, x) },
			on(watch.OpRemovexattr, watch.Record{Path2: []byte("user.x")})},
		{"Getlk", func(fs FS, r *R, m *made) syscall.Errno {
			m.lk = vfs.Lock{Start: 10, End: 19, Type: unix.F_WRLCK}
			return fs.Getlk(r, file, h, &m.lk)
		}, on(watch.OpGetlk, watch.Record{Handle: h, Offset: 10, Length: 10, Flags: unix.F_WRLCK})},
		{"Setlk", func(fs FS, r *R, m *made) syscall.Errno {
			return fs.Setlk(r, file, h, &vfs.Lock{Start: 10, End: vfs.MaxLockEnd, Type: unix.F_RDLCK})
		}, on(watch.OpSetlk, watch.Record{Handle: h, Offset: 10})},
		{"Ioctl", func(fs FS, r *R, m *made) syscall.Errno {
			n, result, e := fs.Ioctl(r, file, h, 0x1234, 0, nil, buf)
			m.n = n + int(result)
			return e
		}, on(watch.OpIoctl, watch.Record{Handle: h, Flags: 0x1234})},
		{"Tmpfile", func(fs FS, r *R, m *made) syscall.Errno { return fs.Tmpfile(r, d, 2, 0o600, &m.e, &m.o) },
			watch.Record{Op: watch.OpTmpfile, Node: 15, Handle: h, Flags: 2, Mode: 0o600, Path: []byte("/d/#77 (deleted)")}},
	}
}

// setUp makes node 5 known as /f and open as handle 9, and node 6 as /d.
func setUp(t *testing.T, fs *watch.FS, inner *answering, dir bool) {
	t.Helper()
	fs.Init(0)
	g := &guest{t: t, fs: fs}
	defer func(e vfs.Entry) { theEntry = e }(theEntry)
	g.lookup(vfs.Root, "f")
	var o vfs.Opened
	if dir {
		g.must("opendir", fs.Opendir(&g.r, 5, 0, &o))
	} else {
		g.open(5, 0)
	}
	theEntry.Node = 6
	theEntry.Attr.Mode = unix.S_IFDIR
	g.lookup(vfs.Root, "d")
}

var request = vfs.Request{PID: 1, UID: 2, GID: 3}

// record makes a call and returns what was recorded of it.
func record(t *testing.T, c someCall, answer syscall.Errno) (recs []watch.Record) {
	t.Helper()
	inner, rec := &answering{}, &kept{}
	fs := watch.New(inner, watch.Options{})
	setUp(t, fs, inner, c.method == "Releasedir")
	fs.SetRecorder(rec)
	inner.errno = answer
	before := time.Now()
	r := request
	if errno := c.call(fs, &r, &made{}); errno != answer {
		t.Errorf("%s: %v, want %v", c.method, errno, answer)
	}
	after := time.Since(before)
	if inner.called != c.method || inner.req != &r {
		t.Errorf("%s was passed on as %s", c.method, inner.called)
	}
	fs.SetRecorder(nil)
	c.call(fs, &r, &made{})
	for i := range rec.recs {
		rec := &rec.recs[i]
		if rec.Start.Before(before) || rec.Duration < 0 || rec.Duration > after {
			t.Errorf("%s at %v took %v", c.method, rec.Start, rec.Duration)
		}
		rec.Start, rec.Duration = time.Time{}, 0
	}
	return rec.recs
}

func TestRecords(t *testing.T) {
	recorded := map[string]bool{"Init": true, "Destroy": true, "Forget": true}
	for _, c := range someCalls() {
		recorded[c.method] = true
		want := c.want
		want.PID, want.UID, want.GID = request.PID, request.UID, request.GID
		if diff := cmp.Diff([]watch.Record{want}, record(t, c, 0), nilIsEmpty); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.method, diff)
		}
		failed := record(t, c, syscall.EIO)
		if len(failed) != 1 || failed[0].Errno != syscall.EIO || failed[0].Op != want.Op {
			t.Errorf("%s that fails: %+v", c.method, failed)
		} else if failed[0].Fields()&watch.HasCount != 0 {
			t.Errorf("%s that fails has a count", c.method)
		}
		if again := record(t, c, vfs.WouldBlock); len(again) != 0 {
			t.Errorf("%s that will be made again: %+v", c.method, again)
		}
		if want.Op.String() == "" || want.Op.String() == "unknown" {
			t.Errorf("%s has no name", c.method)
		}
	}
	for m := range reflect.TypeFor[vfs.FileSystem]().Methods() {
		if !recorded[m.Name] {
			t.Errorf("%s is not tested", m.Name)
		}
	}
}

var nilIsEmpty = cmp.Comparer(func(a, b []byte) bool { return string(a) == string(b) })

// TestRecordsHaveTheirFields looks whether what is set in a record is what its op is
// said to have.
func TestRecordsHaveTheirFields(t *testing.T) {
	for _, c := range someCalls() {
		f, rec := c.want.Fields(), c.want
		for _, x := range []struct {
			what string
			has  watch.Fields
			set  bool
		}{
			{"a handle", watch.HasHandle, rec.Handle != vfs.NoHandle},
			{"an offset", watch.HasOffset, rec.Offset != 0},
			{"a length", watch.HasLength, rec.Length != 0},
			{"a count", watch.HasCount, rec.Count != 0},
			{"flags", watch.HasFlags, rec.Flags != 0},
			{"a mode", watch.HasMode, rec.Mode != 0},
			{"an owner", watch.HasOwner, rec.Owner != 0},
			{"a group", watch.HasGroup, rec.Group != 0},
			{"a second path", watch.HasTo | watch.HasTarget | watch.HasName, len(rec.Path2) != 0},
		} {
			if x.set && f&x.has == 0 {
				t.Errorf("%v has %s", rec.Op, x.what)
			}
		}
	}
}

// TestAnswersPass compares what calls give back with and without being watched.
func TestAnswersPass(t *testing.T) {
	for _, recorder := range []watch.Recorder{nil, &kept{}} {
		for _, c := range someCalls() {
			inner := &answering{}
			var want made
			r := request
			c.call(inner, &r, &want)
			fs := watch.New(inner, watch.Options{Recorder: recorder, CountBytes: true})
			setUp(t, fs, inner, c.method == "Releasedir")
			var got made
			if errno := c.call(fs, &r, &got); errno != 0 || got != want {
				t.Errorf("%s gives %v\n got %+v\nwant %+v", c.method, errno, got, want)
			}
		}
	}
}

func TestRecordOfForgedNode(t *testing.T) {
	rec := &kept{}
	fs := watched(t, watch.Options{Recorder: rec})
	var a vfs.AttrOut
	var e vfs.Entry
	fs.Getattr(&request, 1234, vfs.NoHandle, &a)
	fs.Lookup(&request, 1234, name("n"), &e)
	fs.Lookup(&request, vfs.Root, name("none"), &e)
	type brief struct {
		path  string
		errno syscall.Errno
	}
	var got []brief
	for _, r := range rec.recs {
		got = append(got, brief{string(r.Path), r.Errno})
	}
	want := []brief{{"", syscall.ESTALE}, {"(unreachable)/n", syscall.ESTALE}, {"/none", syscall.ENOENT}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestUnknownOp(t *testing.T) {
	if o := watch.NumOps; o.String() != "unknown" || o.Fields() != 0 {
		t.Errorf("no op is %q and has %b", o, o.Fields())
	}
}
