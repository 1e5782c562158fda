package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// The writer in the guest puts record number i, a page with that number in it,
// into one of several files, has it synced, and then says the number. The last
// lines write without end and without sync, so that the daemon has more to do.
const (
	recordSize  = 4096
	recordFiles = 3
	writerSteps = `
		cd ` + mountedAt + `
		( while :; do dd if=/dev/zero of=load bs=64k count=64; done ) 2>/dev/null &
		i=0
		while :; do
			printf '%04096d' $i | dd of=$((i%3)) bs=4096 seek=$((i/3)) conv=notrunc,fsync 2>/dev/null || exit
			echo $i
			i=$((i+1))
		done`
)

// TestNothingSyncedIsLost kills the daemon at some moment while a guest writes
// and syncs. What the guest was told is synced is on the host, nothing of the
// daemon stays behind, and one that is started at once, on the same socket,
// serves the next guest.
func TestNothingSyncedIsLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		kill func(d *daemon) int // the process to kill
		runs int
	}{
		{"outer", nil, (*daemon).outer, 2},
		{"inner", nil, (*daemon).inner, 2},
		{"outer with writeback", []string{"--writeback", "--cache", "always"}, (*daemon).outer, 1},
		{"without a sandbox", []string{"--sandbox", "none"}, (*daemon).inner, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			share, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
			d := launch{socket: socket}.serve(t, share, tt.args...)
			for range tt.runs {
				after := 1 + rand.IntN(60)
				synced, end := writeAndSync(t, d, after)
				outer, inner := d.outer(), d.inner()
				if err := syscall.Kill(tt.kill(d), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if status := d.wait(); status == 0 {
					t.Error("the daemon ends with status 0")
				}
				// The next is started before anybody looks whether the
				// last one is gone.
				next := launch{socket: socket}.serve(t, share, tt.args...)
				said := synced()
				t.Logf("killed after record %d, %d were synced", after, said)
				if said < after {
					t.Fatalf("the guest has synced %d records, and had said so of %d", said, after)
				}
				checkRecords(t, share, said)
				waitGone(t, outer)
				waitGone(t, inner)
				out := run(t, guest(lab.UML, next, sh(fmt.Sprintf(`
					cd %s
					for i in 0 $((%d-1)); do
						dd if=$((i%%3)) bs=4096 skip=$((i/3)) count=1 2>/dev/null | grep -q "^0*$i\$" && echo $i is there
					done
					rm -f load`, mountedAt, said))...))
				if want := fmt.Sprintf("0 is there\n%d is there\n", said-1); out != want {
					t.Errorf("the next guest says %q, want %q", out, want)
				}
				end()
				d = next
			}
			d.stop(syscall.SIGTERM)
		})
	}
}

// writeAndSync starts the writer in a guest and returns when it has synced a
// number of records. synced returns how many it says are synced, to be called
// when no more can be; end ends the guest.
func writeAndSync(t *testing.T, d *daemon, least int) (synced func() int, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var said strings.Builder
	enough := make(chan struct{})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(said.String(), "\n")
	}
	cfg := guest(lab.UML, d, sh(writerSteps)...)
	var once sync.Once
	cfg.Stdout = writerFunc(func(p []byte) {
		mu.Lock()
		said.Write(p)
		mu.Unlock()
		if count() >= least {
			once.Do(func() { close(enough) })
		}
	})
	var console logBuffer
	cfg.Console = &console
	ended := make(chan error, 1)
	go func() {
		_, err := lab.Run(ctx, cfg)
		ended <- err
	}()
	select {
	case <-enough:
	case err := <-ended:
		t.Fatalf("the guest ended early: %v\n%s", err, tail(&console))
	}
	return func() int {
			n := count()
			mu.Lock()
			defer mu.Unlock()
			for i, line := range strings.Split(said.String(), "\n")[:n] {
				if line != strconv.Itoa(i) {
					t.Fatalf("line %d of the guest is %q", i, line)
				}
			}
			return n
		}, func() {
			cancel()
			<-ended
		}
}

// checkRecords checks that the first n records are on the host, and in its file
// system rather than in its memory alone.
func checkRecords(t *testing.T, share string, n int) {
	t.Helper()
	var files [recordFiles]*os.File
	for i := range files {
		f, err := os.Open(filepath.Join(share, strconv.Itoa(i)))
		if err != nil {
			if n > i {
				t.Error(err)
			}
			continue
		}
		defer f.Close()
		files[i] = f
	}
	buf := make([]byte, recordSize)
	for i := range n {
		f, off := files[i%recordFiles], int64(i/recordFiles)*recordSize
		if f == nil {
			return
		}
		if _, err := f.ReadAt(buf, off); err != nil || string(buf) != fmt.Sprintf("%0*d", recordSize, i) {
			t.Errorf("record %d is lost: %.10q…%q, %v", i, buf, buf[recordSize-10:], err)
			continue
		}
		var pages unix.Cachestat_t
		err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(off), Len: recordSize}, &pages, 0)
		if err == unix.ENOSYS { // before Linux 6.5
			t.Log("this kernel does not tell what is on the disk: only that the records are there APPLIES")
			continue
		}
		if err != nil {
			t.Fatalf("cachestat: %v", err)
		}
		if pages.Dirty != 0 {
			t.Errorf("record %d was not synced: it is in the host's memory alone", i)
		}
	}
}
