package hermittest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testHostSide: what the options of memory and processors are on the host, while a guest
// runs.
func testHostSide(t *testing.T) {
	for _, tt := range []struct {
		flags         []string
		with, without string // flags of the guest's memory, as /proc/PID/smaps has them
		pinned        bool
	}{
		{flags: nil, with: "dd nr", without: "hg mg"},
		{flags: []string{"--thp"}, with: "hg", without: "mg"},
		{flags: []string{"--ksm"}, with: "mg", without: "hg"},
		{flags: []string{"--thp", "--ksm", "--cpu-pm", "--pit", "-a0"}, with: "hg mg", pinned: true},
	} {
		t.Run(strings.Join(tt.flags, " "), func(t *testing.T) {
			const memory = 34 << 20 // a size that nothing else has
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			g := &guest{kernel: "v3", flags: append(tt.flags, fmt.Sprint("-m", memory)), args: []string{"hang"}}
			cmd := g.command(ctx)
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			defer cmd.Wait()
			defer cmd.Process.Kill()
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "hanging\n" {
				t.Fatalf("output %q, %v", line, err)
			}
			proc := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
			got := memoryFlags(t, proc, memory>>10)
			for _, f := range strings.Fields(tt.with) {
				if !slices.Contains(got, f) {
					t.Errorf("guest memory has not the flag %s: %v", f, got)
				}
			}
			for _, f := range strings.Fields(tt.without) {
				if slices.Contains(got, f) {
					t.Errorf("guest memory has the flag %s: %v", f, got)
				}
			}
			if tt.pinned && !somePinned(t, proc) {
				t.Error("no thread is pinned to processor 0")
			}
		})
	}
}

// memoryFlags are the VmFlags of the mapping of a process that has a size in KiB.
func memoryFlags(t *testing.T, proc string, kib int) []string {
	t.Helper()
	smaps, err := os.ReadFile(proc + "/smaps")
	check(t, err)
	found := false
	for line := range strings.Lines(string(smaps)) {
		fields := strings.Fields(line)
		switch {
		case fields[0] == "Size:":
			found = fields[1] == fmt.Sprint(kib)
		case fields[0] == "VmFlags:" && found:
			return fields[1:]
		}
	}
	t.Fatalf("no mapping of %d KiB", kib)
	return nil
}

// somePinned tells whether a thread of a process runs on processor 0 alone.
func somePinned(t *testing.T, proc string) bool {
	t.Helper()
	tasks, err := filepath.Glob(proc + "/task/*/status")
	check(t, err)
	return slices.ContainsFunc(tasks, func(path string) bool {
		status, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(status), "\nCpus_allowed_list:\t0\n")
	})
}
