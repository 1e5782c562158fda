package gdb

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"
)

// maxPacket is the most bytes between "$" and "#", in both directions, which the peer is
// told (PacketSize).
const maxPacket = 16 << 10

// maxData is how much memory is moved at once: its hexadecimal form, or every byte of it
// escaped, is a packet.
const maxData = (maxPacket - 64) / 2

const interruptByte = 0x03 // Ctrl-C, outside of packets

// writeTimeout bounds how long a peer may leave what it is sent unread.
const writeTimeout = 30 * time.Second

var (
	errStray = errors.New("a byte between packets that is not of the remote protocol of GDB")
	errLong  = errors.New("a packet that is longer than allowed")
	errSum   = errors.New("a damaged packet, where nothing should damage it")
)

// event is something that the peer has sent.
type event struct {
	kind eventKind
	data string // of a packet
	err  error  // of eventLost
}

type eventKind uint8

const (
	eventPacket    eventKind = iota
	eventDamaged             // a packet whose checksum is wrong
	eventNack                // the peer wants our last packet again
	eventInterrupt           // the peer wants the machine to stop
	eventLost                // nothing comes any more; err is io.EOF if the peer has closed
)

// decoder takes packets out of what the peer sends.
type decoder struct {
	r   *bufio.Reader
	buf []byte
}

func newDecoder(r io.Reader) *decoder {
	return &decoder{r: bufio.NewReader(r), buf: make([]byte, 0, maxPacket)}
}

// next waits for an event.
func (d *decoder) next() event {
	for {
		b, err := d.r.ReadByte()
		if err != nil {
			return event{kind: eventLost, err: err}
		}
		switch b {
		case '+': // packets go over a connection that loses none
		case '-':
			return event{kind: eventNack}
		case interruptByte:
			return event{kind: eventInterrupt}
		case '$':
			return d.packet()
		default:
			return event{kind: eventLost, err: errStray}
		}
	}
}

// packet reads on behind a "$".
func (d *decoder) packet() event {
	d.buf = d.buf[:0]
	var sum byte
	for {
		b, err := d.r.ReadByte()
		if err != nil {
			return event{kind: eventLost, err: unexpected(err)}
		}
		if b == '#' {
			break
		}
		if len(d.buf) == maxPacket {
			return event{kind: eventLost, err: errLong}
		}
		sum += b
		d.buf = append(d.buf, b)
	}
	var end [2]byte
	if _, err := io.ReadFull(d.r, end[:]); err != nil {
		return event{kind: eventLost, err: unexpected(err)}
	}
	hi, ok1 := nibble(end[0])
	lo, ok2 := nibble(end[1])
	data, ok3 := unescape(d.buf)
	if !ok1 || !ok2 || !ok3 || hi<<4|lo != sum {
		return event{kind: eventDamaged}
	}
	return event{kind: eventPacket, data: string(data)}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unescape undoes the escapes of binary data in place. It is false for one without a byte
// to escape.
func unescape(b []byte) ([]byte, bool) {
	out := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '}' {
			if i++; i == len(b) {
				return nil, false
			}
			c = b[i] ^ 0x20
		}
		out = append(out, c)
	}
	return out, true
}

// appendPacket frames data. What means something in a packet is escaped, "*" too, since it
// stands for a repetition in packets to the debugger.
func appendPacket(dst []byte, data string) []byte {
	dst = append(dst, '$')
	var sum byte
	for i := range len(data) {
		c := data[i]
		switch c {
		case '#', '$', '}', '*':
			dst = append(dst, '}', c^0x20)
			sum += '}' + (c ^ 0x20)
		default:
			dst = append(dst, c)
			sum += c
		}
	}
	return append(dst, '#', digits[sum>>4], digits[sum&15])
}

// link is the sending side of a connection.
type link struct {
	conn  net.Conn
	buf   []byte // the last packet
	noAck bool   // packets are not acknowledged
}

func (l *link) send(data string) error {
	l.buf = appendPacket(l.buf[:0], data)
	return l.write(l.buf)
}

func (l *link) sendAgain() error {
	if len(l.buf) == 0 {
		return nil
	}
	return l.write(l.buf)
}

// acknowledge answers a packet, whose checksum was right or not.
func (l *link) acknowledge(right bool) error {
	switch {
	case l.noAck && right:
		return nil
	case l.noAck:
		return errSum
	case right:
		return l.write([]byte{'+'})
	}
	return l.write([]byte{'-'})
}

func (l *link) write(b []byte) error {
	err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = l.conn.Write(b)
	}
	if err != nil {
		return lostError{err}
	}
	return nil
}
