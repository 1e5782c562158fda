package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// frameType says what a frame of the link carries.
type frameType byte

const (
	frameHello  frameType = iota + 1 // guest: the agent is up; JSON hello
	frameStart                       // host: what to do; JSON start
	frameStdin                       // host: input of the command; no bytes: its end
	frameResize                      // host: size of the terminal; rows, columns as big-endian uint16
	frameStdout                      // guest: output of the command, or of its terminal
	frameStderr                      // guest: error output of the command
	frameExit                        // guest: how the command ended; JSON exit
	frameError                       // guest: the agent could not do its work; text
	frameBye                         // host: the exit or error frame has arrived
	frameCredit                      // guest: bytes read from the link, as big-endian uint32
	frameTypes                       // number of types, plus one
)

const (
	// frameMagic opens each frame, so that a byte lost or added on the link
	// is noticed at once and not read as a length.
	frameMagic = 0xf5
	// frameHeader is the size of the header: magic, type, payload length as
	// a big-endian uint32.
	frameHeader = 6
	// frameMax bounds a payload. The start frame with the command's
	// arguments and environment is the largest: Linux allows a single
	// argument 128 KiB.
	frameMax = 1 << 20
	// streamChunk is the most that one stdin, stdout or stderr frame holds.
	streamChunk = 32 << 10
)

// frameWriter sends frames. Its methods may be called from several goroutines
// at once; frames are never interleaved.
type frameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte // the frame being sent, reused
}

func (fw *frameWriter) send(t frameType, payload []byte) error {
	if len(payload) > frameMax {
		return fmt.Errorf("frame of %d bytes is larger than %d", len(payload), frameMax)
	}
	fw.mu.Lock()
	defer fw.mu.Unlock()
	fw.buf = append(fw.buf[:0], frameMagic, byte(t))
	fw.buf = binary.BigEndian.AppendUint32(fw.buf, uint32(len(payload)))
	fw.buf = append(fw.buf, payload...)
	_, err := fw.w.Write(fw.buf)
	return err
}

// sendStream sends what r yields as frames of type t until its end. The end
// itself is not sent.
func (fw *frameWriter) sendStream(t frameType, r io.Reader) error {
	buf := make([]byte, streamChunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := fw.send(t, buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// frameReader receives frames.
type frameReader struct {
	r   io.Reader
	buf []byte
}

// next returns the next frame. The payload is valid until the call after. At
// the end of the link, between two frames, the error is io.EOF; within one it
// is io.ErrUnexpectedEOF.
func (fr *frameReader) next() (frameType, []byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(fr.r, head[:]); err != nil {
		return 0, nil, err
	}
	t, n := frameType(head[1]), binary.BigEndian.Uint32(head[2:])
	switch {
	case head[0] != frameMagic:
		return 0, nil, fmt.Errorf("frame starts with byte %#02x, want %#02x", head[0], frameMagic)
	case t == 0 || t >= frameTypes:
		return 0, nil, fmt.Errorf("frame of unknown type %d", t)
	case n > frameMax:
		return 0, nil, fmt.Errorf("frame announces %d bytes, more than %d", n, frameMax)
	}
	if uint32(cap(fr.buf)) < n {
		fr.buf = make([]byte, n)
	}
	payload := fr.buf[:n]
	if _, err := io.ReadFull(fr.r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return t, payload, nil
}

// hello is the agent's first message after each boot.
type hello struct {
	Release string // the guest kernel's, as uname -r prints it
}

// start tells the agent what to do in this boot.
type start struct {
	Boot       int  // 1 for the first
	Reboot     bool // reboot after a command that succeeded, rather than power off
	Mounts     []guestMount
	Root       *guestMount // becomes /, before Mounts
	Init       string      // with Root: becomes process 1 in place of the agent
	Args       []string
	Env        []string
	Dir        string
	Terminal   bool // the command gets a terminal
	Rows, Cols uint16
	Stdin      bool // stdin frames will come; otherwise the input is empty
}

// guestMount is a share as the agent sees it.
type guestMount struct {
	Tag      string
	Dir      string
	Options  string // data of mount(2): what is no flag
	ReadOnly bool
}

// exit is how the command ended.
type exit struct {
	Code int // as a shell reports it: 128+n after signal n, 127 not found, 126 not executable
}
