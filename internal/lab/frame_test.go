package lab

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := frameWriter{w: &b}
	big := bytes.Repeat([]byte{frameMagic}, frameMax)
	sent := []struct {
		t       frameType
		payload []byte
	}{{frameStdin, nil}, {frameStdout, []byte("text")}, {frameStart, big}, {frameBye, nil}}
	for _, s := range sent {
		if err := w.send(s.t, s.payload); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.send(frameStdout, append(big, 0)); err == nil {
		t.Error("a frame that is too large was sent")
	}
	r := frameReader{r: iotest.OneByteReader(&b)}
	for _, s := range sent {
		typ, payload, err := r.next()
		if err != nil || typ != s.t || !bytes.Equal(payload, s.payload) {
			t.Errorf("frame of type %d with %d bytes, %v; want type %d with %d", typ, len(payload), err, s.t, len(s.payload))
		}
	}
	if _, _, err := r.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	tests := map[string]struct {
		bytes string
		want  string
	}{
		"magic":        {"\x00\x01\x00\x00\x00\x00", "frame starts with byte 0x00, want 0xf5"},
		"type zero":    {"\xf5\x00\x00\x00\x00\x00", "frame of unknown type 0"},
		"type unknown": {"\xf5\x63\x00\x00\x00\x00", "frame of unknown type 99"},
		"length":       {"\xf5\x01\x00\x10\x00\x01", "frame announces 1048577 bytes, more than 1048576"},
		"cut header":   {"\xf5\x01\x00", "unexpected EOF"},
		"cut payload":  {"\xf5\x01\x00\x00\x00\x02x", "unexpected EOF"},
		"no payload":   {"\xf5\x01\x00\x00\x00\x02", "unexpected EOF"},
	}
	for name, test := range tests {
		r := frameReader{r: strings.NewReader(test.bytes)}
		if _, _, err := r.next(); err == nil || err.Error() != test.want {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

// FuzzSession lets a guest send anything.
func FuzzSession(f *testing.F) {
	add := func(frames ...[]byte) { f.Add(bytes.Join(frames, nil)) }
	frame := func(t frameType, payload string) []byte {
		var b bytes.Buffer
		(&frameWriter{w: &b}).send(t, []byte(payload))
		return b.Bytes()
	}
	hello := frame(frameHello, `{"Release":"6.1"}`)
	add(hello, frame(frameStdout, "x"), frame(frameStderr, "y"), frame(frameExit, `{"Code":3}`), frame(frameCredit, "\x00\x00\x00\x01"))
	add(hello, frame(frameError, "no\nway"))
	add(hello, hello, hello)
	add(frame(frameExit, `{"Code":0}`))
	add(hello, frame(frameCredit, "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := Config{Args: []string{"true"}, Reboots: 1}.withDefaults()
		up := make(chan bool, 2*(cfg.Reboots+1))
		s := newSession(&cfg, struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(data), io.Discard}, &console{to: io.Discard}, up)
		end := make(chan error, 1)
		s.serve(end)
		err := <-end
		if err == nil && s.result.Boots == 0 {
			t.Error("a command ended in a guest that never booted")
		}
		if err != nil && s.ended.Load() {
			t.Errorf("the last command has ended, but there is an error: %v", err)
		}
	})
}

// TestWindow sends more than the window through a reader that gives credit
// slowly.
func TestWindow(t *testing.T) {
	const window = 10
	fromHost, toGuest := io.Pipe()
	w := newWindowWriter(toGuest)
	w.open(window)
	text := strings.Repeat("0123456789abcdef", 20)
	go func() {
		if n, err := io.WriteString(w, text); n != len(text) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		toGuest.Close()
	}()
	var got bytes.Buffer
	buf := make([]byte, 7)
	for {
		n, err := fromHost.Read(buf)
		got.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if got.Len() > len(text) || n > window {
			t.Fatalf("%d bytes at once, %d in all", n, got.Len())
		}
		if err := w.credit([]byte{0, 0, 0, byte(n)}, window); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != text {
		t.Errorf("got %q", got.String())
	}
	for _, bad := range []string{"", "\x00\x00\x00\x01", "\x00\x00\x00\x00\x00"} {
		if w.credit([]byte(bad), window) == nil {
			t.Errorf("credit %q with nothing under way is no error", bad)
		}
	}
	w.open(0)
	go w.close()
	if _, err := w.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write after close: %v", err)
	}
}
