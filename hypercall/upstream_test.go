package hypercall

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/scratch"
	"github.com/isthmus-fs/isthmus/vfs"
)

// The defects that are known of uhyve's own implementation of the interface, each with a
// test that fails where it is.
var upstreamDefects = map[string]func(*testing.T){
	"cmdval puts argument 1 into argv[0] and leaves the last slot unset": func(t *testing.T) {
		m := newMachine(t, Config{FS: newScratch(t), Args: []string{"kernel", "one", "two"}})
		for i := range uint64(3) {
			m.u64(nameAt+i*8, dataAt+i*16)
		}
		var p CmdvalParams
		p.Argv.Set(nameAt)
		with(m, V1Cmdval, &p)
		if got := string(m.mem(dataAt, 48)); got != "kernel"+strings.Repeat("\x00", 10)+"one"+strings.Repeat("\x00", 13)+"two"+strings.Repeat("\x00", 13) {
			t.Errorf("%q", got)
		}
	},
	"cmdsize tells the sizes of the host's environment": func(t *testing.T) {
		t.Setenv("ISTHMUS_TEST_ENVIRONMENT", strings.Repeat("x", 1000))
		m := newMachine(t, Config{FS: newScratch(t), Args: []string{"k"}, Env: []string{"A=1"}})
		var p CmdsizeParams
		with(m, V1Cmdsize, &p)
		if p.Envc.Get() != 1 || p.EnvSz[0].Get() != 4 || p.EnvSz[1].Get() != 0 {
			t.Errorf("%d strings, of %d and %d bytes", p.Envc.Get(), p.EnvSz[0].Get(), p.EnvSz[1].Get())
		}
	},
	"more than 127 arguments end the machine": func(t *testing.T) {
		m := newMachine(t, Config{FS: newScratch(t), Args: make([]string, 300), Env: make([]string, 300)})
		var p CmdsizeParams
		if r := with(m, V1Cmdsize, &p); r.Errno != 0 || p.Argc.Get() != 128 || p.Envc.Get() != 128 {
			t.Errorf("%+v, %d and %d", r, p.Argc.Get(), p.Envc.Get())
		}
	},
	"a negative descriptor ends the machine": func(t *testing.T) {
		m, _ := scratchMachine(t)
		want(t, "read", m.read(-1, dataAt, 1), syscall.EBADF)
		want(t, "write", m.write(-1, dataAt, 1), syscall.EBADF)
		want(t, "lseek", m.lseek(-1, 0, 0), syscall.EBADF)
		want(t, "close", m.close(-1), syscall.EBADF)
		want(t, "getdents", m.getdents(-1, dataAt, 100), syscall.EBADF)
	},
	"a write that fails ends the machine": func(t *testing.T) {
		m, _ := scratchMachine(t)
		m.makeFile("f", "x")
		fd := m.open("f", unix.O_RDONLY, 0)
		want(t, "write", m.write(fd, dataAt, 1), syscall.EBADF)
		want(t, "write", m.write(99, dataAt, 1), syscall.EBADF)
		want(t, "write", m.write(1, badAddr, 1), syscall.EFAULT)
		if r := m.writeV1(fd, dataAt, 1); !r.Known || r.Exit || r.Errno != syscall.EBADF {
			t.Errorf("%+v", r)
		}
		if s := m.content("f"); s != "x" {
			t.Errorf("%q", s)
		}
	},
	"a read checks only the beginning of its buffer": func(t *testing.T) {
		m, _ := scratchMachine(t)
		m.makeFile("f", "12345678")
		fd := m.open("f", unix.O_RDONLY, 0)
		want(t, "read", m.read(fd, ramEnd-4, 8), syscall.EFAULT)
		want(t, "read", m.readV1(fd, ramEnd-4, 8), syscall.EFAULT)
		if !bytes.Equal(m.mem(ramEnd-4, 4), make([]byte, 4)) {
			t.Error("the end of memory was written")
		}
	},
	"a virtual buffer is taken to be contiguous in physical memory": func(t *testing.T) {
		m, _ := scratchMachine(t)
		p := newTables(t, m.view, tablesAt+0x1_0000)
		p.set(0x5000_0000, 12, dataAt+pageSize|1)
		p.set(0x5000_1000, 12, dataAt|1)
		m.cpu.CR3 = p.cr3
		copy(m.mem(dataAt+2*pageSize-2, 2), "ab")
		copy(m.mem(dataAt, 2), "cd")
		if r := m.writeV1(1, 0x5000_1000-2, 4); r.Errno != 0 || m.out.String() != "abcd" {
			t.Errorf("%v, %q", r.Errno, &m.out)
		}
	},
	"a path is read to the first NUL, beyond memory": func(t *testing.T) {
		m, _ := scratchMachine(t)
		m.mem(ramEnd-1, 1)[0] = 'x'
		want(t, "open", m.openAt(ramEnd-1, 0, 0), syscall.EFAULT)
	},
	"the address of a structure outside of memory ends the machine": func(t *testing.T) {
		m, _ := scratchMachine(t)
		for _, n := range Numbers() {
			if r := m.call(n, badAddr); !r.Known || r.Exit != (n == Exit) {
				t.Errorf("%v: %+v", n, r)
			}
		}
	},
	"SerialReadBuffer ends the machine": func(t *testing.T) {
		m := newMachine(t, Config{FS: newScratch(t), Input: strings.NewReader("in")})
		var p SerialReadBufferParams
		p.MaxLen.Set(8)
		p.Buf.Set(dataAt)
		if r := with(m, SerialReadBuffer, &p); r.Errno != 0 || p.Len.Get() != 2 || string(m.mem(dataAt, 2)) != "in" {
			t.Errorf("%+v, %d", r, p.Len.Get())
		}
	},
	"errors that it does not translate become EPERM or EIO": func(t *testing.T) {
		m, fs := scratchMachine(t)
		m.makeFile("f", "")
		symlink(t, fs, "loop", 1, "loop")
		want(t, "open", m.open("f/x", 0, 0), syscall.ENOTDIR)
		want(t, "open", m.open("loop", 0, 0), syscall.ELOOP)
		want(t, "open", m.open(strings.Repeat("n", 300), 0, 0), syscall.ENAMETOOLONG)
		if errno := m.mkdir("f/x"); errno != syscall.ENOTDIR {
			t.Error(errno)
		}
	},
	"descriptors are never used again and have no bound": func(t *testing.T) {
		m, _ := scratchMachine(t)
		m.makeFile("f", "")
		for range 3000 {
			if fd := m.open("f", 0, 0); fd != firstFile {
				t.Fatalf("open: %d", fd)
			}
			m.close(firstFile)
		}
		n := 0
		for m.open("f", 0, 0) >= 0 {
			n++
		}
		if n != DefaultMaxFiles-firstFile {
			t.Errorf("%d files could be opened", n)
		}
	},
	"reads of descriptor 1, writes to 0 and seeks reach the host's": func(t *testing.T) {
		m, _ := scratchMachine(t)
		want(t, "read", m.read(1, dataAt, 1), syscall.EBADF)
		want(t, "write", m.write(0, dataAt, 1), syscall.EBADF)
		want(t, "lseek", m.lseek(1, 0, unix.SEEK_SET), syscall.ESPIPE)
	},
	"standard error cannot be told from standard output": func(t *testing.T) {
		m, _ := scratchMachine(t)
		copy(m.mem(dataAt, 1), "e")
		if m.write(2, dataAt, 1); m.out.Len() != 0 || m.err.String() != "e" {
			t.Errorf("%q, %q", &m.out, &m.err)
		}
	},
	"reading from descriptor 0 holds up the file calls of other processors": func(t *testing.T) {
		r, w := io.Pipe()
		asked := make(chan struct{})
		m := newMachine(t, Config{FS: newScratch(t), Input: readerFunc(func(b []byte) (int, error) {
			close(asked)
			return r.Read(b)
		})})
		var done sync.WaitGroup
		other := m.fork(1)
		done.Go(func() {
			if n := other.read(0, dataAt+100, 2); n != 2 {
				t.Errorf("read: %d", n)
			}
		})
		<-asked
		m.makeFile("f", "data")
		if s := m.content("f"); s != "data" {
			t.Errorf("%q", s)
		}
		copy(m.mem(dataAt, 1), "x")
		m.write(1, dataAt, 1)
		w.Write([]byte("in"))
		done.Wait()
	},
	"a blocked read of one file holds up those of others": func(t *testing.T) {
		fs := &stuck{FS: newScratch(t), asked: make(chan struct{}), free: make(chan struct{})}
		m := newMachine(t, Config{FS: fs})
		m.makeFile("stuck", "s")
		m.makeFile("f", "data")
		fd := m.open("stuck", 0, 0)
		fs.node = node(t, fs, 1, "stuck")
		var done sync.WaitGroup
		other := m.fork(1)
		done.Go(func() {
			if n := other.read(fd, dataAt+100, 2); n != 1 {
				t.Errorf("read: %d", n)
			}
		})
		<-fs.asked
		if s := m.content("f"); s != "data" {
			t.Errorf("%q", s)
		}
		// The file can be closed, and its number used, while it is read.
		if m.close(fd); m.open("f", 0, 0) != fd {
			t.Error("the descriptor is not free")
		}
		close(fs.free)
		done.Wait()
		m.close(fd)
		fs.Forget(fs.node, 1)
		held(t, fs, 0, 0)
	},
	"symbolic links inside a mapping lead out of it": func(t *testing.T) {
		m, fs := scratchMachine(t)
		symlink(t, fs, "/etc/passwd", 1, "abs")
		symlink(t, fs, "../../../../../../../../etc/passwd", 1, "rel")
		want(t, "open", m.open("abs", 0, 0), syscall.ENOENT)
		want(t, "open", m.open("rel", 0, 0), syscall.ENOENT)
	},
	"the root cannot be listed nor its attributes asked for": func(t *testing.T) {
		m, _ := scratchMachine(t)
		if _, errno := m.stat("/", KindStat); errno != 0 {
			t.Error(errno)
		}
		if fd := m.open("/", unix.O_DIRECTORY, 0); m.getdents(fd, dataAt, 100) <= 0 {
			t.Error("no listing")
		}
	},
	"the host's device numbers are told": func(t *testing.T) {
		m, _ := scratchMachine(t)
		if a, _ := m.stat("/", KindStat); a.Dev.Get() != device {
			t.Error(a.Dev.Get())
		}
	},
}

func TestUpstreamDefectsAreAbsent(t *testing.T) {
	for name, test := range upstreamDefects {
		t.Run(name, test)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// stuck has one file whose reads wait.
type stuck struct {
	*scratch.FS
	node        vfs.NodeID
	asked, free chan struct{}
}

func (fs *stuck) Read(r *vfs.Request, id vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, flags uint32) (int, syscall.Errno) {
	if id == fs.node {
		close(fs.asked)
		<-fs.free
	}
	return fs.FS.Read(r, id, h, dst, off, flags)
}
