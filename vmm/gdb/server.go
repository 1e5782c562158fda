package gdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/isthmus-fs/isthmus/vmm"
)

// ErrKilled is the Err of a machine's Outcome that the debugger has killed.
var ErrKilled = errors.New("killed by the debugger")

// What ends a session.
var (
	errDetached = errors.New("the debugger has detached")
	errOver     = errors.New("the machine has ended")
)

// lostError is the end of a connection.
type lostError struct{ err error }

func (e lostError) Error() string { return "connection with the debugger: " + e.err.Error() }
func (e lostError) Unwrap() error { return e.err }

// lingerTime is how long the peer has to take what it was sent last.
const lingerTime = 2 * time.Second

// session is a debugger at work.
type session struct {
	t      Target
	ctx    context.Context
	link   link
	events <-chan event

	swbreak, hwbreak bool // the peer knows these reasons to stop

	// general and control are the processors that H packets have chosen, for registers
	// and memory and for going on; control may be allThreads or anyThread.
	general, control int
	// current is the processor that the last stop was reported of, with signal and reason.
	current int
	signal  byte
	reason  string

	soft    softBreakpoints
	hard    debugRegs
	pending []vmm.Stop // accesses to watched data that are still to be reported
	told    []*uint64  // where a processor was reported at a breakpoint, if it was
	inject  []uint32   // exceptions for the guest when a processor goes on
	stepped bool       // a step has been made
}

// Serve has the debugger at the other end of a connection work with a machine, until one of
// them ends or the debugger detaches, and closes the connection. The machine is
// paused first. Afterwards it has ended or runs on without breakpoints.
//
// A debugger that leaves is no error, with a detach or without. The error is of ctx, of
// the connection, of a peer that does not keep to the protocol, or of KVM.
func Serve(ctx context.Context, conn net.Conn, t Target) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if !t.Pause() {
		return nil
	}
	events, done := make(chan event), make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { receive(conn, events, done) })
	defer func() {
		close(done)
		conn.Close()
		reader.Wait()
	}()
	s := newSession(ctx, conn, events, t)
	err := s.serve()
	released := s.release()
	if err == errOver {
		s.linger()
	}
	if err := errors.Join(conclude(ctx, err), released); err != nil {
		return fmt.Errorf("gdb server: %w", err)
	}
	return nil
}

// conclude makes of what has ended a session what Serve's caller is to know.
func conclude(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errDetached), errors.Is(err, errOver), errors.Is(err, ErrKilled),
		errors.Is(err, vmm.ErrEnded), errors.Is(err, io.EOF):
		return nil
	}
	return err
}

func newSession(ctx context.Context, conn net.Conn, events <-chan event, t Target) *session {
	return &session{
		t:       t,
		ctx:     ctx,
		link:    link{conn: conn},
		events:  events,
		control: anyThread,
		signal:  sigTrap,
		soft:    newSoftBreakpoints(),
		told:    make([]*uint64, t.CPUs()),
		inject:  make([]uint32, t.CPUs()),
	}
}

// receive passes on what the peer sends, until it sends nothing more or done is closed.
func receive(conn net.Conn, events chan<- event, done <-chan struct{}) {
	d := newDecoder(conn)
	for {
		e := d.next()
		select {
		case events <- e:
		case <-done:
			return
		}
		if e.kind == eventLost {
			return
		}
	}
}

// serve answers packets until the session is over, which the error tells.
func (s *session) serve() error {
	for {
		select {
		case e := <-s.events:
			if err := s.take(e); err != nil {
				return err
			}
		case <-s.t.Ended(): // by someone else, as it was paused
			return errOver
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// take answers what the peer has sent while the machine was paused.
func (s *session) take(e event) error {
	switch e.kind {
	case eventLost:
		return lostError{e.err}
	case eventNack:
		return s.link.sendAgain()
	case eventDamaged:
		return s.link.acknowledge(false)
	case eventInterrupt: // it is stopped
		return nil
	}
	if err := s.link.acknowledge(true); err != nil {
		return err
	}
	reply, err := s.dispatch(e.data)
	if err != nil && reply == "" {
		return err
	}
	if sendErr := s.link.send(reply); sendErr != nil {
		return sendErr
	}
	return err
}

// linger lets the peer have the last reply, which a connection that is closed
// with something unread in it may lose.
func (s *session) linger() {
	timeout := time.NewTimer(lingerTime)
	defer timeout.Stop()
	for {
		select {
		case e := <-s.events:
			if e.kind == eventLost {
				return
			}
		case <-timeout.C:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// Listener waits for debuggers.
type Listener struct {
	l net.Listener
}

// Listen listens on a TCP port of the loopback address, 127.0.0.1. Port 0 is any that is
// free; see [Listener.Addr].
func Listen(port uint16) (*Listener, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("gdb server: %w", err)
	}
	return &Listener{l}, nil
}

// Addr is where a debugger connects to.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Close stops listening. A session that is under way goes on.
func (l *Listener) Close() error { return l.l.Close() }

// Serve serves one debugger after the other until the machine has ended, and closes the
// listener. Who connects while there is one already is turned away. failed, if not nil, is
// told of sessions that have ended with an error. Serve's own error is that of ctx or
// of the listener.
func (l *Listener) Serve(ctx context.Context, t Target, failed func(error)) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	over := make(chan struct{})
	defer close(over)
	sessions.Go(func() {
		select {
		case <-t.Ended():
		case <-ctx.Done():
		case <-over:
		}
		l.l.Close()
	})
	free := make(chan struct{}, 1)
	free <- struct{}{}
	for {
		conn, err := l.l.Accept()
		if err != nil {
			select {
			case <-t.Ended():
				return nil
			default:
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("gdb server: %w", err)
		}
		select {
		case <-free:
		default:
			conn.Close()
			continue
		}
		sessions.Go(func() {
			if err := Serve(ctx, conn, t); err != nil && failed != nil {
				failed(err)
			}
			free <- struct{}{}
		})
	}
}
