package virtq_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
)

func TestRingSignals(t *testing.T) {
	for _, flags := range []int{0, unix.EFD_NONBLOCK} {
		call, err := unix.Eventfd(0, flags|unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(call)
		fail, err := unix.Eventfd(0, flags|unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fail)
		r := virtq.Ring{Kick: -1, Call: call, Err: fail}
		r.Interrupt()
		r.Interrupt()
		r.Fail()
		if n, _ := oslib.EventfdRead(call); n != 2 {
			t.Errorf("call: %d", n)
		}
		if n, _ := oslib.EventfdRead(fail); n != 1 {
			t.Errorf("err: %d", n)
		}
		// A front end that does not read does not hold us up.
		for _, fd := range []int{call, fail} {
			if errno := oslib.EventfdWrite(fd, 1<<64-2); errno != 0 {
				t.Fatal(errno)
			}
		}
		r.Interrupt()
		r.Fail()
		if n, _ := oslib.EventfdRead(call); n != 1<<64-2 {
			t.Errorf("full call: %d", n)
		}
	}
	nobody := virtq.Ring{Kick: -1, Call: -1, Err: -1}
	nobody.Interrupt()
	nobody.Fail()
}

// User-Mode Linux takes its interrupts from a pipe.
func TestInterruptIntoPipe(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	size, err := unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	r := virtq.Ring{Kick: -1, Call: p[1], Err: -1}
	for range size {
		r.Interrupt()
	}
	buf := make([]byte, 2*size)
	n, err := unix.Read(p[0], buf)
	if err != nil || n == 0 || n > size || n%8 != 0 {
		t.Errorf("%d bytes in a pipe of %d: %v", n, size, err)
	}
	unix.Close(p[1])
}
