package fusedev_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/passthrough"
)

// benchFile is the size of the file that is read and written.
const benchFile = 64 << 20

// benchDirVar names a directory to measure instead, such as another program's
// mount. A file of benchFile bytes is made in it.
const benchDirVar = "ISTHMUS_BENCH_DIR"

// BenchmarkMount compares the same calls in a bare directory, in a mount of it
// that another process serves, and in one with backing files.
func BenchmarkMount(b *testing.B) {
	if dir := os.Getenv(benchDirVar); dir != "" {
		benchFileOps(b, dir)
		return
	}
	b.Run("bare", func(b *testing.B) { benchFileOps(b, tempDir(b, 0o755)) })
	for _, s := range []struct {
		name    string
		serving serving
	}{
		{"mounted", serving{}},
		{"one worker", serving{Options: fusedev.Options{Workers: 1}}},
		{"backed", serving{Backed: true}},
	} {
		b.Run(s.name, func(b *testing.B) {
			s.serving.From, s.serving.To = tempDir(b, 0o755), tempDir(b, 0o755)
			s.serving.Config = passthrough.Config{KillPriv: true}
			server := startServing(b, s.serving, nil)
			benchFileOps(b, s.serving.To)
			server.Process.Signal(unix.SIGTERM)
			if err := server.Wait(); err != nil {
				b.Errorf("server: %v", err)
			}
		})
	}
}

// benchFileOps measures calls in dir. The kernel's cache of the mount is emptied
// whenever it would answer in the server's place; that of the directory
// underneath is not.
func benchFileOps(b *testing.B, dir string) {
	path := filepath.Join(dir, "bench")
	if err := os.WriteFile(path, make([]byte, benchFile), 0o644); err != nil {
		b.Fatal(err)
	}
	defer os.Remove(path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	mounted := mounts(b, dir) != ""
	forget := func(b *testing.B) {
		if !mounted {
			return
		}
		b.StopTimer()
		unix.Fsync(fd)
		unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
		b.StartTimer()
	}

	b.Run("stat", func(b *testing.B) {
		var st unix.Statx_t
		for b.Loop() {
			if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallelStat", func(b *testing.B) {
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			var st unix.Statx_t
			for pb.Next() {
				if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.Open(path, unix.O_RDONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		}
	})
	b.Run("read4K", func(b *testing.B) {
		unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)
		defer unix.Fadvise(fd, 0, 0, unix.FADV_NORMAL)
		buf := make([]byte, 4096)
		order := rand.Perm(benchFile / len(buf))
		b.SetBytes(int64(len(buf)))
		for i := 0; b.Loop(); i++ {
			if i%len(order) == 0 {
				forget(b)
			}
			if _, err := unix.Pread(fd, buf, int64(order[i%len(order)]*len(buf))); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, op := range []struct {
		name string
		do   func(int, []byte, int64) (int, error)
	}{{"read1M", unix.Pread}, {"write1M", unix.Pwrite}} {
		b.Run(op.name, func(b *testing.B) {
			buf := make([]byte, 1<<20)
			b.SetBytes(int64(len(buf)))
			for i := 0; b.Loop(); i++ {
				off := int64(i) * int64(len(buf)) % benchFile
				if off == 0 {
					forget(b)
				}
				if _, err := op.do(fd, buf, off); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
