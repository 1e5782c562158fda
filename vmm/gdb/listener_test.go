package gdb

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/isthmus-fs/isthmus/vmm"
)

func dial(t *testing.T, l *Listener) *client {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func listen(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if addr := l.Addr().(*net.TCPAddr); !addr.IP.IsLoopback() || addr.Port == 0 {
		t.Fatalf("it listens at %v", addr)
	}
	return l
}

func TestListener(t *testing.T) {
	m := newFake(1, program)
	l := listen(t)
	served, failures := make(chan error, 1), make(chan error, 1)
	go func() { served <- l.Serve(t.Context(), m, func(err error) { failures <- err }) }()
	c := dial(t, l)
	c.want("qC", "QC1")
	other := dial(t, l)
	if _, err := other.r.ReadByte(); err == nil {
		t.Error("a second debugger is welcome")
	}
	c.want("qC", "QC1") // and the first goes on
	c.raw("GET")
	if err := <-failures; !errors.Is(err, errStray) {
		t.Error(err)
	}
	// The next session can begin as soon as the first is over.
	for {
		c = dial(t, l)
		if _, err := c.conn.Write(appendPacket(nil, "qC")); err != nil {
			continue
		}
		if b, err := c.r.ReadByte(); err == nil && b == '+' {
			break
		}
	}
	if got := c.receive(); got != "QC1" {
		t.Error(got)
	}
	c.send("vCont;c")
	m.End(vmm.Outcome{Reason: vmm.Exited, Code: 0x103})
	if got := c.receive(); got != "W03" {
		t.Error(got)
	}
	c.conn.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it listens on")
	}
}

func TestListenerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := listen(t).Serve(ctx, newFake(1, program), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	l := listen(t)
	l.Close()
	if err := l.Serve(t.Context(), newFake(1, program), nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	l = listen(t)
	if _, err := Listen(uint16(l.Addr().(*net.TCPAddr).Port)); err == nil || !strings.HasPrefix(err.Error(), "gdb server: ") {
		t.Errorf("the same port twice: %v", err)
	}
}
