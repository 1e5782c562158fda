package hypercall

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcessors: four processors open, use and close the same files at once, also each
// other's. Nothing is held when they are done.
func TestProcessors(t *testing.T) {
	c := compose(t)
	names := []string{"/root/a", "/root/b", "/root/guest", "/tmp/a/b", "/tmp/c", "/lib/deep/single", "/ro/f", "/root", "/"}
	var all sync.WaitGroup
	for i := range 4 {
		m := c.fork(i)
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			data := uint64(dataAt + i*0x1_0000)
			for range 1500 {
				fd := int32(r.IntN(12))
				name := names[r.IntN(len(names))]
				switch r.IntN(9) {
				case 0, 1:
					m.open(name, []int32{rdwrCreate, unix.O_RDONLY, unix.O_RDWR | unix.O_APPEND, unix.O_DIRECTORY}[r.IntN(4)], 0o644)
				case 2:
					m.close(fd)
				case 3:
					if fd != stdin {
						m.read(fd, data, uint64(r.IntN(5000)))
					}
				case 4:
					m.writeV1(fd, data, uint64(r.IntN(5000)))
				case 5:
					m.lseek(fd, int64(r.IntN(9000)), uint32(r.IntN(6)))
				case 6:
					m.getdents(fd, data, uint64(r.IntN(300)))
				case 7:
					m.stat(name, uint32(r.IntN(2)))
					m.fstat(fd)
				case 8:
					m.unlink(name)
				}
			}
		})
	}
	all.Wait()
	for fd := range int32(DefaultMaxFiles) {
		if fd >= firstFile {
			c.close(fd)
		}
	}
	c.nothingHeld(t)
}

// TestSharedPosition: processors that read or append by one descriptor get each piece
// once.
func TestSharedPosition(t *testing.T) {
	m, fs := scratchMachine(t)
	const pieces, each = 4, 200
	fd := m.open("f", unix.O_RDWR|unix.O_CREAT, 0o644)
	var all sync.WaitGroup
	for i := range pieces {
		m := m.fork(i)
		all.Go(func() {
			data := uint64(dataAt + i*0x1_0000)
			for j := range each {
				copy(m.mem(data, 8), fmt.Sprintf("%02d-%04d\n", i, j))
				if n := m.write(fd, data, 8); n != 8 {
					t.Errorf("write: %d", n)
				}
			}
		})
	}
	all.Wait()
	m.lseek(fd, 0, unix.SEEK_SET)
	var mu sync.Mutex
	seen := map[string]int{}
	for i := range pieces {
		m := m.fork(i)
		all.Go(func() {
			data := uint64(dataAt + i*0x1_0000)
			for m.read(fd, data, 8) == 8 {
				mu.Lock()
				seen[string(m.mem(data, 8))]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for i := range pieces {
		for j := range each {
			if s := fmt.Sprintf("%02d-%04d\n", i, j); seen[s] != 1 {
				t.Fatalf("%q was read %d times", s, seen[s])
			}
		}
	}
	m.close(fd)
	held(t, fs, 0, 0)
}

// TestCloseOnce: of several processors that close one descriptor, one does.
func TestCloseOnce(t *testing.T) {
	m, fs := scratchMachine(t)
	m.makeFile("f", "x")
	for range 300 {
		fd := m.open("f", unix.O_RDONLY, 0)
		var all sync.WaitGroup
		var closed [4]int32
		for i := range closed {
			m := m.fork(i)
			all.Go(func() {
				m.read(fd, uint64(dataAt+i*0x1_0000), 1)
				closed[i] = m.close(fd)
			})
		}
		all.Wait()
		sum := int32(0)
		for _, e := range closed {
			sum += e
		}
		if sum != -3*int32(syscall.EBADF) {
			t.Fatalf("%d", closed)
		}
		held(t, fs, 0, 0)
	}
}
