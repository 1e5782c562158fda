package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// shareSpec is what is shared and how.
type shareSpec struct {
	fs         passthrough.Config
	readOnly   bool
	xattrs     *rules.XattrMap // nil: names are the same on both sides
	uids, gids *rules.IDMap    // nil: ids are the same on both sides
	tag        string          // empty: the VMM knows it
	queues     int             // request queues
}

// share is a directory with the device that serves it.
type share struct {
	fs     *passthrough.FS
	device *virtiofs.Device
	log    *slog.Logger
}

// openFS opens what spec says and puts the rules around it. Whoever calls it closes
// base.
func openFS(spec *shareSpec) (base *passthrough.FS, ruled vfs.FileSystem, err error) {
	base, err = passthrough.New(spec.fs)
	if err != nil {
		return nil, nil, err
	}
	ruled = base
	if spec.xattrs != nil {
		ruled = rules.MapXattrs(ruled, spec.xattrs)
	}
	if spec.uids != nil || spec.gids != nil {
		ruled = rules.TranslateIDs(ruled, spec.uids, spec.gids)
	}
	if spec.readOnly {
		ruled = rules.ReadOnly(ruled)
	}
	return base, ruled, nil
}

// openShare makes the device that serves what spec says. The caller closes it.
func openShare(spec *shareSpec, log *slog.Logger) (*share, error) {
	fs, ruled, err := openFS(spec)
	if err != nil {
		return nil, err
	}
	server := fuse.NewServer(ruled, fuse.Options{Logger: log})
	device, err := virtiofs.New(server, virtiofs.Config{Tag: spec.tag, RequestQueues: spec.queues, Logger: log})
	if err != nil {
		fs.Close()
		return nil, err
	}
	return &share{fs: fs, device: device, log: log}, nil
}

func (s *share) close() {
	s.device.Close()
	s.fs.Close()
}

// takeover is how long a new front end waits for the one before it to be gone: a
// VM that is started again at once connects before its old socket is closed.
const takeover = 5 * time.Second

// serveListener serves one front end after the other until ctx ends or, with
// once, the first is gone.
func (s *share) serveListener(ctx context.Context, l *vhostuser.Listener, c *daemonConfig) error {
	busy := make(chan struct{}, 1)
	defer func() { busy <- struct{}{} }() // wait for the last one
	for {
		conn, err := l.Accept(ctx)
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if c.once {
			err := s.serveConn(ctx, conn, c)
			if err != nil && c.lenient {
				s.log.Error("the connection to the VM ended", "error", err)
				return nil
			}
			return err
		}
		select {
		case busy <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return nil
		case <-time.After(takeover):
			s.log.Error("a second VM was turned away: this daemon serves one at a time, start another for it")
			conn.Close()
			continue
		}
		go func() {
			if err := s.serveConn(ctx, conn, c); err != nil {
				s.log.Error("the connection to the VM ended", "error", err)
			}
			<-busy
		}()
	}
}

func (s *share) serveConn(ctx context.Context, conn *net.UnixConn, c *daemonConfig) error {
	defer conn.Close()
	s.log.Info(c.says.connected)
	err := vhostuser.ServeConn(ctx, conn, s.device, vhostuser.Options{Logger: s.log})
	if err == nil && ctx.Err() == nil {
		s.log.Info(c.says.disconnected)
	}
	return err
}
