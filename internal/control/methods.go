package control

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// empty is the result of a method that has none, and the params of one that wants none.
type empty struct{}

// call is a request that is being answered.
type call struct {
	*serverConn
	request *request
	files   []*os.File // the method closes them
}

// params reads the request's params into v.
func (c *call) params(v any) error { return decodeParams(c.request.Params, v) }

// done logs a request that changes something, and who made it.
func (c *call) done(what string, err error, attrs ...slog.Attr) {
	if cred := peer(c.conn); cred != nil {
		if cred.Pid != 0 { // it can be seen from here
			attrs = append(attrs, slog.Int("by-pid", int(cred.Pid)))
		}
		attrs = append(attrs, slog.Int("by-uid", int(cred.Uid)))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	c.log.LogAttrs(context.Background(), slog.LevelInfo, "control: "+what, attrs...)
}

// peer says who has the other end of a connection, nil if that cannot be found out.
func peer(conn *net.UnixConn) *unix.Ucred {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	err = raw.Control(func(fd uintptr) {
		c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			cred = c
		}
	})
	if err != nil {
		return nil
	}
	return cred
}

// methods are what a request may ask for.
var methods = map[string]struct {
	call  func(ctx context.Context, c *call) (any, error)
	files bool // it takes descriptors
}{
	"version":   {call: version},
	"mounts":    {call: mounts},
	"files":     {call: files},
	"stats":     {call: stats},
	"add":       {call: add, files: true},
	"remove":    {call: remove},
	"log-level": {call: level},
}

// call does what a request asks for and returns the result. It takes the files over.
func (c *serverConn) call(ctx context.Context, r *request, files []*os.File) (any, error) {
	m, ok := methods[r.Method]
	if ok && (m.files || len(files) == 0) {
		return m.call(ctx, &call{c, r, files})
	}
	closeFiles(files)
	if !ok {
		return nil, Errorf(CodeUnknownMethod, "unknown method %q: want one of %s", r.Method, strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
	}
	return nil, Errorf(CodeBadParams, "%s takes no descriptors", r.Method)
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func version(ctx context.Context, c *call) (any, error) {
	if err := c.params(&empty{}); err != nil {
		return nil, err
	}
	v, err := c.target.Version(ctx)
	v.Protocol = Protocol
	v.Shares = list(v.Shares)
	return v, err
}

func mounts(ctx context.Context, c *call) (any, error) {
	if err := c.params(&empty{}); err != nil {
		return nil, err
	}
	m, err := c.target.Mounts(ctx)
	return struct {
		Mounts []Mount `json:"mounts"`
	}{list(m)}, err
}

func files(ctx context.Context, c *call) (any, error) {
	var p filesParams
	if err := c.params(&p); err != nil {
		return nil, err
	}
	if p.Limit == 0 {
		p.Limit = DefaultFiles
	}
	if p.Limit < 0 || p.Limit > MaxListed {
		return nil, Errorf(CodeBadParams, "limit is %d: want 1 to %d", p.Limit, MaxListed)
	}
	f, err := c.target.Files(ctx, p.Limit)
	f.bound(c.longest)
	f.Files = list(f.Files)
	return f, err
}

// bound leaves out the last files where the answer would have more bytes than longest, which
// a guest with paths that are long enough can bring about.
func (f *Files) bound(longest int) {
	const perByte, perFile, around = 6, 384, 256 // \u0001 is six bytes long
	size := around
	for i := range f.Files {
		if size += perByte*len(f.Files[i].Path) + perFile; size > longest {
			f.More += uint64(len(f.Files) - i)
			f.Files = f.Files[:i]
			return
		}
	}
}

func stats(ctx context.Context, c *call) (any, error) {
	if err := c.params(&empty{}); err != nil {
		return nil, err
	}
	s, err := c.target.Stats(ctx)
	if err != nil {
		return nil, err
	}
	full := *s
	full.Ops = append([]Op{}, s.Ops...)
	full.fillQuantiles()
	full.Bounds, full.Queues = list(s.Bounds), list(s.Queues)
	for i := range full.Ops {
		full.Ops[i].Buckets = list(full.Ops[i].Buckets)
	}
	return &full, nil
}

func add(ctx context.Context, c *call) (any, error) {
	var p addParams
	err := c.params(&p)
	if err == nil && p.Spec == "" {
		err = Errorf(CodeBadParams, "params has no spec")
	}
	if err != nil {
		closeFiles(c.files)
		return nil, err
	}
	err = c.target.Add(ctx, string(p.Spec), c.files)
	c.done("add a mount", err, slog.String("spec", string(p.Spec)))
	return empty{}, err
}

func remove(ctx context.Context, c *call) (any, error) {
	var p removeParams
	if err := c.params(&p); err != nil {
		return nil, err
	}
	if p.Path == "" {
		return nil, Errorf(CodeBadParams, "params has no path")
	}
	err := c.target.Remove(ctx, string(p.Path))
	c.done("remove a mount", err, slog.String("path", string(p.Path)))
	return empty{}, err
}

// levels are the words for the levels of slog.
var levels = []struct {
	word  string
	level slog.Level
}{{"error", slog.LevelError}, {"warn", slog.LevelWarn}, {"info", slog.LevelInfo}, {"debug", slog.LevelDebug}}

// Levels are the words that [Client.SetLogLevel] takes.
func Levels() []string {
	var words []string
	for _, l := range levels {
		words = append(words, l.word)
	}
	return words
}

func level(ctx context.Context, c *call) (any, error) {
	var p logLevel
	if err := c.params(&p); err != nil {
		return nil, err
	}
	if p.Level != "" {
		i := slices.Index(Levels(), p.Level)
		if i < 0 {
			return nil, Errorf(CodeBadParams, "level is %q: want %s", p.Level, strings.Join(Levels(), ", "))
		}
		err := c.target.SetLogLevel(ctx, levels[i].level)
		c.done("set the log level", err, slog.String("level", p.Level))
		return p, err
	}
	now, err := c.target.LogLevel(ctx)
	for _, l := range levels {
		// One between two is what it logs.
		if p.Level == "" || l.level >= now {
			p.Level = l.word
		}
	}
	return p, err
}

// list makes an empty array of what JSON would have as null.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
