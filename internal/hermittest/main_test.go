package hermittest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
)

// The environment of these tests.
const (
	// envKVM says that this program may use the /dev/kvm that it finds: "lab" for an
	// emulated one, anything else for a machine's own.
	envKVM = "ISTHMUS_KVM"
	// envHostile is how many calls a hostile guest makes, and with how many seeds.
	envHostile = "ISTHMUS_HOSTILE"
	// envPrograms is the directory with what the tests run: the kernels, and isthmus.
	envPrograms = "ISTHMUS_PROGRAMS"
)

// programs is the directory that envPrograms names.
var programs string

func TestMain(m *testing.M) {
	// What a guest makes has the modes that it asks for but for these bits.
	unix.Umask(umask)
	if os.Getenv(envKVM) == "lab" {
		// There processes may have few files open, too few for a guest with as many as it can.
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 16, Max: 1 << 16}); err != nil {
			panic(err)
		}
	}
	if os.Getenv(envKVM) != "" {
		os.Exit(m.Run()) // nothing to start Linux guests with is needed, or there
	}
	labtest.Main(m)
}

const umask = 0o022

// needPrograms makes the kernels and isthmus, unless they came along.
func needPrograms(t testing.TB) {
	t.Helper()
	if programs = os.Getenv(envPrograms); programs != "" {
		return
	}
	programs = t.TempDir()
	if err := Build(programs); err != nil {
		t.Fatal(err)
	}
	goTool(t, "build", "-ldflags=-s -w", "-o", program(isthmus), "github.com/isthmus-fs/isthmus/cmd/isthmus")
}

const isthmus = "isthmus"

// program is the path of a kernel or of isthmus.
func program(name string) string { return filepath.Join(programs, name) }

func goTool(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// guestTest is a test that runs guests.
type guestTest struct {
	name string
	run  func(t *testing.T)
}

// guestTests run wherever there is a KVM.
var guestTests = []guestTest{
	{"Boot", testBoot},
	{"Relocated", testRelocated},
	{"CommandLine", testCommandLine},
	{"Calls", testCalls},
	{"Processors", testProcessors},
	{"HostSide", testHostSide},
	{"Ends", testEnds},
	{"Signals", testSignals},
	{"Console", testConsole},
	{"Input", testInput},
	{"PCI", testPCI},
	{"Isolation", testIsolation},
	{"Upstream", testUpstream},
	{"Hostile", testHostile},
}

// TestGuests runs guestTests in an emulated PC, so that they do the same on every host.
func TestGuests(t *testing.T) {
	needPrograms(t)
	if os.Getenv(envKVM) == "" {
		runInLab(t)
		return
	}
	for _, tt := range guestTests {
		t.Run(tt.name, tt.run)
	}
}

func runInLab(t *testing.T) {
	out := inTheLab(t, "-test.v", "-test.timeout=14m", "-test.run=^TestGuests$")
	for _, tt := range guestTests {
		if !strings.Contains(out, "\n    --- PASS: TestGuests/"+tt.name+" ") {
			t.Errorf("%s did not pass in the lab", tt.name)
		}
	}
	if t.Failed() || testing.Verbose() {
		t.Log(out)
	}
}

// inTheLab runs this package's test program with args in a guest that has a KVM, and
// returns what it printed.
func inTheLab(t testing.TB, args ...string) string {
	t.Helper()
	const here = "/hermit"
	tests := program("hermit.test")
	goTool(t, "test", "-c", "-ldflags=-s -w", "-o", tests, ".")
	entries, err := os.ReadDir(programs)
	if err != nil {
		t.Fatal(err)
	}
	var files []lab.File
	for _, e := range entries {
		files = append(files, lab.File{Path: filepath.Join(here, e.Name()), Source: program(e.Name()), Mode: 0o755})
	}
	env := []string{envKVM + "=lab", envPrograms + "=" + here, envHostile + "=" + os.Getenv(envHostile)}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	var out, console strings.Builder
	result, err := lab.Run(ctx, lab.Config{
		Kind:      lab.QEMU,
		MemoryMiB: 1024,
		// One processor, as for the tests of package kvm: KVM patches kernel code when
		// machines come and go, and QEMU 7.2 with several threads may execute a patch
		// that is over.
		CPUs:    1,
		Modules: []string{"kvm_amd", "tun"},
		// Guests have more memory than the PC, and use a little of each large page of it.
		KernelArgs: append([]string{"transparent_hugepage=never"}, labtest.KVMKernelArgs...),
		Files:      files,
		Args:       append([]string{filepath.Join(here, filepath.Base(tests))}, args...),
		Env:        env,
		Stdout:     &out,
		Stderr:     &out,
		Console:    &console,
	})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("exit code %d, %v\n%s\nconsole:\n%s", result.ExitCode, err, &out, &console)
	}
	return out.String()
}
