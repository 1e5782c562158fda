package cli

import (
	"log/slog"
	"os"

	"github.com/spf13/pflag"
)

type logFlags struct {
	level  string
	format string
}

func (f *logFlags) bind(fl *pflag.FlagSet) {
	fl.StringVar(&f.level, "log-level", "info", "error, warn, info or debug")
	fl.StringVar(&f.format, "log-format", "text", "text or json")
}

// logger writes to stderr.
func (f *logFlags) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, usagef("--log-level %q: want error, warn, info or debug", f.level)
	}
	opt := &slog.HandlerOptions{Level: level}
	switch f.format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opt)), nil
	}
	return nil, usagef("--log-format %q: want text or json", f.format)
}
