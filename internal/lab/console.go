package lab

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

const (
	consoleKept  = 16 << 10 // bytes of the console that are kept for errors
	consoleLines = 15       // lines of it an error shows
)

// console passes on what the guest's console prints and keeps the end of it.
type console struct {
	to io.Writer

	mu   sync.Mutex
	tail []byte
}

// Write keeps p and passes it on. It never fails: the console goes on when
// nobody can listen any more.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.tail = append(c.tail, p...)
	if over := len(c.tail) - consoleKept; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	c.mu.Unlock()
	c.to.Write(p)
	return len(p), nil
}

// harmless are the beginnings of lines that User-Mode Linux prints in every
// run: it has no directory for a management console, and no disk.
var harmless = []string{
	"make_umid - ", "Failed to initialize umid", "remove_umid_dir - ",
	"mmapper_init - ", "Failed to initialize ubd device ",
}

// lines returns the last n lines that say something, without carriage returns
// and other control characters.
func (c *console) lines(n int) []string {
	c.mu.Lock()
	text := bytes.Clone(c.tail)
	c.mu.Unlock()
	var lines []string
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r == 0x7f {
				return -1
			}
			return r
		}, line)
		says := func(prefix string) bool { return strings.HasPrefix(line, prefix) }
		if strings.TrimSpace(line) != "" && !slices.ContainsFunc(harmless, says) {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// reason looks in the console for why a guest ended: the agent's own words or
// the kernel's panic. It returns "" if there are neither.
func (c *console) reason() string {
	for _, mark := range []string{agentPrefix, "Kernel panic - not syncing: "} {
		for _, line := range c.lines(consoleKept) {
			if _, text, ok := strings.Cut(line, mark); ok {
				if mark == agentPrefix {
					return text
				}
				return "the guest kernel panicked: " + text
			}
		}
	}
	return ""
}

// GuestError says that a guest did not get as far as the end of its command.
type GuestError struct {
	Reason  string   // one line
	Console []string // the last lines of the guest's console
	Err     error    // the cause; nil if the guest itself is it
}

// Error returns the reason and, indented on the lines after it, the end of
// the console.
func (e *GuestError) Error() string {
	if len(e.Console) == 0 {
		return e.Reason
	}
	return e.Reason + "\nthe last lines of the guest's console:\n  " + strings.Join(e.Console, "\n  ")
}

// Unwrap returns the cause.
func (e *GuestError) Unwrap() error { return e.Err }
