package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// TestDaemonOutlivesItsGuests has one daemon serve guest after guest.
func TestDaemonOutlivesItsGuests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := serve(t, dir)
	for range 3 {
		run(t, guest(lab.UML, d, sh("echo here >>"+mountedAt+"/visits")...))
	}
	if got := readFile(t, filepath.Join(dir, "visits")); got != "here\nhere\nhere\n" {
		t.Errorf("the guests left %q", got)
	}
	d.stop(syscall.SIGINT)
}

func TestOnceEndsWithTheGuest(t *testing.T) {
	t.Parallel()
	d := serve(t, t.TempDir(), "--once")
	run(t, guest(lab.UML, d, "true"))
	if status := d.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestGuestMountsAgain unmounts and mounts the share in one guest, several
// times, with work in between.
func TestGuestMountsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := serve(t, dir)
	cfg := guest(lab.UML, d, sh(`
		cd /
		for i in 1 2 3 4 5; do
			mount -t virtiofs `+tag+` /mnt
			echo $i >>/mnt/mounts
			mkdir -p /mnt/d$i/e
			test "$(cat /mnt/mounts | wc -l)" = $i
			umount /mnt
		done`)...)
	cfg.Shares[0].Dir = ""
	run(t, cfg)
	if got := readFile(t, filepath.Join(dir, "mounts")); got != "1\n2\n3\n4\n5\n" {
		t.Errorf("the guest left %q", got)
	}
}

// TestGuestReboots has a guest reboot without unmounting: the VMM keeps its
// connection, and the next kernel starts with INIT on fresh rings.
func TestGuestReboots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := serve(t, dir, "--queues", "2")
	cfg := guest(lab.QEMU, d, sh(`
		exec 3>`+mountedAt+`/held
		echo boot $ISTHMUS_BOOT >>`+mountedAt+`/boots
		if [ $ISTHMUS_BOOT -lt 3 ]; then sync; echo b >/proc/sysrq-trigger; sleep 60; fi`)...)
	cfg.Reboots = 2
	run(t, cfg)
	if got := readFile(t, filepath.Join(dir, "boots")); got != "boot 1\nboot 2\nboot 3\n" {
		t.Errorf("the guest left %q", got)
	}
	if n := strings.Count(d.log.String(), "a VM has connected"); n != 1 {
		t.Errorf("%d connections, want the same one for all boots:\n%s", n, d.log)
	}
}

// TestGuestIsKilled pulls the plug on a guest that writes, again and again:
// the daemon gives back what the guest held and serves the next.
func TestGuestIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := serve(t, dir)
	idle := d.openFiles()
	const killed = 3
	for range killed {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := guest(lab.UML, d, sh(`
			cd `+mountedAt+`
			for i in $(seq 50); do exec 3>f$i; echo $i >&3; done
			echo working
			while :; do dd if=/dev/zero of=big bs=64k count=64 2>/dev/null; done`)...)
		cfg.Stdout = writerFunc(func(p []byte) {
			if strings.Contains(string(p), "working") {
				cancel()
			}
		})
		if _, err := lab.Run(ctx, cfg); ctx.Err() == nil {
			t.Fatalf("the guest ended by itself: %v", err)
		}
	}
	run(t, guest(lab.UML, d, "test", "-s", mountedAt+"/f50"))
	d.waitLogCount("the VM has disconnected", killed+1)
	if n := d.openFiles(); n > idle {
		t.Errorf("%d descriptors before, %d after the guests", idle, n)
	}
	d.stop(syscall.SIGTERM)
}

// TestStopUnderLoad ends the daemon while a guest writes. What the guest had
// synced is whole.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := serve(t, dir)
	synced := make(chan string, 1)
	cfg := guest(lab.UML, d, sh(`
		cd `+mountedAt+`
		dd if=/dev/urandom of=kept bs=1M count=8 conv=fsync 2>/dev/null
		sha256sum kept
		while :; do dd if=/dev/zero of=load bs=64k count=64 2>/dev/null; done`)...)
	var line strings.Builder
	cfg.Stdout = writerFunc(func(p []byte) {
		line.Write(p)
		if sum, _, ok := strings.Cut(line.String(), " "); ok && len(sum) == 64 {
			select {
			case synced <- sum:
			default:
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lab.Run(ctx, cfg)
	}()
	select {
	case sum := <-synced:
		d.stop(syscall.SIGTERM)
		kept := sha256.Sum256([]byte(readFile(t, filepath.Join(dir, "kept"))))
		if got := hex.EncodeToString(kept[:]); got != sum {
			t.Errorf("the guest wrote %s, on the host is %s", sum, got)
		}
	case <-ended:
		t.Fatal("the guest ended before it had written")
	}
	cancel()
	<-ended
}

// waitLogCount waits until the daemon has logged text a number of times.
func (d *daemon) waitLogCount(text string, least int) {
	d.t.Helper()
	for end := time.Now().Add(patience); strings.Count(d.log.String(), text) < least; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%q was logged %d times, want %d:\n%s", text, strings.Count(d.log.String(), text), least, d.log)
		}
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
