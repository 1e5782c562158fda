package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Client asks a daemon. Its methods may be called from several goroutines; they wait
// for each other, and end when their context does. An answer that comes too late is
// dropped. A call that cannot be sent ends the connection, and all later ones fail.
//
// What the daemon answers with an error is an [Error].
type Client struct {
	turn  chan struct{} // held by the call under way
	conn  *net.UnixConn
	lines *lines
	id    uint64 // of the last request
	late  int    // answers that nobody waits for any more
	err   error  // of the connection; all calls fail with it
}

// maxSocketPath is the longest path in a sockaddr_un, without its NUL.
const maxSocketPath = 107

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (*Client, error) {
	addr := path
	if len(path) > maxSocketPath {
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", path, err)
		}
		defer unix.Close(dir)
		addr = fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	} else if path != "" && path[0] == '@' {
		addr = "./" + path // not an abstract socket
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return NewClient(conn.(*net.UnixConn)), nil
}

// NewClient makes a client of a connection, which is the client's then.
func NewClient(conn *net.UnixConn) *Client {
	return &Client{turn: make(chan struct{}, 1), conn: conn, lines: &lines{conn: conn, max: MaxAnswer}}
}

// Close ends the connection. A call under way fails.
func (c *Client) Close() error { return c.conn.Close() }

// Version asks what the daemon is.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.call(ctx, "version", nil, nil, &v)
	return v, err
}

// Mounts asks what is mounted.
func (c *Client) Mounts(ctx context.Context) ([]Mount, error) {
	var r struct {
		Mounts []Mount `json:"mounts"`
	}
	err := c.call(ctx, "mounts", nil, nil, &r)
	return r.Mounts, err
}

// Files asks for at most limit open files, up to [MaxListed]; 0 is [DefaultFiles].
func (c *Client) Files(ctx context.Context, limit int) (f Files, err error) {
	err = c.call(ctx, "files", filesParams{limit}, nil, &f)
	return f, err
}

// Stats asks for the counters.
func (c *Client) Stats(ctx context.Context) (*Stats, error) {
	s := new(Stats)
	if err := c.call(ctx, "stats", nil, nil, s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("stats: %w", err)
	}
	return s, nil
}

// Add mounts what spec says, in either form of --share. files are what the daemon needs
// and may not be able to open: the source, with O_PATH if it is a directory or a file, for
// reading if it is an archive; then for backing=disk an empty file without a name, for
// reading and writing; then for unlink=delete the directory that the file is in, with
// O_PATH. They stay the caller's. The mount is there when Add returns.
func (c *Client) Add(ctx context.Context, spec string, files []*os.File) error {
	return c.call(ctx, "add", addParams{Text(spec)}, files, &empty{})
}

// Remove takes the mount at a path of the guest away.
func (c *Client) Remove(ctx context.Context, path string) error {
	return c.call(ctx, "remove", removeParams{Text(path)}, nil, &empty{})
}

// LogLevel asks what is logged: one of [Levels].
func (c *Client) LogLevel(ctx context.Context) (string, error) {
	var l logLevel
	err := c.call(ctx, "log-level", nil, nil, &l)
	return l.Level, err
}

// SetLogLevel changes what is logged, to one of [Levels].
func (c *Client) SetLogLevel(ctx context.Context, level string) error {
	return c.call(ctx, "log-level", logLevel{level}, nil, &logLevel{})
}

// call makes a request and reads its answer into result.
func (c *Client) call(ctx context.Context, method string, params any, files []*os.File, result any) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
	defer func() { <-c.turn }()
	if c.err != nil {
		return fmt.Errorf("%s: %w", method, c.err)
	}
	line, err := c.request(method, params, len(files))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	raw, err := c.exchange(ctx, line, files)
	if err != nil {
		var refused *Error
		if errors.As(err, &refused) && c.err == nil {
			return err
		}
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("%s: what the daemon answers cannot be read: %w", method, plainly(err))
	}
	return nil
}

// request makes a line.
func (c *Client) request(method string, params any, files int) ([]byte, error) {
	r := request{ID: c.id + 1, Method: method, Files: files}
	var err error
	if params != nil {
		if r.Params, err = appendLine(nil, params); err != nil {
			return nil, err
		}
	}
	line, err := appendLine(nil, r)
	switch {
	case err != nil:
		return nil, err
	case len(line) > MaxRequest:
		return nil, fmt.Errorf("the request has more than %d bytes", MaxRequest)
	case files > MaxFiles:
		return nil, fmt.Errorf("the request brings more than %d descriptors", MaxFiles)
	}
	c.id = r.ID
	return line, nil
}

// exchange sends a line and returns the result. An error that leaves the connection out
// of step is kept.
func (c *Client) exchange(ctx context.Context, line []byte, files []*os.File) (json.RawMessage, error) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		// On a closed connection nothing is left to interrupt.
		_ = c.conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	raw, inStep, err := c.roundTrip(line, files)
	if !stop() {
		<-interrupted
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = context.Cause(ctx)
		}
		inStep = c.conn.SetDeadline(time.Time{}) == nil && inStep
	}
	if !inStep {
		c.err = errors.New("the connection has ended")
		c.conn.Close()
	}
	return raw, err
}

// roundTrip is exchange without an end but that of the deadline.
func (c *Client) roundTrip(line []byte, files []*os.File) (raw json.RawMessage, inStep bool, err error) {
	// After a failed write there may still be an answer that says why.
	sent, werr := c.send(line, files)
	if sent == 0 && errors.Is(werr, os.ErrDeadlineExceeded) {
		return nil, true, werr
	}
	for {
		got, err := c.lines.next()
		switch {
		case werr != nil && err != nil:
			return nil, false, ended(werr)
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.late++
			return nil, true, err
		case err != nil:
			return nil, false, ended(err)
		}
		var a answer
		if err := json.Unmarshal(got, &a); err != nil {
			return nil, false, fmt.Errorf("this is no daemon of isthmus: %w", plainly(err))
		}
		switch {
		case a.Error != nil && a.ID == 0:
			return nil, false, a.Error
		case a.ID == c.id && a.Error != nil:
			return nil, true, a.Error
		case a.ID == c.id:
			return a.Result, true, nil
		case c.late == 0:
			return nil, false, fmt.Errorf("the daemon answers request %d, and this was %d", a.ID, c.id)
		}
		c.late--
	}
}

// ErrEnded says that the daemon has closed the connection.
var ErrEnded = errors.New("the daemon has ended the connection")

// ended says it in plain words.
func ended(err error) error {
	if err == io.EOF || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return ErrEnded
	}
	return err
}

// send writes a line, the files with its first bytes, and says how many bytes it has sent.
func (c *Client) send(line []byte, files []*os.File) (n int, err error) {
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		if n, _, err = c.conn.WriteMsgUnix(line, unix.UnixRights(fds...), nil); err != nil {
			return n, err
		}
	}
	more, err := c.conn.Write(line[n:])
	return n + more, err
}
