package vhostuser

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckKick(t *testing.T) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memfd, err := unix.MemfdCreate("no eventfd", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer closeAll([]int{event, epoll, memfd, pipe[0], pipe[1]})
	for _, tt := range []struct {
		name            string
		fd              int
		good, anonymous bool
	}{
		{"eventfd", event, true, true},
		{"epoll", epoll, false, true},
		{"memfd", memfd, false, false},
		{"pipe", pipe[0], false, false},
		{"not open", 12345, false, false},
	} {
		if err := checkKick(tt.fd); (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := checkAnonymous(tt.fd); (err == nil) != tt.anonymous {
			t.Errorf("%s without /proc: %v", tt.name, err)
		}
	}
}
