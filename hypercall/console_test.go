package hypercall

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// TestSerial: bytes and buffers of both versions, and what fails without an answer.
func TestSerial(t *testing.T) {
	m, _ := scratchMachine(t)
	m.call(V1Uart, 0xffffff00|'A')
	m.call(SerialWriteByte, 1<<40|'B')
	copy(m.mem(dataAt, 4), "1234")
	var v1 SerialWriteBufferParamsV1
	v1.Buf.Set(dataAt)
	v1.Len.Set(2)
	with(m, V1SerialWriteBuffer, &v1)
	var v2 SerialWriteBufferParams
	v2.Buf.Set(dataAt + 2)
	v2.Len.Set(2)
	with(m, SerialWriteBuffer, &v2)
	if s := m.out.String(); s != "AB1234" {
		t.Errorf("output %q", s)
	}
	for _, bad := range []struct {
		addr, n uint64
		want    syscall.Errno
	}{{badAddr, 1, syscall.EFAULT}, {ramEnd - 1, 2, syscall.EFAULT}, {ramBase, math.MaxUint64, syscall.EINVAL}} {
		v1.Buf.Set(bad.addr)
		v1.Len.Set(bad.n)
		v2.Buf.Set(bad.addr)
		v2.Len.Set(bad.n)
		if r := with(m, V1SerialWriteBuffer, &v1); r.Errno != bad.want {
			t.Errorf("%+v", r)
		}
		if r := with(m, SerialWriteBuffer, &v2); r.Errno != bad.want {
			t.Errorf("%+v", r)
		}
	}
	if m.g.Failures(SerialWriteBuffer) != 3 || m.g.Failures(V1SerialWriteBuffer) != 3 || m.g.Failures(V1Uart) != 0 || m.g.Failures(7) != 0 {
		t.Error("failures are not counted")
	}
	if s := m.out.String(); s != "AB1234" {
		t.Errorf("output %q", s)
	}
}

// TestOutputs: descriptors 1 and 2, apart or together, of any length.
func TestOutputs(t *testing.T) {
	m, _ := scratchMachine(t)
	for i := range 3 * dataSize {
		m.mem(dataAt, 3*dataSize)[i] = byte(i / 7)
	}
	for _, n := range []int{0, 1, dataSize - 1, dataSize, dataSize + 1, 3 * dataSize} {
		for fd, out := range map[int32]*bytes.Buffer{1: &m.out, 2: &m.err} {
			out.Reset()
			if got := m.write(fd, dataAt, uint64(n)); got != int64(n) || !bytes.Equal(out.Bytes(), m.mem(dataAt, n)) {
				t.Errorf("write of %d to %d: %d, and %d arrived", n, fd, got, out.Len())
			}
			out.Reset()
			if r := m.writeV1(fd, dataAt, uint64(n)); r.Errno != 0 || !bytes.Equal(out.Bytes(), m.mem(dataAt, n)) {
				t.Errorf("write of %d to %d of version 1: %v, and %d arrived", n, fd, r.Errno, out.Len())
			}
		}
	}
	var one bytes.Buffer
	both := newMachine(t, Config{FS: newScratch(t), Output: &one})
	copy(both.mem(dataAt, 4), "abcd")
	both.write(1, dataAt, 2)
	both.write(2, dataAt+2, 2)
	if one.String() != "abcd" {
		t.Errorf("together: %q", &one)
	}
}

// failing takes some bytes and then fails.
type failing struct {
	left int
	err  error
}

func (w *failing) Write(b []byte) (int, error) {
	n := min(w.left, len(b))
	w.left -= n
	if n < len(b) {
		return n, w.err
	}
	return n, nil
}

func TestOutputErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want syscall.Errno
	}{
		{syscall.ENOSPC, syscall.ENOSPC},
		{&os.PathError{Op: "write", Path: "x", Err: syscall.EPIPE}, syscall.EPIPE},
		{io.ErrShortWrite, syscall.EIO},
		{nil, syscall.EIO},
	} {
		out := &failing{left: dataSize + 5, err: tt.err}
		m := newMachine(t, Config{FS: newScratch(t), Output: out})
		if n := m.write(1, dataAt, 2*dataSize); n != dataSize+5 {
			t.Errorf("%v: write %d", tt.err, n)
		}
		want(t, "write", m.write(1, dataAt, 1), tt.want)
		if r := m.writeV1(1, dataAt, 1); r.Errno != tt.want {
			t.Errorf("version 1: %v", r.Errno)
		}
		if r := m.call(V1Uart, 'x'); r.Errno != tt.want {
			t.Errorf("uart: %v", r.Errno)
		}
	}
}

