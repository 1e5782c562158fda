package virtiofs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// pollInterval is how often, in milliseconds, a worker looks at a ring whose
// driver does not kick (SET_VRING_KICK without a descriptor).
const pollInterval = 1

// sleep blocks until the driver kicks, a call completes, or the worker is
// wanted elsewhere. It reports whether it was a kick.
func (q *queue) sleep(r *virtq.Ring) (kicked bool, err error) {
	timeout := -1
	if r.Kick < 0 {
		timeout = pollInterval
	}
	return q.await(r.Kick, timeout)
}

// await blocks on the wake eventfd and, if it is not negative, on kick.
// timeout is in milliseconds, negative for none. It reports whether kick was
// signalled.
func (q *queue) await(kick, timeout int) (kicked bool, err error) {
	fds := [2]unix.PollFd{
		{Fd: int32(q.wake), Events: unix.POLLIN},
		{Fd: int32(kick), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds[:], timeout)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll: %w", err)
		}
		break
	}
	if fds[0].Revents != 0 {
		oslib.EventfdRead(q.wake)
	}
	switch {
	case fds[1].Revents&unix.POLLIN != 0:
		return true, clearKick(kick)
	case fds[1].Revents != 0:
		return false, fmt.Errorf("kick eventfd: poll says %#x", fds[1].Revents)
	}
	return false, nil
}

// clearKick takes the count out of a kick eventfd. The front end shares the open
// file and may have read it first, or left it in blocking mode: the read must
// not wait.
func clearKick(fd int) error {
	var count [8]byte
	iov := [1]unix.Iovec{oslib.Iov(count[:])}
	_, errno := oslib.Preadv2(fd, iov[:], -1, unix.RWF_NOWAIT)
	switch errno {
	case 0, unix.EAGAIN:
		return nil
	case unix.EOPNOTSUPP:
		oslib.EventfdRead(fd)
		return nil
	}
	return fmt.Errorf("kick eventfd: %w", errno)
}
