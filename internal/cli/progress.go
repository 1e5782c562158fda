package cli

import (
	"log/slog"
	"time"
)

// progressEvery is how often long work is spoken of.
const progressEvery = 2 * time.Second

// progress tells of archives that take long to read.
func progress(log *slog.Logger) func(source string, entries int, bytes uint64) {
	last := time.Now()
	return func(source string, entries int, bytes uint64) {
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		log.Info("reading an archive", "archive", source, "entries", entries, "MiB", bytes>>20)
	}
}
