package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// attributeMap is what --xattrmap makes of names.
type attributeMap struct {
	name  string
	rules string
	args  []string
	// toHost returns the host's name for one of the guest, if the guest may
	// use it at all, toGuest the guest's for one of the host, if it has one.
	toHost, toGuest func(name string) (string, bool)
}

const apart = "user.virtiofs."

var attributeMaps = []attributeMap{
	{
		name:  "all apart",
		rules: ":map::user.virtiofs.:",
		toHost: func(name string) (string, bool) {
			return apart + name, true
		},
		toGuest: func(name string) (string, bool) {
			return strings.CutPrefix(name, apart)
		},
	},
	{
		name:  "trusted apart",
		rules: ":prefix:all:trusted.:user.virtiofs.::bad:server::user.virtiofs.::ok:all:::",
		toHost: func(name string) (string, bool) {
			if strings.HasPrefix(name, "trusted.") {
				name = apart + name
			}
			return name, true
		},
		toGuest: func(name string) (string, bool) {
			return strings.TrimPrefix(name, apart), true
		},
	},
	{
		name:  "capabilities apart",
		rules: ":map:security.capability:user.virtiofs.:",
		toHost: func(name string) (string, bool) {
			switch {
			case strings.HasPrefix(name, "security.capability"):
				name = apart + name
			case strings.HasPrefix(name, apart):
				return "", false
			}
			return name, true
		},
		toGuest: func(name string) (string, bool) {
			if strings.HasPrefix(name, "security.capability") {
				return "", false
			}
			return strings.TrimPrefix(name, apart), true
		},
	},
	{
		name:    "trusted passed on",
		rules:   "/bad/client/user.secret///ok/all///",
		args:    []string{"--modcaps", "+sys_admin"},
		toHost:  func(name string) (string, bool) { return name, !strings.HasPrefix(name, "user.secret") },
		toGuest: func(name string) (string, bool) { return name, true },
	},
}

// attributeNames are the guest's names that the calls use, each of another class or
// of interest to one of the maps.
var attributeNames = []string{
	"user.x", "user.secret", "user.virtiofs.user.x", "trusted.x", "trusted.overlay.opaque", "security.x", "security.capability",
}

// madeOnHost are attributes that a file has before the guest sees it.
var madeOnHost = []string{"user.plain", "user.virtiofs.user.made", "user.virtiofs.trusted.made", "trusted.made"}

// call is a call with an attribute's name, or none.
type call struct{ who, what, path, name, value string }

func (c call) line(name string) string {
	return strings.Join(slices.DeleteFunc([]string{c.who, c.what, c.path, name, c.value}, func(s string) bool { return s == "" }), " ")
}

// attributeCalls are made in the guest. "found" is there already.
func attributeCalls() []call {
	var calls []call
	add := func(who, what, path, name, value string) { calls = append(calls, call{who, what, path, name, value}) }
	add("0", "list", "found", "", "")
	for _, name := range madeOnHost {
		add("0", "get", "found", name, "")
	}
	add("0", "get", "found", "user.made", "")
	add("0", "get", "found", "trusted.made", "")
	add("5001", "file", "mine", "", "")
	for _, name := range attributeNames {
		add("5001", "set", "mine", name, "value")
		add("5001", "get", "mine", name, "")
		add("5001", "remove", "mine", name, "")
	}
	for _, kind := range []string{"file", "dir", "link", "fifo", "char"} {
		add("0", kind, kind, "", "")
		for _, name := range attributeNames {
			value := "value"
			if name == "security.capability" {
				value = "capability"
			}
			add("0", "set", kind, name, value)
			add("0", "get", kind, name, "")
			add("0", "remove", kind, name+"-", "")
		}
		add("0", "list", kind, "", "")
		add("0", "remove", kind, "user.x", "")
		add("0", "list", kind, "", "")
	}
	return calls
}

