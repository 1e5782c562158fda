package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/isthmus-fs/isthmus/internal/runspec"
)

// asked is what a command line asks for: the machine, or none if it was refused.
type asked struct {
	machine        *runspec.Machine
	status         int
	stdout, stderr string
}

// askRun executes a command line up to the machine's start, which ends with status and err.
func askRun(t *testing.T, status int, err error, args ...string) (a asked) {
	t.Helper()
	was := startMachine
	defer func() { startMachine = was }()
	startMachine = func(_ context.Context, m *runspec.Machine, _ *slog.Logger, stdio runStdio) (int, error) {
		a.machine = m
		fmt.Fprint(stdio.out, "guest")
		return status, err
	}
	t.Chdir(t.TempDir())
	for _, name := range []string{"HERMIT_CONFIG", "HERMIT_MEMORY_SIZE", "HERMIT_CPU_COUNT", "HERMIT_GDB_PORT", "XDG_CONFIG_HOME", "HOME"} {
		t.Setenv(name, "")
	}
	var stdout, stderr bytes.Buffer
	a.status = execute(t.Context(), args, &stdout, &stderr)
	a.stdout, a.stderr = stdout.String(), stderr.String()
	return a
}

func TestRunTakesUhyvesOptions(t *testing.T) {
	line := "-o out --stats --file-mapping a:b --file-mapping c:d --tempdir tmp --hermit-image-mode internal --file-isolation Strict " +
		"--io-mode host=direct -s --net tap -m 32MiB --no-aslr --thp --ksm -c 1 --cpu-pm --pit -a %d -e A=1 -e B=2 app x -- y"
	cpus, err := allowedCPUs()
	if err != nil || len(cpus) == 0 {
		t.Fatal(cpus, err)
	}
	words := strings.Fields(fmt.Sprintf(line, cpus[0]))
	for program, app := range map[string][]string{"uhyve": nil, "isthmus run": {"y"}} {
		a := askRun(t, 0, nil, append(strings.Fields(program), words...)...)
		if a.status != 0 || a.machine == nil {
			t.Fatalf("%s: status %d: %s", program, a.status, a.stderr)
		}
		kernel := []string{"x"}
		if app == nil {
			kernel = []string{"x", "y"}
		}
		want := &runspec.Machine{
			Kernel: "app", KernelArgs: kernel, AppArgs: app, KernelArgsGiven: true, Env: []string{"A=1", "B=2"}, Memory: 32 << 20, CPUs: 1,
			THP: true, KSM: true, CPUPM: true, PIT: true, GDBPort: new(uint16(6677)), Net: new("tap10"), Affinity: cpus[:1],
			Mappings: a.machine.Mappings, ImageMode: runspec.Internal, IO: a.machine.IO, TempDir: "tmp", Output: runspec.Output{Kind: runspec.ToFile, Path: "out"},
			Stats: runspec.StatsText, Isolation: runspec.Strict, Seccomp: "kill", KVM: "/dev/kvm",
		}
		if d := cmp.Diff(a.machine, want, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-got +want):\n%s", program, d)
		}
		if m := a.machine.Mappings; len(m) != 2 || m[1].Target != "/d" || !a.machine.IO.Direct {
			t.Errorf("%s: mappings %v, io %v", program, m, a.machine.IO)
		}
	}
}

