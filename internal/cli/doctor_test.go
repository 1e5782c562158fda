package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestExamine(t *testing.T) {
	for _, base := range []string{os.TempDir(), "/dev/shm"} {
		t.Run(base, func(t *testing.T) {
			dir, err := os.MkdirTemp(base, "isthmus-doctor-test-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			r := examine(dir)
			if !r.OK || r.Schema != 1 || r.Dir != dir {
				t.Errorf("report %+v", r)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			seen := map[string]bool{}
			for _, c := range r.Checks {
				if c.ID == "" || c.Name == "" || c.Group == "" || c.Found == "" || seen[c.ID] {
					t.Errorf("incomplete, or a second time: %+v", c)
				}
				seen[c.ID] = true
				if !slices.Contains([]checkState{stateOK, stateLimited, stateMissing}, c.State) {
					t.Errorf("%s: state %q", c.ID, c.State)
				}
				if (c.State == stateOK) != (c.Cost == "") {
					t.Errorf("%s is %s, cost %q", c.ID, c.State, c.Cost)
				}
			}
			// What the tests themselves need, as root on ext4 and tmpfs.
			for _, id := range []string{"kernel", "openat2", "proc", "memfd", "user", "dir", "file_handles", "mount_id", "tmpfile", "xattr_trusted", "qemu_guest"} {
				if i := slices.IndexFunc(r.Checks, func(c check) bool { return c.ID == id }); i < 0 || r.Checks[i].State != stateOK {
					t.Errorf("%s is not ok", id)
				}
			}
		})
	}
}

func TestExamineBadDir(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"/no/such/dir": "no such file or directory", file: "not a directory"} {
		r := examine(dir)
		i := slices.IndexFunc(r.Checks, func(c check) bool { return c.ID == "dir" })
		if r.OK || i < 0 || r.Checks[i].State != stateMissing || r.Checks[i].Found != want {
			t.Errorf("%s: ok %v, checks %+v", dir, r.OK, r.Checks)
		}
	}
}

func TestReportJSON(t *testing.T) {
	r := examine(t.TempDir())
	var b bytes.Buffer
	if err := r.printJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back report
	dec := json.NewDecoder(bytes.NewReader(b.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("the report changed on the way (-before +after):\n%s", diff)
	}
	for _, field := range []string{`"schema": 1`, `"ok": true`, `"dir": `, `"checks": [`, `"id": "kvm"`, `"group": `, `"state": `, `"found": `, `"required": `} {
		if !strings.Contains(b.String(), field) {
			t.Errorf("the JSON has no %s", field)
		}
	}
}

func TestReportText(t *testing.T) {
	r := report{Dir: "/d", Checks: []check{
		{Group: groupKernel, Name: "good", State: stateOK, Found: "works"},
		{Group: groupKernel, Name: "needed", State: stateMissing, Found: "gone", Cost: strings.Repeat("word ", 30), Fix: "Do this.", Required: true},
		{Group: groupDir, Name: "x", State: stateLimited, Found: "half", Cost: "Slow."},
	}}
	var b bytes.Buffer
	if err := r.printText(&b); err != nil {
		t.Fatal(err)
	}
	want := `kernel
  ok       good    works
  missing  needed  gone (required)
             word word word word word word word word word word word word word word word word
             word word word word word word word word word word word word word word
             Do this.

the directory /d
  limited  x       half
             Slow.

This host lacks something that isthmus serve cannot do without: see "required" above.
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEffectiveCapabilities(t *testing.T) {
	got, err := effectiveCapabilities("Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t00000000a80425fb\nCapBnd:\t00\n")
	if err != nil || got != 0xa80425fb {
		t.Errorf("effectiveCapabilities = %#x, %v", got, err)
	}
	for _, bad := range []string{"", "CapEff:\tx\n"} {
		if _, err := effectiveCapabilities(bad); err == nil {
			t.Errorf("effectiveCapabilities(%q) is no error", bad)
		}
	}
	if root := checkCapabilities(); root.State == stateMissing {
		t.Errorf("capabilities: %+v", root)
	}
}

func TestHasSubordinate(t *testing.T) {
	const text = "alice:100000:65536\n1001:165536:65536\nbob\n"
	for _, test := range []struct {
		user string
		uid  int
		want bool
	}{{"alice", 1, true}, {"carol", 1001, true}, {"bob", 2, false}, {"", 3, false}, {"ali", 4, false}} {
		if got := hasSubordinate(text, test.user, test.uid); got != test.want {
			t.Errorf("hasSubordinate(%q, %d) = %v", test.user, test.uid, got)
		}
	}
}

// TestKVMOnThisHost checks the doctor's word against /proc/cpuinfo.
func TestKVMOnThisHost(t *testing.T) {
	c := checkKVM()
	cpuinfo := readTrimmed("/proc/cpuinfo")
	hardware := strings.Contains(cpuinfo, " vmx ") || strings.Contains(cpuinfo, " svm ")
	_, err := os.Stat("/dev/kvm")
	switch {
	case err != nil && c.State != stateMissing,
		err == nil && !hardware && c.State == stateOK,
		err == nil && hardware && unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil && c.State == stateLimited:
		t.Errorf("hardware %v, /dev/kvm %v, and the check says %+v", hardware, err, c)
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, nil},
		{"a bb  ccc", 4, []string{"a bb", "ccc"}},
		{"much-too-long word", 5, []string{"much-too-long", "word"}},
	} {
		if got := wrap(test.text, test.width); !slices.Equal(got, test.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", test.text, test.width, got, test.want)
		}
	}
}
