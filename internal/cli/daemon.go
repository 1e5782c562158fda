package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

// daemonConfig is all that a daemon is told, whichever command line said it.
type daemonConfig struct {
	share   shareSpec
	listen  listenSpec
	observe observeFlags
	// modes are the ways to close the daemon in, the first that this host
	// allows being taken. sandbox says the rest; what follows from share is
	// filled in.
	modes   []sandbox.Mode
	sandbox sandbox.Config
	// freeHandles says that nobody has asked for file handles or against them. They are
	// then used in namespaces only: elsewhere they would open any file of the host.
	freeHandles bool
	// byDescriptor is what came of that.
	byDescriptor bool
	pid          int // of the process that was started
	// ownIDsOnly is why an ordinary user has no other ids to give to the guest.
	ownIDsOnly error
	nofile     fileLimit
	once       bool // end when the first VM has gone
	// lenient ends a daemon with once successfully also when the connection
	// ended with an error, which is only logged.
	lenient bool
	says    phrases
	log     *slog.Logger
	level   *slog.LevelVar // of log; nil if it cannot be changed
}

// listenSpec says where front ends connect: a path, or an inherited socket.
type listenSpec struct {
	path    string
	options vhostuser.ListenOptions
	fd      int // if path is empty
}

// phrases are the log lines that others wait for.
type phrases struct{ waiting, connected, disconnected string }

func (l *listenSpec) open() (*vhostuser.Listener, error) {
	if l.path == "" {
		return vhostuser.FromFD(l.fd)
	}
	return vhostuser.Listen(l.path, l.options)
}

// String is how a log calls it.
func (l *listenSpec) String() string {
	if l.path != "" {
		return l.path
	}
	return fmt.Sprintf("fd %d", l.fd)
}

// runDaemon serves the share until ctx ends or, with once, the first VM has
// gone. In namespaces it runs twice: in the process that was started, which
// listens and then only waits, and in the closed-in one, which serves.
func runDaemon(ctx context.Context, c *daemonConfig) error {
	outliveReader()
	for i := range c.share.mounts {
		if path, ok := c.share.mounts[i].HostSource(); ok {
			c.sandbox.Shares = append(c.sandbox.Shares, sandbox.Share{Path: path, ReadOnly: c.share.mounts[i].KeepsHost()})
		}
	}
	c.sandbox.FileHandles = c.share.usesHandles()
	c.pid = os.Getpid()
	c.sandbox.Logger = c.log
	c.sandbox.MemoryFiles = c.observe.changing() || c.share.inMemory()
	if c.freeHandles && !handlesWork(&c.sandbox) {
		c.holdByDescriptor()
	}
	inner, err := sandbox.Inherited()
	if err != nil {
		return err
	}
	if inner != nil {
		return c.serveInner(ctx, inner)
	}
	if err := raiseFileLimit(c.nofile, c.log); err != nil {
		return err
	}
	h, err := c.hold()
	if err != nil {
		return err
	}
	defer h.close()
	for i, mode := range c.modes {
		c.sandbox.Mode = mode
		err = c.closeIn(ctx, h)
		if i == len(c.modes)-1 || !errors.Is(err, sandbox.ErrNotPermitted) {
			return err
		}
		c.log.Warn("this host does not allow one way of closing the daemon in; trying the next", "error", err)
	}
	return err
}

// closeIn serves what connects, closed in by one mode. ErrNotPermitted
// says that nothing has happened yet.
func (c *daemonConfig) closeIn(ctx context.Context, h *held) error {
	if c.sandbox.Mode == sandbox.ModeNamespace {
		return c.superviseInner(ctx, h)
	}
	c.sandbox.TCPServer = c.observe.metrics != ""
	if c.freeHandles {
		c.holdByDescriptor()
	}
	for _, l := range []*vhostuser.Listener{h.socket, h.observe.control} {
		if l != nil && l.Dir() != nil {
			c.sandbox.Removals = append(c.sandbox.Removals, l.Dir())
		}
	}
	// In another root directory the socket of the service manager is out of reach, and ours
	// takes connections already.
	c.notifyReady()
	return c.serve(ctx, h, func() error { return nil })
}

// holdByDescriptor goes without file handles.
func (c *daemonConfig) holdByDescriptor() {
	for i := range c.share.mounts {
		c.share.mounts[i].Host.FileHandles = passthrough.HandlesNever
	}
	c.sandbox.FileHandles, c.byDescriptor = false, true
	c.sandbox.Keep &^= 1 << unix.CAP_DAC_READ_SEARCH
}

// initialUserNamespace is what /proc/self/ns/user is called outside of all user namespaces
// (PROC_USER_INIT_INO of linux/proc_ns.h).
const initialUserNamespace = "user:[4026531837]"

