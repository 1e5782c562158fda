package kvm_test

import (
	"slices"
	"testing"

	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// TestMachines runs machineTests on the KVM of an emulated PC, whose processor has
// AMD's virtualisation, so that it does the same on every host. With ISTHMUS_KVM=1
// it uses the KVM of this machine, and runs realTests too.
func TestMachines(t *testing.T) {
	tests := machineTests
	if labtest.HasKVM() && !labtest.InLab() {
		tests = slices.Concat(tests, realTests)
	}
	var names []string
	byName := map[string]func(*testing.T){}
	for _, tt := range tests {
		names = append(names, tt.name)
		byName[tt.name] = func(t *testing.T) { tt.run(t, open(t)) }
	}
	labtest.Machines(t, "TestMachines", names, func(t *testing.T, name string) { byName[name](t) })
}
