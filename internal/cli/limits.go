package cli

import (
	"fmt"
	"log/slog"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// fileLimit is what RLIMIT_NOFILE is to be.
type fileLimit struct {
	want     uint64 // 0 leaves it as it is
	explicit bool   // less is an error
}

// defaultFiles is how many descriptors a daemon that was not told otherwise
// asks for; the guest's share of them is smaller (see passthrough.Config).
const defaultFiles = 1_000_000

// defaultFileLimit is as many as a guest can use, or as the host allows.
func defaultFileLimit() fileLimit { return fileLimit{want: min(defaultFiles, maxFiles())} }

// raiseFileLimit sets RLIMIT_NOFILE. If it is not explicit it does what it can.
func raiseFileLimit(f fileLimit, log *slog.Logger) error {
	if f.want == 0 {
		return nil
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	want := f.want
	if !f.explicit {
		want = min(max(want, lim.Cur), hostShare())
	}
	// The hard limit too: a Go program takes all that this allows, and the
	// closed-in process is started anew.
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: want, Max: want})
	if err == nil {
		return nil
	}
	if f.explicit {
		return fmt.Errorf("--rlimit-nofile %d: %w (the host allows %d to this user; the system's maximum is in /proc/sys/fs/nr_open)", f.want, err, lim.Max)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: lim.Max, Max: lim.Max}); err != nil {
		log.Warn("the limit of open files stays low", "limit", lim.Cur, "error", err)
	}
	return nil
}

// maxFiles returns the system's bound for RLIMIT_NOFILE.
func maxFiles() uint64 { return systemNumber("/proc/sys/fs/nr_open", defaultFiles) }

// hostShare is how many files one daemon may have open so that a guest which
// uses them all leaves a quarter of the host's to the others.
func hostShare() uint64 {
	n := systemNumber("/proc/sys/fs/file-max", math.MaxUint64)
	return n - n/4
}

// systemNumber reads a number from /proc; otherwise stands for one that cannot
// be read.
func systemNumber(path string, otherwise uint64) uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return otherwise
	}
	var n uint64
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		return otherwise
	}
	return n
}
