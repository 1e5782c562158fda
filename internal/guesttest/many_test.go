package guesttest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestThousandsOfSmallFilesComeAndGo(t *testing.T) {
	dir := scratch(t)
	n := scaled(2000)
	path := func(i int) string { return fmt.Sprintf("%s/%d/%d", dir, i%10, i) }
	for i := range 10 {
		mkdir(t, fmt.Sprint(dir, "/", i))
	}
	inodes := map[uint64]int{}
	for i := range n {
		check(t, os.WriteFile(path(i), pattern(uint64(i), 0, i%3000), 0o600), "write")
	}
	for i := range n {
		st := lstat(t, path(i))
		if other, ok := inodes[st.Ino]; ok {
			t.Errorf("files %d and %d are both inode %d", i, other, st.Ino)
		}
		inodes[st.Ino] = i
		if st.Size != int64(i%3000) {
			t.Errorf("file %d has size %d", i, st.Size)
		}
		if i%7 == 0 {
			same(t, read(t, path(i)), pattern(uint64(i), 0, i%3000), 0, path(i))
		}
	}
	for i := range n {
		check(t, unix.Unlink(path(i)), "unlink")
	}
	for i := range 10 {
		check(t, unix.Rmdir(fmt.Sprint(dir, "/", i)), "rmdir")
	}
}

// parallel runs f in eight goroutines and reports what they return.
func parallel(t *testing.T, f func(worker int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			if err := f(worker); err != nil {
				t.Errorf("worker %d: %v", worker, err)
			}
		})
	}
	wg.Wait()
}

func TestParallelWritersOfOneFileDoNotDisturbEachOther(t *testing.T) {
	path := scratch(t) + "/f"
	const (
		stripe = 5000 // so that neighbours share pages
		rounds = 40
	)
	write(t, path, nil)
	parallel(t, func(worker int) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		buf := make([]byte, stripe)
		for round := range rounds {
			off := int64(round*8+worker) * stripe
			piece := pattern(uint64(worker), off, stripe)
			if _, err := f.WriteAt(piece, off); err != nil {
				return err
			}
			if _, err := f.ReadAt(buf, off); err != nil {
				return err
			}
			if !bytes.Equal(buf, piece) {
				return fmt.Errorf("round %d: what was written does not read back", round)
			}
		}
		return nil
	})
	got := read(t, path)
	if len(got) != rounds*8*stripe {
		t.Fatalf("size %d, want %d", len(got), rounds*8*stripe)
	}
	for i := range rounds * 8 {
		off := int64(i) * stripe
		same(t, got[off:off+stripe], pattern(uint64(i%8), off, stripe), off, fmt.Sprint("stripe of worker ", i%8))
	}
}

func TestParallelAppendersLoseNothing(t *testing.T) {
	path := scratch(t) + "/log"
	write(t, path, nil)
	const rounds = 50
	parallel(t, func(worker int) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		for round := range rounds {
			line := fmt.Sprintf("%d %d %s\n", worker, round, bytes.Repeat([]byte{'a' + byte(worker)}, 1+round*13%200))
			if _, err := f.WriteString(line); err != nil {
				return err
			}
		}
		return nil
	})
	next := [8]int{}
	lines := bytes.Split(bytes.TrimSuffix(read(t, path), []byte("\n")), []byte("\n"))
	for _, line := range lines {
		var worker, round int
		var text string
		_, err := fmt.Sscan(string(line), &worker, &round, &text)
		if err != nil || worker < 0 || worker > 7 || round != next[worker] || len(text) != 1+round*13%200 {
			t.Fatalf("line %q is not what was appended", line)
		}
		next[worker]++
	}
	if len(lines) != 8*rounds {
		t.Errorf("%d lines, want %d", len(lines), 8*rounds)
	}
}

func TestParallelWorkInOneDirectoryIsConsistent(t *testing.T) {
	dir := scratch(t)
	rounds := scaled(50)
	var mu sync.Mutex
	wins := 0
	parallel(t, func(worker int) error {
		for round := range rounds {
			mine := fmt.Sprintf("%s/w%d-%d", dir, worker, round)
			data := pattern(uint64(worker), int64(round), 500)
			if err := os.WriteFile(mine, data, 0o600); err != nil {
				return err
			}
			if err := os.Rename(mine, mine+"-done"); err != nil {
				return err
			}
			got, err := os.ReadFile(mine + "-done")
			if err != nil || !bytes.Equal(got, data) {
				return fmt.Errorf("round %d: %d bytes, %v", round, len(got), err)
			}
			if round%2 == 0 {
				if err := os.Remove(mine + "-done"); err != nil {
					return err
				}
			}
			// All workers want the same name, and one gets it.
			err = tryOpen(fmt.Sprintf("%s/race-%d", dir, round), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
			if err == nil {
				mu.Lock()
				wins++
				mu.Unlock()
			} else if !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
		return nil
	})
	if wins != rounds {
		t.Errorf("%d exclusive creations succeeded, want %d", wins, rounds)
	}
	if got, wanted := len(list(t, dir)), rounds+8*(rounds/2); got != wanted {
		t.Errorf("%d files left, want %d", got, wanted)
	}
}
