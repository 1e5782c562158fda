package fsx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vfs"
)

// wrong is a file system to be wrong on top of.
type wrong struct{ vfs.FileSystem }

// A mutant is a file system that is right but for one thing.
type mutant struct {
	name  string
	cache passthrough.CachePolicy
	make  func(vfs.FileSystem) vfs.FileSystem // nil: it is all right
}

var mutants = []mutant{
	{"right", passthrough.CacheAuto, nil},
	{"right without a cache", passthrough.CacheNever, nil},
	{"the last byte of an unaligned write is lost", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return lostByte{wrong{fs}} }},
	{"writes of several pieces lose the second", passthrough.CacheNever, func(fs vfs.FileSystem) vfs.FileSystem { return longWrite{wrong{fs}} }},
	{"reads end at 32 KiB", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return shortRead{wrong{fs}} }},
	{"what is stored in mappings is lost", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return lostStore{wrong{fs}} }},
	{"files are not extended", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return notExtended{wrong{fs}} }},
	{"files are cut at a sector", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return cutAtSector{wrong{fs}} }},
	{"space is reserved behind the end only", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return keptSize{wrong{fs}} }},
	{"a hole is a byte too long", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return longHole{wrong{fs}} }},
	{"copies begin at a sector", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return roundCopy{wrong{fs}} }},
	{"data is found a page too late", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return lateData{wrong{fs}} }},
	{"O_TRUNC is ignored", passthrough.CacheAuto, func(fs vfs.FileSystem) vfs.FileSystem { return noTrunc{wrong{fs}} }},
	{"a removed file is empty", passthrough.CacheNever, func(fs vfs.FileSystem) vfs.FileSystem { return &emptied{wrong: wrong{fs}} }},
	{"writes at the same time undo each other", passthrough.CacheNever, func(fs vfs.FileSystem) vfs.FileSystem { return undoing{wrong{fs}} }},
}

const mutantVar = "ISTHMUS_FSX_MUTANT"

// TestMutants shows that the test can fail: each mutant is mounted, by a process
// of its own, and must be found out, but not the one that is right.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			from, to := inMemory(t), t.TempDir()
			serveMutant(t, m, from, to)
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestFiles$", "-rapid.seed=1", "-rapid.checks=100", "-rapid.steps=40", "-rapid.shrinktime=0s")
			lacks := "zerorange,collapse,sharing"
			if m.cache == passthrough.CacheNever {
				lacks = "zerorange,collapse,mmap"
			}
			cmd.Env = append(os.Environ(), dirVar+"="+to, behindVar+"="+from, lacksVar+"="+lacks)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			switch found := errors.As(err, &exit) && exit.ExitCode() == 1 && strings.Contains(string(out), "--- FAIL: TestFiles "); {
			case m.make == nil && err != nil:
				t.Errorf("all is right: %v\n%s", err, out)
			case m.make != nil && !found:
				t.Errorf("not found out: %v\n%s", err, out)
			}
		})
	}
}

// serveMutant starts a process that mounts from on to until the test ends.
func serveMutant(t *testing.T, m mutant, from, to string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", from, to)
	cmd.Env = append(os.Environ(), mutantVar+"="+m.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal("the server does not come up")
	}
}

// mountMutant is the server: it mounts until its input ends.
func mountMutant(name, from, to string) error {
	for _, m := range mutants {
		if m.name != name {
			continue
		}
		quiet := slog.New(slog.DiscardHandler)
		base, err := passthrough.New(passthrough.Config{Path: from, Cache: m.cache, Xattr: true, KillPriv: true, Logger: quiet})
		if err != nil {
			return err
		}
		defer base.Close()
		var fs vfs.FileSystem = base
		if m.make != nil {
			fs = m.make(fs)
		}
		ctx, end := context.WithCancel(context.Background())
		mounted, err := fusedev.Mount(ctx, fuse.NewServer(fs, fuse.Options{Logger: quiet}), to, fusedev.Options{Logger: quiet})
		if err != nil {
			end()
			return err
		}
		fmt.Println("ready")
		go func() {
			io.Copy(io.Discard, os.Stdin)
			end()
		}()
		return mounted.Wait()
	}
	return fmt.Errorf("no mutant %q", name)
}

type lostByte struct{ wrong }

func (fs lostByte) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	n := oslib.IovLen(src)
	if n < 2 || (off+uint64(n))%512 == 0 {
		return fs.wrong.Write(r, node, h, src, off, openFlags, flags)
	}
	done, errno := fs.wrong.Write(r, node, h, oslib.IovSlice(nil, src, 0, n-1), off, openFlags, flags)
	return done + 1, errno
}

type longWrite struct{ wrong }

