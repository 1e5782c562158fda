package vfstest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

const workers = 8

// rounds is how often a worker does what it does.
func rounds() int {
	if testing.Short() {
		return 80
	}
	return 400
}

// parallel runs f on several goroutines, each with a session of its own. The
// tests that use it check what must hold whatever the order was, and are best
// run under the race detector.
func (s *suite) parallel(t *testing.T, f func(k int, c *session)) {
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			c := s.session(vfs.Root)
			c.t, c.racing, c.nowait, c.keep = t, true, k%2 == 0, k%3 == 0
			f(k, c)
			c.end()
		})
	}
	wg.Wait()
}

// raceErrnos are what an operation may meet when others change the tree. ESTALE
// is for a node that lost its last name and is held by nothing that keeps it.
var raceErrnos = []syscall.Errno{
	0, syscall.ENOENT, syscall.EEXIST, syscall.ENOTDIR, syscall.EISDIR, syscall.ENOTEMPTY, syscall.EINVAL, syscall.ELOOP, syscall.EPERM,
	syscall.ENXIO, syscall.EBADF, syscall.ENODATA, syscall.EOPNOTSUPP, syscall.EBUSY, syscall.EMLINK, syscall.ENOSPC, syscall.E2BIG, syscall.ERANGE, syscall.ESTALE,
}

// testRandom has all workers do everything in a small tree. Then the tree is
// sound, the same from both sides, and nothing is held.
func (s *suite) testRandom(t *testing.T) {
	setup := s.root(t)
	if _, errno := setup.mkdir("random", 0o777); errno != 0 {
		t.Fatal(errno)
	}
	base := setup.mustWalk("random")
	s.parallel(t, func(k int, c *session) {
		c.base = base
		a := newActor(c)
		rng := rand.New(rand.NewPCG(uint64(k), 99))
		pick := func(n int) int { return rng.IntN(n) }
		for range rounds() {
			o := randomOp(pick, s.Lacks)
			if _, errno := o.run(a); !slices.Contains(raceErrnos, errno) {
				t.Errorf("%v among others: %s", o, errnoName(errno))
			}
		}
		a.end()
	})
	if s.Dir != "" {
		back := newHost(t, s.Dir+"/random")
		c := s.session(base)
		c.t = t
		compareTrees(t, "through the file system", snapshot(t, c, s.Lacks), snapshot(t, back, s.Lacks))
		c.end()
		back.end()
	}
	setup.put(base)
	s.checkLeaks(t)
}

// testExclusive has all workers make, link and remove the same names: each
// time exactly one of them does it.
func (s *suite) testExclusive(t *testing.T) {
	rounds := rounds() / 4
	made, removed := make([]atomic.Int32, rounds), make([]atomic.Int32, rounds)
	s.parallel(t, func(k int, c *session) {
		for i := range rounds {
			f, errno := c.open(fmt.Sprintf("only-%d", i), creat|excl|rdwr, 0o644)
			switch errno {
			case 0:
				made[i].Add(1)
				f.close()
			case syscall.EEXIST:
			default:
				t.Errorf("an exclusive Create: %s", errnoName(errno))
			}
		}
	})
	s.parallel(t, func(k int, c *session) {
		for i := range rounds {
			switch errno := c.unlink(fmt.Sprintf("only-%d", i)); errno {
			case 0:
				removed[i].Add(1)
			case syscall.ENOENT:
			default:
				t.Errorf("an Unlink: %s", errnoName(errno))
			}
		}
	})
	s.checkLeaks(t)
	for i := range rounds {
		if m, r := made[i].Load(), removed[i].Load(); m != 1 || r != 1 {
			t.Errorf("only-%d was made %d times and removed %d times", i, m, r)
		}
	}
}

// testAppend has all workers append to one file: no record is lost or torn.
func (s *suite) testAppend(t *testing.T) {
	rounds := rounds() / 4
	s.parallel(t, func(k int, c *session) {
		f, errno := c.open("log", creat|wronly|appnd, 0o644)
		if errno != 0 {
			t.Errorf("open: %s", errnoName(errno))
			return
		}
		defer f.close()
		for i := range rounds {
			if n, errno := f.pwrite(fmt.Sprintf("%02d %06d\n", k, i), 0); n != 10 || errno != 0 {
				t.Errorf("an append: %d, %s", n, errnoName(errno))
			}
		}
	})
	s.checkLeaks(t)
	data, errno := contents(s.root(t), "log")
	if errno != 0 {
		t.Fatal(errno)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(data, "\n"), "\n")
	slices.Sort(lines)
	if n := len(slices.Compact(lines)); n != workers*rounds {
		t.Errorf("the file has %d different records, want %d", n, workers*rounds)
	}
}

// testLookupForget finds and forgets the same files over and over: a node that
// is being looked up must not be dropped by another's forget.
func (s *suite) testLookupForget(t *testing.T) {
	c := s.root(t)
	for i := range 3 {
		if _, errno := c.mknod(fmt.Sprintf("hot-%d", i), unix.S_IFREG|0o644, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	s.parallel(t, func(k int, c *session) {
		for i := range rounds() * 4 {
			var e vfs.Entry
			if errno := s.FS.Lookup(&vfs.Request{}, vfs.Root, name(fmt.Sprintf("hot-%d", i%3)), &e); errno != 0 {
				t.Errorf("Lookup: %s", errnoName(errno))
				return
			}
			if _, errno := c.getattr(e.Node, vfs.NoHandle); errno != 0 {
				t.Errorf("Getattr of a node with a reference: %s", errnoName(errno))
			}
			s.FS.Forget(e.Node, 1)
		}
	})
	s.checkLeaks(t)
}

// testHandleRace uses a handle while another goroutine releases it: each call
// is done in full or refused.
func (s *suite) testHandleRace(t *testing.T) {
	var mu sync.RWMutex
	var current *openFile
	setup := s.root(t)
	replace := func() bool {
		f, errno := setup.open("handle", creat|rdwr, 0o644)
		if errno != 0 {
			t.Errorf("open: %s", errnoName(errno))
			return false
		}
		mu.Lock()
		current = f.(*openFile)
		mu.Unlock()
		return true
	}
	if !replace() {
		return
	}
	current.pwrite("0123456789", 0)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range workers / 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.RLock()
				f := current
				mu.RUnlock()
				g := openFile{c: &session{t: t, fs: s.FS}, node: f.node, h: f.h}
				if data, errno := g.pread(10, 0); errno == 0 && data != "0123456789" || errno != 0 && errno != syscall.EBADF && errno != syscall.ESTALE {
					t.Errorf("a read while the handle is released: %q, %s", data, errnoName(errno))
					return
				}
			}
		})
	}
	for range rounds() {
		old := current
		if !replace() {
			break
		}
		old.close()
	}
	close(stop)
	wg.Wait()
	current.close()
	setup.end()
	s.checkLeaks(t)
}
