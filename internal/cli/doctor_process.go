package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processChecks examines what this process may do.
func processChecks(string) []check {
	checks := []check{checkUser(), checkCapabilities(), checkFileLimit()}
	for i := range checks {
		checks[i].Group = groupProcess
	}
	return checks
}

func checkUser() check {
	c := check{ID: "user", Name: "user", State: stateOK, Found: fmt.Sprintf("uid %d, gid %d", os.Geteuid(), os.Getegid())}
	if os.Geteuid() != 0 {
		return c.limited(c.Found, "Whatever a guest creates belongs to this user, and the guest can read only what this user can.", "Run as root if the guest has users of its own.")
	}
	return c
}

// capability is one that a daemon uses.
type capability struct {
	bit  uint
	name string
	cost string // of not having it, the end of "Without it "
}

var usedCapabilities = []capability{
	{unix.CAP_SETUID, "setuid", "files cannot be created as the guest's user"},
	{unix.CAP_SETGID, "setgid", "files cannot be created as the guest's group"},
	{unix.CAP_CHOWN, "chown", "the guest's chown fails"},
	{unix.CAP_FOWNER, "fowner", "chmod and setting times fail on files of other users"},
	{unix.CAP_FSETID, "fsetid", "chmod loses the setgid bit"},
	{unix.CAP_DAC_OVERRIDE, "dac_override", "files that this user cannot access are closed to the guest's root"},
	{unix.CAP_DAC_READ_SEARCH, "dac_read_search", "there are no file handles, so each file the guest knows takes a descriptor"},
	{unix.CAP_MKNOD, "mknod", "the guest cannot make device nodes"},
	{unix.CAP_SETFCAP, "setfcap", "file capabilities cannot be set"},
	{unix.CAP_SYS_ADMIN, "sys_admin", "trusted.* attributes are hidden, and closing the daemon in takes a user namespace"},
	{unix.CAP_SYS_RESOURCE, "sys_resource", "the limit of open files cannot be raised"},
}

func checkCapabilities() check {
	c := check{ID: "capabilities", Name: "capabilities", State: stateOK}
	effective, err := effectiveCapabilities(readTrimmed("/proc/self/status"))
	if err != nil {
		return c.missing(err.Error(), "", "Mount /proc.")
	}
	var has, costs []string
	for _, want := range usedCapabilities {
		if effective&(1<<want.bit) != 0 {
			has = append(has, want.name)
		} else {
			costs = append(costs, want.name+": "+want.cost)
		}
	}
	c.Found = "all that a daemon uses"
	if len(costs) > 0 {
		c.Found = fmt.Sprintf("%d of %d that a daemon uses", len(has), len(usedCapabilities))
		return c.limited(c.Found, "Without "+strings.Join(costs, "; ")+".", "Run as root, or give these to the service (AmbientCapabilities= of systemd).")
	}
	return c
}

// effectiveCapabilities finds the line CapEff in the text of
// /proc/PID/status.
func effectiveCapabilities(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no CapEff")
}

// fewFiles is the limit of open files below which a large tree is felt.
const fewFiles = 100_000

func checkFileLimit() check {
	c := check{ID: "nofile", Name: "open files", State: stateOK}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return c.missing(err.Error(), "", "")
	}
	possible := limit.Max
	if effective, err := effectiveCapabilities(readTrimmed("/proc/self/status")); err == nil && effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		possible = max(possible, maxFiles())
	}
	c.Found = fmt.Sprintf("up to %d (the limit is %d, hard %d, of the system %d)", possible, limit.Cur, limit.Max, maxFiles())
	if possible < fewFiles {
		return c.limited(c.Found, "Where there are no file handles, each file the guest knows takes a descriptor; after that many, opening fails until the guest forgets some.",
			"Raise it: ulimit -Hn, LimitNOFILE= of systemd, or /etc/security/limits.conf.")
	}
	return c
}
