package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/control"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/vhostuser"
	"github.com/isthmus-fs/isthmus/virtiofs"
)

// shareSpec is what is shared and how.
type shareSpec struct {
	mounts  []compose.Mount
	tempDir string // for private data on a disk
	tag     string // empty: the VMM knows it
	queues  int    // request queues
	// all is what was said for all mounts, also those that are added later.
	all *spec.Mount
}

// usesHandles tells whether files of the host are held by handles.
func (s *shareSpec) usesHandles() bool {
	return slices.ContainsFunc(s.mounts, func(m compose.Mount) bool {
		_, host := m.HostSource()
		return host && m.Host.FileHandles != passthrough.HandlesNever
	})
}

// inMemory tells whether files of a mount are kept in memory.
func (s *shareSpec) inMemory() bool {
	return slices.ContainsFunc(s.mounts, func(m compose.Mount) bool { return m.InMemory() })
}

// isOneDirectory tells whether all that is shared is one directory of the host, which can
// be a root directory.
func (s *shareSpec) isOneDirectory() bool {
	hosts := 0
	for i := range s.mounts {
		if _, ok := s.mounts[i].HostSource(); ok {
			if s.mounts[i].IsFile() {
				return false
			}
			hosts++
		}
	}
	return hosts == 1
}

// String is how a log calls the share: by its sources.
func (s *shareSpec) String() string {
	names := make([]string, len(s.mounts))
	for i := range s.mounts {
		m := &s.mounts[i]
		names[i] = m.Source
		if m.Type == spec.Scratch {
			names[i] = m.Type.String()
		}
	}
	return strings.Join(names, ",")
}

// share is a tree of files with the device that serves it.
type share struct {
	served *served
	device *virtiofs.Device
	log    *slog.Logger
}

// openShare makes the device that serves what c says. The caller closes it.
func (c *daemonConfig) openShare(ctx context.Context, h *held, procSelfFD *os.File) (*share, error) {
	files, err := compose.Open(ctx, c.share.mounts, h.mounts, compose.Options{
		Changing:   c.observe.changing(),
		ProcSelfFD: procSelfFD,
		Progress:   progress(c.log),
		Logger:     c.log,
	})
	if err != nil {
		return nil, err
	}
	s := &served{
		name:         c.share.tag,
		pid:          c.pid,
		share:        files,
		log:          c.log,
		level:        c.level,
		defaults:     c.share.all,
		byDescriptor: c.byDescriptor,
	}
	if c.sandbox.PathRules() {
		s.handed = "Landlock closes the daemon in; start it with --allow-source DIR for what is below DIR, or with --landlock=false"
		if len(c.observe.later) != 0 {
			s.handed = "Landlock closes the daemon in; it takes what is below its --allow-source DIR, from root with 'isthmus ctl add --within DIR'"
		}
	}
	s.observe(&c.observe, &h.observe)
	server := fuse.NewServer(s.fs, fuse.Options{Logger: c.log, Stats: s.stats})
	device, err := virtiofs.New(server, virtiofs.Config{Tag: c.share.tag, RequestQueues: c.share.queues, Logger: c.log})
	if err == nil {
		s.queues = deviceQueues(device)
		err = s.begin(&h.observe)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return &share{served: s, device: device, log: c.log}, nil
}

func (s *share) close() {
	s.device.Close()
	if err := s.served.close(); err != nil {
		s.log.Error("close the share", "error", err)
	}
}

// deviceQueues says how much waits in the queues of a device.
func deviceQueues(d *virtiofs.Device) func() []control.Queue {
	return func() []control.Queue {
		states := d.Queues()
		list := make([]control.Queue, len(states))
		for i, q := range states {
			list[i] = control.Queue{Name: "hiprio", Depth: uint64(q.Backlog), Served: q.Requests}
			if i > 0 {
				list[i].Name = fmt.Sprintf("request-%d", i-1)
			}
		}
		return list
	}
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
