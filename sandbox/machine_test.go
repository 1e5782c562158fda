//go:build !cgo

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// machineScene is a host with shares of each kind and with what is beside them.
type machineScene struct {
	Dir      string // where all of it is
	TCP      int    // a port where somebody listens
	Abstract string
}

func newMachineScene(t *testing.T) machineScene {
	t.Helper()
	s := machineScene{Dir: testDir(t)}
	path := func(p string) string { return filepath.Join(s.Dir, p) }
	for _, dir := range []string{"other", "ro", "ro/sub", "one", "removable"} {
		if err := os.Mkdir(path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"share/gone", "share/moved", "ro/file", "ro/sub/file", "one/file", "one/sibling", "removable/file", "removable/sibling"} {
		if err := os.WriteFile(path(file), []byte("here"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("share/true"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(path("share/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s.TCP = l.Addr().(*net.TCPAddr).Port
	s.Abstract = "@sandbox-test-machine-" + filepath.Base(s.Dir)
	u, err := net.Listen("unix", s.Abstract)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return s
}

func (s machineScene) job(isolation Isolation) machineJob {
	arg, _ := json.Marshal(s)
	path := func(p string) string { return filepath.Join(s.Dir, p) }
	return machineJob{
		Probe: "files", Arg: string(arg), Isolation: isolation, Seccomp: SeccompNone,
		Shares: []Share{
			{Path: path("share")}, {Path: path("other")}, {Path: path("ro"), ReadOnly: true},
			{Path: path("one/file")}, {Path: path("removable/file")},
		},
		Removals: []string{path("removable")},
	}
}

// machineAttempts are in an order in which none changes what a later one is about.
var machineAttempts = []struct {
	name   string
	try    func(s machineScene, path func(string) string) error
	closed string // the result where Landlock is as this kernel has it
	since  int    // the ABI that refuses it, if any does
	open   string // the result before; "" is "ok"
}{
	{name: "read", try: opens("share/file", unix.O_RDONLY), closed: "ok"},
	{name: "write", try: opens("share/file", unix.O_RDWR), closed: "ok"},
	{name: "truncate", try: opens("share/file", unix.O_RDWR|unix.O_TRUNC), closed: "ok"},
	{name: "create", try: opens("share/new", unix.O_CREAT|unix.O_RDWR), closed: "ok"},
	{name: "list", try: opens("share", unix.O_RDONLY|unix.O_DIRECTORY), closed: "ok"},
	{name: "mkdir", try: func(s machineScene, path func(string) string) error { return unix.Mkdir(path("share/dir"), 0o755) }, closed: "ok"},
	{name: "unlink", try: unlinks("share/gone"), closed: "ok"},
	{name: "move between shares", try: func(s machineScene, path func(string) string) error {
		return unix.Rename(path("share/moved"), path("other/moved"))
	}, closed: "ok"},
	{name: "execute", try: func(s machineScene, path func(string) string) error {
		return exec.Command(path("share/true")).Run()
	}, closed: "EACCES", since: 1},
	{name: "device", try: func(s machineScene, path func(string) string) error {
		fd, err := unix.Open(path("share/null"), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	}, closed: "EACCES", since: 5, open: "ENOTTY"},

	{name: "read-only: read", try: opens("ro/sub/file", unix.O_RDONLY), closed: "ok"},
	{name: "read-only: list", try: opens("ro/sub", unix.O_RDONLY|unix.O_DIRECTORY), closed: "ok"},
	{name: "read-only: write", try: opens("ro/sub/file", unix.O_WRONLY), closed: "EACCES", since: 1},
	{name: "read-only: create", try: opens("ro/new", unix.O_CREAT|unix.O_RDONLY), closed: "EACCES", since: 1},
	{name: "read-only: mkdir", try: func(s machineScene, path func(string) string) error { return unix.Mkdir(path("ro/dir"), 0o755) }, closed: "EACCES", since: 1},
	{name: "read-only: truncate", try: func(s machineScene, path func(string) string) error { return unix.Truncate(path("ro/sub/file"), 1) }, closed: "EACCES", since: 3},
	{name: "read-only: unlink", try: unlinks("ro/sub/file"), closed: "EACCES", since: 1},

	{name: "file: write", try: opens("one/file", unix.O_RDWR|unix.O_TRUNC), closed: "ok"},
	{name: "file: its sibling", try: opens("one/sibling", unix.O_RDONLY), closed: "EACCES", since: 1},
	{name: "file: a new sibling", try: opens("one/new", unix.O_CREAT|unix.O_RDWR), closed: "EACCES", since: 1},
	{name: "file: list siblings", try: opens("one", unix.O_RDONLY|unix.O_DIRECTORY), closed: "EACCES", since: 1},
	{name: "file: unlink its sibling", try: unlinks("one/sibling"), closed: "EACCES", since: 1},
	{name: "file: unlink", try: unlinks("one/file"), closed: "EACCES", since: 1},
	{name: "removable: a new sibling", try: opens("removable/new", unix.O_CREAT|unix.O_RDWR), closed: "EACCES", since: 1},
	{name: "removable: read its sibling", try: opens("removable/sibling", unix.O_RDONLY), closed: "EACCES", since: 1},
	{name: "removable: unlink", try: unlinks("removable/file"), closed: "ok"},

	{name: "outside: read", try: opens("secret", unix.O_RDONLY), closed: "EACCES", since: 1},
	{name: "outside: by a link", try: opens("share/link", unix.O_RDONLY), closed: "EACCES", since: 1},
	{name: "outside: create", try: opens("new", unix.O_CREAT|unix.O_RDWR), closed: "EACCES", since: 1},
	{name: "outside: move there", try: func(s machineScene, path func(string) string) error {
		return unix.Rename(path("other/moved"), path("moved"))
	}, closed: "EACCES", since: 1},
	{name: "outside: mode", try: func(s machineScene, path func(string) string) error { return unix.Chmod(path("secret"), 0o600) }, closed: "ok"},
	{name: "outside: unlink", try: unlinks("secret"), closed: "EACCES", since: 1},

	{name: "TCP: connect", try: func(s machineScene, _ func(string) string) error {
		return socketCall(unix.AF_INET, func(fd int) error {
			return unix.Connect(fd, &unix.SockaddrInet4{Port: s.TCP, Addr: [4]byte{127, 0, 0, 1}})
		})
	}, closed: "EACCES", since: 4},
	{name: "TCP: bind", try: func(machineScene, func(string) string) error {
		return socketCall(unix.AF_INET, func(fd int) error {
			return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
		})
	}, closed: "EACCES", since: 4},
	{name: "abstract socket", try: func(s machineScene, _ func(string) string) error {
		return socketCall(unix.AF_UNIX, func(fd int) error { return unix.Connect(fd, &unix.SockaddrUnix{Name: s.Abstract}) })
	}, closed: "EPERM", since: 6},
	{name: "signal", try: func(machineScene, func(string) string) error { return unix.Kill(os.Getppid(), 0) }, closed: "EPERM", since: 6},
}

func opens(name string, flags int) func(machineScene, func(string) string) error {
	return func(_ machineScene, path func(string) string) error {
		fd, err := unix.Open(path(name), flags|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

func unlinks(name string) func(machineScene, func(string) string) error {
	return func(_ machineScene, path func(string) string) error { return unix.Unlink(path(name)) }
}

func socketCall(domain int, call func(fd int) error) error {
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return call(fd)
}

func probeMachineFiles(_ *MachineConfig, j *machineJob, a *machineAnswer) {
	var s machineScene
	if err := json.Unmarshal([]byte(j.Arg), &s); err != nil {
		panic(err)
	}
	for _, t := range machineAttempts {
		err := t.try(s, func(p string) string { return filepath.Join(s.Dir, p) })
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			err = fmt.Errorf("it ran: %w", err)
		}
		a.Tried[t.name] = tryTo(err)
	}
}

// checkAttempts compares what a process with Landlock of a version could do; 0 is none.
func checkAttempts(t *testing.T, a machineAnswer, abi int) {
	t.Helper()
	if a.Failed != "" {
		t.Fatal(a.Failed)
	}
	for _, at := range machineAttempts {
		want := at.closed
		if abi < at.since {
			if want = at.open; want == "" {
				want = "ok"
			}
		}
		// Before ABI 2 nothing can be moved between directories.
		if abi == 1 && at.name == "move between shares" {
			want = "EXDEV"
		}
		if abi == 1 && at.name == "outside: move there" {
			want = "ENOENT" // what was not moved
		}
		if got := a.Tried[at.name]; got != want {
			t.Errorf("%s: %s, want %s", at.name, got, want)
		}
	}
	want := "EACCES"
	if abi == 0 {
		want = "ok"
	}
	if got := a.Tried["open from threads of before"]; got != want {
		t.Errorf("threads from before: %s, want %s", got, want)
	}
	// What was opened before keeps its rights: so KVM and TAP need no rules.
	if got := a.Tried["device from before"]; got != "ENOTTY" {
		t.Errorf("a device opened before: %s", got)
	}
}

func TestMachineFiles(t *testing.T) {
	abi, err := landlockABI()
	if err != nil {
		t.Fatal(err)
	}
	for _, isolation := range []Isolation{IsolationNormal, IsolationStrict, IsolationNone} {
		t.Run(isolation.String(), func(t *testing.T) {
			a, log, _ := newMachineScene(t).job(isolation).run(t)
			want := abi
			if isolation == IsolationNone {
				want = 0
			}
			checkAttempts(t, a, want)
			landlocked := slices.ContainsFunc(a.Layers, func(l string) bool { return strings.HasPrefix(l, "Landlock") })
			if landlocked != (want != 0) || len(a.Layers) < 2 || a.Layers[0] != "capabilities: none" || a.Layers[1] != "no_new_privs" {
				t.Errorf("layers %q", a.Layers)
			}
			if log != "" {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

// Older kernels: both take what there is, but strict isolation fails where there is nothing.
func TestMachineOnOlderKernels(t *testing.T) {
	kernel, err := landlockABI()
	if err != nil {
		t.Fatal(err)
	}
	for abi := 1; abi <= kernel; abi++ {
		t.Run(fmt.Sprint(abi), func(t *testing.T) {
			j := newMachineScene(t).job(IsolationNormal)
			j.ABI = abi
			a, _, _ := j.run(t)
			checkAttempts(t, a, abi)
			j = newMachineScene(t).job(IsolationStrict)
			j.ABI = abi
			a, _, _ = j.run(t)
			checkAttempts(t, a, abi)
		})
	}
	t.Run("none", func(t *testing.T) {
		j := newMachineScene(t).job(IsolationNormal)
		j.ABI = -1
		a, log, _ := j.run(t)
		checkAttempts(t, a, 0)
		if !strings.Contains(log, "this kernel has no Landlock") {
			t.Errorf("logged: %s", log)
		}
		j = newMachineScene(t).job(IsolationStrict)
		j.ABI = -1
		if a, _, _ := j.run(t); !strings.Contains(a.Failed, "this kernel has none") {
			t.Errorf("strict: %q", a.Failed)
		}
	})
}

func TestMachineErrors(t *testing.T) {
	dir := testDir(t)
	for _, tt := range []struct {
		name string
		job  machineJob
		want string
	}{
		{"no such share", machineJob{Shares: []Share{{Path: filepath.Join(dir, "none")}}}, "find the share"},
		{"isolation", machineJob{Isolation: IsolationNone + 1}, "unknown isolation 3"},
		{"action", machineJob{Seccomp: SeccompNone + 1}, "unknown action 4"},
	} {
		tt.job.Probe = "lock"
		if a, _, _ := tt.job.run(t); !strings.Contains(a.Failed, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, a.Failed, tt.want)
		}
	}
	if err := new(MachineConfig).LockThread(RoleVCPU); err == nil {
		t.Error("no error for a thread before its process")
	}
	if err := (&MachineConfig{locked: true}).LockThread(roles); err == nil {
		t.Error("no error for an unknown role")
	}
}
