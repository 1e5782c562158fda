package hypercall

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/passthrough"
)

// linux does what a guest asks for with the calls of this host, in a directory of its own.
// It keeps a table of descriptors as it should be.
type linux struct {
	dir string
	fds []int // by the guest's number; -1 for free
}

const linuxFiles = 8 // descriptors, with the console's

func (l *linux) fd(guest int32) int {
	if guest < firstFile || int(guest) >= len(l.fds) {
		return -1
	}
	return l.fds[guest]
}

// errnoOr is v or -errno.
func errnoOr(v int64, err error) int64 {
	if err != nil {
		return -int64(err.(syscall.Errno))
	}
	return v
}

func (l *linux) open(name string, flags int32, mode uint32) int64 {
	free := firstFile
	for free < len(l.fds) && l.fds[free] >= 0 {
		free++
	}
	if free == len(l.fds) {
		return -int64(syscall.EMFILE)
	}
	fd, err := unix.Open(filepath.Join(l.dir, name), int(flags)|unix.O_CLOEXEC, mode)
	if err == nil {
		l.fds[free] = fd
	}
	return errnoOr(int64(free), err)
}

func (l *linux) close(guest int32) int64 {
	fd := l.fd(guest)
	if fd >= 0 {
		l.fds[guest] = -1
	}
	return errnoOr(0, unix.Close(fd))
}

