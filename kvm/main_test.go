package kvm_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
)

// envKVM says that this program may use the /dev/kvm that it finds: "lab" for an
// emulated one, anything else for a machine's own.
const envKVM = "ISTHMUS_KVM"

func TestMain(m *testing.M) {
	if os.Getenv(envKVM) != "" {
		os.Exit(m.Run()) // nothing to start guests with is needed, or there
	}
	labtest.Main(m)
}

// carried is where the guest finds this program.
const carried = "/bin/kvm.test"

// TestMachines runs machineTests on the KVM of an emulated PC, whose processor has
// AMD's virtualisation, so that it does the same on every host. With ISTHMUS_KVM=1
// it uses the KVM of this machine, and runs realTests too.
func TestMachines(t *testing.T) {
	if where := os.Getenv(envKVM); where != "" {
		tests := machineTests
		if where != "lab" {
			tests = slices.Concat(tests, realTests)
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
		}
		return
	}
	out := inTheLab(t, "-test.v", "-test.timeout=3m", "-test.run=^TestMachines$")
	for _, tt := range machineTests {
		if !strings.Contains(out, "\n    --- PASS: TestMachines/"+tt.name+" ") {
			t.Errorf("%s did not pass in the lab", tt.name)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// inTheLab runs this package's test program with args in a guest that has a KVM,
// and returns what it printed.
func inTheLab(t *testing.T, args ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kvm.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out, console strings.Builder
	result, err := lab.Run(ctx, lab.Config{
		Kind: lab.QEMU,
		// One processor: KVM patches kernel code (its static keys) when the first
		// machine is made and the last is gone, and QEMU 7.2 with several
		// threads may then go on executing the int3 of a patch that is over.
		CPUs:       1,
		Modules:    []string{"kvm_amd"},
		KernelArgs: labtest.KVMKernelArgs,
		Files:      []lab.File{{Path: carried, Source: binary, Mode: 0o755}},
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
