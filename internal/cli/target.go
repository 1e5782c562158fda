package cli

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/metrics"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/control"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/tree"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/watch"
)

var _ control.Target = (*served)(nil)

// Version implements [control.Target].
func (s *served) Version(context.Context) (control.Version, error) {
	v := control.Version{Program: version, PID: s.pid, Uptime: time.Since(s.began)}
	if s.name != "" {
		v.Shares = []string{s.name}
	}
	return v, nil
}

// Mounts implements [control.Target].
func (s *served) Mounts(context.Context) ([]control.Mount, error) {
	var list []control.Mount
	for _, m := range s.share.Mounts() {
		list = append(list, control.Mount{
			Path:       control.Text(m.Target),
			Type:       m.Type.String(),
			Source:     control.Text(m.Source),
			Spec:       control.Text(m.Spec),
			ReadOnly:   m.ReadOnly || m.Type == spec.Archive,
			References: m.References,
			Counts:     countsOf(m.Counts),
		})
	}
	return list, nil
}

func countsOf(c vfs.Counts) control.Counts {
	return control.Counts{Nodes: c.Nodes, Handles: c.Handles, Descriptors: c.Descriptors, Bytes: c.Bytes}
}

// Files implements [control.Target].
func (s *served) Files(_ context.Context, limit int) (control.Files, error) {
	var f control.Files
	if s.watch == nil {
		return f, nil
	}
	// The heap keeps the files that have been open longest, the youngest on top.
	var oldest byAge
	for o := range s.watch.OpenFiles() {
		switch {
		case len(oldest) < limit:
			heap.Push(&oldest, o)
		case o.Since.Before(oldest[0].Since):
			oldest[0] = o
			heap.Fix(&oldest, 0)
			f.More++
		default:
			f.More++
		}
	}
	slices.SortFunc(oldest, func(a, b watch.OpenFile) int { return a.Since.Compare(b.Since) })
	for i := range oldest {
		f.Files = append(f.Files, fileOf(&oldest[i]))
	}
	return f, nil
}

// byAge is a heap of open files.
type byAge []watch.OpenFile

func (a byAge) Len() int           { return len(a) }
func (a byAge) Less(i, j int) bool { return a[i].Since.After(a[j].Since) }
func (a byAge) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *byAge) Push(x any)        { *a = append(*a, x.(watch.OpenFile)) }
func (a *byAge) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

func fileOf(o *watch.OpenFile) control.OpenFile {
	return control.OpenFile{
		Path:  control.Text(o.Path),
		Flags: control.OpenFlags(o.Flags),
		UID:   o.UID,
		PID:   o.PID,
		Since: o.Since,
		Bytes: o.Read + o.Written,
	}
}

// Stats implements [control.Target].
func (s *served) Stats(context.Context) (*control.Stats, error) {
	st := &control.Stats{Uptime: time.Since(s.began)}
	if s.stats != nil {
		var snapshot fuse.Snapshot
		s.stats.Snapshot(&snapshot)
		addSnapshot(st, &snapshot)
	}
	if s.queues != nil {
		st.Queues = s.queues()
	}
	var counts vfs.Counts
	for _, m := range s.share.Mounts() {
		counts.Add(m.Counts)
	}
	st.Counts = countsOf(counts)
	st.OpenFiles = counts.Handles
	if s.audit != nil {
		st.AuditDropped = s.audit.Dropped()
	}
	st.Memory = s.memory()
	return st, nil
}

// addSnapshot adds what was counted of requests.
func addSnapshot(st *control.Stats, s *fuse.Snapshot) {
	st.BytesRead, st.BytesWritten = s.Read, s.Written
	st.InFlight = uint64(max(s.InFlight, 0))
	st.Pending = uint64(max(s.Pending+s.LockWaits, 0))
	st.Bounds = latencyBounds
	for i := range s.Ops {
		o := &s.Ops[i]
		st.Ops = append(st.Ops, control.Op{
			Name:   o.Name(),
			Count:  o.Latency.Count(),
			Errors: o.Errors,
			Latency: control.Latency{
				Sum:     uint64(o.Latency.Sum),
				Max:     uint64(o.Latency.Longest),
				Buckets: o.Latency.Counts[:],
			},
		})
	}
}

// latencyBounds are the upper bounds of the buckets in nanoseconds; the last bucket has
// none.
var latencyBounds = func() []uint64 {
	bounds := make([]uint64, fuse.NumBuckets-1)
	for i := range bounds {
		bounds[i] = uint64(fuse.BucketBound(i))
	}
	return bounds
}()

// memory is what this process takes.
func (s *served) memory() control.Memory {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	m := control.Memory{Heap: sample[0].Value.Uint64()}
	if s.statm == nil {
		return m
	}
	var text [128]byte
	var pages [2]uint64 // all, and those in memory
	n, _ := s.statm.ReadAt(text[:], 0)
	if n, _ := fmt.Sscan(string(text[:n]), &pages[0], &pages[1]); n == len(pages) {
		m.Resident = pages[1] * uint64(os.Getpagesize())
	}
	return m
}

