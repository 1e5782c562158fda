//go:build !cgo

package sandbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every thread, those from before included, has exactly the capabilities of Keep.
func TestLockThreads(t *testing.T) {
	for _, keep := range []Caps{0, ServerCaps(false), ServerCaps(true)} {
		want := "0 0 0 0 0"
		if keep != 0 {
			want = fmt.Sprintf("0 %x %x %x 0", uint64(keep), uint64(keep), uint64(keep))
		}
		check := func(t *testing.T, j job, want string) {
			t.Helper()
			j.Probe, j.Config.Keep = "threads", keep
			j.Config.Seccomp, j.Config.NoLandlock = SeccompNone, true
			s := j.start(t)
			var got threads
			s.next("inner", &got)
			s.wait()
			if !slices.Equal(got.Caps, []string{want}) {
				t.Errorf("keep %s: sets (inheritable, permitted, effective, bounding, ambient) of the threads: %q, want %q", keep, got.Caps, want)
			}
			if !slices.Equal(got.NoNewPriv, []string{"NoNewPrivs:\t1\n"}) {
				t.Errorf("no_new_privs of the threads: %q", got.NoNewPriv)
			}
			wantCaps, _, _ := strings.Cut(want[2:], " ")
			if len(got.Layers) != 2 || got.Layers[1] != "no_new_privs" || (wantCaps == "0") != (got.Layers[0] == "capabilities: none") {
				t.Errorf("layers %q", got.Layers)
			}
		}
		each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) { check(t, j, want) })

		dir := testDir(t)
		share := filepath.Join(dir, "share")
		for _, mode := range []Mode{ModeChroot, ModeNone} {
			t.Run(mode.String(), func(t *testing.T) {
				check(t, job{Config: Config{Mode: mode, Shares: []Share{{Path: share}}}}, want)
			})
		}
		t.Run("user without a sandbox", func(t *testing.T) {
			// It has nothing to lose, and not the right to empty its bounding set.
			bound, err := boundingSet()
			if err != nil {
				t.Fatal(err)
			}
			j := job{Config: Config{Mode: ModeNone, Shares: []Share{{Path: share}}}}.asUser(t, dir)
			check(t, j, fmt.Sprintf("0 0 0 %x 0", uint64(bound)))
		})
	}
}

func boundingSet() (Caps, error) {
	var c Caps
	for n := range 64 {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err == unix.EINVAL {
			break
		}
		if err != nil {
			return 0, err
		}
		c |= Caps(in) << n
	}
	return c, nil
}

func TestLayersByName(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		j.Probe = "layers"
		s := j.start(t)
		var got []string
		s.next("inner", &got)
		if len(got) < 3 || got[0] != "capabilities: "+ServerCaps(false).String() || got[1] != "no_new_privs" ||
			got[len(got)-1] != "seccomp: kill" {
			t.Errorf("layers %q", got)
		}
		if status := s.wait(); status != 0 {
			t.Errorf("status %d after the sandbox was closed", status)
		}
	})
}
