package lab

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
)

// session is the host's side of the link.
type session struct {
	cfg     *Config
	link    io.ReadWriter
	console *console
	up      chan<- bool // gets true when the guest has booted, false when it is to reboot

	to      *windowWriter // to the guest, below out
	out     frameWriter
	boot    int
	running bool          // between hello and exit of this boot
	ended   atomic.Bool   // the last command has
	gone    chan struct{} // closed when the link is no longer served
	result  Result
}

func newSession(cfg *Config, link io.ReadWriter, console *console, up chan<- bool) *session {
	s := &session{cfg: cfg, link: link, console: console, up: up, to: newWindowWriter(link), gone: make(chan struct{})}
	s.out.w = s.to
	return s
}

// serve serves the link until it ends. It sends one value to end, once: nil
// when the guest's last command has ended, after which result is final, or
// what came before that; one for which [wentAway] is true says that the guest
// has gone.
func (s *session) serve(end chan<- error) {
	defer close(s.gone)
	defer s.to.close()
	err := s.run()
	end <- err
	for in := (frameReader{r: s.link}); err == nil; {
		// What is left to do is to let the last words through.
		var t frameType
		var payload []byte
		if t, payload, err = in.next(); err == nil && t == frameCredit {
			err = s.to.credit(payload, linkWindow[s.cfg.Kind])
		}
	}
}

// run is serve up to the end of the last command.
func (s *session) run() error {
	in := frameReader{r: s.link}
	for {
		t, payload, err := in.next()
		if err != nil {
			return fmt.Errorf("link to the guest: %w", err)
		}
		if t != frameHello && t != frameCredit && !s.running {
			return fmt.Errorf("link to the guest: frame of type %d while no command runs", t)
		}
		switch t {
		case frameHello:
			err = s.hello(payload)
		case frameCredit:
			if err = s.to.credit(payload, linkWindow[s.cfg.Kind]); err != nil {
				err = fmt.Errorf("link to the guest: %w", err)
			}
		case frameStdout:
			err = writeAll(s.cfg.Stdout, payload, "output")
		case frameStderr:
			err = writeAll(s.cfg.Stderr, payload, "error output")
		case frameExit:
			var last bool
			if last, err = s.exit(payload); last && err == nil {
				return nil
			}
		case frameError:
			err = &GuestError{Reason: "in the guest: " + cleanText(string(payload))}
		default:
			err = fmt.Errorf("link to the guest: frame of type %d is none a guest sends", t)
		}
		if err != nil {
			return err
		}
	}
}

// hello answers an agent that has come up.
func (s *session) hello(payload []byte) error {
	var h hello
	if err := json.Unmarshal(payload, &h); err != nil {
		return fmt.Errorf("link to the guest: hello: %w", err)
	}
	if s.running {
		if reason := s.console.reason(); reason != "" {
			return &GuestError{Reason: reason, Console: s.console.lines(consoleLines)}
		}
	}
	s.boot++
	if s.boot > s.cfg.Reboots+1 {
		return &GuestError{
			Reason:  fmt.Sprintf("the guest rebooted by itself after boot %d", s.boot-1),
			Console: s.console.lines(consoleLines),
		}
	}
	s.result.Boots, s.result.Kernel = s.boot, h.Release
	text, err := json.Marshal(s.cfg.start(s.boot))
	if err != nil {
		return err
	}
	s.up <- true
	s.running = true
	s.to.open(linkWindow[s.cfg.Kind])
	first := s.boot == 1
	// Not here: sending waits for the credits that the caller receives.
	go func() {
		if s.out.send(frameStart, text) == nil && first {
			go s.forwardInput()
			go s.forwardSizes()
		}
	}()
	return nil
}

// exit takes the command's exit status and reports whether it was the last
// one.
func (s *session) exit(payload []byte) (last bool, err error) {
	var e exit
	if err := json.Unmarshal(payload, &e); err != nil {
		return false, fmt.Errorf("link to the guest: exit: %w", err)
	}
	s.result.ExitCode = e.Code
	s.running = false
	last = e.Code != 0 || s.boot > s.cfg.Reboots
	if last {
		s.ended.Store(true)
	} else {
		s.up <- false
	}
	// Tell the agent that its last word has arrived. If that fails the guest
	// is going away anyway.
	go s.out.send(frameBye, nil)
	return last, nil
}

// forwardInput sends the command's input and its end.
func (s *session) forwardInput() {
	if s.cfg.Stdin == nil {
		return
	}
	buf := make([]byte, streamChunk)
	for {
		n, err := s.cfg.Stdin.Read(buf)
		if s.ended.Load() {
			return
		}
		if n > 0 && s.out.send(frameStdin, buf[:n]) != nil {
			return
		}
		if err != nil {
			_ = s.out.send(frameStdin, nil)
			return
		}
	}
}

// forwardSizes sends the terminal's sizes until the link or the channel ends.
func (s *session) forwardSizes() {
	for {
		select {
		case <-s.gone:
			return
		case size, ok := <-s.cfg.Resize:
			if !ok {
				return
			}
			var b [4]byte
			binary.BigEndian.PutUint16(b[:], size.Rows)
			binary.BigEndian.PutUint16(b[2:], size.Cols)
			if s.out.send(frameResize, b[:]) != nil {
				return
			}
		}
	}
}

func writeAll(w io.Writer, p []byte, what string) error {
	if _, err := w.Write(p); err != nil {
		return fmt.Errorf("the command's %s: %w", what, err)
	}
	return nil
}

// cleanText makes one printable line of a text from the guest.
func cleanText(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

// wentAway reports whether err says that the guest closed the link.
func wentAway(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isClosedLink(err)
}
