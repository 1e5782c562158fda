package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// outcome is what can be seen of a daemon from outside, by a launcher.
type outcome struct {
	status string // exit status, or the name of the signal that ended it
	stdout string // see readStdout
	stderr bool   // whether anything is on stderr
	// log is which of the lines that launchers wait for stand in the log, in
	// order: W waiting, C connected, D disconnected, and E for any error.
	log    string
	warned bool   // whether the warning came that the row is about
	socket string // its mode and group while the daemon runs
	pid    string // the same of the pid file, and what is right about it
	left   string // the files left behind, where the row looks
	told   string // what the conversation of the row brought
}

// usage is how a command line is refused that cannot be right, and failure one
// that cannot be fulfilled.
var (
	usage   = outcome{status: "2", stderr: true}
	failure = outcome{status: "1", stderr: true, log: "E"}
	// answer is a text that was asked for.
	answer = outcome{status: "0", stdout: "text"}
)

// served is the life of a daemon with a socket of its own.
func served() outcome {
	return outcome{status: "0", stderr: true, log: "WCD", socket: "0700", pid: "0600 own locked"}
}

// passed is the life of one with an inherited socket.
func passed() outcome { return outcome{status: "0", stderr: true, log: "WCD"} }

// The following return o with one thing changed.

func (o outcome) ending(status string) outcome { o.status = status; return o }
func (o outcome) logging(log string) outcome   { o.log, o.stderr = log, log != ""; return o }
func (o outcome) warning() outcome             { o.warned = true; return o }
func (o outcome) leaving(files string) outcome { o.left = files; return o }
func (o outcome) telling(s string) outcome     { o.told = s; return o }
func (o outcome) socketMode(m string) outcome  { o.socket = m; return o }

var (
	plainVersion = regexp.MustCompile(`^virtiofsd \d+\.\d+\.\d+$`)
	ourVersion   = regexp.MustCompile(`^virtiofsd 1\.14\.0 \(isthmus .+\)$`)
)

// readStdout brings JSON into one form and names what other texts are.
func readStdout(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return ""
	}
	var v any
	switch {
	case ourVersion.Match(b):
		return "version of isthmus"
	case plainVersion.Match(b):
		return "version"
	case json.Unmarshal(b, &v) != nil:
		return "text"
	}
	out, _ := json.Marshal(v)
	return string(out)
}

var launcherLines = regexp.MustCompile(`Waiting for vhost-user socket connection\.\.\.|Client connected, servicing requests$|Client disconnected, shutting down$| ERROR virtiofsd`)

// readLog finds the lines that count.
func readLog(stderr string) string {
	var seen strings.Builder
	for line := range strings.Lines(stderr) {
		switch m := launcherLines.FindString(strings.TrimSuffix(line, "\n")); {
		case m == "":
		case strings.HasPrefix(m, "Waiting"):
			seen.WriteByte('W')
		case strings.HasPrefix(m, "Client c"):
			seen.WriteByte('C')
		case strings.HasPrefix(m, "Client d"):
			seen.WriteByte('D')
		default:
			if !strings.HasSuffix(seen.String(), "E") {
				seen.WriteByte('E')
			}
		}
	}
	return seen.String()
}

// lookAtSocket describes the socket while the daemon runs.
func lookAtSocket(path string) string {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return ""
	}
	s := fmt.Sprintf("%04o", st.Mode&0o7777)
	if st.Gid != uint32(os.Getgid()) && st.Gid != nobody {
		s += fmt.Sprintf(" group %d", st.Gid)
	}
	return s
}

// lookAtPidFile describes the pid file of the daemon with process id pid.
func lookAtPidFile(path string, pid int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	s := fmt.Sprintf("%04o", info.Mode().Perm())
	b, _ := os.ReadFile(path)
	if string(b) == strconv.Itoa(pid)+"\n" {
		s += " own"
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK {
		s += " locked"
	}
	return s
}
