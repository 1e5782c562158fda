package scratch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// worker is a guest's process in a stress test: it does anything to a small tree that
// others change as well.
type worker struct {
	fs   *FS
	rng  *rand.Rand
	held map[vfs.NodeID]uint64
	dirs []vfs.NodeID
	buf  []byte
}

func (w *worker) took(e *vfs.Entry) {
	if e.Node == 0 {
		return
	}
	w.held[e.Node]++
	if e.Attr.Mode&unix.S_IFMT == unix.S_IFDIR && len(w.dirs) < 20 {
		w.dirs = append(w.dirs, e.Node)
	}
}

func (w *worker) dir() vfs.NodeID { return w.dirs[w.rng.IntN(len(w.dirs))] }
func (w *worker) name() vfs.Name  { return name(fmt.Sprint(w.rng.IntN(12))) }

// forgetSome gives references back, some too many.
func (w *worker) forgetSome() {
	for id, n := range w.held {
		if w.rng.IntN(3) == 0 {
			w.fs.Forget(id, n+uint64(w.rng.IntN(2)))
			delete(w.held, id)
			w.dirs = slices.DeleteFunc(w.dirs, func(d vfs.NodeID) bool { return d == id })
		}
	}
}

// step makes one call, or opens a file and makes several on it.
func (w *worker) step() syscall.Errno {
	fs, rng := w.fs, w.rng
	var e vfs.Entry
	var o vfs.Opened
	var errno syscall.Errno
	switch rng.IntN(16) {
	case 0:
		if errno = fs.Mkdir(root, w.dir(), w.name(), 0o755, &e); errno == 0 {
			w.took(&e)
		}
	case 1:
		errno = fs.Rmdir(root, w.dir(), w.name())
	case 2, 3:
		errno = fs.Unlink(root, w.dir(), w.name())
	case 4, 5:
		errno = fs.Rename(root, w.dir(), w.name(), w.dir(), w.name(), []uint32{0, 0, 1, 2, 4, 5}[rng.IntN(6)])
	case 6:
		for id := range w.held {
			if errno = fs.Link(root, id, w.dir(), w.name(), &e); errno == 0 {
				w.took(&e)
			}
			break
		}
	case 7:
		if errno = fs.Symlink(root, w.dir(), w.name(), []byte("target\x00"), &e); errno == 0 {
			w.took(&e)
		}
	case 8:
		w.forgetSome()
	case 9:
		d := w.dir()
		if errno = fs.Opendir(root, d, 0, &o); errno == 0 {
			s := &plusSink{w: w}
			errno = fs.Readdir(root, d, o.Handle, 0, s)
			fs.Releasedir(root, d, o.Handle)
		}
	case 10:
		for id := range w.held {
			fs.Getattr(root, id, vfs.NoHandle, &vfs.AttrOut{})
			fs.Setxattr(root, id, []byte("user.x\x00"), w.buf[:rng.IntN(100)], 0, false)
			fs.Getxattr(root, id, []byte("user.x\x00"), make([]byte, 100))
			fs.Removexattr(root, id, []byte("user.x\x00"))
			errno = fs.Setattr(root, id, vfs.NoHandle, &vfs.SetAttr{Valid: vfs.SetSize, Size: uint64(rng.IntN(1 << 20))}, &vfs.AttrOut{})
			break
		}
	case 11:
		if errno = fs.Tmpfile(root, w.dir(), unix.O_RDWR, 0o600, &e, &o); errno == 0 {
			w.took(&e)
			w.use(e.Node, o.Handle)
		}
	default:
		if errno = fs.Create(root, w.dir(), w.name(), unix.O_RDWR, 0o644, &e, &o); errno == 0 {
			w.took(&e)
			w.use(e.Node, o.Handle)
		}
	}
	return errno
}

// use writes, reads and cuts an open file, and closes it, perhaps twice.
func (w *worker) use(id vfs.NodeID, h vfs.Handle) {
	fs, rng := w.fs, w.rng
	for range rng.IntN(5) {
		off := uint64(rng.IntN(1 << 20))
		iov := []unix.Iovec{oslib.Iov(w.buf[:rng.IntN(len(w.buf))])}
		switch rng.IntN(5) {
		case 0, 1:
			fs.Write(root, id, h, iov, off, unix.O_RDWR, 0)
		case 2:
			fs.Read(root, id, h, iov, off, unix.O_RDWR)
		case 3:
			fs.Fallocate(root, id, h, off, 1<<18, []uint32{0, keepSize, punchHole, zeroRange}[rng.IntN(4)])
		case 4:
			fs.CopyFileRange(root, &vfs.CopyRange{SrcNode: id, SrcHandle: h, DstNode: id, DstHandle: h, DstOff: off, Len: 1 << 16})
		}
	}
	fs.Release(root, id, h, nil)
	if rng.IntN(10) == 0 {
		fs.Release(root, id, h, nil)
	}
}

// plusSink takes entries and their references.
type plusSink struct {
	w *worker
	n int
}

func (s *plusSink) Plus() bool    { return true }
func (s *plusSink) Fits(int) bool { return s.n < 50 }
func (s *plusSink) Add(_ []byte, _, _ uint64, _ uint32, e *vfs.Entry) {
	s.n++
	if e != nil {
		s.w.took(e)
	}
}

// stressErrnos are what a call may meet when others change the tree.
var stressErrnos = []syscall.Errno{
	0, syscall.ENOENT, syscall.EEXIST, syscall.ENOTDIR, syscall.EISDIR, syscall.ENOTEMPTY, syscall.EINVAL, syscall.ELOOP,
	syscall.EPERM, syscall.ENOSPC, syscall.ESTALE, syscall.EBADF,
}

// TestStress has many workers do everything in one small space that is often full.
// Afterwards all is sound, and when they have let go, nothing but names is left.
func TestStress(t *testing.T) {
	fs := newSpace(t, Options{Size: 600 * pageSize, MaxNodes: 150, MaxMetadata: 200_000})
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			w := &worker{fs: fs, rng: rand.New(rand.NewPCG(uint64(k), 7)), held: map[vfs.NodeID]uint64{}, dirs: []vfs.NodeID{vfs.Root}, buf: make([]byte, 50_000)}
			for range 15_000 {
				if errno := w.step(); !slices.Contains(stressErrnos, errno) {
					t.Errorf("a call among others: %v", errno)
				}
			}
			for id, n := range w.held {
				fs.Forget(id, n)
			}
		})
	}
	wg.Wait()
	checkSound(t, fs)
	if s := fs.Counts(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("at rest: %+v", s)
	}
}

// TestSessionsUnderLoad ends sessions while calls are under way, as a door does whose
// guest was reset.
func TestSessionsUnderLoad(t *testing.T) {
	fs := newSpace(t, Options{Size: 600 * pageSize, MaxNodes: 150})
	var workers, resets sync.WaitGroup
	stop := make(chan struct{})
	resets.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				fs.Init(wishes)
			}
		}
	})
	for k := range 4 {
		workers.Go(func() {
			w := &worker{fs: fs, rng: rand.New(rand.NewPCG(uint64(k), 8)), held: map[vfs.NodeID]uint64{}, dirs: []vfs.NodeID{vfs.Root}, buf: make([]byte, 50_000)}
			for range 2000 {
				if errno := w.step(); !slices.Contains(stressErrnos, errno) {
					t.Errorf("a call among others: %v", errno)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	resets.Wait()
	fs.Init(wishes)
	checkSound(t, fs)
	if s := fs.Counts(); s.Nodes != 1 || s.Handles != 0 {
		t.Errorf("after the last reset: %+v", s)
	}
}
