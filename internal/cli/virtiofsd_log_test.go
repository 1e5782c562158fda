package cli

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestLineHandler(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(newLineHandler(&buf, slog.LevelInfo, stderrHead))
	for _, test := range []struct {
		log  func()
		want string
	}{
		{func() { log.Info("hello") }, "INFO  virtiofsd] hello"},
		{func() { log.Warn("watch out", "path", "/a b", "n", 3) }, `WARN  virtiofsd] watch out path="/a b" n=3`},
		{func() { log.Error("no", "error", errors.New("bad\nline")) }, `ERROR virtiofsd] no error="bad\nline"`},
		{func() { log.Debug("not seen") }, ""},
		{func() { log.With("a", 1).WithGroup("g").Info("x", "time", 2) }, "INFO  virtiofsd] x a=1 g.time=2"},
		{func() { log.Info("two\nlines") }, `INFO  virtiofsd] "two\nlines"`},
		{func() { log.Info(virtiofsdPhrases.waiting, "socket", "/s") }, "INFO  virtiofsd] Waiting for vhost-user socket connection..."},
		{func() { log.Info("") }, "INFO  virtiofsd] "},
	} {
		buf.Reset()
		test.log()
		got := regexp.MustCompile(`^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ `).ReplaceAllString(buf.String(), "")
		if want := test.want + "\n"; got != want && (test.want != "" || got != "") {
			t.Errorf("got %q want %q", got, want)
		}
	}
	if levelName(levelTrace) != "TRACE" {
		t.Errorf("the lowest level is called %s", levelName(levelTrace))
	}
}

func TestRustLog(t *testing.T) {
	for env, want := range map[string]slog.Level{
		"":                            slog.LevelError,
		"debug":                       slog.LevelDebug,
		"WARN":                        slog.LevelWarn,
		"off":                         levelOff,
		"virtiofsd":                   levelTrace,
		"virtiofsd=":                  levelTrace,
		"virtiofsd=debug":             slog.LevelDebug,
		"virtio=info":                 slog.LevelInfo,
		"foo=debug":                   levelOff,
		"bogus":                       levelOff,
		"virtiofsd::passthrough=info": levelOff,
		"warn,virtiofsd=info":         slog.LevelInfo,
		"virtiofsd=info,warn":         slog.LevelInfo,
		"warn,info":                   slog.LevelInfo,
		"=debug":                      slog.LevelDebug,
		"virtiofsd=bogus":             slog.LevelError,
		"info/pattern":                slog.LevelInfo,
		",,":                          slog.LevelError,
	} {
		if got := envLevel(env); got != want {
			t.Errorf("RUST_LOG=%s gives %v, want %v", env, got, want)
		}
	}
}

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var other bytes.Buffer
	s, err := dialSyslog(path, &other)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(newLineHandler(s, levelTrace, s.head))
	b := make([]byte, 1000)
	for severity, say := range map[int]func(string, ...any){3: log.Error, 4: log.Warn, 6: log.Info, 7: log.Debug} {
		say("message", "n", 1)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`^<%d>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d virtiofsd\[%d\]: message n=1$`, 8+severity, os.Getpid())
		if !regexp.MustCompile(want).Match(b[:n]) {
			t.Errorf("got %q, want %s", b[:n], want)
		}
	}
	if other.Len() != 0 {
		t.Errorf("elsewhere: %s", &other)
	}
	l.Close()
	log.Error("lost")
	if !strings.Contains(other.String(), "virtiofsd") || !strings.HasSuffix(other.String(), "lost\n") {
		t.Errorf("after the end of the system's log, elsewhere: %q", &other)
	}
}

func TestNoSyslog(t *testing.T) {
	if _, err := dialSyslog(filepath.Join(t.TempDir(), "none"), os.Stderr); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
