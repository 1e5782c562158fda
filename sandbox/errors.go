package sandbox

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// ErrNotPermitted is what [Start] gives where this machine does not let the
// process have namespaces. A caller that left the choice of the mode to this
// package may go on with [ModeChroot] or [ModeNone].
var ErrNotPermitted = errors.New("namespaces are not permitted")

// namespaceError says which namespaces could not be made, and what to do.
type namespaceError struct {
	what  string
	errno syscall.Errno
	hint  string
}

func (e *namespaceError) Error() string {
	return "make " + e.what + ": " + e.errno.Error() + "; " + e.hint
}

func (e *namespaceError) Unwrap() []error { return []error{ErrNotPermitted, e.errno} }

// switches are the sysctls that forbid user namespaces, with the value that does.
var switches = []struct{ path, forbids, name string }{
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone"},
	{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces"},
}

const elsewise = "use the sandbox mode chroot or none"

// namespaceErrnos are the errors of clone(2) that mean namespaces rather than
// processes or memory, with their reason.
var namespaceErrnos = map[syscall.Errno]string{
	syscall.EPERM:  "a container or its seccomp filter does not allow it",
	syscall.EACCES: "a security module does not allow it",
	syscall.ENOSPC: "the limit in /proc/sys/user is reached",
	syscall.EUSERS: "the limit in /proc/sys/user is reached",
	syscall.EINVAL: "the kernel has been built without them",
}

// explainClone turns an error of the clone into one that says what to do.
func explainClone(err error, user bool) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	reason, ok := namespaceErrnos[errno]
	if !ok {
		return err
	}
	what := "mount, pid, network, IPC and host name namespaces"
	if user {
		what = "user, " + what
		for _, s := range switches {
			if v, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(v)) == s.forbids {
				reason = "sysctl " + s.name + " is " + s.forbids
				break
			}
		}
	}
	return &namespaceError{what, errno, reason + ": change that, or " + elsewise}
}
