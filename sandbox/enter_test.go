//go:build !cgo

package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// flagsOf are the mount flags that the share has in the sandbox, statfs(2).
const flagsOf = unix.ST_NODEV | unix.ST_NOSUID | stNosymfollow

func TestNamespaceView(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, host [2]uint32, uid int) {
		share := j.Config.Shares[0].Path
		j.Probe, j.Arg, j.Groups = "look", filepath.Join(dir, "secret"), []int{4321}
		if uid != 0 {
			// A namespace with its own ids alone cannot drop groups, and they
			// are shown as nobody's.
			j.Groups = nil
		}
		s := j.start(t)
		var got sight
		s.next("inner", &got)
		if status := s.wait(); status != 0 {
			t.Errorf("status %d", status)
		}
		if got.Pid != 1 || got.UID != uid || got.GID != uid || got.Path != "/" {
			t.Errorf("pid %d, uid %d, gid %d, share at %s; want pid 1, ids %d, /", got.Pid, got.UID, got.GID, got.Path, uid)
		}
		if deny := len(j.Config.GIDMap) == 1 && j.Config.GIDMap[0].Count == 1; !deny && len(got.Groups) != 0 {
			t.Errorf("groups %v", got.Groups)
		}
		if want := []string{"file", "link"}; !slices.Equal(got.Root, want) {
			t.Errorf("in the root directory: %v, want %v", got.Root, want)
		}
		if got.Mount&flagsOf != flagsOf || got.Mount&unix.ST_RDONLY != 0 {
			t.Errorf("mount flags %#x, want %#x of them and not read-only", got.Mount, flagsOf)
		}
		if !slices.Equal(got.Interfaces, []string{"lo"}) {
			t.Errorf("network interfaces %v", got.Interfaces)
		}
		want := map[string]string{
			"secret":             "ENOENT",
			"link":               "ELOOP", // nosymfollow
			"parent":             "ENOENT",
			"proc":               "ENOENT",
			"reopen":             "ok",
			"reopen by cwd":      "ok",
			"proc parent":        "ENOENT",
			"proc 2 parents":     "ENOENT",
			"proc parent is fd/": "ok",
			"write":              "ok",
			"mkdir":              "ok",
			"chown":              got.Tried["chown"],
			"connect":            "ENETUNREACH",
		}
		if j.UID == 0 && j.Config.UIDMap == nil {
			want["device"] = "EACCES" // nodev
		}
		if diff := cmp.Diff(want, got.Tried); diff != "" {
			t.Errorf("in the sandbox (-want +got):\n%s", diff)
		}

		wantOwner := func(name string, uid, gid uint32) {
			t.Helper()
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(share, name), &st); err != nil {
				t.Fatal(err)
			}
			if st.Uid != uid || st.Gid != gid {
				t.Errorf("%s belongs to %d:%d on the host, want %d:%d", name, st.Uid, st.Gid, uid, gid)
			}
		}
		wantOwner("dir", host[0], host[1])
		// What inner ids 5 and 6 are outside, where there are any.
		outside := func(m []IDMap, id uint32) (uint32, bool) {
			if m == nil {
				return id, j.UID == 0
			}
			for _, e := range m {
				if id >= e.Inside && id-e.Inside < e.Count {
					return e.Outside + id - e.Inside, true
				}
			}
			return 0, false
		}
		five, ok := outside(j.Config.UIDMap, 5)
		six, _ := outside(j.Config.GIDMap, 6)
		if !ok {
			five, six = host[0], host[1]
		}
		if chown := got.Tried["chown"]; ok != (chown == "ok") {
			t.Errorf("chown to 5:6: %s", chown)
		}
		wantOwner("made", five, six)
	})
}

func TestReadOnlyMount(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		j.Probe, j.Config.Shares[0].ReadOnly = "look", true
		s := j.start(t)
		var got sight
		s.next("inner", &got)
		if got.Mount&unix.ST_RDONLY == 0 || got.Tried["write"] != "EROFS" || got.Tried["mkdir"] != "EROFS" {
			t.Errorf("mount flags %#x; write: %s; mkdir: %s", got.Mount, got.Tried["write"], got.Tried["mkdir"])
		}
		s.wait()
	})
}

