package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/control"
)

// Bounds of --interval. The longest is less than the time after which a daemon gives up a
// client that says nothing.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Minute
)

type topFlags struct {
	interval time.Duration
	count    int
}

func newCtlTop(f *ctlFlags) *cobra.Command {
	var t topFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "What is going on now, again and again",
		Long: `top shows what happened in the last second: how often each FUSE operation was asked for, how long
the answers took, how much was read and written, what waits in the queues. BUSY is how many
requests of that kind were being served at a time, on average.

It ends with q or an interrupt, or after -n times. If its output is not a terminal, blocks of
lines follow each other; with --json, each is a line of JSON with what was counted in
between.`,
		Example: `  isthmus ctl top
  isthmus ctl top -n 1 --interval 10s      (one look, at ten seconds)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.interval < minInterval || t.interval > maxInterval {
				return usagef("--interval %v: want %v to %v", t.interval, minInterval, maxInterval)
			}
			if t.count < 0 {
				return usagef("-n %d: want how many times, or 0 for no end", t.count)
			}
			return f.run(0, t.run)(cmd, args)
		},
	}
	cmd.Flags().DurationVar(&t.interval, "interval", time.Second, fmt.Sprintf("how long to look before it is shown, %v to %v", minInterval, maxInterval))
	cmd.Flags().IntVarP(&t.count, "count", "n", 0, "how many times; 0 is no end")
	return cmd
}

// run shows what has happened, time after time.
func (t *topFlags) run(ctx context.Context, c *ctlCall) error {
	version, err := c.client.Version(ctx)
	if err != nil {
		return err
	}
	show := t.plain
	var quit <-chan struct{}
	switch out, ok := c.out.(*os.File); {
	case c.json:
		show = t.lines
	case ok && isTerminal(int(out.Fd())):
		show = t.screen
		var leave func()
		quit, leave = watchKeys()
		defer leave()
	}
	err = t.loop(ctx, quit, func(ctx context.Context) (*control.Stats, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, ctlPatience, fmt.Errorf("the daemon has not answered for %v", ctlPatience))
		defer cancel()
		return c.client.Stats(ctx)
	}, func(s, d *control.Stats) error { return show(c.out, &version, s, d) })
	switch {
	case ctx.Err() != nil:
		return nil // interrupted, which is how it ends
	case errors.Is(err, control.ErrEnded):
		return errors.New("the daemon has ended")
	}
	return err
}

// loop asks for stats at intervals, and shows them with the difference to those before.
func (t *topFlags) loop(ctx context.Context, quit <-chan struct{}, ask func(context.Context) (*control.Stats, error), show func(s, d *control.Stats) error) error {
	old, err := ask(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for i := 0; t.count == 0 || i < t.count; i++ {
		select {
		case <-tick.C:
		case <-quit:
			return nil
		case <-ctx.Done():
			return nil
		}
		now, err := ask(ctx)
		if err != nil {
			return err
		}
		if err := show(now, now.Since(old)); err != nil {
			return err
		}
		old = now
	}
	return nil
}

// lines shows a difference as a line of JSON.
func (t *topFlags) lines(w io.Writer, _ *control.Version, _, d *control.Stats) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

// plain shows a block of lines, with an empty one behind it.
func (t *topFlags) plain(w io.Writer, v *control.Version, s, d *control.Stats) error {
	_, err := io.WriteString(w, topText(v, s, d)+"\n")
	return err
}

// screen shows a block in the place of the one before, as far as the terminal is large
// enough. The last one stays.
func (t *topFlags) screen(w io.Writer, v *control.Version, s, d *control.Stats) error {
	size := terminalSize(int(w.(*os.File).Fd()))
	_, err := io.WriteString(w, frame(topText(v, s, d), int(size.Rows), int(size.Cols)))
	return err
}

// frame makes a screen of text. Lines are overwritten rather than the screen cleared, which
// would flicker. Rows or columns of 0 are not known.
func frame(text string, rows, cols int) string {
	const home, eraseLine, eraseBelow = "\x1b[H", "\x1b[K", "\x1b[J"
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if rows > 1 && len(lines) > rows-1 {
		lines = lines[:rows-1]
	}
	var b strings.Builder
	b.WriteString(home)
	for _, line := range lines {
		if r := []rune(line); cols > 0 && len(r) > cols {
			line = string(r[:cols])
		}
		b.WriteString(line + eraseLine + "\n")
	}
	b.WriteString(eraseBelow)
	return b.String()
}

// topText says what d, a difference that ends with s, is about.
func topText(v *control.Version, s, d *control.Stats) string {
	seconds := d.Uptime.Seconds()
	if seconds <= 0 {
		seconds = 1 // of a daemon whose clock stands still
	}
	per := func(n uint64) float64 { return float64(n) / seconds }
	var count, errors uint64
	for i := range d.Ops {
		count += d.Ops[i].Count
		errors += d.Ops[i].Errors
	}
	var b strings.Builder
	fmt.Fprintf(&b, "isthmus %s, process %d, up %s: %s\n", printable(v.Program), v.PID, age(s.Uptime), orDash(printable(strings.Join(v.Shares, " "))))
	fmt.Fprintf(&b, "%s requests/s, %s/s failed; %s/s read, %s/s written\n", rate(per(count)), rate(per(errors)), size(per(d.BytesRead)), size(per(d.BytesWritten)))
	b.WriteString(momentText(s))
	if len(d.Queues) > 0 {
		t := newTable("QUEUE", ">WAITING", ">SERVED/S")
		for _, q := range d.Queues {
			t.row(printable(q.Name), whole(q.Depth), rate(per(q.Served)))
		}
		b.WriteString("\n" + t.String())
	}
	t := newTable("OPERATION", ">PER SECOND", ">FAILED", ">MEAN", ">50%", ">99%", ">LONGEST", ">BUSY")
	for _, op := range busiest(d.Ops) {
		t.row(printable(op.Name), rate(per(op.Count)), rate(per(op.Errors)), mean(op), latency(op.P50), latency(op.P99), latency(op.Max), three(per(op.Sum)/1e9))
	}
	b.WriteString("\n" + t.String())
	return b.String()
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// watchKeys waits for q, without Enter, where standard input is a terminal. leave gives the
// terminal back.
func watchKeys() (quit <-chan struct{}, leave func()) {
	fd := int(os.Stdin.Fd())
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, func() {}
	}
	keys := *saved
	keys.Lflag &^= unix.ICANON | unix.ECHO
	keys.Cc[unix.VMIN], keys.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(fd, unix.TCSETSW, &keys) != nil {
		return nil, func() {}
	}
	pressed := make(chan struct{})
	go func() {
		// It may still wait for a key when the program ends.
		var b [1]byte
		for {
			if n, err := os.Stdin.Read(b[:]); err != nil || n == 0 {
				return
			}
			if b[0] == 'q' || b[0] == 'Q' {
				close(pressed)
				return
			}
		}
	}()
	return pressed, func() { _ = unix.IoctlSetTermios(fd, unix.TCSETSW, saved) }
}
