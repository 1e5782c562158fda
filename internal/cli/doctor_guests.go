package cli

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// guestChecks looks for what runs guests.
func guestChecks(string) []check {
	checks := []check{checkUML(), checkQEMU()}
	for _, p := range programs {
		checks = append(checks, p.check())
	}
	for i := range checks {
		checks[i].Group = groupGuests
	}
	return checks
}

func checkUML() check {
	c := check{ID: "uml", Name: "isthmus try", State: stateOK}
	tools, err := lab.Find(lab.UML)
	if err != nil {
		return c.lacking(err, "isthmus try has no guest that boots in a second.")
	}
	c.Found = "User-Mode Linux " + tools.Release
	if lab.LacksAVX(tools.Release) {
		return c.limited(c.Found, "This release has no room for the vector registers of this processor: guests run without AVX.", "User-Mode Linux 6.13 or newer has room.")
	}
	return c
}

func checkQEMU() check {
	c := check{ID: "qemu_guest", Name: "isthmus try --vmm qemu", State: stateOK}
	tools, err := lab.Find(lab.QEMU)
	if err != nil {
		return c.lacking(err, "isthmus try has no guest with PCI, several processors or several queues.")
	}
	c.Found = tools.QEMU + ", kernel " + tools.Release
	return c
}

// lacking is the check for a guest that lacks a tool.
func (c check) lacking(err error, cost string) check {
	var missing *lab.MissingError
	if errors.As(err, &missing) {
		return c.missing("no "+missing.What, cost, "apt install "+missing.Package)
	}
	return c.missing(err.Error(), cost, "")
}

// program is a VMM, or a daemon like ours, that may be installed.
type program struct {
	id, name string
	files    []string // names, or paths that are not in PATH
	version  []string // arguments that print the version
	cost     string
	fix      string
}

var programs = []program{
	{"qemu", "QEMU", []string{"qemu-system-x86_64"}, []string{"--version"}, "None, if another VMM is used.", "apt install qemu-system-x86"},
	{"cloud_hypervisor", "Cloud Hypervisor", []string{"cloud-hypervisor"}, []string{"--version"}, "None, if another VMM is used.", ""},
	{"crosvm", "crosvm", []string{"crosvm"}, []string{"version"}, "None, if another VMM is used.", ""},
	{"virtiofsd", "virtiofsd", []string{"virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"}, []string{"--version"}, "None: isthmus takes its place.", ""},
}

// versionTime is how long a program may take to print its version.
const versionTime = 5 * time.Second

func (p program) check() check {
	c := check{ID: p.id, Name: p.name, State: stateOK}
	for _, file := range p.files {
		path, err := exec.LookPath(file)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), versionTime)
		defer cancel()
		out, _ := exec.CommandContext(ctx, path, p.version...).CombinedOutput()
		c.Found = path
		if line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); line != "" {
			c.Found += ": " + line
		}
		return c
	}
	return c.missing("not installed", p.cost, p.fix)
}
