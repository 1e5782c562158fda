package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// option is a way to share a directory, and what a guest sees of it.
type option struct {
	name string
	args []string // of the daemon
	// words say what the guest tests are to expect beyond what the directory's
	// own features are, and less those that begin with a minus sign.
	words string
	run   string // the tests that the option touches (-test.run)
	tmpfs bool   // on tmpfs rather than on ext4
	kind  lab.Kind
	// prepare makes what the guest finds. What it returns is called when the
	// guest has gone.
	prepare func(t *testing.T, dir string) (after func())
	// onHost, when set, runs the same tests on the host in a directory that is
	// to the host's kernel what the share is to be to the guest.
	onHost func(t *testing.T, o *option, dir string)
}

// identity is the tests that show on whose behalf something is done.
const identity = "Creator|Umask|Users|ModeBits|Setuid|Privileges|Special|Sticky"

// TestOptionsInAGuest runs the guest tests that an option touches in a guest, as
// root and as ordinary users, which each of them does. They hold on the host's
// own file systems too, which the tests of internal/guesttest themselves show for
// a plain directory, and onHost for all others.
func TestOptionsInAGuest(t *testing.T) {
	t.Parallel()
	for _, o := range []option{
		{name: "cache never", args: []string{"--cache", "never"}, words: "nommap", run: "."},
		// Guests can make use of this from Linux 6.6 on, and Debian 12's is older.
		{name: "cache never with mmap", args: []string{"--cache", "never", "--allow-mmap"}, words: "nommap", run: "Mapping", tmpfs: true},
		{name: "cache metadata", args: []string{"--cache", "metadata"}, words: "nommap", run: "File|Director|Listing|Rename", tmpfs: true},
		{name: "cache always with writeback", args: []string{"--cache", "always", "--writeback"}, run: ".", tmpfs: true},
		{name: "descriptors", args: []string{"--file-handles", "never"}, run: identity + "|Rename|Open|Link|Attribute|Nest|Removed"},
		{name: "handles", args: []string{"--file-handles", "mandatory"}, run: identity + "|Rename|Open|Link|Attribute|Nest|Removed", tmpfs: true},
		{name: "no xattr", args: []string{"--xattr=false"}, words: "noxattr", run: "Attribute|Capabilit|Privileges|ACL"},
		{name: "killpriv off", args: []string{"--killpriv=false"}, run: "Privileges|Setuid|Capabilit|Truncation"},
		{name: "killpriv off without a cache", args: []string{"--killpriv=false", "--cache", "never"}, words: "nommap", run: "Privileges|Setuid", tmpfs: true},
		{name: "ACLs", args: []string{"--posix-acl", "always"}, words: "acl", run: "ACL|Attribute|" + identity},
		{name: "ACLs on tmpfs without killpriv", args: []string{"--posix-acl", "auto", "--killpriv=false"}, words: "acl",
			run: "ACL|Attribute|" + identity, tmpfs: true},
		{name: "ACLs with two processors", args: []string{"--posix-acl", "always", "--queues", "2"}, words: "acl",
			run: "ACL|Users|Umask|Creator", kind: lab.QEMU},
		{name: "labels without a security module", args: []string{"--security-label", "always"}, run: "Attribute|" + identity},
		{name: "direct I/O", args: []string{"--direct-io"}, words: "aligned", run: "DirectIO|Privileges"},
		{name: "direct I/O on tmpfs", args: []string{"--direct-io"}, run: "DirectIO|Privileges", tmpfs: true},
		{name: "no O_NOATIME", args: []string{"--preserve-noatime=false"}, words: "stripnoatime", run: "AccessTime|ChangeOwner"},
		{name: "submounts", args: []string{"--announce-submounts"}, words: "submounts", run: "Below", prepare: mountBelow},
		{name: "submounts not announced", args: []string{"--announce-submounts=false"}, words: "flatmounts", run: "Below", prepare: mountBelow},
		{name: "read-only", args: []string{"--readonly"}, words: "readonly", run: "ReadOnlyShare", prepare: prepareReadOnly(true), onHost: readOnlyMount},
		// Here the host's mount, which the daemon has to itself otherwise,
		// is writable, and reads set access times on it.
		{name: "read-only by rule alone", args: []string{"--readonly", "--sandbox", "none"}, words: "readonly",
			run: "ReadOnlyShare", tmpfs: true, prepare: prepareReadOnly(false), onHost: readOnlyMount},
		{name: "sys_admin", args: []string{"--modcaps", "+sys_admin"}, words: "-notrusted", run: "Attribute", onHost: withCapabilities("+all")},
		{name: "no sys_admin", args: []string{"--modcaps", "-sys_admin"}, run: "Attribute", onHost: withCapabilities("-sys_admin")},
	} {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t, o.tmpfs)
			features := combine(dir.features, o.words)
			if o.onHost != nil {
				host := o
				host.words = combine(features, "-nobtime")
				o.onHost(t, &host, dir.path)
			}
			if o.prepare != nil {
				defer o.prepare(t, dir.path)()
			}
			d := serve(t, dir.path, append([]string{"--sandbox", "auto"}, o.args...)...)
			passed(t, run(t, testsInGuest(o.kind, d, o.run, features)))
			d.stop(syscall.SIGTERM)
		})
	}
}

