package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Inner is the inner process's side of [Start].
type Inner struct {
	// Files are what Start handed over, in its order. They are the caller's.
	Files []*os.File

	control *os.File
}

// inside says that this process has namespaces of its own, so that what it does to
// its mounts does not reach the host.
var inside bool

// exitOrphan is the status of an inner process whose outer one has died; nobody
// waits for it.
const exitOrphan = 1

// Inherited returns what [Start] handed over, and nil without an error in a process
// that Start has not started. It waits until the outer process has written the id
// maps; from then on this process exits when the outer one does. All the
// descriptors are close-on-exec afterwards.
func Inherited() (*Inner, error) {
	spec, ok := os.LookupEnv(envInner)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(envInner)
	n, err := strconv.Atoi(spec)
	if err != nil || n < 0 || os.Getpid() != 1 {
		return nil, fmt.Errorf("the environment variable %s=%s is for this program itself to set; unset it", envInner, spec)
	}
	in := &Inner{}
	for fd := controlFD; fd < firstFile+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("descriptor %d of %d handed over: %w", fd-controlFD, n, err)
		}
		if fd >= firstFile {
			in.Files = append(in.Files, os.NewFile(uintptr(fd), fmt.Sprintf("inherited %d", fd-firstFile)))
		}
	}
	in.control = os.NewFile(controlFD, "control")
	var b [1]byte
	if _, err := in.control.Read(b[:]); err != nil || b[0] != goAhead {
		return nil, errors.New("the outer process has ended before this one could begin")
	}
	inside = true
	go in.followOuter()
	return in, nil
}

// Inside tells whether [Start] has started this process, also before it has called
// [Inherited].
func Inside() bool {
	_, starting := os.LookupEnv(envInner)
	return starting || inside
}

// followOuter ends this process with the outer one. The parent-death signal does
// the same at once, but the kernel forgets it when a thread changes its ids.
func (in *Inner) followOuter() {
	var b [1]byte
	in.control.Read(b[:])
	os.Exit(exitOrphan)
}

// Ready tells the outer process that this one serves; see [Process.Ready]. It is
// called at most once.
func (in *Inner) Ready() error {
	if _, err := in.control.Write([]byte{innerReady}); err != nil {
		return fmt.Errorf("tell the outer process: %w", err)
	}
	return nil
}
