package sandbox

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestServerCaps(t *testing.T) {
	const want = "chown,dac_override,fowner,fsetid,setgid,setuid,mknod,setfcap"
	if got := ServerCaps(false).String(); got != want {
		t.Errorf("without handles: %s", got)
	}
	with := ServerCaps(true)
	if !with.Has(unix.CAP_DAC_READ_SEARCH) || with&^(1<<unix.CAP_DAC_READ_SEARCH) != ServerCaps(false) {
		t.Errorf("with handles: %s", with)
	}
	for _, n := range []int{-1, 64, 1000, unix.CAP_SYS_ADMIN} {
		if with.Has(n) {
			t.Errorf("capability %d is in the set", n)
		}
	}
	if got := Caps(0).String(); got != "none" {
		t.Errorf("the empty set is %q", got)
	}
}

func TestModify(t *testing.T) {
	base := capsOf(unix.CAP_CHOWN, unix.CAP_MKNOD)
	for _, tc := range []struct {
		spec string
		want Caps
		fail string
	}{
		{spec: "+sys_admin", want: base | capsOf(unix.CAP_SYS_ADMIN)},
		{spec: "-mknod", want: capsOf(unix.CAP_CHOWN)},
		{spec: "+SYS_Admin:-chown:-MKNOD", want: capsOf(unix.CAP_SYS_ADMIN)},
		{spec: "+checkpoint_restore", want: base | capsOf(unix.CAP_CHECKPOINT_RESTORE)},
		{spec: "-chown:+chown", want: base},
		{spec: "-kill", want: base},
		{spec: "", fail: "empty"},
		{spec: ":", fail: "empty"},
		{spec: "+chown:", fail: "empty"},
		{spec: "+chown::-mknod", fail: "empty"},
		{spec: "chown", fail: "neither + nor -"},
		{spec: "*chown", fail: "neither + nor -"},
		{spec: "+", fail: "unknown capability"},
		{spec: "+cap_chown", fail: "unknown capability"},
		{spec: "+chown -mknod", fail: "unknown capability"},
		{spec: "+41", fail: "unknown capability"},
	} {
		got, err := base.Modify(tc.spec)
		if tc.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fail) {
				t.Errorf("%q: %s, %v, want an error with %q", tc.spec, got, err, tc.fail)
			}
		} else if err != nil || got != tc.want {
			t.Errorf("%q: %s, %v, want %s", tc.spec, got, err, tc.want)
		}
	}
}

func FuzzModify(f *testing.F) {
	for _, s := range []string{"+sys_admin:-mknod", "+a", "::", "-CHOWN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		c, err := Caps(0).Modify(spec)
		if err != nil {
			if c != 0 {
				t.Errorf("%q: %s with the error %v", spec, c, err)
			}
			return
		}
		if c == 0 {
			return
		}
		again, err := Caps(0).Modify("+" + strings.ReplaceAll(c.String(), ",", ":+"))
		if err != nil || again != c {
			t.Errorf("%q is %s, which is read as %s, %v", spec, c, again, err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, n := range [][2]string{
		{ModeNamespace.String(), "namespace"}, {ModeChroot.String(), "chroot"}, {ModeNone.String(), "none"}, {Mode(7).String(), "7"},
		{SeccompKill.String(), "kill"}, {SeccompLog.String(), "log"}, {SeccompTrap.String(), "trap"}, {SeccompNone.String(), "none"},
	} {
		if n[0] != n[1] {
			t.Errorf("%q, want %q", n[0], n[1])
		}
	}
}
