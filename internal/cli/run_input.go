package cli

import (
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// guestInput is what a guest reads as its standard input. A read that waits for somebody
// to type ends when the guest does.
type guestInput struct {
	fd   int
	stop int // an eventfd
}

func newGuestInput(fd int) (*guestInput, error) {
	stop, errno := oslib.Eventfd(0, unix.EFD_NONBLOCK)
	if errno != 0 {
		return nil, fmt.Errorf("eventfd: %w", errno)
	}
	return &guestInput{fd: fd, stop: stop}, nil
}

// Read is read(2), or io.EOF after end.
func (in *guestInput) Read(p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(in.fd), Events: unix.POLLIN}, {Fd: int32(in.stop), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		case fds[1].Revents != 0:
			return 0, io.EOF
		}
		n, err := unix.Read(in.fd, p)
		switch {
		case err == syscall.EINTR, err == syscall.EAGAIN:
			continue // somebody else was faster, or shares the terminal
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// end ends all reads, those to come too.
func (in *guestInput) end() { oslib.EventfdWrite(in.stop, 1) }

func (in *guestInput) close() { unix.Close(in.stop) }
