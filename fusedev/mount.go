package fusedev

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/oslib"
)

// Mounted is a mount that is served.
//
//	Mount → workers: read, serve, reply … → connection ends → server reset → Wait
type Mounted struct {
	server *fuse.Server
	opt    Options
	dir    string // absolute, without symbolic links
	by     mounter
	id     connection
	calls  *pool

	workers  []*worker
	offered  bool                     // backing files, in INIT; for who serves that
	backings atomic.Pointer[backings] // nil unless agreed in INIT

	initOnce  sync.Once
	dismissed atomic.Bool   // workers are to end; see dismiss
	ready     chan struct{} // closed when INIT has been answered

	done chan struct{} // closed when all is over
	err  error         // of serving; valid when done is closed
}

// mounter is one way to make and remove mounts.
type mounter interface {
	// mount connects a device with the mount point and returns its
	// descriptor, which becomes the caller's.
	mount(at *mountPoint, opt *Options) (dev int, err error)
	// unmount removes the mount on dir. EBUSY says that it is in use; with
	// lazy it is removed all the same and lives on until it is not.
	unmount(dir string, lazy bool) error
}

// Mount mounts what server serves on dir and serves it until the mount ends. dir
// is a directory, or a regular file where the root of the file system is one; a
// symbolic link is followed. The server's session is the mount's from now on:
// nothing else may serve it, and it is reset at the end.
//
// When Mount returns, the kernel and the file system have agreed on a session
// and processes can use the mount. When ctx ends, the mount is removed, even if
// processes use it: their calls fail. The caller waits for the end with Wait.
func Mount(ctx context.Context, server *fuse.Server, dir string, opt Options) (*Mounted, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	m := &Mounted{
		server: server,
		opt:    opt,
		calls:  newPool(server.MaxWrite(), opt.Workers),
		ready:  make(chan struct{}),
		done:   make(chan struct{}),
	}
	if err := m.begin(ctx, dir); err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return m, nil
}

func (m *Mounted) begin(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at, err := openMountPoint(dir)
	if err != nil {
		return err
	}
	defer at.close()
	m.dir = at.path
	m.by = direct{}
	if !oslib.ThreadHasCap(unix.CAP_SYS_ADMIN) {
		m.by = helper{}
	}
	dev, err := m.by.mount(at, &m.opt)
	if err != nil {
		return err
	}
	if m.id = connectionAt(m.dir); m.id == 0 {
		oslib.Close(dev) // which aborts the connection
		return errors.Join(errors.New("something else is there after the mount"), m.by.unmount(m.dir, true))
	}
	m.workers = append(m.workers, &worker{mount: m, dev: dev})
	for len(m.workers) < m.opt.Workers {
		clone, err := cloneDevice(dev)
		if err != nil {
			m.closeDevices()
			return errors.Join(err, m.remove(true))
		}
		m.workers = append(m.workers, &worker{mount: m, dev: clone})
	}
	stop := context.AfterFunc(ctx, func() {
		if err := m.end(); err != nil {
			m.opt.Logger.Error("unmount at the end of the context", "mount", m.dir, "error", err)
		}
	})
	m.serve(stop)
	select {
	case <-m.ready:
	case <-m.done:
	}
	if m.server.Session().Started {
		return nil
	}
	err = m.abort()
	<-m.done
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(errors.New("the kernel and the file system did not agree on a session"), m.err, err)
}

// serve starts the workers, and what follows when all have ended.
func (m *Mounted) serve(stop func() bool) {
	errs := make([]error, len(m.workers))
	var running sync.WaitGroup
	for i, w := range m.workers {
		running.Go(func() {
			if errs[i] = w.run(); errs[i] != nil {
				m.abort() // the others are not to go on alone
			}
		})
	}
	go func() {
		running.Wait()
		stop()
		m.server.Reset()
		// A connection that was aborted leaves its mount behind.
		errs = append(errs, m.remove(true))
		m.closeDevices()
		m.calls.close()
		m.err = errors.Join(errs...)
		close(m.done)
	}()
}

func (m *Mounted) initDone() { m.initOnce.Do(func() { close(m.ready) }) }

func (m *Mounted) closeDevices() {
	for _, w := range m.workers {
		w.close()
	}
}

// Dir returns the absolute path of the mount point.
func (m *Mounted) Dir() string { return m.dir }

