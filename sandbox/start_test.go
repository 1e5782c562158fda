//go:build !cgo

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestStatus(t *testing.T) {
	dir := testDir(t)
	for _, tc := range []struct {
		arg  string
		want int
	}{{"0", 0}, {"1", 1}, {"7", 7}, {"255", 255}} {
		s := job{Config: Config{Shares: []Share{{Path: dir}}}, Probe: "exit", Arg: tc.arg}.start(t)
		if got := s.wait(); got != tc.want {
			t.Errorf("exit %s: status %d", tc.arg, got)
		}
	}
}

// kinds are the ways of having a user namespace or none.
var kinds = []struct {
	name string
	user bool
	cfg  Config
	host [2]uint32 // what uid and gid of the inner process are outside
	uid  int       // and inside
}{
	{name: "root", host: [2]uint32{0, 0}},
	{name: "root with maps", cfg: Config{
		UIDMap: []IDMap{{0, 100000, 1000}},
		GIDMap: []IDMap{{0, 200000, 1000}},
	}, host: [2]uint32{100000, 200000}},
	{name: "user", user: true, host: [2]uint32{testUser, testUser}, uid: testUser},
	{name: "user as root", user: true, cfg: Config{
		UIDMap: []IDMap{{0, testUser, 1}},
		GIDMap: []IDMap{{0, testUser, 1}},
	}, host: [2]uint32{testUser, testUser}},
	{name: "subordinate ids", user: true, cfg: Config{UIDMap: wholeUIDs, GIDMap: wholeGIDs}, host: [2]uint32{testUser, testUser}},
	{name: "subordinate root", user: true, cfg: Config{
		UIDMap: []IDMap{{0, subUID, 1000}},
		GIDMap: []IDMap{{0, subGID, 1000}},
	}, host: [2]uint32{subUID, subGID}},
}

// each runs a test with each kind.
func each(t *testing.T, f func(t *testing.T, dir string, j job, host [2]uint32, uid int)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			dir := testDir(t)
			j := job{Config: k.cfg}
			j.Config.Shares = []Share{{Path: filepath.Join(dir, "share")}}
			j.Config.Keep = ServerCaps(false)
			if k.user {
				j = j.asUser(t, dir)
			}
			f(t, dir, j, k.host, k.uid)
		})
	}
}

func TestSignals(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		for sig, want := range map[unix.Signal]int{unix.SIGTERM: 65, unix.SIGINT: 52, unix.SIGHUP: 51} {
			j.Probe = "wait"
			s := j.start(t)
			s.next("outer", &outerState{})
			s.cmd.Process.Signal(sig)
			if got := s.wait(); got != want {
				t.Errorf("%v: status %d, want %d from the inner process's handler", sig, got, want)
			}
		}
	})
}

func TestInnerKilled(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		j.Probe = "wait"
		s := j.start(t)
		var st outerState
		s.next("outer", &st)
		if err := unix.Kill(st.Inner, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := s.wait(); got != 128+9 {
			t.Errorf("status %d", got)
		}
	})
}

func TestOuterKilled(t *testing.T) {
	for _, arg := range []string{"", "forget"} {
		each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
			j.Probe, j.Arg, j.Lifeline = "wait", arg, true
			s := j.start(t)
			s.next("outer", &outerState{})
			s.cmd.Process.Kill()
			s.innerGone()
		})
	}
}

// The outer process keeps no rights, and none of the files.
func TestOuterLocked(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		j.Probe, j.Lifeline = "wait", true
		s := j.start(t)
		var st outerState
		s.next("outer", &st)
		if len(st.Caps) != 1 || !strings.HasPrefix(st.Caps[0], "0 0 0 ") || !strings.HasSuffix(st.Caps[0], " 0") {
			t.Errorf("capabilities of the outer process: %q", st.Caps)
		}
		if j.UID == 0 && st.Caps[0] != "0 0 0 0 0" {
			t.Errorf("bounding set of the outer process: %q", st.Caps)
		}
		if !slices.Equal(st.NoNewPriv, []string{"NoNewPrivs:\t1\n"}) {
			t.Errorf("outer process: %q", st.NoNewPriv)
		}
		if err := unix.Kill(st.Inner, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.innerGone()
		s.wait()
	})
}

