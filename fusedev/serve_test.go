package fusedev_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fusedev"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/passthrough"
)

// TestHotPathDoesNotAllocate counts the allocations of the whole process, which
// is both the caller and the server.
func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprintf("backing %v", back), func(t *testing.T) {
			cfg := passthrough.Config{Cache: passthrough.CacheNever, DirectIOMmap: true}
			var opt fusedev.Options
			if back {
				opt.Backing = unnamed{}
			}
			s := mount(t, opt, cfg)
			write(t, s.at("f"), string(make([]byte, 2<<20)))
			dir, err := os.Open(s.to)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			f, err := os.OpenFile(s.at("f"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			dfd, fd := int(dir.Fd()), int(f.Fd())
			name, small, big := []byte("f\x00"), make([]byte, 4096), make([]byte, 1<<20)
			var st unix.Statx_t
			for _, c := range []struct {
				what string
				do   func() bool
			}{
				{"stat", func() bool {
					return oslib.Statx(dfd, name, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st) == 0
				}},
				{"open and close", func() bool {
					fd, errno := oslib.Openat(dfd, name, unix.O_RDWR, 0)
					oslib.Close(fd)
					return errno == 0
				}},
				{"read 4 KiB", func() bool { n, err := unix.Pread(fd, small, 8192); return n == len(small) && err == nil }},
				{"write 4 KiB", func() bool { n, err := unix.Pwrite(fd, small, 8192); return n == len(small) && err == nil }},
				{"read 1 MiB", func() bool { n, err := unix.Pread(fd, big, 4096); return n == len(big) && err == nil }},
				{"write 1 MiB", func() bool { n, err := unix.Pwrite(fd, big, 4096); return n == len(big) && err == nil }},
				{"list", func() bool {
					_, err := unix.Seek(dfd, 0, 0)
					n, err2 := unix.Getdents(dfd, small)
					return err == nil && err2 == nil && n > 0
				}},
			} {
				for range 20 {
					if !c.do() {
						t.Fatalf("%s failed", c.what)
					}
				}
				if n := testing.AllocsPerRun(200, func() { c.do() }); n != 0 {
					t.Errorf("%s: %v allocations", c.what, n)
				}
			}
		})
	}
}

// TestRequestsOfEachSize has the server move little and much in one request,
// more than the kernel may want.
func TestRequestsOfEachSize(t *testing.T) {
	text := make([]byte, 5<<20+123)
	for i := range text {
		text[i] = byte(rand.IntN(256))
	}
	for _, size := range []uint32{4096, 96 << 10, 1 << 20, 4 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := mountWith(t, fusedev.Options{}, fuse.Options{MaxWrite: size}, passthrough.Config{Cache: passthrough.CacheNever, Xattr: true})
			write(t, s.at("f"), string(text))
			for _, path := range []string{s.host("f"), s.at("f")} {
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
					t.Errorf("%s: %d bytes that differ: %v", path, len(got), err)
				}
			}
			// The longest of the other requests and replies.
			value := text[:3000]
			if err := unix.Setxattr(s.at("f"), "user.x", value, 0); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 64<<10)
			if n, err := unix.Getxattr(s.at("f"), "user.x", got); err != nil || !bytes.Equal(got[:n], value) {
				t.Errorf("attribute: %d bytes, %v", n, err)
			}
		})
	}
}

// TestForgottenNodesAreDropped makes files and removes them: the kernel lets go
// of their nodes.
func TestForgottenNodesAreDropped(t *testing.T) {
	s := mount(t, fusedev.Options{}, passthrough.Config{})
	const files = 300
	before := s.fs.Stats().Nodes
	for i := range files {
		write(t, s.at(fmt.Sprint(i)), "")
	}
	if st := s.fs.Stats(); st.Nodes < files {
		t.Fatalf("%d nodes after %d files were made", st.Nodes, files)
	}
	for i := range files {
		if err := os.Remove(s.at(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); s.fs.Stats().Nodes > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d nodes are left of %d", s.fs.Stats().Nodes-before, files)
		}
	}
}

