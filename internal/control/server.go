package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Target is the daemon that is controlled. Its methods are called from several
// goroutines at once. ctx ends with the server: what may take long should then return.
//
// An [Error] that a method returns is what the client gets; of any other error it gets
// the text.
type Target interface {
	Version(ctx context.Context) (Version, error)
	// Mounts are sorted by path.
	Mounts(ctx context.Context) ([]Mount, error)
	// Files returns at most limit open files, the ones that have been open longest.
	// limit is 1 to [MaxListed].
	Files(ctx context.Context, limit int) (Files, error)
	// Stats need not fill in quantiles.
	Stats(ctx context.Context) (*Stats, error)
	// Add mounts what spec says, which is a value of --share and has not been
	// checked. files are what the client has opened for it, at most [MaxFiles], as
	// [Client.Add] says. They are the Target's, which closes them in any case. That a
	// client has gone ends nothing.
	Add(ctx context.Context, spec string, files []*os.File) error
	// Remove takes the mount at a path of the guest away.
	Remove(ctx context.Context, path string) error
	// LogLevel is one of slog's four.
	LogLevel(ctx context.Context) (slog.Level, error)
	SetLogLevel(ctx context.Context, level slog.Level) error
}

// Listener is where clients connect, such as a *vhostuser.Listener.
type Listener interface {
	// Accept waits for the next connection. When ctx ends, it returns an error.
	Accept(ctx context.Context) (*net.UnixConn, error)
}

// MaxConns is how many connections Serve has at once. One more is told so and closed.
const MaxConns = 16

// How long the server waits for a client of Serve.
const (
	// idleTime is for the next request. It is longer than a client that asks again
	// and again should wait between.
	idleTime = 5 * time.Minute
	// lineTime is for the rest of a request that has begun, and for a client to read
	// its answer.
	lineTime = 10 * time.Second
	// shortage is the time to wait if there are no descriptors or no memory for another
	// connection.
	shortage = 100 * time.Millisecond
)

// Serve serves the clients that connect to l until ctx ends or l is closed, and returns nil
// then, when all requests under way are done. l stays the caller's. Connections end
// after five minutes without a request.
func Serve(ctx context.Context, l Listener, t Target, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	slots := make(chan struct{}, MaxConns)
	for {
		conn, err := l.Accept(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil
		case temporary(err):
			log.Warn("control: a client has to wait", "error", err)
			select {
			case <-time.After(shortage):
			case <-ctx.Done():
			}
			continue
		case err != nil:
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			refuse(conn)
			continue
		}
		conns.Go(func() {
			defer func() { <-slots }()
			if err := serveConn(ctx, conn, idleTime, t, log); err != nil {
				log.Warn("control: the connection to a client ended", "error", err)
			}
		})
	}
}

// temporary says whether accepting may work again later.
func temporary(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refuse says why to a client that is one too many. The line fits into the socket's
// empty buffer, so nobody waits.
func refuse(conn *net.UnixConn) {
	defer conn.Close()
	c := newServerConn(conn, nil, nil)
	_ = c.write(answer{Error: Errorf(CodeBusy, "%d clients are connected, which is as many as there can be: try again when one has gone", MaxConns)})
}

// ServeConn serves one connection, which it closes, until ctx ends or the client has
// gone, and returns nil then. It waits for the next request for as long as it takes.
func ServeConn(ctx context.Context, conn *net.UnixConn, t Target, log *slog.Logger) error {
	return serveConn(ctx, conn, 0, t, log)
}

func serveConn(ctx context.Context, conn *net.UnixConn, idle time.Duration, t Target, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer conn.Close()
	defer stop()
	c := newServerConn(conn, t, log)
	c.lines.idle, c.lines.partial = idle, lineTime
	defer c.lines.close()
	err := c.serve(ctx)
	var malformed *Error
	switch {
	case ctx.Err() != nil, err == io.EOF, errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		log.Debug("control: a client was silent for too long, or did not read its answer")
		return nil
	case errors.As(err, &malformed):
		log.Debug("control: a client sent what is no request", "error", err)
		// It may have gone.
		_ = c.write(answer{Error: malformed})
		return nil
	}
	return err
}

// serverConn is a connection of the server. It belongs to one goroutine.
type serverConn struct {
	conn   *net.UnixConn
	lines  *lines
	target Target
	log    *slog.Logger
	// patience is how long an answer may stay unread, and longest how many bytes it may
	// have.
	patience time.Duration
	longest  int
	out      []byte
}

func newServerConn(conn *net.UnixConn, t Target, log *slog.Logger) *serverConn {
	return &serverConn{conn: conn, lines: newServerLines(conn), target: t, log: log, patience: lineTime, longest: MaxAnswer}
}

// serve answers requests. An [Error] says that the client is out of step.
func (c *serverConn) serve(ctx context.Context) error {
	for {
		line, err := c.lines.next()
		if err != nil {
			return err
		}
		r, err := decodeRequest(line)
		if err != nil {
			return err
		}
		files, err := c.lines.takeFiles(r.Files)
		if err != nil {
			return err
		}
		c.lines.closeSurplus()
		if err := c.write(c.answer(ctx, &r, files)); err != nil {
			return err
		}
	}
}

// answer does what a request asks for. It takes the files over.
func (c *serverConn) answer(ctx context.Context, r *request, files []*os.File) answer {
	result, err := c.call(ctx, r, files)
	a := answer{ID: r.ID}
	if err == nil {
		a.Result, err = appendLine(nil, result)
	}
	if err != nil {
		a.Result, a.Error = nil, asError(err)
	}
	return a
}

// write sends an answer. A client that does not read it makes it fail.
func (c *serverConn) write(a answer) error {
	out, err := appendLine(c.out[:0], a)
	if err != nil {
		return err
	}
	if len(out) > c.longest {
		a = answer{ID: a.ID, Error: Errorf(CodeFailed, "the answer has more than %d bytes", c.longest)}
		return c.write(a)
	}
	if c.out = out; cap(out) > 4*readChunk {
		c.out = nil
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return err
	}
	_, err = c.conn.Write(out)
	return err
}