// Add implements [control.Target]. files are what [openAdded] lists.
func (s *served) Add(ctx context.Context, text string, files []*os.File) error {
	m, f, err := s.takeMount(text, files)
	if err != nil {
		return control.Errorf(control.CodeBadParams, "%v", err)
	}
	err = s.share.Add(ctx, m, f)
	if errors.Is(err, unix.EACCES) && s.handed != "" {
		return control.Errorf(control.CodeFailed, "%v: %s", err, s.handed)
	}
	return targetError(err)
}

// openAdded opens what a daemon needs to add a mount, and lists it for [served.Add]: the
// source, and what else [compose.OpenFiles] opens. Directories and files are apart; see
// [setApart].
func openAdded(m *compose.Mount, tempdir, within string) (_ *compose.Files, err error) {
	f, err := compose.OpenFiles(m, tempdir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if _, host := m.HostSource(); host {
		if f.Root, err = compose.OpenRoot(m); err != nil {
			return nil, err
		}
	}
	if err = setApart(&f.Root, within, m.KeepsHost()); err == nil {
		err = setApart(&f.Parent, within, false)
	}
	return &f, err
}

// setApart replaces a directory or file, if there is one, by the same on a mount of its own
// or, if within is not empty, on one of that directory. Without rights over mounts it
// stays as it is.
func setApart(f **os.File, within string, readOnly bool) error {
	if *f == nil {
		return nil
	}
	apart, err := openApart(*f, within, readOnly)
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return nil
		}
		return err
	}
	(*f).Close()
	*f = apart
	return nil
}

func openApart(f *os.File, within string, readOnly bool) (*os.File, error) {
	if within == "" {
		return sandbox.Apart(f, readOnly)
	}
	dir, err := openDir(within)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return sandbox.ApartWithin(dir, f, readOnly)
}

// openDir opens a directory without rights over it.
func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// takeMount makes a mount of its long form and the files that a client opened for it.
func (s *served) takeMount(text string, files []*os.File) (_ *compose.Mount, _ *compose.Files, err error) {
	defer func() {
		for _, file := range files {
			file.Close()
		}
	}()
	parsed, err := spec.ParseFlag(text)
	if err != nil {
		return nil, nil, err
	}
	if parsed.Type != spec.Scratch {
		if len(files) == 0 {
			return nil, nil, errors.New("the source was not handed over: open it, and send the descriptor with the request")
		}
		info, err := files[0].Stat()
		if err != nil {
			return nil, nil, fmt.Errorf("the source that was handed over: %w", err)
		}
		if parsed, err = compose.SettleAs(parsed, info.Mode()); err != nil {
			return nil, nil, err
		}
	}
	if s.defaults != nil {
		if err := parsed.Fill(s.defaults); err != nil {
			return nil, nil, err
		}
	}
	m := compose.Decide(&parsed, s.log)
	if s.byDescriptor {
		m.Host.FileHandles = passthrough.HandlesNever
	}
	f, rest, err := compose.TakeFiles(&m, files, true)
	files = rest
	if err == nil && len(rest) != 0 {
		f.Close()
		err = fmt.Errorf("%d descriptors too many were handed over", len(rest))
	}
	return &m, &f, err
}

// Remove implements [control.Target].
func (s *served) Remove(_ context.Context, path string) error {
	if len(path) > 1 {
		path = strings.TrimRight(path, "/")
	}
	return targetError(s.share.Remove(path))
}

// targetError gives an error of the tree the code that fits it.
func targetError(err error) error {
	var p *tree.PathError
	if !errors.As(err, &p) {
		return err
	}
	code := control.CodeFailed
	switch {
	case p.Err == syscall.EINVAL && p.Op == "unmount":
		code = control.CodeNotFound
	case p.Err == syscall.EINVAL:
		code = control.CodeBadParams
	case p.Err == syscall.EBUSY && p.Op == "mount":
		code = control.CodeExists
	case p.Err == syscall.EBUSY:
		code = control.CodeBusy
	}
	return control.Errorf(code, "%v", err)
}

var errFixedLevel = control.Errorf(control.CodeUnsupported, "the log level of this daemon cannot be changed")

// LogLevel implements [control.Target].
func (s *served) LogLevel(context.Context) (slog.Level, error) {
	if s.level == nil {
		return 0, errFixedLevel
	}
	return s.level.Level(), nil
}

// SetLogLevel implements [control.Target].
func (s *served) SetLogLevel(_ context.Context, level slog.Level) error {
	if s.level == nil {
		return errFixedLevel
	}
	s.level.Set(level)
	return nil
}
