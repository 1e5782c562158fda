package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// The tests in this file make the same calls in a guest and on the host (see
// helper "calls" of internal/guesttest), and compare the answers and what lies
// on the disk afterwards. What an option changes in between is written down here
// once more, in the plainest way.

// callDirs makes two directories in which everybody may write: one to share and
// one for the host.
func callDirs(t *testing.T) (shared, hosts string) {
	t.Helper()
	base := openDir(t, false).path
	shared, hosts = filepath.Join(base, "shared"), filepath.Join(base, "hosts")
	for _, p := range []string{shared, hosts} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return shared, hosts
}

// callsInGuest makes the calls in a guest of the daemon.
func callsInGuest(t *testing.T, d *daemon, script []string, kernelArgs ...string) []string {
	t.Helper()
	cfg := guest(lab.UML, d, carried)
	cfg.KernelArgs = kernelArgs
	cfg.Env = []string{"ISTHMUS_TEST_DIR=" + mountedAt, "ISTHMUS_TEST_HELPER=calls"}
	cfg.Files = []lab.File{{Path: carried, Source: guestTest, Mode: 0o755}}
	cfg.Stdin = strings.NewReader(strings.Join(script, "\n") + "\n")
	answers := answersOf(t, script, run(t, cfg))
	d.stop(syscall.SIGTERM)
	return answers
}

// callsOnHost makes the calls on the host.
func callsOnHost(t *testing.T, dir string, script []string, how adjust) []string {
	t.Helper()
	env := []string{"ISTHMUS_TEST_HELPER=calls", "ISTHMUS_TEST_DIR=" + dir}
	return answersOf(t, script, onHost(t, nil, env, strings.Join(script, "\n")+"\n", how))
}

// answersOf takes the answers out of a transcript.
func answersOf(t *testing.T, script []string, out string) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(script) {
		t.Fatalf("%d answers to %d calls:\n%s", len(lines), len(script), out)
	}
	for i, line := range lines {
		answer, ok := strings.CutPrefix(line, script[i]+" = ")
		if !ok {
			t.Fatalf("the answer to %q is %q", script[i], line)
		}
		lines[i] = answer
	}
	return lines
}

func compareAnswers(t *testing.T, script, got, want []string) {
	t.Helper()
	for i := range script {
		if got[i] != want[i] {
			t.Errorf("%s: the guest has %q, want %q", script[i], got[i], want[i])
		}
	}
}

// translation is what the ids of a guest and of the host have to do with each
// other.
type translation struct {
	name, spec string
	toHost     func(guest uint32) (host uint32, ok bool)
	toGuest    func(host uint32) uint32
}

func sameID(id uint32) uint32            { return id }
func allowed(id uint32) (uint32, bool)   { return id, true }
func within(id, base, count uint32) bool { return id >= base && id-base < count }

// translations has each kind of rule of --translate-uid and --translate-gid.
var translations = []translation{
	{"map", "map:0:100000:65536",
		func(id uint32) (uint32, bool) {
			if within(id, 0, 65536) {
				id += 100000
			}
			return id, true
		},
		func(id uint32) uint32 {
			if within(id, 100000, 65536) {
				return id - 100000
			}
			return id
		}},
	{"guest", "guest:5000:105000:1000",
		func(id uint32) (uint32, bool) {
			if within(id, 5000, 1000) {
				id += 100000
			}
			return id, true
		},
		sameID},
	{"host", "host:5000:105000:1000",
		allowed,
		func(id uint32) uint32 {
			if within(id, 5000, 1000) {
				id += 100000
			}
			return id
		}},
	{"squash-guest", "squash-guest:0:7777:65536",
		func(id uint32) (uint32, bool) {
			if within(id, 0, 65536) {
				id = 7777
			}
			return id, true
		},
		sameID},
	{"squash-host", "squash-host:0:8888:65536",
		allowed,
		func(id uint32) uint32 {
			if within(id, 0, 65536) {
				id = 8888
			}
			return id
		}},
	{"forbid-guest", "forbid-guest:5002:1",
		func(id uint32) (uint32, bool) { return id, id != 5002 },
		sameID},
}

// ownerScript makes objects as several users, gives some away and asks whose they
// are.
var ownerScript = []string{
	"0 file roots", "5001 file alices", "5001 dir alices-dir", "5002 link bobs", "5002 file bobs-file", "5003 fifo carols", "0 char device",
	"0 owner roots", "0 owner alices", "0 owner alices-dir", "0 owner bobs", "0 owner bobs-file", "0 owner carols", "0 owner device",
	"0 chown roots 5001 5003", "0 owner roots",
	"0 chown alices 5002 5001", "0 owner alices",
	"0 chown alices-dir -1 5002", "0 owner alices-dir",
	"0 chown bobs 5001 -1", "0 owner bobs",
	"0 chown carols 70000 70000", "0 owner carols",
	"0 chown device 0 0", "0 owner device",
	"0 chmod roots 600", "0 owner roots",
}

