package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// userNamespace is the plan of the one that the inner process gets.
type userNamespace struct {
	uids, gids []IDMap
	// ambient are the capabilities that the inner process has in it. They pass
	// exec as ambient ones, since no id is mapped yet that could be root.
	ambient []uintptr
}

// setupCaps are what an inner process takes to build its root directory and then
// to lock itself up.
var setupCaps = capsOf(unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SETPCAP, unix.CAP_SETUID, unix.CAP_SETGID)

// planUserNamespace decides whether there is one: nil if not.
func planUserNamespace(cfg *Config) (*userNamespace, error) {
	have, err := threadCapSets()
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	if have.effective.Has(unix.CAP_SYS_ADMIN) && cfg.UIDMap == nil && cfg.GIDMap == nil {
		return nil, nil
	}
	ns := &userNamespace{uids: cfg.UIDMap, gids: cfg.GIDMap}
	if ns.uids == nil {
		ns.uids = uidKind.mappable(have.effective)
	}
	if ns.gids == nil {
		ns.gids = gidKind.mappable(have.effective)
	}
	if err := checkMap("uid", ns.uids); err != nil {
		return nil, err
	}
	if err := checkMap("gid", ns.gids); err != nil {
		return nil, err
	}
	last, err := capability.LastCap()
	if err != nil {
		return nil, fmt.Errorf("find the highest capability: %w", err)
	}
	for n := range int(last) + 1 {
		if (setupCaps | cfg.Keep).Has(n) {
			ns.ambient = append(ns.ambient, uintptr(n))
		}
	}
	return ns, nil
}

// idKind is one of the two kinds of ids, with what is different for it.
type idKind struct {
	name       string // of the file in /proc/PID
	capability int    // that lets a process map ids other than its own
	own        func() int
	helper     string // a program of setuid root that maps what is in ranges
	ranges     string
}

var (
	uidKind = idKind{"uid_map", unix.CAP_SETUID, os.Geteuid, "newuidmap", subuidFile}
	gidKind = idKind{"gid_map", unix.CAP_SETGID, os.Getegid, "newgidmap", subgidFile}
)

// mappable is the map of all ids that a process may map onto themselves: its own
// or, for one that is root but for CAP_SYS_ADMIN, all that there are.
func (k *idKind) mappable(have Caps) []IDMap {
	own := []IDMap{{Inside: uint32(k.own()), Outside: uint32(k.own()), Count: 1}}
	if !have.Has(k.capability) {
		return own
	}
	text, err := os.ReadFile("/proc/self/" + k.name)
	if err != nil {
		return own
	}
	var all []IDMap
	for line := range strings.Lines(string(text)) {
		var e IDMap
		if _, err := fmt.Sscan(line, &e.Inside, &e.Outside, &e.Count); err != nil {
			return own
		}
		e.Outside = e.Inside
		all = append(all, e)
	}
	return all
}

// writeMaps sets the id maps of the new namespace (user_namespaces(7)). It is done from
// outside, where this process has rights over the ids.
func (ns *userNamespace) writeMaps(pid int) error {
	have, err := threadCapSets()
	if err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if gidKind.isOwn(ns.gids) && !have.effective.Has(gidKind.capability) {
		// Without this, a process could drop a group by which it is denied
		// access, so the kernel takes no map before.
		if err := writeProc(pid, "setgroups", "deny"); err != nil {
			return err
		}
	}
	if err := uidKind.write(pid, ns.uids, have.effective); err != nil {
		return err
	}
	return gidKind.write(pid, ns.gids, have.effective)
}

// isOwn tells whether a map has just the id that a process may always map.
func (k *idKind) isOwn(m []IDMap) bool {
	return len(m) == 1 && m[0].Count == 1 && m[0].Outside == uint32(k.own())
}

func (k *idKind) write(pid int, m []IDMap, have Caps) error {
	own := k.isOwn(m)
	if own || have.Has(k.capability) {
		lines := make([]string, len(m))
		for i, e := range m {
			lines[i] = e.String() + "\n"
		}
		err := writeProc(pid, k.name, strings.Join(lines, ""))
		// In a container, the capability may not be one over these ids.
		if err == nil || own || !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return k.runHelper(pid, m)
}

// runHelper has newuidmap(1) or newgidmap(1) write a map.
func (k *idKind) runHelper(pid int, m []IDMap) error {
	path, err := exec.LookPath(k.helper)
	if err != nil {
		return fmt.Errorf("write %s: %s is not installed; install it (package uidmap or shadow-utils), or map only your own id", k.name, k.helper)
	}
	args := []string{strconv.Itoa(pid)}
	for _, e := range m {
		args = append(args, strings.Fields(e.String())...)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	hint := "are the ids in the ranges that " + k.ranges + " gives this user?"
	if nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && nnp == 1 {
		hint = "it gets no rights because this process was started with no_new_privs"
	}
	return fmt.Errorf("write %s: %s: %w: %s; %s", k.name, k.helper, err, bytes.TrimSpace(out), hint)
}

// writeProc writes a file of a process in one call, as the kernel wants it.
func writeProc(pid int, name, content string) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", pid, name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set the map of ids: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return fmt.Errorf("set the map of ids to %q: %w", strings.TrimSpace(content), err)
	}
	return nil
}
