package virtq

import (
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/oslib"
)

// Ring is a started queue as a transport hands it to a device: the device's from
// Start until its Stop returns. The transport owns what it refers to, and keeps
// all of it valid for that time. A device that holds on to requests beyond that
// retains Mem for each.
type Ring struct {
	Queue *Queue
	Mem   *guestmem.View // what descriptors are translated with
	// Kick is readable when the driver has made chains available; −1: the
	// driver does not kick, the device polls.
	Kick int
	// Call interrupts the driver; −1: the driver polls.
	Call int
	// Err tells the driver that the queue is broken; −1: nobody wants to
	// know.
	Err int
	// Signals, if it is not nil, takes the place of Call and Err: that of a
	// transport in the device's own process, which has more to do for an
	// interrupt than to signal a descriptor.
	Signals Signals

	callMode int8 // what fillsUp has said of Call: 0 nothing yet, 1 yes, −1 no
}

// Signals is how a device reaches the driver without a descriptor. Both methods
// are called from the threads of the device, and wait for nothing that waits for
// the device.
type Signals interface {
	Interrupt() // as [Ring.Call]
	Fail()      // as [Ring.Err]
}

// Interrupt signals Call. It does not wait for the front end to take earlier
// signals: the one that is pending will do. Call may also be a pipe, as with
// User-Mode Linux.
func (r *Ring) Interrupt() {
	if r.Signals != nil {
		r.Signals.Interrupt()
		return
	}
	if r.Call < 0 {
		return
	}
	if r.callMode == 0 {
		r.callMode = -1
		if fillsUp(r.Call) {
			r.callMode = 1
		}
	}
	if r.callMode < 0 || hasRoom(r.Call) {
		// Errors mean that a signal is pending, or that nobody listens.
		oslib.EventfdWrite(r.Call, 1)
	}
}

// Fail signals Err, as Interrupt does Call.
func (r *Ring) Fail() {
	if r.Signals != nil {
		r.Signals.Fail()
		return
	}
	if r.Err >= 0 && hasRoom(r.Err) {
		oslib.EventfdWrite(r.Err, 1)
	}
}

// fillsUp says whether a write to fd blocks when its reader does not keep up.
// The other side decides that, as it shares the open file.
func fillsUp(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err != nil || flags&unix.O_NONBLOCK == 0
}

// hasRoom says whether a signal can be written without blocking.
func hasRoom(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n == 1 && p[0].Revents == unix.POLLOUT
}

// Unblock frees a worker that hangs in Interrupt: the front end has made Call
// blocking after it was looked at, and filled it up. It takes the signals that
// are pending, so it is only for a ring that is being stopped. It may be called
// while the ring's device runs.
func (r *Ring) Unblock() {
	if r.Call < 0 {
		return
	}
	p := [1]unix.PollFd{{Fd: int32(r.Call), Events: unix.POLLIN}}
	if n, err := unix.Poll(p[:], 0); err == nil && n == 1 && p[0].Revents&unix.POLLIN != 0 {
		oslib.EventfdRead(r.Call)
	}
}
