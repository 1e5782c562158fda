package hypercall

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile makes calls out of bytes that say which, and what is in memory at their
// arguments: numbers that make sense now and then, so that calls get far.
type hostile struct {
	m    *machine
	data []byte
}

func (h *hostile) byte() byte {
	if len(h.data) == 0 {
		return 0
	}
	b := h.data[0]
	h.data = h.data[1:]
	return b
}

func (h *hostile) u64() uint64 {
	var b [8]byte
	n := copy(b[:], h.data)
	h.data = h.data[n:]
	return binary.LittleEndian.Uint64(b[:])
}

// number is one of use to a call.
func (h *hostile) number() uint64 {
	interesting := [...]uint64{
		0, 1, 2, 3, 4, 5, 8, 40, 4095, 4096, 4097, 1 << 20, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 52, 1<<63 - 1, 1 << 63, 1<<64 - 1,
		ramBase, ramBase - 1, ramEnd - 1, ramEnd, ramEnd - 40, tablesAt, tablesAt + 0x1000,
		dataAt, dataAt + 4090, nameAt, nameAt + 64, nameAt + 128, structAt,
	}
	switch b := h.byte(); {
	case int(b) < len(interesting):
		return interesting[b]
	case b < 128:
		return uint64(b % 16)
	case b < 200:
		return dataAt + uint64(b)*64
	}
	return h.u64()
}

// paths that lie at nameAt, 64 bytes apart.
var hostilePaths = []string{
	"/root/f", "/ro/f", "/root/abs", "/root/rel", "/root/parent/outside/secret", "/tmp/new", "/root/../../outside/secret",
	"../outside/secret", "/root", "/", "/root/new", "/lib/deep/single", "root/guest", "",
}

func (h *hostile) step() {
	m := h.m
	numbers := Numbers()
	n := numbers[int(h.byte())%len(numbers)]
	if h.byte() == 0xff {
		n = Number(h.u64())
	}
	for i, p := range hostilePaths {
		copy(m.mem(nameAt+uint64(i)*64, 64), p+"\x00")
	}
	arg := uint64(structAt)
	if h.byte() > 230 {
		arg = h.number()
	}
	var params [40]byte
	for i := 0; i < len(params); i += 4 {
		binary.LittleEndian.PutUint32(params[i:], uint32(h.number()))
	}
	// The places of addresses and lengths, in packed structures and others.
	for _, at := range [...]int{0, 4, 8, 12, 16} {
		if b := h.byte(); b&1 != 0 {
			v := h.number()
			if b&2 != 0 {
				v = nameAt + uint64(b>>2)%uint64(len(hostilePaths))*64
			}
			binary.LittleEndian.PutUint64(params[at:], v)
		}
	}
	copy(m.mem(structAt, len(params)), params[:])
	cpu := CPU{CR3: tablesAt}
	if h.byte() > 240 {
		cpu.CR3 = h.number()
	}
	r := m.g.Call(n, arg, cpu)
	if r.Known != (n.Version() != 0) || !r.Known && r != (Result{}) || r.Exit && n != Exit && n != V1Exit || r.Errno >= 4096 {
		m.t.Fatalf("%v: %+v", n, r)
	}
}

// unreached is what no guest may change.
func (c *composed) unreached(t testing.TB) string {
	t.Helper()
	return snapshot(t, filepath.Join(c.dir, "outside")) + snapshot(t, filepath.Join(c.dir, "ro"))
}

func (c *composed) check(t testing.TB, before string) {
	t.Helper()
	if after := c.unreached(t); after != before {
		t.Fatalf("what is not the guest's has changed:\n%s\n%s", before, after)
	}
	if bytes.Contains(c.ram, []byte(secret)) {
		t.Fatal("the guest has seen what is not its own")
	}
	// What guests have written to the console would be all that there is in memory in the end.
	c.out.Reset()
	c.err.Reset()
	for fd := range int32(DefaultMaxFiles) {
		if f, errno := c.g.files.get(fd); errno == 0 {
			call := c.g.newCall()
			c.g.close(call, fd)
			c.g.put(call, f)
		}
	}
}

func FuzzCall(f *testing.F) {
	for _, n := range Numbers() {
		i, _ := n.place()
		f.Add([]byte{byte(i)})
		f.Add([]byte{byte(i), 0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 3, 0})
		f.Add([]byte{byte(i), 0, 255, 22})
	}
	f.Add([]byte(strings.Repeat("open and read\xff\x80\x01\x03", 20)))
	c := compose(f)
	before := c.unreached(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := c.fork(0)
		m.t = t
		m.identity()
		for h := (hostile{m, data}); len(h.data) > 0; {
			h.step()
		}
		c.check(t, before)
		c.nothingHeld(t)
	})
}

// TestHostileGuest makes 10,000 random calls.
func TestHostileGuest(t *testing.T) {
	c := compose(t)
	before := c.unreached(t)
	r := rand.New(rand.NewPCG(5, 10))
	data := make([]byte, 512)
	failed := 0
	for range 10_000 {
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		h := hostile{c.machine, data}
		h.step()
		c.identity()
	}
	for _, n := range Numbers() {
		if c.g.Failures(n) != 0 {
			failed++
		}
	}
	if failed < 20 {
		t.Errorf("only %d kinds of calls have failed", failed)
	}
	c.check(t, before)
	c.nothingHeld(t)
	// It is still served.
	if fd := c.open("/lib/deep/single", unix.O_RDONLY, 0); fd != firstFile {
		t.Errorf("open: %d", fd)
	}
}