// TestAWaitThatIsGivenUpEnds kills processes at any moment of their wait for a
// lock: the kernel buries them only when their request has been answered.
func TestAWaitThatIsGivenUpEnds(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			s := mount(t, fusedev.Options{Workers: workers}, passthrough.Config{Locks: passthrough.Locks{Flock: true}})
			write(t, s.at("f"), "")
			holder, err := os.Open(s.at("f"))
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Close()
			if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				cmd := job("lock", s.at("f"), nil)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				out.Read(make([]byte, 1)) // it is about to wait
				time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
				cmd.Process.Kill()
				dead(t, cmd)
			}
			if err := unix.Flock(int(holder.Fd()), unix.LOCK_UN); err != nil {
				t.Fatal(err)
			}
			if err := job("lock", s.at("f"), nil).Run(); err != nil {
				t.Errorf("lock of a file that is free: %v", err)
			}
		})
	}
}

// dead waits for the end of a process that was killed.
func dead(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	select {
	case <-over:
	case <-time.After(30 * time.Second):
		t.Fatal("a killed process still waits for its lock")
	}
}

// TestUnmountDuringAWaitForALock has the server end all waits.
func TestUnmountDuringAWaitForALock(t *testing.T) {
	s := mount(t, fusedev.Options{}, passthrough.Config{Locks: passthrough.Locks{Flock: true}})
	write(t, s.at("f"), "")
	holder, err := os.Open(s.at("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := job("lock", s.at("f"), nil)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 1))
	time.Sleep(5 * time.Millisecond)
	s.end()
	if err := ended(t, s.m); err != nil {
		t.Error(err)
	}
	dead(t, cmd)
}

// TestWaitingRequestsAreCounted while a process waits for a lock, and not when it
// has got it.
func TestWaitingRequestsAreCounted(t *testing.T) {
	s := mount(t, fusedev.Options{}, passthrough.Config{Locks: passthrough.Locks{Flock: true}})
	write(t, s.at("f"), "")
	holder, err := os.Open(s.at("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := job("lock", s.at("f"), nil)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until := func(want int) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			n, err := s.m.Waiting()
			if err != nil || n == want {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d requests wait, want %d", n, want)
			}
		}
	}
	until(1)
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	until(0)
	s.end()
	if err := ended(t, s.m); err != nil {
		t.Error(err)
	}
	if n, err := s.m.Waiting(); err == nil {
		t.Errorf("%d requests of a mount that has ended", n)
	}
}

// TestManyProcessesAtOnce work in one directory, each on files of its own, which
// it checks.
func TestManyProcessesAtOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			s := mount(t, fusedev.Options{Workers: workers}, passthrough.Config{})
			var cmds []*exec.Cmd
			var words [8]bytes.Buffer
			for i := range words {
				cmd := job("toil", s.at(fmt.Sprint("p", i)), nil)
				cmd.Stderr = &words[i]
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				cmds = append(cmds, cmd)
			}
			for i, cmd := range cmds {
				if err := cmd.Wait(); err != nil {
					t.Errorf("process %d: %v: %s", i, err, &words[i])
				}
			}
			left, err := os.ReadDir(s.from)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// toilJob makes, changes, reads and removes files whose names begin with prefix.
func toilJob(prefix string) error {
	for i := range 60 {
		name := fmt.Sprint(prefix, "-", i)
		text := bytes.Repeat([]byte(name), 1+i*300)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return err
		}
		if err := os.Rename(name, name+"b"); err != nil {
			return err
		}
		if got, err := os.ReadFile(name + "b"); err != nil || !bytes.Equal(got, text) {
			return fmt.Errorf("%s: %d bytes that differ: %v", name, len(got), err)
		}
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s after it was renamed: %v", name, err)
		}
		if _, err := os.ReadDir(filepath.Dir(name)); err != nil {
			return err
		}
		if err := os.Remove(name + "b"); err != nil {
			return err
		}
	}
	return nil
}

// lockJob takes a lock and ends.
func lockJob(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Print("x")
	return unix.Flock(int(f.Fd()), unix.LOCK_EX)
}