// TestInput: descriptor 0 and the serial input share it.
func TestInput(t *testing.T) {
	m := newMachine(t, Config{FS: newScratch(t), Input: iotest.OneByteReader(strings.NewReader("abc"))})
	readSerial := func(addr, n uint64) (uint64, Result) {
		var p SerialReadBufferParams
		p.Buf.Set(addr)
		p.MaxLen.Set(n)
		p.Len.Set(99)
		r := with(m, SerialReadBuffer, &p)
		return p.Len.Get(), r
	}
	want(t, "read to a bad address", m.read(0, badAddr, 1), syscall.EFAULT)
	if n, r := readSerial(badAddr, 1); n != 0 || r.Errno != syscall.EFAULT {
		t.Errorf("serial read to a bad address: %d, %v", n, r.Errno)
	}
	if n := m.read(0, dataAt, 10); n != 1 {
		t.Errorf("read: %d", n)
	}
	if n, r := readSerial(dataAt+1, 10); n != 1 || r.Errno != 0 {
		t.Errorf("serial read: %d, %v", n, r.Errno)
	}
	if n := m.readV1(0, dataAt+2, 10); n != 1 {
		t.Errorf("read of version 1: %d", n)
	}
	if s := string(m.mem(dataAt, 4)); s != "abc\x00" {
		t.Errorf("%q", s)
	}
	if n := m.read(0, dataAt, 10); n != 0 {
		t.Errorf("read at the end: %d", n)
	}
	if n, r := readSerial(dataAt, 10); n != 0 || r.Errno != 0 {
		t.Errorf("serial read at the end: %d, %v", n, r.Errno)
	}
	if n := newMachine(t, Config{FS: newScratch(t)}).read(0, dataAt, 10); n != 0 {
		t.Errorf("read without an input: %d", n)
	}
	large := newMachine(t, Config{FS: newScratch(t), Input: strings.NewReader(strings.Repeat("x", 2*dataSize))})
	if n := large.read(0, dataAt, 2*dataSize); n != dataSize {
		t.Errorf("long read: %d", n)
	}
}

// lazy is a reader that never has anything, which readers should not do.
type lazy struct{}

func (lazy) Read([]byte) (int, error) { return 0, nil }

func TestInputErrors(t *testing.T) {
	for _, tt := range []struct {
		in   io.Reader
		want syscall.Errno
	}{
		{iotest.ErrReader(errors.New("gone")), syscall.EIO},
		{iotest.ErrReader(fmt.Errorf("read: %w", syscall.EAGAIN)), syscall.EAGAIN},
		{lazy{}, syscall.EIO},
	} {
		m := newMachine(t, Config{FS: newScratch(t), Input: tt.in})
		want(t, "read", m.read(0, dataAt, 10), tt.want)
	}
}

// TestExit: codes of both versions.
func TestExit(t *testing.T) {
	m, _ := scratchMachine(t)
	for arg, code := range map[uint64]int32{0: 0, 7: 7, math.MaxUint32: -1, math.MaxUint64: -1, 1<<32 | 3: 3, 1 << 31: math.MinInt32} {
		if r := m.call(Exit, arg); r != (Result{Known: true, Exit: true, Code: code}) {
			t.Errorf("%#x: %+v", arg, r)
		}
		var p ExitParams
		p.Code.Set(code)
		if r := with(m, V1Exit, &p); r != (Result{Known: true, Exit: true, Code: code}) {
			t.Errorf("version 1, %d: %+v", code, r)
		}
	}
	for _, addr := range []uint64{badAddr, ramEnd - 3, 0} {
		if r := m.call(V1Exit, addr); r != (Result{Known: true, Errno: syscall.EFAULT}) {
			t.Errorf("without a code: %+v", r)
		}
	}
}

// TestCommandLine: what cmdsize says and cmdval writes go together.
func TestCommandLine(t *testing.T) {
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprint("arg", i)
	}
	for _, tt := range []struct{ args, env []string }{
		{[]string{"kernel", "-a", "", "b c"}, []string{"A=1", "ÄÖ=🦀;", "E="}},
		{[]string{"kernel"}, nil},
		{many[:128], many[:128]},
		{many, many},
	} {
		m := newMachine(t, Config{FS: newScratch(t), Args: tt.args, Env: tt.env})
		var p CmdsizeParams
		if r := with(m, V1Cmdsize, &p); r.Errno != 0 {
			t.Fatal(r.Errno)
		}
		args, env := min(len(tt.args), MaxStrings), min(len(tt.env), MaxStrings)
		if int(p.Argc.Get()) != args || int(p.Envc.Get()) != env {
			t.Fatalf("%d arguments, %d environment strings", p.Argc.Get(), p.Envc.Get())
		}
		// The guest makes room and two arrays, as old kernels do.
		next := uint64(dataAt)
		room := func(array uint64, sizes []I32) {
			for i := range sizes {
				m.u64(array+uint64(i)*8, next)
				next += uint64(sizes[i].Get())
				m.mem(next, 1)[0] = 0xee
				next++
			}
			m.u64(array+uint64(len(sizes))*8, 0xdead)
		}
		const argv, envp = nameAt, attrAt
		room(argv, p.ArgSz[:args])
		room(envp, p.EnvSz[:env])
		var v CmdvalParams
		v.Argv.Set(argv)
		v.Envp.Set(envp)
		if r := with(m, V1Cmdval, &v); r.Errno != 0 {
			t.Fatal(r.Errno)
		}
		var all []byte
		for _, s := range slices.Concat(tt.args[:args], tt.env[:env]) {
			all = append(append(all, s...), 0, 0xee)
		}
		if got := m.mem(dataAt, len(all)); !bytes.Equal(got, all) {
			t.Errorf("%q, want %q", got, all)
		}
	}
}

