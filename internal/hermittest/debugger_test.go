package hermittest

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// debugger is as much of gdb as the tests need.
type debugger struct {
	t    *testing.T
	conn net.Conn
}

// ask sends a packet and returns the reply.
func (d *debugger) ask(packet string) string {
	d.t.Helper()
	sum := byte(0)
	for _, c := range []byte(packet) {
		sum += c
	}
	_, err := fmt.Fprintf(d.conn, "$%s#%02x", packet, sum)
	check(d.t, err)
	var reply []byte
	in := false
	for {
		switch c := d.byte(); {
		case c == '$':
			reply, in = reply[:0], true
		case c == '#' && in:
			d.byte()
			d.byte()
			_, err := io.WriteString(d.conn, "+")
			check(d.t, err)
			return string(reply)
		case in:
			reply = append(reply, c)
		}
	}
}

func (d *debugger) byte() byte {
	d.t.Helper()
	var b [1]byte
	_, err := io.ReadFull(d.conn, b[:])
	check(d.t, err)
	return b[0]
}

// places of registers among those of amd64.
var registers = map[string]int{"rsi": 4, "rdi": 5, "rip": 16}

func (d *debugger) register(name string) uint64 {
	d.t.Helper()
	all := d.bytes(d.ask("g"))
	at := registers[name] * 8
	if len(all) < at+8 {
		d.t.Fatalf("%d bytes of registers", len(all))
	}
	return binary.LittleEndian.Uint64(all[at:])
}

func (d *debugger) bytes(reply string) []byte {
	d.t.Helper()
	b, err := hex.DecodeString(reply)
	if err != nil {
		d.t.Fatalf("%q: %v", reply, err)
	}
	return b
}

func (d *debugger) read(addr uint64) uint64 {
	d.t.Helper()
	b := d.bytes(d.ask(fmt.Sprintf("m%x,8", addr)))
	if len(b) != 8 {
		d.t.Fatalf("%d bytes of memory", len(b))
	}
	return binary.LittleEndian.Uint64(b)
}

func (d *debugger) write(addr, v uint64) {
	d.t.Helper()
	if reply := d.ask(fmt.Sprintf("M%x,8:%x", addr, binary.LittleEndian.AppendUint64(nil, v))); reply != "OK" {
		d.t.Errorf("write: %q", reply)
	}
}

// textOffset is by how much the kernel was moved.
func (d *debugger) textOffset() uint64 {
	d.t.Helper()
	reply := d.ask("qOffsets")
	text, _, _ := strings.Cut(strings.TrimPrefix(reply, "Text="), ";")
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		d.t.Fatalf("qOffsets: %q", reply)
	}
	return n
}

// symbolsOf are the symbols of a kernel, before it is moved.
func symbolsOf(t *testing.T, kernel string) map[string]uint64 {
	t.Helper()
	f, err := elf.Open(program(kernel))
	check(t, err)
	defer f.Close()
	list, err := f.Symbols()
	check(t, err)
	all := map[string]uint64{}
	for _, s := range list {
		all[s.Name] = s.Value
	}
	return all
}