// Passthrough reports whether the kernel reads and writes files by itself that
// [Options.Backing] names.
func (m *Mounted) Passthrough() bool { return m.backings.Load() != nil }

// Waiting returns the number of requests that the kernel has made and that are not
// answered: those that no worker has read yet, and those that are being served.
// Where the mount has ended it is an error. It comes from the control files of the
// connection (Documentation/filesystems/fuse.rst), for which an ordinary user needs
// fusectl to be mounted; without that it takes a tenth of a millisecond.
func (m *Mounted) Waiting() (int, error) {
	n, err := m.id.waiting()
	select {
	case <-m.done:
		err = errors.New("it has ended") // the number may be another mount's by now
	default:
	}
	if err != nil {
		return 0, fmt.Errorf("mount on %s: %w", m.dir, err)
	}
	return n, nil
}

// Wait waits until the mount has ended, everything that belonged to it was
// released and the server was reset. It returns why serving failed, and nil after
// an unmount, whoever asked for it.
func (m *Mounted) Wait() error {
	<-m.done
	return m.err
}

// Unmount removes the mount. It fails with EBUSY (errors.Is) while a process
// has a file open on it, has its working directory there, or has mounted
// something else below. Where the mount has gone already, it does nothing.
// Requests are served until Wait returns.
func (m *Mounted) Unmount() error { return m.unmount(false) }

// Detach removes the mount from the directory tree at once; processes that use
// it go on, and are served, until the last of them is done. Otherwise as Unmount.
func (m *Mounted) Detach() error { return m.unmount(true) }

func (m *Mounted) unmount(lazy bool) error {
	if err := m.remove(lazy); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	return nil
}

// remove removes the mount if it is there. Somebody else may be doing the same.
func (m *Mounted) remove(lazy bool) error {
	if !m.here() {
		return nil
	}
	err := m.by.unmount(m.dir, lazy)
	if err != nil && !m.here() {
		return nil
	}
	return err
}

// Abort ends the mount whoever uses it: calls under way and later ones fail.
func (m *Mounted) Abort() error {
	if err := m.abort(); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	return nil
}

// abort ends the connection, from which all else follows, and removes what it
// leaves behind.
func (m *Mounted) abort() error {
	err := m.id.abort()
	switch {
	case !m.here():
		return err
	case err == nil:
		return m.remove(true)
	}
	return m.dismiss()
}

// dismiss ends the connection without control files: it has all workers end, and
// with the last descriptor of /dev/fuse the kernel ends the rest. A worker that
// waits for a request is woken by one.
func (m *Mounted) dismiss() error {
	m.dismissed.Store(true)
	root, err := unix.Open(m.dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, m.remove(true))
	}
	var calls sync.WaitGroup
	for range m.workers {
		calls.Go(func() {
			var st unix.Statfs_t
			unix.Fstatfs(root, &st) // answered by the end of the connection
		})
	}
	go func() {
		calls.Wait()
		oslib.Close(root)
	}()
	return m.remove(true)
}

const (
	// flushPatience is how long data may take to come here that the kernel holds back.
	flushPatience = 10 * time.Second
	// copyPatience is how long the connection may outlive the mount, of which other
	// mount namespaces can have copies that nobody knows of.
	copyPatience = time.Second
)

// end removes the mount with as little harm as possible. One that has been
// detached has users, of whom nobody knows when they are done; so may other mount
// namespaces.
func (m *Mounted) end() error {
	m.flush()
	patience := time.Duration(0)
	if m.here() && m.remove(false) == nil {
		patience = copyPatience
	}
	select {
	case <-m.done:
		return nil
	case <-time.After(patience):
		return m.abort()
	}
}

// flush has the kernel write what it holds back, while there is somebody to take it.
func (m *Mounted) flush() {
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		root, err := unix.Open(m.dir, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer oslib.Close(root)
		if connectionOf(root) == m.id {
			unix.Syncfs(root)
		}
	}()
	select {
	case <-flushed:
	case <-m.done:
	case <-time.After(flushPatience):
		m.opt.Logger.Error("data that were written to the mount may not have arrived", "mount", m.dir, "waited", flushPatience)
	}
}

// here tells whether the mount on the mount point is still this one.
func (m *Mounted) here() bool { return m.id != 0 && connectionAt(m.dir) == m.id }
