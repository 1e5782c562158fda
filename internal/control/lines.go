package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// readChunk is how much is read at once.
const readChunk = 16 << 10

// lines reads a connection line by line, with the descriptors that come along. It
// belongs to one goroutine. The owner calls close at the end, which closes descriptors
// that nobody took, but not the connection.
type lines struct {
	conn *net.UnixConn
	max  int // of a line, with its newline
	// idle bounds the wait for the first byte of a line, and partial that for the next ones;
	// 0 is no bound.
	idle, partial time.Duration
	oob           []byte // room for the control message; none where no descriptors are wanted

	buf     []byte // received
	from    int    // up to here it has been taken
	scanned int    // and up to here there is no newline
	files   []int  // received and not taken yet
}

func newServerLines(conn *net.UnixConn) *lines {
	return &lines{conn: conn, max: MaxRequest, oob: make([]byte, unix.CmsgSpace(4*MaxFiles))}
}

func (l *lines) close() {
	closeAll(l.files)
	l.files = nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// next returns the next line without its newline, valid until the next call. At the
// end of the connection between two lines it is [io.EOF]. What the peer did wrong is an
// [Error].
func (l *lines) next() ([]byte, error) {
	l.compact()
	for {
		if i := bytes.IndexByte(l.buf[l.scanned:], '\n'); i >= 0 {
			end := l.scanned + i
			line := l.buf[l.from:end]
			l.from, l.scanned = end+1, end+1
			return line, nil
		}
		l.scanned = len(l.buf)
		if len(l.buf) >= l.max {
			return nil, Errorf(CodeMalformed, "a line has more than %d bytes", l.max)
		}
		if err := l.fill(); err != nil {
			if err == io.EOF && len(l.buf) > 0 {
				return nil, Errorf(CodeMalformed, "the last line has no newline")
			}
			return nil, err
		}
	}
}

// compact moves what has not been taken to the start, and lets go of the room that a
// long line took.
func (l *lines) compact() {
	if l.from == len(l.buf) && cap(l.buf) > 4*readChunk {
		l.buf = nil
	} else {
		l.buf = l.buf[:copy(l.buf, l.buf[l.from:])]
	}
	l.from, l.scanned = 0, 0
}

// fill receives what has come.
func (l *lines) fill() error {
	have := len(l.buf)
	if err := l.setDeadline(); err != nil {
		return err
	}
	room := min(readChunk, l.max-have)
	l.buf = slices.Grow(l.buf, room)[:have+room]
	n, oobn, flags, _, err := l.conn.ReadMsgUnix(l.buf[have:], l.oob)
	l.buf = l.buf[:have+max(n, 0)]
	if oobn > 0 {
		fds, perr := parseRights(l.oob[:oobn])
		l.files = append(l.files, fds...)
		if perr != nil {
			return Errorf(CodeMalformed, "%v", perr)
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded) && have > 0:
		return Errorf(CodeMalformed, "a line stopped for %v before its end", l.partial)
	case err != nil:
		return err
	case flags&unix.MSG_CTRUNC != 0 && l.oob != nil, len(l.files) > MaxFiles:
		return Errorf(CodeMalformed, "descriptors were lost: a request may bring %d, and there must be room for them in the daemon's limit of open files", MaxFiles)
	}
	return nil
}

// setDeadline bounds the next wait. Without bounds it leaves deadlines alone, which others
// may set.
func (l *lines) setDeadline() error {
	if l.idle == 0 && l.partial == 0 {
		return nil
	}
	wait := l.idle
	if len(l.buf) > 0 {
		wait = l.partial
	}
	if wait == 0 {
		return l.conn.SetReadDeadline(time.Time{})
	}
	return l.conn.SetReadDeadline(time.Now().Add(wait))
}

// takeFiles returns the n descriptors that belong to the line before. The caller closes
// them.
func (l *lines) takeFiles(n int) ([]*os.File, error) {
	if n > len(l.files) {
		return nil, Errorf(CodeMalformed, "files is %d, and %d descriptors came with the request", n, len(l.files))
	}
	var files []*os.File
	for _, fd := range l.files[:n] {
		files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)))
	}
	l.files = append(l.files[:0], l.files[n:]...)
	return files, nil
}

// closeSurplus closes the descriptors that no request announced: those that are left
// when nothing has come behind the last line.
func (l *lines) closeSurplus() {
	if l.from == len(l.buf) {
		closeAll(l.files)
		l.files = l.files[:0]
	}
}

// parseRights returns the descriptors in the control messages of one recvmsg. Those of
// a truncated control message exist too.
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
