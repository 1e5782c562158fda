package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/internal/audit"
	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/control"
	"github.com/isthmus-fs/isthmus/internal/metrics"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

// served is a share while it is served, with what its owner watches it by. It is the
// [control.Target].
type served struct {
	name  string // the tag or the mount point; may be empty
	pid   int    // of the process that the owner started
	share *compose.Share
	began time.Time
	log   *slog.Logger
	level *slog.LevelVar // nil if it cannot be changed
	// defaults are what the owner said for all mounts, those among them that are added;
	// byDescriptor that file handles cannot be used.
	defaults     *spec.Mount
	byDescriptor bool
	// handed says why a source that was handed over may not be opened, "" if nobody
	// knows.
	handed string

	fs        vfs.FileSystem // the share, watched if need be
	watch     *watch.FS      // nil if it is not
	audit     *audit.Log     // nil without
	auditFile *os.File
	stats     *fuse.Stats // nil if nothing is counted

	// statm is /proc/self/statm, which is out of reach later; nil if it is not there.
	statm *os.File
	// queues says what waits at the door.
	queues func() []control.Queue
	stop   context.CancelFunc
	ends   sync.WaitGroup
}

// observe puts around the share what f asks for.
func (s *served) observe(f *observeFlags, o *observed) {
	s.began = time.Now()
	s.fs = s.share.FS()
	if f.watching() {
		opt := watch.Options{CountBytes: f.control != ""}
		if o.audit != nil {
			s.audit, s.auditFile = audit.New(o.audit, audit.Options{Logger: s.log.With("audit", f.audit)}), o.audit
			o.audit = nil
			opt.Recorder = s.audit
		}
		s.watch = watch.New(s.fs, opt)
		s.fs = s.watch
	}
	if f.counting() {
		s.stats = fuse.NewStats()
	}
	s.statm, o.statm = o.statm, nil
}

// begin lets the owner ask.
func (s *served) begin(o *observed) error {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if o.control != nil {
		s.ends.Go(func() {
			if err := control.Serve(ctx, o.control, s, s.log); err != nil {
				s.log.Error("the control socket is served no more", "error", err)
			}
		})
	}
	if o.answers != nil {
		conn, err := unixConn(o.answers)
		o.answers = nil
		if err != nil {
			return err
		}
		s.ends.Go(func() {
			if err := control.ServeConn(ctx, conn, s, s.log); err != nil {
				s.log.Error("metrics are served no more", "error", err)
			}
		})
	}
	if o.metrics != nil {
		s.serveMetrics(ctx, o)
	}
	return nil
}

// serveMetrics serves metrics in this process.
func (s *served) serveMetrics(ctx context.Context, o *observed) {
	l := o.metrics
	o.metrics = nil
	s.ends.Go(func() { serveMetrics(ctx, l, s, s.log) })
}

// serveMetrics serves metrics of a source until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, source metrics.Source, log *slog.Logger) {
	log.Info("serving metrics", "address", l.Addr().String())
	if err := metrics.Serve(ctx, l, source, log); err != nil {
		log.Error("metrics are served no more", "error", err)
	}
}

// close ends what begin began, and closes the share. The door is closed before.
func (s *served) close() error {
	if s.stop != nil {
		s.stop()
		s.ends.Wait()
	}
	if s.statm != nil {
		s.statm.Close()
	}
	err := s.share.Close()
	if s.audit != nil {
		err = errors.Join(err, s.audit.Close(), s.auditFile.Close())
	}
	return err
}

// relayMetrics serves metrics for an inner process, which is asked over the connection that it
// was given. stop ends that.
func (c *daemonConfig) relayMetrics(o *observed) (stop func(), err error) {
	conn, err := unixConn(o.asks)
	o.asks = nil
	if err != nil {
		return nil, err
	}
	l := o.metrics
	o.metrics = nil
	ctx, cancel := context.WithCancel(context.Background())
	client := control.NewClient(conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serveMetrics(ctx, l, client, c.log)
	}()
	return func() {
		cancel()
		<-ended
		client.Close()
	}, nil
}

// unixConn makes a connection of a socket, which is closed.
func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("the connection for metrics: %w", err)
	}
	return conn.(*net.UnixConn), nil
}