// The share is one file: nothing else is there, not even beside it.
func TestShareIsFile(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		j.Probe, j.Arg = "look", filepath.Join(dir, "secret")
		j.Config.Shares[0].Path = filepath.Join(dir, "share", "file")
		s := j.start(t)
		var got sight
		s.next("inner", &got)
		if got.Path != "/0" || !slices.Equal(got.Root, []string{"0"}) || got.Mount&flagsOf != flagsOf {
			t.Errorf("share at %s with mount flags %#x; root directory: %v", got.Path, got.Mount, got.Root)
		}
		for try, want := range map[string]string{
			"secret": "ENOENT", "proc": "ENOENT", "reopen": "ok", "reopen by cwd": "ok",
			"proc parent": "ENOENT", "write": "EROFS", "mkdir": "EROFS",
		} {
			if got.Tried[try] != want {
				t.Errorf("%s: %s, want %s", try, got.Tried[try], want)
			}
		}
		s.wait()
	})
}

// Several shares, directories and files, are all that there is, by their numbers; each is
// read-only if it is to be.
func TestSeveralShares(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, uid int) {
		other := filepath.Join(dir, "other")
		if err := os.Mkdir(other, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(other, 0o777); err != nil {
			t.Fatal(err)
		}
		share := j.Config.Shares[0].Path
		j.Probe, j.Arg = "several", filepath.Join(dir, "secret")
		j.Config.Shares = []Share{{Path: share, ReadOnly: true}, {Path: filepath.Join(share, "file")}, {Path: other}}
		s := j.start(t)
		var got map[string]string
		s.next("inner", &got)
		want := map[string]string{
			"paths": "/0 /1 /2", "root": "0 1 2",
			"write 0": "EROFS", "write 2": "ok", "write root": "EROFS", "secret": "ENOENT",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		s.wait()
	})
}

// A user's share may lie where only that user can go, though ids of others serve it.
func TestShareInPrivateDirectory(t *testing.T) {
	each(t, func(t *testing.T, dir string, j job, _ [2]uint32, _ int) {
		private := filepath.Join(dir, "private")
		if err := os.Mkdir(private, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(j.Config.Shares[0].Path, filepath.Join(private, "share")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(private, j.UID, j.UID); err != nil {
			t.Fatal(err)
		}
		j.Probe, j.Config.Shares[0].Path = "view", filepath.Join(private, "share")
		wantView(t, j, "/", "file link ")
	})
}

// wantView runs a job with the probe "view".
func wantView(t *testing.T, j job, path, content string) {
	t.Helper()
	s := j.start(t)
	var got []string
	s.next("inner", &got)
	want := []string{path, content, fmt.Sprint(j.Config.Mode != ModeNone)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("path, content and whether /proc/self/fd is there (-want +got):\n%s", diff)
	}
	s.wait()
}

func TestSharePaths(t *testing.T) {
	dir := testDir(t)
	link := filepath.Join(dir, "link")
	if err := os.Symlink("share", link); err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel("/", filepath.Join(dir, "share")) // jobs start in /
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{ModeNamespace, ModeChroot, ModeNone} {
		for _, user := range []bool{false, true} {
			if user && mode == ModeChroot {
				continue
			}
			for _, share := range []string{filepath.Join(dir, "share"), link, relative} {
				t.Run(fmt.Sprintf("%s user=%v %s", mode, user, share), func(t *testing.T) {
					j := job{Config: Config{Mode: mode, Shares: []Share{{Path: share}}}, Probe: "view"}
					if user {
						j = j.asUser(t, dir)
					}
					path := "/"
					if mode == ModeNone {
						path = filepath.Join("/", share)
					}
					wantView(t, j, path, "file link ")
				})
			}
		}
	}
}

func TestShareIsRoot(t *testing.T) {
	entries, err := os.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		all.WriteString(e.Name() + " ")
	}
	for _, mode := range []Mode{ModeNamespace, ModeChroot, ModeNone} {
		wantView(t, job{Config: Config{Mode: mode, Shares: []Share{{Path: "/"}}}, Probe: "view"}, "/", all.String())
	}
	user := job{Config: Config{Shares: []Share{{Path: "/"}}}, Probe: "view"}.asUser(t, testDir(t))
	wantView(t, user, "/", all.String())
}

func TestEnterErrors(t *testing.T) {
	dir := testDir(t)
	missing, file := filepath.Join(dir, "none"), filepath.Join(dir, "share", "file")
	for _, tc := range []struct {
		name string
		cfg  Config
		user bool
		want string
	}{
		{"chroot as user", Config{Mode: ModeChroot, Shares: []Share{{Path: dir}}}, true, "CAP_SYS_CHROOT"},
		{"chroot to file", Config{Mode: ModeChroot, Shares: []Share{{Path: file}}}, false, "no directory"},
		{"chroot to nothing", Config{Mode: ModeChroot, Shares: []Share{{Path: missing}}}, false, "no such file"},
		{"none with nothing", Config{Mode: ModeNone, Shares: []Share{{Path: missing}}}, false, "no such file"},
		{"unknown mode", Config{Mode: 9, Shares: []Share{{Path: dir}}}, false, "unknown mode"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := job{Config: tc.cfg, Probe: "view"}
			if tc.user {
				j = j.asUser(t, dir)
			}
			s := j.start(t)
			if failure := s.next("inner", nil); !strings.Contains(failure, tc.want) {
				t.Errorf("error %q lacks %q", failure, tc.want)
			}
			s.wait()
		})
	}
}