// testsInGuest returns a guest that runs some of the guest tests.
func testsInGuest(kind lab.Kind, d *daemon, tests, features string) lab.Config {
	cfg := guest(kind, d, carried, "-test.v", "-test.short", "-test.run", tests)
	cfg.Env = []string{"ISTHMUS_TEST_DIR=" + mountedAt, "ISTHMUS_TEST_FEATURES=" + features}
	cfg.Files = []lab.File{{Path: carried, Source: guestTest, Mode: 0o755}}
	return cfg
}

// openDir returns a directory on ext4 or tmpfs that ordinary users of the host can
// reach too.
func openDir(t *testing.T, tmpfs bool) hostDir {
	t.Helper()
	dir := hostDirs(t)[0]
	if tmpfs {
		dir = hostDirs(t)[1]
	}
	for _, p := range []string{filepath.Dir(dir.path), dir.path} {
		if p == "/dev/shm" {
			continue
		}
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// combine adds words to a list of features, and takes out those that have a minus
// sign.
func combine(features, words string) string {
	list := strings.FieldsFunc(features, func(r rune) bool { return r == ',' })
	for word := range strings.SplitSeq(words, ",") {
		if out, ok := strings.CutPrefix(word, "-"); ok {
			list = slices.DeleteFunc(list, func(w string) bool { return w == out })
		} else if word != "" {
			list = append(list, word)
		}
	}
	return strings.Join(list, ",")
}

var ranATest = regexp.MustCompile(`(?m)^--- PASS`)

// passed reports a run of the guest tests that ran none.
func passed(t *testing.T, out string) {
	t.Helper()
	if !ranATest.MatchString(out) {
		t.Errorf("no test ran:\n%s", out)
	}
}

// adjust changes how a program is run on the host.
type adjust func(*exec.Cmd)

// onHost runs the guest tests' program on the host.
func onHost(t *testing.T, args, env []string, input string, how adjust) string {
	t.Helper()
	cmd := exec.Command(guestTest, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(input)
	var errors strings.Builder
	cmd.Stderr = &errors
	if how != nil {
		how(cmd)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("on the host: %v\n%s%s", err, out, &errors)
	}
	return string(out)
}

// testOnHost runs the option's guest tests on the host.
func testOnHost(t *testing.T, o *option, dir string, how adjust) {
	t.Helper()
	passed(t, onHost(t, []string{"-test.v", "-test.short", "-test.run", o.run},
		[]string{"ISTHMUS_TEST_DIR=" + dir, "ISTHMUS_TEST_FEATURES=" + o.words}, "", how))
}

// withCapabilities runs the tests with another bounding set of capabilities.
func withCapabilities(change string) func(*testing.T, *option, string) {
	return func(t *testing.T, o *option, dir string) { testOnHost(t, o, dir, bounded(t, change)) }
}

// bounded changes the bounding set of a program, as setpriv(1) takes it.
func bounded(t *testing.T, change string) adjust {
	t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal("setpriv is missing: install the Debian package util-linux")
	}
	return func(cmd *exec.Cmd) {
		cmd.Path = setpriv
		cmd.Args = append([]string{"setpriv", "--bounding-set=" + change}, cmd.Args...)
	}
}

// mountBelow makes two file systems in dir that are alike down to their inode
// numbers.
func mountBelow(t *testing.T, dir string) func() {
	t.Helper()
	for _, name := range []string{"one", "two"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", at, "tmpfs", 0, "mode=777,size=8388608"); err != nil {
			t.Fatalf("mount: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
		if err := os.WriteFile(filepath.Join(at, "f"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, name := range []string{"one", "two"} {
			at := filepath.Join(dir, name)
			if got := readFile(t, filepath.Join(at, "f")); got != name {
				t.Errorf("%s/f holds %q", name, got)
			}
			if err := unix.Unmount(at, 0); err != nil {
				t.Errorf("umount after the guest has gone: %v", err)
			}
		}
	}
}

// prepareReadOnly makes what the tests of the word readonly look at, and afterwards
// compares all of it with what it was, access times included or not.
func prepareReadOnly(accessTimes bool) func(t *testing.T, dir string) func() {
	return func(t *testing.T, dir string) func() {
		t.Helper()
		onHost(t, nil, []string{"ISTHMUS_TEST_HELPER=prepare", "ISTHMUS_TEST_DIR=" + dir}, "", nil)
		before := snapshot(t, dir, accessTimes)
		return func() {
			after := snapshot(t, dir, accessTimes)
			for path, was := range before {
				if after[path] != was {
					t.Errorf("%s was\n%s\nand is\n%s", path, was, after[path])
				}
			}
			if len(after) != len(before) {
				t.Errorf("there were %d objects, and are %d", len(before), len(after))
			}
		}
	}
}

// readOnlyMount runs the tests on a read-only mount of a prepared directory.
func readOnlyMount(t *testing.T, o *option, dir string) {
	t.Helper()
	origin := filepath.Join(dir, "origin")
	for _, d := range []string{origin, filepath.Join(dir, "at")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer os.RemoveAll(origin)
	onHost(t, nil, []string{"ISTHMUS_TEST_HELPER=prepare", "ISTHMUS_TEST_DIR=" + origin}, "", nil)
	at := filepath.Join(dir, "at")
	if err := unix.Mount(origin, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		unix.Unmount(at, unix.MNT_DETACH)
		os.Remove(at)
	}()
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	testOnHost(t, o, at, nil)
}

// snapshot describes everything below dir, attributes and, if they count, access
// times too. It changes none of them.
func snapshot(t *testing.T, dir string, accessTimes bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	var visit func(path string)
	visit = func(path string) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatalf("lstat %s: %v", path, err)
		}
		var content string
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			f := openUnseen(t, path)
			b := make([]byte, st.Size)
			if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
				t.Fatalf("read %s: %v", path, err)
			}
			content = string(b)
			f.Close()
		case unix.S_IFDIR:
			f := openUnseen(t, path)
			names, err := f.Readdirnames(-1)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			slices.Sort(names)
			for _, name := range names {
				visit(filepath.Join(path, name))
			}
		}
		if !accessTimes {
			st.Atim = unix.Timespec{}
		}
		all[path] = fmt.Sprintf("%+v %q %q", st, content, attributes(t, path))
	}
	visit(dir)
	return all
}

// openUnseen opens a file in a way that leaves its access time alone.
func openUnseen(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOATIME, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// attributes returns the extended attributes of an object itself.
func attributes(t *testing.T, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 65536)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatalf("listxattr %s: %v", path, err)
	}
	all := map[string]string{}
	for _, name := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 65536)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("getxattr %s of %s: %v", name, path, err)
		}
		all[name] = string(value[:n])
	}
	return all
}