func (l *linux) stat(name string, kind uint32) (st unix.Stat_t, err error) {
	flags := 0
	if kind == KindLstat {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	err = unix.Fstatat(unix.AT_FDCWD, filepath.Join(l.dir, name), &st, flags)
	return st, err
}

// prepare makes in a directory what calls cannot make.
func prepare(t *rapid.T, dir string) {
	for name, target := range map[string]string{"link": "a", "dangling": "b", "dirlink": "d", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLikeLinux: random calls on a host directory give what the host's own calls give on
// another, and leave the same behind.
func TestLikeLinux(t *testing.T) {
	base := t.TempDir()
	m := newMachine(t, Config{FS: newScratch(t)})
	rapid.Check(t, func(rt *rapid.T) {
		dirs := [2]string{}
		for i := range dirs {
			dir, err := os.MkdirTemp(base, "")
			if err != nil {
				rt.Fatal(err)
			}
			defer os.RemoveAll(dir)
			prepare(rt, dir)
			dirs[i] = dir
		}
		fs, err := passthrough.New(passthrough.Config{Path: dirs[0], Logger: quiet})
		if err != nil {
			rt.Fatal(err)
		}
		defer fs.Close()
		if m.g, err = New(Config{FS: fs, Memory: m.view, MaxFiles: linuxFiles, Logger: quiet}); err != nil {
			rt.Fatal(err)
		}
		defer m.g.Close()
		l := &linux{dir: dirs[1], fds: make([]int, linuxFiles)}
		for i := range l.fds {
			l.fds[i] = -1
		}
		defer func() {
			for _, fd := range l.fds {
				if fd >= 0 {
					unix.Close(fd)
				}
			}
		}()
		same := func(what string, got, want int64) {
			if got != want {
				rt.Fatalf("%s: %d, the host says %d", what, got, want)
			}
		}
		names := rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/e", "link", "dangling", "dirlink", "dirlink/a", "loop", "a/x", "no/x"})
		fds := rapid.Int32Range(firstFile-4, linuxFiles)
		sizes := rapid.IntRange(0, 6000)
		rt.Repeat(map[string]func(*rapid.T){
			"open": func(rt *rapid.T) {
				flags := rapid.SampledFrom([]int32{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}).Draw(rt, "access")
				for _, f := range []int32{unix.O_CREAT, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_DIRECTORY} {
					if rapid.IntRange(0, 2).Draw(rt, "flag") == 0 {
						flags |= f
					}
				}
				if flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY {
					rt.Skip("older hosts allow it")
				}
				name := names.Draw(rt, "name")
				same("open", int64(m.open(name, flags, 0o640)), l.open(name, flags, 0o640))
			},
			"close": func(rt *rapid.T) {
				fd := fds.Draw(rt, "fd")
				if fd >= 0 && fd < firstFile {
					rt.Skip("the console")
				}
				same("close", int64(m.close(fd)), l.close(fd))
			},
			"read": func(rt *rapid.T) {
				fd, n := max(fds.Draw(rt, "fd"), firstFile), sizes.Draw(rt, "size")
				buf := make([]byte, n)
				got, err := unix.Read(l.fd(fd), buf)
				same("read", m.read(fd, dataAt, uint64(n)), errnoOr(int64(got), err))
				if err == nil && !bytes.Equal(buf[:got], m.mem(dataAt, got)) {
					rt.Fatal("other data")
				}
			},
			"write": func(rt *rapid.T) {
				fd, n := max(fds.Draw(rt, "fd"), firstFile), sizes.Draw(rt, "size")
				data := bytes.Repeat([]byte{rapid.Byte().Draw(rt, "data")}, n)
				copy(m.mem(dataAt, n), data)
				got, err := unix.Write(l.fd(fd), data)
				want := errnoOr(int64(got), err)
				if rapid.Bool().Draw(rt, "version 1") {
					// The guest is told nothing, the machine what it was.
					same("write of version 1", -int64(m.writeV1(fd, dataAt, uint64(n)).Errno), min(want, 0))
					return
				}
				same("write", m.write(fd, dataAt, uint64(n)), want)
			},
			"lseek": func(rt *rapid.T) {
				fd := max(fds.Draw(rt, "fd"), firstFile)
				off := rapid.Int64Range(-3000, 20000).Draw(rt, "offset")
				whence := rapid.IntRange(0, 6).Draw(rt, "whence")
				var st unix.Stat_t
				if host := l.fd(fd); host >= 0 {
					unix.Fstat(host, &st)
				}
				if st.Mode&unix.S_IFMT == unix.S_IFDIR {
					off, whence = 0, unix.SEEK_SET
				}
				got, err := unix.Seek(l.fd(fd), off, whence)
				same("lseek", m.lseek(fd, off, uint32(whence)), errnoOr(got, err))
			},
			"unlink": func(rt *rapid.T) {
				name := names.Draw(rt, "name")
				same("unlink", int64(m.unlink(name)), errnoOr(0, unix.Unlink(filepath.Join(l.dir, name))))
			},
			"mkdir": func(rt *rapid.T) {
				name := names.Draw(rt, "name")
				same("mkdir", -int64(m.mkdir(name)), errnoOr(0, unix.Mkdir(filepath.Join(l.dir, name), 0o777)))
			},
			"stat": func(rt *rapid.T) {
				name, kind := names.Draw(rt, "name"), rapid.Uint32Range(0, 1).Draw(rt, "kind")
				a, errno := m.stat(name, kind)
				st, err := l.stat(name, kind)
				same("stat", -int64(errno), errnoOr(0, err))
				if err == nil {
					same("mode", int64(a.Mode.Get()), int64(st.Mode))
					same("links", int64(a.Nlink.Get()), int64(st.Nlink))
					same("size", a.Size.Get(), st.Size)
				}
			},
			"fstat": func(rt *rapid.T) {
				fd := max(fds.Draw(rt, "fd"), firstFile)
				a, errno := m.fstat(fd)
				var st unix.Stat_t
				err := unix.Fstat(l.fd(fd), &st)
				same("fstat", -int64(errno), errnoOr(0, err))
				if err == nil {
					same("mode", int64(a.Mode.Get()), int64(st.Mode))
					same("links", int64(a.Nlink.Get()), int64(st.Nlink))
					same("size", a.Size.Get(), st.Size)
				}
			},
			"": func(rt *rapid.T) {
				open := uint64(0)
				for _, fd := range l.fds {
					if fd >= 0 {
						open++
					}
				}
				if c := fs.Counts(); c.Handles != open || c.Nodes > open+1 {
					rt.Fatalf("%d files are open, %d nodes and %d handles held", open, c.Nodes-1, c.Handles)
				}
			},
		})
		for _, name := range []string{"a", "b", "d/a", "d/e"} {
			got, err := os.ReadFile(filepath.Join(dirs[0], name))
			want, err2 := os.ReadFile(filepath.Join(dirs[1], name))
			if !bytes.Equal(got, want) || (err == nil) != (err2 == nil) {
				rt.Fatalf("%s: %d bytes, %v; on the host %d bytes, %v", name, len(got), err, len(want), err2)
			}
		}
	})
}