// TestCommandLineErrors: bad places are left out and the others filled.
func TestCommandLineErrors(t *testing.T) {
	m := newMachine(t, Config{FS: newScratch(t), Args: []string{"k", "a", "b"}, Env: []string{"X=1"}})
	if r := m.call(V1Cmdsize, ramEnd-1031); r.Errno != syscall.EFAULT {
		t.Errorf("cmdsize: %+v", r)
	}
	if r := m.call(V1Cmdval, badAddr); r.Errno != syscall.EFAULT {
		t.Errorf("cmdval: %+v", r)
	}
	m.u64(nameAt, dataAt)
	m.u64(nameAt+8, badAddr)
	m.u64(nameAt+16, dataAt+16)
	m.u64(attrAt, dataAt+32)
	var v CmdvalParams
	v.Argv.Set(nameAt)
	v.Envp.Set(attrAt)
	if r := with(m, V1Cmdval, &v); r.Errno != syscall.EFAULT {
		t.Errorf("cmdval: %+v", r)
	}
	for at, s := range map[uint64]string{dataAt: "k\x00", dataAt + 16: "b\x00", dataAt + 32: "X=1\x00"} {
		if got := string(m.mem(at, len(s))); got != s {
			t.Errorf("%q, want %q", got, s)
		}
	}
	v.Argv.Set(math.MaxUint64 - 7)
	v.Envp.Set(ramEnd - 4)
	if r := with(m, V1Cmdval, &v); r.Errno != syscall.EFAULT {
		t.Errorf("cmdval: %+v", r)
	}
}

// TestWithoutEffect: calls of old and reserved ones, and ports that are none.
func TestWithoutEffect(t *testing.T) {
	m, _ := scratchMachine(t)
	before := bytes.Clone(m.ram)
	for _, n := range []Number{V1Netwrite, V1Netread, V1Netstat, SerialReadByte, SharedMemOpen, SharedMemClose} {
		if r := m.call(n, structAt); r != (Result{Known: true, Errno: syscall.ENOSYS}) {
			t.Errorf("%v: %+v", n, r)
		}
	}
	for n := range 1 << 16 {
		if Number(n).Version() != 0 {
			continue
		}
		if r := m.call(Number(n), structAt); r != (Result{}) {
			t.Fatalf("port %#x: %+v", n, r)
		}
	}
	if !bytes.Equal(before, m.ram) || m.out.Len() != 0 {
		t.Error("there was an effect")
	}
}

// TestLogOnce: an error without an answer is logged once for each call, others are not.
func TestLogOnce(t *testing.T) {
	var log bytes.Buffer
	m := newMachine(t, Config{FS: newScratch(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 5 {
		m.writeV1(9, dataAt, 1)
		m.write(9, dataAt, 1)
		m.call(FileOpen, badAddr)
		m.call(V1FileOpen, badAddr)
	}
	for what, want := range map[string]int{"\n": 3, "call=FileWriteV1": 1, "call=FileWrite ": 0, "call=FileOpen ": 1, "call=FileOpenV1": 1, "bad file descriptor": 1} {
		if n := strings.Count(log.String(), what); n != want {
			t.Errorf("%q is %d times in the log, want %d:\n%s", what, n, want, &log)
		}
	}
	if m.g.Failures(FileWrite) != 5 {
		t.Error("failures are not counted")
	}
}

// TestConfig: what New refuses.
func TestConfig(t *testing.T) {
	fs := newScratch(t)
	view := viewOf(t, map[uint64][]byte{ramBase: mapRAM(t, 4096)})
	for _, cfg := range []Config{
		{},
		{FS: fs},
		{Memory: view},
		{FS: fs, Memory: view, MaxFiles: 2},
		{FS: fs, Memory: view, MaxFiles: -1},
		{FS: fs, Memory: view, MaxFiles: LargestMaxFiles + 1},
	} {
		if g, err := New(cfg); err == nil {
			g.Close()
			t.Errorf("%+v was taken", cfg)
		}
	}
}