// TestMappedAttributes makes the calls in the guest, and on the host with the names
// that the map has for them.
func TestMappedAttributes(t *testing.T) {
	t.Parallel()
	for _, m := range attributeMaps {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			shared, hosts := callDirs(t)
			for _, dir := range []string{shared, hosts} {
				found := filepath.Join(dir, "found")
				if err := os.WriteFile(found, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				for _, name := range madeOnHost {
					if err := unix.Lsetxattr(found, name, []byte("host's"), 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			var script []string
			for _, c := range attributeCalls() {
				script = append(script, c.line(c.name))
			}
			args := append([]string{"--xattrmap", m.rules}, m.args...)
			how := bounded(t, "-sys_admin")
			if m.args != nil {
				how = nil
			}
			got := callsInGuest(t, serve(t, shared, args...), script)
			compareAnswers(t, script, got, m.expect(t, hosts, how))
			for _, name := range namesIn(t, hosts) {
				got, want := attributes(t, filepath.Join(shared, name)), attributes(t, filepath.Join(hosts, name))
				if !maps.Equal(got, want) {
					t.Errorf("on the disk, %s has the attributes %q, want %q", name, got, want)
				}
			}
		})
	}
}

// expect makes the calls on the host.
func (m *attributeMap) expect(t *testing.T, dir string, how adjust) []string {
	t.Helper()
	all := attributeCalls()
	want := make([]string, len(all))
	var script []string
	var origin []int // of each line of the script, its place in all
	for i, c := range all {
		name, ok := c.name, true
		if name != "" && !(c.who != "0" && ofTheGuestAlone(name)) {
			name, ok = m.toHost(name)
		}
		switch {
		case !ok && c.what == "get":
			want[i] = "ENODATA"
		case !ok:
			want[i] = "EPERM"
		default:
			script = append(script, c.line(name))
			origin = append(origin, i)
		}
	}
	for n, answer := range callsOnHost(t, dir, script, how) {
		if i := origin[n]; all[i].what != "list" {
			want[i] = answer
		} else {
			want[i] = m.shown(answer)
		}
	}
	return want
}

// ofTheGuestAlone reports whether a name is of a class that only privileged
// callers may use. Who they are the guest's kernel decides, before the map.
func ofTheGuestAlone(name string) bool {
	return strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "security.")
}

// shown translates a list of names. The guest sees those that it would reach the
// same attribute by.
func (m *attributeMap) shown(list string) string {
	var names []string
	for _, host := range strings.Fields(list) {
		name, ok := m.toGuest(host)
		if !ok {
			continue
		}
		if back, ok := m.toHost(name); ok && back == host {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestMappedCapabilities runs the tests of privileges where the host does not know
// of the capabilities: they are attributes like others to it, and what ends them
// is the daemon.
func TestMappedCapabilities(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rules    string
		tmpfs    bool
		killpriv string
	}{
		{":map:security.capability:user.virtiofs.:", false, "--killpriv=true"},
		{":map::user.virtiofs.:", true, "--killpriv=false"},
	} {
		t.Run(c.rules, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t, c.tmpfs)
			d := serve(t, dir.path, "--xattrmap", c.rules, c.killpriv)
			passed(t, run(t, testsInGuest(lab.UML, d, "Privileges|Capabilit", dir.features)))
			d.stop(syscall.SIGTERM)
		})
	}
}

// TestSecurityLabels has a guest whose kernel labels what is made: with SELinux and
// no policy, which makes labels of the names of the initial ones.
func TestSecurityLabels(t *testing.T) {
	t.Parallel()
	const label = "security.selinux"
	for _, mode := range []string{"never", "auto", "always"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			shared, _ := callDirs(t)
			script := []string{
				"0 file file", "0 dir dir", "0 link link", "0 fifo fifo", "0 char char",
				"5001 file mine", "5001 dir mine-dir", "5001 link mine-link", "5001 fifo mine-fifo",
			}
			made := len(script)
			for _, line := range script[:made] {
				name := line[strings.LastIndexByte(line, ' ')+1:]
				script = append(script, "0 get "+name+" "+label)
			}
			d := serve(t, shared, "--security-label", mode)
			answers := callsInGuest(t, d, script, "lsm=selinux")
			for i, line := range script[:made] {
				name := line[strings.LastIndexByte(line, ' ')+1:]
				if answers[i] != "made" {
					t.Errorf("%s: %s", line, answers[i])
				}
				onDisk, labelled := attributes(t, filepath.Join(shared, name))[label]
				if labelled != (mode != "never") {
					t.Errorf("%s is labelled on the disk: %v (%q)", name, labelled, onDisk)
				}
				seen := "ENODATA"
				if labelled {
					seen = fmt.Sprintf("%x", onDisk)
				}
				if answers[made+i] != seen {
					t.Errorf("the guest sees the label %s of %s, on the disk is %s", answers[made+i], name, seen)
				}
			}
		})
	}
}