// A descriptor that the outer process inherited is not in the inner one.
func TestDescriptors(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		j.Probe, j.Lifeline, j.Leak = "fds", true, filepath.Join(dir, "secret")
		s := j.start(t)
		var got struct {
			FDs   map[string]string
			Env   bool
			Files int
		}
		s.next("inner", &got)
		want := map[string]string{
			"0": "/dev/null", "1": "pipe", "2": got.FDs["2"],
			"3": "socket cloexec", "4": "pipe cloexec",
		}
		if diff := cmp.Diff(want, got.FDs); diff != "" {
			t.Errorf("descriptors of the inner process (-want +got):\n%s", diff)
		}
		if got.Env || got.Files != 1 {
			t.Errorf("the environment variable is set: %v; %d files", got.Env, got.Files)
		}
	})
}

func TestStartErrors(t *testing.T) {
	dir := testDir(t)
	share := filepath.Join(dir, "share")
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	user := job{Config: Config{Shares: []Share{{Path: share}}}}.asUser(t, dir)
	// The kernel makes no user namespaces for who is in a chroot.
	chrooted := user
	chrooted.Binds = append(slices.Clone(user.Binds), [2]string{"/", root})
	chrooted.Chroot = root

	unprivileged := user
	unprivileged.NoNewPrivs = true
	unprivileged.Config.UIDMap, unprivileged.Config.GIDMap = wholeUIDs, wholeGIDs

	with := func(j job, change func(*Config)) job {
		change(&j.Config)
		return j
	}
	for _, tc := range []struct {
		name         string
		job          job
		env          []string
		notPermitted bool
		want         string
	}{
		{"no namespaces", chrooted, nil, true, "operation not permitted"},
		{"no share", with(user, func(c *Config) { c.Shares = []Share{{Path: dir + "/none"}} }), nil, false, "no such file"},
		{"no helper", with(user, func(c *Config) { c.UIDMap, c.GIDMap = wholeUIDs, wholeGIDs }),
			[]string{"PATH=/nonexistent"}, false, "newuidmap is not installed; install it"},
		{"helper without rights", unprivileged, nil, false, "started with no_new_privs"},
		{"not subordinate", with(user, func(c *Config) { c.UIDMap = []IDMap{{0, 500000, 10}} }), nil, false, "/etc/subuid"},
		{"overlap", with(user, func(c *Config) { c.UIDMap = []IDMap{{0, subUID, 10}, {9, subUID + 10, 1}} }), nil, false, "overlap inside"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.job.start(t, tc.env...)
			failure := s.next("outer", nil)
			if !strings.Contains(failure, tc.want) {
				t.Errorf("error %q lacks %q", failure, tc.want)
			}
			advice := strings.Contains(failure, "use the sandbox mode chroot or none")
			if is := strings.HasPrefix(failure, notPermitted); is != tc.notPermitted || advice != tc.notPermitted {
				t.Errorf("error %q: is ErrNotPermitted: %v, with advice: %v", failure, is, advice)
			}
			if status := s.wait(); status != 100 {
				t.Errorf("status %d", status)
			}
		})
	}
}

func TestStartRefusesOtherModes(t *testing.T) {
	for _, m := range []Mode{ModeChroot, ModeNone} {
		if _, err := Start(&Config{Mode: m, Shares: []Share{{Path: "/"}}}); err == nil {
			t.Errorf("mode %s has an inner process", m)
		}
	}
}

func TestInheritedRefusesStrayVariable(t *testing.T) {
	for _, v := range []string{"", "1", "-1", "x"} {
		t.Setenv(envInner, v)
		if in, err := Inherited(); in != nil || err == nil {
			t.Errorf("%s=%q: %v, %v", envInner, v, in, err)
		}
		if v, set := os.LookupEnv(envInner); set {
			t.Errorf("the variable is left behind: %q", v)
		}
	}
	if in, err := Inherited(); in != nil || err != nil {
		t.Errorf("without the variable: %v, %v", in, err)
	}
}

func TestExplainClone(t *testing.T) {
	err := explainClone(unix.ENOMEM, true)
	if err != unix.ENOMEM {
		t.Errorf("ENOMEM became %v", err)
	}
	for errno := range namespaceErrnos {
		text := fmt.Sprint(explainClone(errno, false))
		if !strings.Contains(text, errno.Error()) || !strings.Contains(text, "chroot or none") || strings.Contains(text, "user,") {
			t.Errorf("%v became %q", errno, text)
		}
	}
}