func (fs longWrite) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	n := oslib.IovLen(src)
	if n <= 50_000 {
		return fs.wrong.Write(r, node, h, src, off, openFlags, flags)
	}
	done, errno := fs.wrong.Write(r, node, h, oslib.IovSlice(nil, src, 0, 50_000), off, openFlags, flags)
	return done + int(n) - 50_000, errno
}

type shortRead struct{ wrong }

func (fs shortRead) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	return fs.wrong.Read(r, node, h, oslib.IovSlice(nil, dst, 0, min(oslib.IovLen(dst), 32<<10)), off, openFlags)
}

type lostStore struct{ wrong }

func (fs lostStore) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	if flags&vfs.WriteCache != 0 {
		return int(oslib.IovLen(src)), 0
	}
	return fs.wrong.Write(r, node, h, src, off, openFlags, flags)
}

type notExtended struct{ wrong }

func (fs notExtended) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	var now vfs.AttrOut
	if in.Valid&vfs.SetSize != 0 && fs.wrong.Getattr(r, node, h, &now) == 0 && in.Size > now.Attr.Size {
		without := *in
		without.Valid &^= vfs.SetSize
		return fs.wrong.Setattr(r, node, h, &without, out)
	}
	return fs.wrong.Setattr(r, node, h, in, out)
}

type cutAtSector struct{ wrong }

func (fs cutAtSector) Setattr(r *vfs.Request, node vfs.NodeID, h vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	rounded := *in
	rounded.Size &^= 511
	errno := fs.wrong.Setattr(r, node, h, &rounded, out)
	if errno == 0 && in.Valid&vfs.SetSize != 0 {
		errno = fs.wrong.Setattr(r, node, h, in, out)
	}
	return errno
}

type keptSize struct{ wrong }

func (fs keptSize) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	return fs.wrong.Fallocate(r, node, h, off, length, mode|unix.FALLOC_FL_KEEP_SIZE)
}

type longHole struct{ wrong }

func (fs longHole) Fallocate(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off, length uint64, mode uint32) syscall.Errno {
	if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
		length++
	}
	return fs.wrong.Fallocate(r, node, h, off, length, mode)
}

type roundCopy struct{ wrong }

func (fs roundCopy) CopyFileRange(r *vfs.Request, in *vfs.CopyRange) (uint64, syscall.Errno) {
	rounded := *in
	rounded.SrcOff &^= 511
	return fs.wrong.CopyFileRange(r, &rounded)
}

type lateData struct{ wrong }

func (fs lateData) Lseek(r *vfs.Request, node vfs.NodeID, h vfs.Handle, off uint64, whence uint32) (uint64, syscall.Errno) {
	if whence == unix.SEEK_DATA {
		off += page
	}
	return fs.wrong.Lseek(r, node, h, off, whence)
}

type noTrunc struct{ wrong }

func (fs noTrunc) Open(r *vfs.Request, node vfs.NodeID, flags uint32, kill bool, out *vfs.Opened) syscall.Errno {
	return fs.wrong.Open(r, node, flags&^unix.O_TRUNC, kill, out)
}

// emptied reads nothing of any file once one of them has been removed.
type emptied struct {
	wrong
	mu      sync.Mutex
	removed bool
}

func (fs *emptied) Unlink(r *vfs.Request, parent vfs.NodeID, name vfs.Name) syscall.Errno {
	fs.mu.Lock()
	fs.removed = true
	fs.mu.Unlock()
	return fs.wrong.Unlink(r, parent, name)
}

func (fs *emptied) Read(r *vfs.Request, node vfs.NodeID, h vfs.Handle, dst []unix.Iovec, off uint64, openFlags uint32) (int, syscall.Errno) {
	var now vfs.AttrOut
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.removed && fs.wrong.Getattr(r, node, h, &now) == 0 && now.Attr.Nlink == 0 {
		return 0, 0
	}
	return fs.wrong.Read(r, node, h, dst, off, openFlags)
}

// undoing writes whole sectors: it reads the rest of them, and by the time that it
// writes it back that may be old.
type undoing struct{ wrong }

func (fs undoing) Write(r *vfs.Request, node vfs.NodeID, h vfs.Handle, src []unix.Iovec, off uint64, openFlags uint32, flags vfs.WriteFlags) (int, syscall.Errno) {
	const rest = 64
	end := off + oslib.IovLen(src)
	buf := make([]byte, rest)
	n, errno := fs.wrong.Read(r, node, h, []unix.Iovec{iovec(buf)}, end, openFlags)
	if errno == 0 && n > 0 {
		time.Sleep(time.Millisecond)
		fs.wrong.Write(r, node, h, []unix.Iovec{iovec(buf[:n])}, end, openFlags, flags)
	}
	return fs.wrong.Write(r, node, h, src, off, openFlags, flags)
}

func iovec(b []byte) unix.Iovec {
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	return iov
}
