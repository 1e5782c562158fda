package virtiofs

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

// pollInterval is how often, in milliseconds, a worker looks at a ring whose
// driver does not kick (SET_VRING_KICK without a descriptor).
const pollInterval = 1

// sleep blocks until the driver kicks, a call completes, or the worker is
// wanted elsewhere. It returns how many kicks there were.
func (q *queue) sleep(r *virtq.Ring) (kicks uint64, err error) {
	timeout := -1
	if r.Kick < 0 {
		timeout = pollInterval
	}
	return q.await(r.Kick, timeout)
}

// await blocks on the wake eventfd and, if it is not negative, on kick.
// timeout is in milliseconds, negative for none. It returns how often kick was
// signalled.
func (q *queue) await(kick, timeout int) (kicks uint64, err error) {
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
			return 0, fmt.Errorf("poll: %w", err)
		}
		break
	}
	if fds[0].Revents != 0 {
		oslib.EventfdRead(q.wake)
	}
	switch {
	case fds[1].Revents&unix.POLLIN != 0:
		return clearKick(kick)
	case fds[1].Revents != 0:
		return 0, fmt.Errorf("kick eventfd: poll says %#x", fds[1].Revents)
	}
	return 0, nil
}

// clearKick takes the count out of a kick eventfd. The front end shares the open
// file and may have read it first, or left it in blocking mode: the read must
// not wait, and a count that is gone was at least one.
func clearKick(fd int) (kicks uint64, err error) {
	var count [8]byte
	iov := [1]unix.Iovec{oslib.Iov(count[:])}
	_, errno := oslib.Preadv2(fd, iov[:], -1, unix.RWF_NOWAIT)
	switch errno {
	case 0:
		return binary.NativeEndian.Uint64(count[:]), nil
	case unix.EAGAIN:
		return 1, nil
	case unix.EOPNOTSUPP:
		kicks, _ = oslib.EventfdRead(fd)
		return kicks, nil
	}
	return 0, fmt.Errorf("kick eventfd: %w", errno)
}
