package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Levels beside those of slog.
const (
	levelTrace = slog.LevelDebug - 4
	levelOff   = slog.Level(math.MaxInt)
)

var (
	virtiofsdLevels = choice[slog.Level]{
		{"error", slog.LevelError},
		{"warn", slog.LevelWarn},
		{"info", slog.LevelInfo},
		{"debug", slog.LevelDebug},
		{"trace", levelTrace},
		{"off", levelOff},
	}
	legacyLevels = choice[slog.Level]{
		{"debug", slog.LevelDebug},
		{"info", slog.LevelInfo},
		{"warn", slog.LevelWarn},
		{"err", slog.LevelError},
	}
)

// The lines that launchers wait for. They stand alone in the log: some launchers
// compare the whole line.
var virtiofsdPhrases = phrases{
	waiting:      "Waiting for vhost-user socket connection...",
	connected:    "Client connected, servicing requests",
	disconnected: "Client disconnected, shutting down",
}

func (p *phrases) has(line string) bool {
	return line == p.waiting || line == p.connected || line == p.disconnected
}

// lineHandler is a [slog.Handler] whose lines look like virtiofsd's. Attributes
// follow the message as in slog's text format.
type lineHandler struct {
	min   slog.Level
	attrs slog.Handler // writes the attributes of a record to dst.buf
	dst   *lineWriter
}

// lineWriter is where the lines of a handler, and of those derived from it, go.
type lineWriter struct {
	mu   sync.Mutex
	buf  bytes.Buffer // one line, while it is made
	head func(buf *bytes.Buffer, t time.Time, level slog.Level)
	w    io.Writer
}

// newLineHandler makes a handler that gives w whole lines, each with one Write.
func newLineHandler(w io.Writer, min slog.Level, head func(*bytes.Buffer, time.Time, slog.Level)) slog.Handler {
	dst := &lineWriter{head: head, w: w}
	attrs := slog.NewTextHandler(&dst.buf, &slog.HandlerOptions{
		Level: slog.Level(math.MinInt),
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	return &lineHandler{min: min, attrs: attrs, dst: dst}
}

func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

func (h *lineHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &lineHandler{h.min, h.attrs.WithAttrs(as), h.dst}
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{h.min, h.attrs.WithGroup(name), h.dst}
}

func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	d := h.dst
	d.mu.Lock()
	defer d.mu.Unlock()
	d.buf.Reset()
	d.head(&d.buf, r.Time, r.Level)
	if strings.ContainsFunc(r.Message, unicode.IsControl) {
		d.buf.WriteString(strconv.Quote(r.Message))
	} else {
		d.buf.WriteString(r.Message)
	}
	if virtiofsdPhrases.has(r.Message) {
		d.buf.WriteByte('\n')
	} else {
		d.buf.WriteByte(' ')
		message := d.buf.Len()
		if err := h.attrs.Handle(ctx, r); err != nil {
			return err
		}
		if d.buf.Len() == message+1 { // no attributes, only the end of the line
			d.buf.Truncate(message - 1)
			d.buf.WriteByte('\n')
		}
	}
	_, err := d.w.Write(d.buf.Bytes())
	return err
}

// stderrHead begins a line as in "[2026-11-21T09:33:54Z INFO  virtiofsd] ".
func stderrHead(buf *bytes.Buffer, t time.Time, level slog.Level) {
	fmt.Fprintf(buf, "[%s %-5s virtiofsd] ", t.UTC().Format(time.RFC3339), levelName(level))
}

func levelName(l slog.Level) string {
	if l < slog.LevelDebug {
		return "TRACE"
	}
	return l.String()
}

// virtiofsdLogger makes the log that the options ask for; note is what there is
// to say about it.
func virtiofsdLogger(o *virtiofsdOptions, env string, hasEnv bool) (log *slog.Logger, note string) {
	min := o.level
	if hasEnv {
		min = envLevel(env)
	}
	if o.syslog {
		s, err := dialSyslog(syslogSocket, os.Stderr)
		if err == nil {
			return slog.New(newLineHandler(s, min, s.head)), ""
		}
		note = fmt.Sprintf("the system's log cannot be used, so this one goes to stderr: %v", err)
	}
	return slog.New(newLineHandler(os.Stderr, min, stderrHead)), note
}

// envLevel is the level that RUST_LOG gives to virtiofsd. Its grammar is that of
// env_logger: a list of levels, targets and target=level, in which the longest
// target that ours begins with decides, and the last of equals; a list without
// one for us silences us, and an empty list leaves errors.
func envLevel(env string) slog.Level {
	env, _, _ = strings.Cut(env, "/") // a pattern for messages, which is not for us
	if strings.TrimSpace(env) == "" {
		return slog.LevelError
	}
	level, longest, any := levelOff, -1, false
	for directive := range strings.SplitSeq(env, ",") {
		target, value, hasValue := strings.Cut(strings.TrimSpace(directive), "=")
		l := levelTrace
		if hasValue && value != "" {
			var err error
			if l, err = virtiofsdLevels.find(value, true); err != nil {
				continue
			}
		} else if bareLevel, err := virtiofsdLevels.find(target, true); err == nil && !hasValue {
			target, l = "", bareLevel
		} else if target == "" {
			continue
		}
		any = true
		if strings.HasPrefix("virtiofsd", target) && len(target) >= longest {
			level, longest = l, len(target)
		}
	}
	if !any {
		return slog.LevelError
	}
	return level
}