func TestRunValuesOfFlags(t *testing.T) {
	port := func(n uint16) func(*runspec.Machine) bool {
		return func(m *runspec.Machine) bool { return m.Kernel == "app" && m.GDBPort != nil && *m.GDBPort == n }
	}
	for line, ok := range map[string]func(*runspec.Machine) bool{
		"-s app":                       port(6677),
		"app -s":                       port(6677),
		"-s 12 app":                    port(12),
		"app -s 12":                    port(12),
		"-s12 app":                     port(12),
		"-s=12 app":                    port(12),
		"--gdb-port app":               port(6677),
		"--gdb-port 12 app":            port(12),
		"--gdb-port=0 app":             port(0),
		"-m 32MiB -s 12 -c1 app":       port(12),
		"-o -s app":                    func(m *runspec.Machine) bool { return m.GDBPort == nil && m.Output.Path == "-s" },
		"-o-s app 5":                   func(m *runspec.Machine) bool { return m.Output.Path == "-s" && len(m.KernelArgs) == 1 },
		"app -- -s 12":                 func(m *runspec.Machine) bool { return m.GDBPort == nil },
		"--stats app 5":                func(m *runspec.Machine) bool { return m.Stats == runspec.StatsText && len(m.KernelArgs) == 1 },
		"--stats=json app":             func(m *runspec.Machine) bool { return m.Stats == runspec.StatsJSON },
		"--stats=false app":            func(m *runspec.Machine) bool { return m.Stats == runspec.StatsOff },
		"--thp --thp=false app":        func(m *runspec.Machine) bool { return !m.THP },
		"--no-aslr=false app":          func(m *runspec.Machine) bool { return m.ASLR },
		"--seccomp log --kvm x app":    func(m *runspec.Machine) bool { return m.Seccomp == "log" && m.KVM == "x" },
		"--share /a:/b:ro app":         func(m *runspec.Machine) bool { return len(m.Shares) == 1 && m.Shares[0].ReadOnly },
		"-e host app":                  func(m *runspec.Machine) bool { return m.HostEnv },
		"-m64MiB -c=3 app --net tap:x": func(m *runspec.Machine) bool { return m.Memory == 64<<20 && m.CPUs == 3 && *m.Net == "x" },
	} {
		for _, program := range []string{"uhyve", "isthmus run"} {
			a := askRun(t, 0, nil, strings.Fields(program+" "+line)...)
			if a.status != 0 || !ok(a.machine) {
				t.Errorf("%s %s: status %d, %s%+v", program, line, a.status, a.stderr, a.machine)
			}
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":                      "no kernel to run",
		"--trace-dir x app":     "unknown flag: --trace-dir",
		"app -freq":             "-freq",
		"-m 3MiB app":           `--memory-size: "3MiB" is 3145728 bytes`,
		"-s 123456 app":         `--gdb-port: "123456": want a TCP port`,
		"--thp=1 app":           `--thp: "1": want true or false`,
		"--log-level loud app":  "--log-level",
		"--config gone app":     "gone",
		"-c":                    "needs an argument",
		"--file-mapping a: app": "--file-mapping",
	} {
		for _, program := range []string{"uhyve", "isthmus run"} {
			a := askRun(t, 0, nil, strings.Fields(program+" "+line)...)
			if a.status != exitUsage || a.machine != nil || !strings.Contains(a.stderr, want) || !strings.Contains(a.stderr, "Try '"+program+" --help'") {
				t.Errorf("%s %s: status %d, want one of usage with %q:\n%s", program, line, a.status, want, a.stderr)
			}
		}
	}
}

func TestRunStatus(t *testing.T) {
	odd := errors.New("odd")
	for _, test := range []struct {
		status int
		err    error
		want   int
		text   string
	}{
		{0, nil, 0, ""},
		{3, nil, 3, ""},
		{-1, nil, 255, ""},
		{256, nil, 0, ""},
		{0, odd, 1, "isthmus: odd\n"},
		{7, odd, 7, "isthmus: odd\n"},
		{256, odd, 1, "isthmus: odd\n"},
		{0, &failure{err: odd, code: 9, quiet: true}, 9, ""},
	} {
		a := askRun(t, test.status, test.err, "isthmus", "run", "app")
		if a.status != test.want || a.stderr != test.text || a.stdout != "guest" {
			t.Errorf("a guest with %d and %v: status %d, want %d; stderr %q", test.status, test.err, a.status, test.want, a.stderr)
		}
	}
}

func TestRunReadsTheEnvironmentAndTheFile(t *testing.T) {
	was := startMachine
	defer func() { startMachine = was }()
	var m *runspec.Machine
	startMachine = func(_ context.Context, got *runspec.Machine, _ *slog.Logger, _ runStdio) (int, error) {
		m = got
		return 0, nil
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("uhyve.toml", []byte("uhyve.kernel = 'app'\ncpu.cpu_count = 3\nmemory.thp = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HERMIT_CPU_COUNT", "2")
	if status := execute(t.Context(), []string{"/usr/bin/uhyve", "-m", "16MiB"}, &bytes.Buffer{}, &bytes.Buffer{}); status != 0 || m == nil {
		t.Fatalf("status %d", status)
	}
	if m.Kernel != "app" || m.CPUs != 2 || !m.THP || m.Memory != 16<<20 {
		t.Errorf("%+v", m)
	}
}

func TestUhyveTexts(t *testing.T) {
	for _, args := range [][]string{{"uhyve", "--help"}, {"uhyve", "-h"}, {"isthmus", "run", "--help"}} {
		a := askRun(t, 0, nil, args...)
		if a.status != 0 || !strings.Contains(a.stdout, "--file-mapping") || strings.Contains(a.stdout, "--kvm") {
			t.Errorf("%v: status %d\n%s", args, a.status, a.stdout)
		}
	}
	for _, flag := range []string{"-V", "--version"} {
		if a := askRun(t, 0, nil, "uhyve", flag); a.status != 0 || !strings.HasPrefix(a.stdout, "uhyve ") {
			t.Errorf("%s: status %d, %q", flag, a.status, a.stdout)
		}
	}
	// A kernel may be called like a command.
	for _, kernel := range []string{"help", "completion"} {
		if a := askRun(t, 0, nil, "uhyve", kernel); a.machine == nil || a.machine.Kernel != kernel {
			t.Errorf("uhyve %s: status %d, %s%s", kernel, a.status, a.stdout, a.stderr)
		}
	}
}

func TestRunCompletes(t *testing.T) {
	for line, want := range map[string]string{
		"--file-isolation":    "strict",
		"--hermit-image-mode": "internal",
		"--seccomp":           "trap",
		"--net":               "tap",
		"--io-mode":           "host=direct,sync",
	} {
		a := askRun(t, 0, nil, "isthmus", "__complete", "run", line, "")
		if !slices.Contains(strings.Split(a.stdout, "\n"), want) {
			t.Errorf("%s: %q, want %s among it", line, a.stdout, want)
		}
	}
}

func TestTapDevices(t *testing.T) {
	sysfs := t.TempDir()
	for _, path := range []string{"eth0/mtu", "tap1/tun_flags", "tap0/tun_flags"} {
		path = filepath.Join(sysfs, path)
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(tapDevices(sysfs), []string{"tap:tap0", "tap:tap1"}); d != "" {
		t.Errorf("(-got +want):\n%s", d)
	}
}
