package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
)

// kernelChecks examines what the kernel offers to this user.
func kernelChecks(string) []check {
	checks := []check{
		checkKernelVersion(),
		checkOpenat2(),
		checkProc(),
		checkMemfd(),
		checkKVM(),
		checkUserNamespaces(),
		checkSubordinateIDs(),
		checkLandlock(),
		checkSeccomp(),
		checkFuseDevice(),
		checkIoUring(),
	}
	for i := range checks {
		checks[i].Group = groupKernel
	}
	return checks
}

func checkKernelVersion() check {
	c := check{ID: "kernel", Name: "Linux", State: stateOK, Required: true}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return c.missing(err.Error(), "", "")
	}
	release := unix.ByteSliceToString(name.Release[:])
	c.Found = release
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return c.limited(release, "The version cannot be told from this name.", "")
	}
	version := major*1000 + minor
	switch {
	case version < 5006:
		return c.missing(release, "isthmus resolves paths with openat2, which came with 5.6.", "Use a newer kernel.")
	case version < 5013:
		return c.limited(release, "There is no Landlock, so one wall around the daemon less.", "Any kernel from 5.13 has it.")
	}
	return c
}

func checkOpenat2() check {
	c := check{ID: "openat2", Name: "openat2", State: stateOK, Found: "works", Required: true}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return c.missing(err.Error(), "It keeps a path inside the shared directory, whatever the guest does.",
			"Use Linux 5.6 or newer; in a container, one whose seccomp profile knows the call.")
	}
	unix.Close(fd)
	return c
}

func checkProc() check {
	c := check{ID: "proc", Name: "/proc/self/fd", State: stateOK, Found: "there", Required: true}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return c.missing(errno(err), "Files are reopened through it.", "Mount /proc.")
	}
	return c
}

func checkMemfd() check {
	c := check{ID: "memfd", Name: "memfd_create", State: stateOK, Found: "works"}
	fd, err := unix.MemfdCreate("isthmus-doctor", unix.MFD_CLOEXEC)
	if err != nil {
		return c.missing(err.Error(), "isthmus try cannot hand its guest anything.", "")
	}
	unix.Close(fd)
	return c
}

// checkKVM tells KVM on hardware from the software that goes by its name.
func checkKVM() check {
	c := check{ID: "kvm", Name: "KVM", State: stateOK}
	const cost = "isthmus run cannot start its machine, and other guests run on an emulated processor or as User-Mode Linux: many times slower."
	sys, err := kvm.Open("")
	if err != nil {
		var open *kvm.OpenError
		if errors.As(err, &open) {
			return c.missing(open.Path+": "+open.Err.Error(), cost, sentence(open.Advice))
		}
		return c.missing(err.Error(), cost, "")
	}
	defer sys.Close()
	extension := kvm.HostExtension()
	if extension == "" {
		found := "in software: the processor has neither vmx nor svm"
		if _, err := os.Stat("/sys/module/kvm_pvm"); err == nil {
			found += " (module kvm_pvm)"
		}
		return c.limited(found, "A guest's kernel is interpreted instruction by instruction, and many instructions (SSE, AVX, popcnt, xgetbv, xsave) are not known: no Linux and no Hermit boots.",
			"Do not use KVM here: QEMU with -accel tcg and User-Mode Linux work.")
	}
	c.Found = "on hardware (" + extension + ")"
	return c
}

// sentence begins a clause with a capital and ends it with a stop.
func sentence(clause string) string {
	if clause == "" {
		return ""
	}
	return strings.ToUpper(clause[:1]) + clause[1:] + "."
}

// checkUserNamespaces makes one, with a child that has nothing to execute:
// when that is what it fails at, everything before has worked.
func checkUserNamespaces() check {
	c := check{ID: "userns", Name: "user namespaces", State: stateOK, Found: "work"}
	_, err := syscall.ForkExec("/proc/self/no-such-program", []string{""}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}})
	if err == syscall.ENOENT {
		return c
	}
	cost, fix := "A daemon without root cannot be closed in.", "Look at /proc/sys/user/max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns."
	if os.Geteuid() == 0 {
		cost = "Only root can close a daemon in on this host."
	}
	return c.missing(err.Error(), cost, fix)
}

// checkSubordinateIDs looks for the ids that newuidmap may map for this user.
func checkSubordinateIDs() check {
	c := check{ID: "subids", Name: "subordinate ids", State: stateOK}
	if os.Geteuid() == 0 {
		c.Found = "not needed by root"
		return c
	}
	const cost = "A daemon without root shows the guest one user id only; files of others appear as nobody's."
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			return c.missing(program+" is not installed", cost, "apt install uidmap")
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if !hasSubordinate(readTrimmed(file), os.Getenv("USER"), os.Geteuid()) {
			return c.missing(file+" has no entry for this user", cost, "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "+os.Getenv("USER"))
		}
	}
	c.Found = "newuidmap, newgidmap and entries in /etc/subuid and /etc/subgid"
	return c
}

// hasSubordinate looks for a user in the text of subuid(5).
func hasSubordinate(text, user string, uid int) bool {
	for line := range strings.Lines(text) {
		name, _, ok := strings.Cut(line, ":")
		if ok && name != "" && (name == user || name == strconv.Itoa(uid)) {
			return true
		}
	}
	return false
}

func checkLandlock() check {
	c := check{ID: "landlock", Name: "Landlock", State: stateOK}
	const createRulesetVersion = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, err := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, createRulesetVersion)
	if err != 0 {
		return c.missing(err.Error(), "One wall around the daemon less; namespaces and seccomp still stand.",
			"Use Linux 5.13 or newer with landlock in the kernel parameter lsm=.")
	}
	c.Found = fmt.Sprintf("ABI %d", abi)
	if abi < 3 {
		return c.limited(c.Found, "Renaming across directories (below 2) or truncation (below 3) cannot be told apart.", "Linux 6.2 or newer has ABI 3.")
	}
	return c
}

func checkSeccomp() check {
	c := check{ID: "seccomp", Name: "seccomp filters", State: stateOK}
	actions := readTrimmed("/proc/sys/kernel/seccomp/actions_avail")
	if actions == "" {
		return c.missing("no /proc/sys/kernel/seccomp", "The daemon cannot give up the system calls it does not need.", "Use a kernel with CONFIG_SECCOMP_FILTER.")
	}
	c.Found = actions
	return c
}

func checkFuseDevice() check {
	c := check{ID: "fuse", Name: "/dev/fuse", State: stateOK, Found: "can be opened"}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return c.missing(err.Error(), "A share cannot be mounted on the host itself; guests are not concerned.", "modprobe fuse; in a container, pass the device in.")
	}
	unix.Close(fd)
	return c
}

// checkIoUring asks for a ring without parameters, which fails either way.
func checkIoUring() check {
	c := check{ID: "io_uring", Name: "io_uring", State: stateOK, Found: "there"}
	_, _, err := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	if err == unix.ENOSYS || err == unix.EPERM || err == unix.EACCES {
		return c.limited(err.Error(), "None for isthmus, which does without.", "")
	}
	return c
}

func (c check) missing(found, cost, fix string) check {
	c.State, c.Found, c.Cost, c.Fix = stateMissing, found, cost, fix
	return c
}

func (c check) limited(found, cost, fix string) check {
	c.State, c.Found, c.Cost, c.Fix = stateLimited, found, cost, fix
	return c
}

// errno is the text of an error without the operation and the path.
func errno(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}
