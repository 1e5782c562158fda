package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// message is one message from the front end. The payload is valid until the
// next is received.
type message struct {
	header
	payload []byte
	// fds came with the message. Whoever keeps one takes it out with takeFD;
	// the others are closed with the message.
	fds []int
}

// needReply says whether the front end waits for the outcome of a message that
// has no reply of its own. Some set the flag without having negotiated
// REPLY_ACK, and wait all the same.
func (m *message) needReply() bool { return m.flags&FlagNeedReply != 0 }

// takeFD hands the first descriptor over to the caller, −1 if there is none.
func (m *message) takeFD() int {
	if len(m.fds) == 0 {
		return -1
	}
	fd := m.fds[0]
	m.fds = slices.Delete(m.fds, 0, 1)
	return fd
}

// closeFDs closes the descriptors that nobody took.
func (m *message) closeFDs() {
	closeAll(m.fds)
	m.fds = m.fds[:0]
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// conn is the socket to a front end. It belongs to one goroutine.
type conn struct {
	sock *net.UnixConn
	hdr  [HeaderSize]byte
	buf  [MaxPayload]byte
	oob  [unixRightsSpace]byte
	out  []byte
}

// unixRightsSpace is room for the control message of MaxFDs descriptors
// (CMSG_SPACE): a header of 16 bytes and a multiple of 8.
const unixRightsSpace = 16 + (4*MaxFDs+7)/8*8

// interruptible makes reads and writes fail from the moment that ctx ends. The
// caller calls stop before it lets go of the connection.
func (c *conn) interruptible(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		// On a closed connection nothing is left to interrupt.
		_ = c.sock.SetDeadline(time.Unix(1, 0))
	})
}

// recv waits for the next message. At the end of the connection between two
// messages it returns io.EOF. The caller closes the descriptors of the message,
// also after an error.
func (c *conn) recv(m *message) error {
	m.header = header{}
	m.payload = nil
	if err := c.readFull(c.hdr[:], m); err != nil {
		return err
	}
	var err error
	if m.header, err = parseHeader(&c.hdr); err != nil {
		return err
	}
	m.payload = c.buf[:m.size]
	if err := c.readFull(m.payload, m); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: %w", m.request, err)
	}
	return nil
}

// readFull fills b and appends what descriptors come along to m. They belong to
// the first byte of a message; front ends that write a message in pieces are
// free to send them with a later one.
func (c *conn) readFull(b []byte, m *message) error {
	for n := 0; n < len(b); {
		k, oobn, flags, _, err := c.sock.ReadMsgUnix(b[n:], c.oob[:])
		if oobn > 0 {
			fds, perr := parseRights(c.oob[:oobn])
			m.fds = append(m.fds, fds...)
			if perr != nil {
				return perr
			}
		}
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return io.EOF
		case err != nil:
			return err
		case flags&unix.MSG_CTRUNC != 0 || len(m.fds) > MaxFDs:
			return fmt.Errorf("more than %d file descriptors came with one message", MaxFDs)
		}
		n += k
	}
	return nil
}

// parseRights returns the descriptors in the control messages of one recvmsg.
// Those of a truncated control message exist too.
func parseRights(oob []byte) (fds []int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	for i := range msgs {
		if h := msgs[i].Header; h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
			continue
		}
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return fds, fmt.Errorf("control message: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// reply answers a message with one sendmsg, which front ends rely on.
func (c *conn) reply(r Request, payload []byte) error {
	c.out = append(appendReply(c.out[:0], r, len(payload)), payload...)
	_, err := c.sock.Write(c.out)
	if err != nil {
		return fmt.Errorf("reply to %s: %w", r, err)
	}
	return nil
}

// hungUp says whether err is the front end's way to leave: closing the socket,
// maybe with replies unread or not yet written.
func hungUp(err error) bool {
	return err == io.EOF || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// interrupted says whether err comes from the deadline of interruptible.
func interrupted(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