// TestTranslatedIDs shows each kind of translation to root and to ordinary users.
func TestTranslatedIDs(t *testing.T) {
	t.Parallel()
	for _, tr := range translations {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			shared, hosts := callDirs(t)
			d := serve(t, shared, "--translate-uid", tr.spec, "--translate-gid", tr.spec)
			got := callsInGuest(t, d, ownerScript)
			compareAnswers(t, ownerScript, got, tr.expect(t, hosts))
			compareOwners(t, shared, hosts)
		})
	}
}

// expect makes the calls on the host with the host's ids, those with forbidden ids
// aside, and translates the owners that come back.
func (tr *translation) expect(t *testing.T, dir string) []string {
	t.Helper()
	want := make([]string, len(ownerScript))
	var script []string
	var origin []int // of each line of the script, its place in ownerScript
	for i, line := range ownerScript {
		if line, ok := tr.onHost(line); ok {
			script = append(script, line)
			origin = append(origin, i)
		} else {
			want[i] = "EPERM"
		}
	}
	for n, answer := range callsOnHost(t, dir, script, nil) {
		var uid, gid uint32
		if n, _ := fmt.Sscanf(answer, "%d:%d", &uid, &gid); n == 2 {
			answer = fmt.Sprint(tr.toGuest(uid), ":", tr.toGuest(gid))
		}
		want[origin[n]] = answer
	}
	return want
}

// onHost translates the ids of a line: of somebody who makes something, and of new
// owners. What else is done to a file the guest has permitted by then, and root
// does it. There is no such line if one of the ids is forbidden.
func (tr *translation) onHost(line string) (string, bool) {
	words := strings.Split(line, " ")
	var ids []int
	switch words[1] {
	case "chown":
		ids = []int{3, 4}
	case "file", "dir", "link", "fifo", "char":
		ids = []int{0}
	}
	for _, i := range ids {
		id, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil || id < 0 {
			continue
		}
		host, ok := tr.toHost(uint32(id))
		if !ok {
			return "", false
		}
		words[i] = fmt.Sprint(host)
	}
	return strings.Join(words, " "), true
}

// compareOwners compares owners and modes on the disk.
func compareOwners(t *testing.T, shared, hosts string) {
	t.Helper()
	names, other := namesIn(t, hosts), namesIn(t, shared)
	if !slices.Equal(names, other) || len(names) == 0 {
		t.Fatalf("the guest made %q, the host %q", other, names)
	}
	for _, name := range names {
		var got, want unix.Stat_t
		if err := unix.Lstat(filepath.Join(shared, name), &got); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lstat(filepath.Join(hosts, name), &want); err != nil {
			t.Fatal(err)
		}
		if got.Uid != want.Uid || got.Gid != want.Gid || got.Mode != want.Mode || got.Rdev != want.Rdev {
			t.Errorf("on the disk, %s belongs to %d:%d with mode %#o, want %d:%d, %#o",
				name, got.Uid, got.Gid, got.Mode, want.Uid, want.Gid, want.Mode)
		}
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// userNamespace is what a user namespace changes: ids that it does not have, rights
// that reach no further than the namespace.
var userNamespace = append(slices.Clone(ownerScript),
	"0 set roots user.x value", "0 get roots user.x",
	"0 set alices security.capability capability", "0 get alices security.capability",
	"0 write alices text", "0 get alices security.capability",
	"0 set roots trusted.x value", "0 get roots trusted.x",
	"0 set roots security.x value", "0 list roots",
	"0 chown alices -1 65535", "0 owner alices",
	"5001 unlink alices", "0 unlink carols",
)

// TestUserNamespace has a daemon with the ids of a user namespace, and the host's
// kernel in a namespace of the same kind.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	const base, count = 100000, 65536
	shared, hosts := callDirs(t)
	if err := os.Chmod(filepath.Dir(guestTest), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{shared, hosts} {
		if err := os.Chown(dir, base, base); err != nil {
			t.Fatal(err)
		}
	}
	spec := fmt.Sprintf(":0:%d:%d:", base, count)
	d := serve(t, shared, "--uid-map", spec, "--gid-map", spec)
	got := callsInGuest(t, d, userNamespace)
	want := callsOnHost(t, hosts, userNamespace, func(cmd *exec.Cmd) {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: count}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
			Credential: &syscall.Credential{},
		}
	})
	compareAnswers(t, userNamespace, got, want)
	compareOwners(t, shared, hosts)
	for _, name := range namesIn(t, hosts) {
		got, want := attributes(t, filepath.Join(shared, name)), attributes(t, filepath.Join(hosts, name))
		if !maps.Equal(got, want) {
			t.Errorf("on the disk, %s has the attributes %q, want %q", name, got, want)
		}
	}
}