// A process in the host's namespaces is kept from changing the host's mounts.
func TestEnterNamespaceOutside(t *testing.T) {
	s := job{Config: Config{Mode: ModeNone, Shares: []Share{{Path: "/"}}}, Probe: "noSandbox"}.start(t)
	if failure := s.next("inner", nil); !strings.Contains(failure, "no namespaces of its own") {
		t.Errorf("error %q", failure)
	}
	s.wait()
}

func TestChrootView(t *testing.T) {
	dir := testDir(t)
	j := job{Config: Config{Mode: ModeChroot, Shares: []Share{{Path: filepath.Join(dir, "share")}}}, Probe: "look",
		Arg: filepath.Join(dir, "secret"), Groups: []int{4321}}
	s := j.start(t)
	var got sight
	s.next("inner", &got)
	s.wait()
	if got.Path != "/" || len(got.Groups) != 0 {
		t.Errorf("share at %s, groups %v", got.Path, got.Groups)
	}
	for try, want := range map[string]string{
		"secret": "ENOENT", "link": "ENOENT", "parent": "ENOENT", "proc": "ENOENT", "reopen": "ok", "reopen by cwd": "ok",
		"proc parent": "ENOENT", "proc 2 parents": "ENOENT", "write": "ok",
	} {
		if got.Tried[try] != want {
			t.Errorf("%s: %s, want %s", try, got.Tried[try], want)
		}
	}
}

// What the host mounts in the share later appears in the sandbox.
func TestLaterMounts(t *testing.T) {
	for _, user := range []bool{false, true} {
		dir := testDir(t)
		share := filepath.Join(dir, "share")
		mount(t, "tmpfs", share, "tmpfs", 0)
		mount(t, "", share, "", unix.MS_SHARED)
		sub := filepath.Join(share, "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		j := job{Config: Config{Shares: []Share{{Path: share}}}, Probe: "submount", Lifeline: true}
		if user {
			j.UID = testUser
		}
		// The lifeline's other end is what the inner process waits on here.
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		s := j.startWith(t, r)
		r.Close()
		s.next("inner", new(string))
		mount(t, "tmpfs", sub, "tmpfs", 0)
		if err := os.WriteFile(filepath.Join(sub, "later"), []byte("new"), 0o644); err != nil {
			t.Fatal(err)
		}
		w.Close()
		var got string
		s.next("inner", &got)
		if got != "new" {
			t.Errorf("user=%v: read %q", user, got)
		}
		s.wait()
	}
}

func mount(t *testing.T, source, target, fstype string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		t.Fatal(err)
	}
	if fstype != "" {
		t.Cleanup(func() {
			if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
				t.Error(&fs.PathError{Op: "unmount", Path: target, Err: err})
			}
		})
	}
}
