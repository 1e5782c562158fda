// Package labtest prepares test programs that start guests.
package labtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// Main is the TestMain of a package that calls [lab.Run]: it builds the
// guest's first process, which it needs the Go tool for, runs the tests and
// exits.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(lab.EnvInit) == "" && !HasKVM() {
		dir, err := os.MkdirTemp("", "isthmus-labtest-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		agent := filepath.Join(dir, "guestagent")
		// Static whatever the tests are built like: under the race detector
		// they are not.
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", agent, "github.com/isthmus-fs/isthmus/internal/lab/guestagent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the guest's first process: %v\n%s", err, out)
			return 1
		}
		os.Setenv(lab.EnvInit, agent)
	}
	return m.Run()
}

// envKVM tells a test program that it may use the /dev/kvm that it finds: "lab" for an
// emulated one, anything else for a machine's own.
const envKVM = "ISTHMUS_KVM"

// KVMKernelArgs are for guests that run guests of their own. QEMU's emulated processor may
// lose the interrupt of a timer that comes while it enters or leaves a nested guest. A timer
// that is set anew by each of its interrupts then never comes again, and a guest that has
// nothing to do sleeps for ever; one that ticks by itself comes again with the next tick.
var KVMKernelArgs = []string{"highres=off", "nohz=off"}

// HasKVM tells whether this test program may use /dev/kvm: it is in the guest that [KVM]
// has started, or somebody has set ISTHMUS_KVM=1 to use this machine's own.
func HasKVM() bool { return os.Getenv(envKVM) != "" }

// InLab tells whether this is the guest that [KVM] has started.
func InLab() bool { return os.Getenv(envKVM) == "lab" }

// KVM runs this package's test program again, with args, in a guest that has a KVM of the
// kind that processors have, and returns what it printed. There HasKVM is true. files are
// what the guest has beside.
func KVM(t testing.TB, files []lab.File, args ...string) string {
	t.Helper()
	const carried = "/bin/carried.test"
	binary := filepath.Join(t.TempDir(), "carried.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var out, console strings.Builder
	result, err := lab.Run(ctx, lab.Config{
		Kind: lab.QEMU,
		// One processor: KVM patches kernel code (its static keys) when the first
		// machine is made and the last is gone, and QEMU 7.2 with several
		// threads may then go on executing the int3 of a patch that is over.
		CPUs:       1,
		Modules:    []string{"kvm_amd"},
		KernelArgs: KVMKernelArgs,
		Files:      append([]lab.File{{Path: carried, Source: binary, Mode: 0o755}}, files...),
		Args:       append([]string{carried}, args...),
		Env:        []string{envKVM + "=lab"},
		Stdout:     &out,
		Stderr:     &out,
		Console:    &console,
	})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("exit code %d, %v\n%s\nconsole:\n%s", result.ExitCode, err, &out, &console)
	}
	return out.String()
}

// Machines runs subtests that need a KVM: here if there is one to be used, or else all of
// them in one guest, where each has to pass. The calling test is named test.
func Machines(t *testing.T, test string, names []string, run func(t *testing.T, name string)) {
	if HasKVM() {
		for _, name := range names {
			t.Run(name, func(t *testing.T) { run(t, name) })
		}
		return
	}
	out := KVM(t, nil, "-test.v", "-test.timeout=3m", "-test.run=^"+test+"$")
	for _, name := range names {
		if !strings.Contains(out, "\n    --- PASS: "+test+"/"+name+" ") {
			t.Errorf("%s did not pass in the lab", name)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
