package cli

import (
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

type logFlags struct {
	level  string
	format string
}

func (f *logFlags) bind(fl *pflag.FlagSet) {
	fl.StringVar(&f.level, "log-level", "info", "error, warn, info or debug")
	fl.StringVar(&f.format, "log-format", "text", "text or json")
}

// logger writes to stderr, as much as level says, which may be changed later.
func (f *logFlags) logger() (log *slog.Logger, level *slog.LevelVar, err error) {
	level = new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, nil, usagef("--log-level %q: want error, warn, info or debug", f.level)
	}
	opt := &slog.HandlerOptions{Level: level}
	switch f.format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opt)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opt)), level, nil
	}
	return nil, nil, usagef("--log-format %q: want text or json", f.format)
}

// outliveReader has a log that nobody reads any more end in nothing. Without it SIGPIPE
// would end the process, as os/signal says, and with it a share that is in use.
func outliveReader() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }
