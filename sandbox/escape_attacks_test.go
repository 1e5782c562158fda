//go:build !cgo

package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// attackCase is a way out of the sandbox.
type attackCase struct {
	name string
	// run returns nil if the attack works.
	run func(a *attacker) error
	// readOnly shares for reading only.
	readOnly bool
	// mount has a file system mounted on the directory sub of the share, handles
	// allows file handles.
	mount, handles bool
	// needs is what root on an ordinary machine has, but not every machine on which
	// tests run: there the attack may fail without any sandbox.
	needs string
}

var attacks = []attackCase{
	// Files by name.
	{name: "open a file of the host by name", run: func(a *attacker) error { return a.steal(unix.AT_FDCWD, a.Secret) }},
	{name: "… by /proc/1/root", needs: "all capabilities that process 1 has", run: func(a *attacker) error {
		return a.steal(unix.AT_FDCWD, "/proc/1/root"+a.Secret)
	}},
	{name: "… by /proc/PID/root", run: func(a *attacker) error {
		return a.steal(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/root%s", a.Victim, a.Secret))
	}},
	{name: "… by /proc/self/root", run: func(a *attacker) error { return a.steal(unix.AT_FDCWD, "/proc/self/root"+a.Secret) }},
	{name: "… by /proc/self/cwd/..", run: func(a *attacker) error { return a.steal(unix.AT_FDCWD, "/proc/self/cwd/"+upTo(a.Secret)) }},
	{name: "… by .. from the working directory", run: func(a *attacker) error { return a.steal(unix.AT_FDCWD, upTo(a.Secret)) }},
	{name: "… by .. from the share's root", run: func(a *attacker) error { return a.steal(a.share, "../secret") }},
	{name: "… by .. from /proc/self/fd", run: func(a *attacker) error { return a.steal(a.procFD, "../root"+a.Secret) }},
	{name: "… by .. from the share in /proc/self/fd", run: func(a *attacker) error {
		return a.steal(a.procFD, fmt.Sprintf("%d/../secret", a.share))
	}},
	{name: "… by a symbolic link in the share", run: func(a *attacker) error { return a.steal(a.share, "link") }},
	{name: "… by a hard link into the share", run: func(a *attacker) error {
		if err := unix.Linkat(unix.AT_FDCWD, a.Secret, a.share, "stolen", 0); err != nil {
			return err
		}
		return a.steal(a.share, "stolen")
	}},
	{name: "… by chroot and ..", run: func(a *attacker) error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Mkdirat(a.share, "jail", 0o700); err != nil {
			return err
		}
		if err := unix.Fchdir(a.share); err != nil {
			return err
		}
		if err := unix.Chroot("jail"); err != nil {
			return err
		}
		return a.steal(unix.AT_FDCWD, "../secret")
	}},
	{name: "… by a directory that the host moved out", run: func(a *attacker) error {
		sub, err := unix.Openat(a.share, "sub", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := a.ask(answerMove); err != nil {
			return brokenError{err}
		}
		return a.steal(sub, "../secret")
	}},
	{name: "… by a descriptor left open", run: func(a *attacker) error { return a.steal(leakedFD, "secret") }},
	{name: "… by handle, on the share's mount", run: func(a *attacker) error { return a.byHandle(a.view, a.Handle) }},
	{name: "… by handle, on another mount", run: func(a *attacker) error { return a.byHandle(a.ElsewhereDir, a.Elsewhere) }},
	{name: "write to a read-only share", readOnly: true, run: func(a *attacker) error {
		_, err := unix.Openat(a.share, "new", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		return err
	}},

	// Devices and the kernel's own files.
	{name: "make the node of a device (zero), open it", run: func(a *attacker) error { return a.device(unix.S_IFCHR, unix.Mkdev(1, 5)) }},
	{name: "make the node of the host's disk, open it", needs: "a disk, and a device cgroup that lets one read it", run: func(a *attacker) error { return a.device(unix.S_IFBLK, a.DiskDev) }},
	{name: "open the host's disk in /dev", needs: "a disk, and a device cgroup that lets one read it", run: func(a *attacker) error { return canOpen(a.Disk, unix.O_RDONLY) }},
	{name: "open /dev/mem", needs: "CONFIG_DEVMEM", run: func(a *attacker) error { return canOpen("/dev/mem", unix.O_RDONLY) }},
	{name: "open /proc/sys/kernel/core_pattern to write", run: func(a *attacker) error { return canOpen("/proc/sys/kernel/core_pattern", unix.O_WRONLY) }},

	// Other processes.
	{name: "trace a process of the host", run: func(a *attacker) error { return unix.PtraceSeize(a.Victim) }},
	{name: "read its memory (process_vm_readv)", run: func(a *attacker) error { return readMemory(a.Victim, a.VictimAddr) }},
	{name: "open its memory (/proc/PID/mem)", run: func(a *attacker) error {
		return canOpen(fmt.Sprintf("/proc/%d/mem", a.Victim), unix.O_WRONLY)
	}},
	{name: "send it a signal", run: func(a *attacker) error { return unix.Kill(a.Victim, unix.SIGCONT) }},
	{name: "get hold of it (pidfd_open)", run: func(a *attacker) error { _, err := unix.PidfdOpen(a.Victim, 0); return err }},

	// Sockets.
	{name: "connect to a TCP port of the host", run: func(a *attacker) error {
		return connect(unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Port: a.TCP, Addr: [4]byte{127, 0, 0, 1}})
	}},
	{name: "connect to a UDP port of the host", run: func(a *attacker) error {
		return connect(unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{Port: a.TCP, Addr: [4]byte{127, 0, 0, 1}})
	}},
	{name: "connect to an abstract socket", run: func(a *attacker) error {
		return connect(unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: a.Abstract})
	}},
	{name: "connect to a socket outside the share", run: func(a *attacker) error {
		return connect(unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: a.Dir + "/socket"})
	}},
	{name: "connect to a socket in the share", run: func(a *attacker) error {
		return connect(unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: a.view + "/socket"})
	}},
	{name: "netlink: the host's network", run: func(a *attacker) error { return hostLoopback() }},

	// Programs and rights.
	{name: "execute a file of the share", run: func(a *attacker) error { return a.execute("program") }},
	{name: "become root by a setuid program", run: func(a *attacker) error {
		const nobody = 65534
		if unix.Geteuid() == 0 {
			if err := setThreadUser(nobody); err != nil {
				return err
			}
		}
		return a.execute("setuid")
	}},
	{name: "have executable memory", run: func(a *attacker) error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		return err
	}},
	{name: "raise a limit", needs: "CAP_SYS_RESOURCE", run: func(a *attacker) error {
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return err
		}
		lim.Max++
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}},
	{name: "mount a file system", run: func(a *attacker) error {
		return unix.Mount("none", a.view+"/sub", "tmpfs", unix.MS_NOSUID, "")
	}},
	{name: "enter the host's network (setns)", run: func(a *attacker) error {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", a.Victim), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, unix.CLONE_NEWNET)
	}},
	{name: "make a mount namespace (unshare)", run: func(a *attacker) error { return unix.Unshare(unix.CLONE_NEWNS) }},
	{name: "make a user namespace (clone)", run: func(a *attacker) error { return fork(unix.CLONE_NEWUSER) }},
	{name: "make another process (fork)", run: func(a *attacker) error { return fork(0) }},

	// Wide doors into the kernel.
	{name: "load a kernel module", needs: "CONFIG_MODULES", run: func(a *attacker) error {
		err := unix.InitModule([]byte("no module"), "")
		if errors.Is(err, unix.ENOEXEC) { // the kernel has had a look at it
			return nil
		}
		return err
	}},
	{name: "bpf", needs: "CONFIG_BPF_SYSCALL", run: func(a *attacker) error { return bpfMap() }},
	{name: "io_uring_setup", needs: "CONFIG_IO_URING", run: func(a *attacker) error { return ioUring() }},
	{name: "userfaultfd", needs: "CONFIG_USERFAULTFD", run: func(a *attacker) error {
		_, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}},
	{name: "keyctl", needs: "CONFIG_KEYS", run: func(a *attacker) error {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_PROCESS_KEYRING, true)
		return err
	}},
}

func setThreadUser(uid int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
	if errno != 0 {
		return errno
	}
	return nil
}