// handlesWork tells whether the process that serves may open files by handle: it must
// not be in a user namespace, which one that lacks CAP_SYS_ADMIN will be.
func handlesWork(c *sandbox.Config) bool {
	ns, err := os.Readlink("/proc/self/ns/user")
	if err != nil || ns != initialUserNamespace || c.UIDMap != nil || c.GIDMap != nil {
		return false
	}
	have, err := effectiveCapabilities(readTrimmed("/proc/self/status"))
	return err == nil && have&(1<<unix.CAP_SYS_ADMIN) != 0
}

// stopPatience is how long requests that are under way may take at the end, which a
// slow disk or a network may need.
const stopPatience = 30 * time.Second

// superviseInner starts the process that serves and waits for it.
func (c *daemonConfig) superviseInner(ctx context.Context, h *held) error {
	files, duplicates, err := h.files(c)
	var p *sandbox.Process
	if err == nil {
		p, err = sandbox.Start(&c.sandbox, files...)
	}
	for _, f := range duplicates {
		f.Close()
	}
	if err != nil {
		return err
	}
	if h.observe.metrics != nil {
		stop, err := c.relayMetrics(&h.observe)
		if err != nil {
			return err
		}
		defer stop()
	}
	if c.ownIDsOnly != nil {
		c.log.Info("only your own user and group id exist in the guest's files", "reason", c.ownIDsOnly)
	}
	type end struct {
		status int
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := p.Wait()
		ended <- end{status, err}
	}()
	ready, stop := p.Ready(), ctx.Done()
	var stuck <-chan time.Time
	for {
		select {
		case <-ready:
			ready = nil
			c.notifyReady()
		case <-stop:
			stop = nil
			if err := p.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("stop the daemon's inner process: %w", err)
			}
			stuck = time.After(stopPatience)
		case <-stuck:
			c.log.Error("the inner process does not end; killing it", "waited", stopPatience)
			p.Signal(unix.SIGKILL)
		case e := <-ended:
			if e.err == nil && e.status != 0 {
				e.err = fmt.Errorf("the inner process ended with status %d", e.status)
			}
			if e.err != nil {
				// What went wrong it has said itself, unless it was killed.
				return &failure{err: e.err, code: max(e.status, exitFailure), quiet: e.status > 0 && e.status < 128}
			}
			return nil
		}
	}
}

// serveInner is the part of runDaemon in the closed-in process.
func (c *daemonConfig) serveInner(ctx context.Context, inner *sandbox.Inner) error {
	h, err := takeFiles(c, inner.Files)
	if err != nil {
		return err
	}
	c.pid = outerPID()
	defer h.close()
	c.sandbox.Mode = sandbox.ModeNamespace
	return c.serve(ctx, h, inner.Ready)
}

// outerPID is the process id of the outer process, as the host's /proc has it.
func outerPID() int {
	var pid int
	for line := range strings.Lines(readTrimmed("/proc/self/status")) {
		if _, err := fmt.Sscanf(line, "PPid: %d", &pid); err == nil {
			break
		}
	}
	return pid
}

// serve closes this process in, opens the share, which is then all that it can
// open, and serves it.
func (c *daemonConfig) serve(ctx context.Context, h *held, ready func() error) error {
	for i := range h.mounts {
		if dir := h.mounts[i].Parent; dir != nil {
			c.sandbox.Removals = append(c.sandbox.Removals, dir)
		}
	}
	c.sandbox.Later = h.later
	h.observe.enter(&c.observe)
	view, err := sandbox.Enter(&c.sandbox)
	if err != nil {
		return err
	}
	layers, err := sandbox.Lock(&c.sandbox)
	if err != nil {
		return err
	}
	c.log.Debug("closed in", "layers", layers)
	h.closeLater()
	shown := c.share.String()
	paths := view.Paths
	for i := range c.share.mounts {
		m := &c.share.mounts[i]
		if _, ok := m.HostSource(); ok {
			m.Host.Name, m.Host.Path, paths = m.Source, paths[0], paths[1:]
		}
	}
	share, err := c.openShare(ctx, h, view.ProcSelfFD)
	if err != nil {
		return err
	}
	defer share.close()
	if err := ready(); err != nil {
		return err
	}
	c.log.Info(c.says.waiting, "socket", c.listen.String(), "share", shown)
	return share.serveListener(ctx, h.socket, c)
}

// notifyReady tells the service manager, if there is one.
func (c *daemonConfig) notifyReady() {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		c.log.Warn("the service manager was not told that the daemon is ready", "error", err)
	}
}
