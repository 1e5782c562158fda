package hypercall

import (
	"testing"

	"golang.org/x/sys/unix"
)

// hot are the calls that guests make all the time, prepared so that only Call is left. Each
// leaves the file as it was.
func hot(t testing.TB, m *machine) map[string]func() {
	m.makeFile("f", string(make([]byte, 64<<10)))
	fd := m.open("f", unix.O_RDWR, 0)
	if fd < firstFile {
		t.Fatal(fd)
	}
	at := uint64(structAt)
	calls := map[string]func(){}
	add := func(name string, n Number, params []byte) {
		at += 64
		arg := at
		copy(m.mem(arg, len(params)), params)
		calls[name] = func() { m.g.Call(n, arg, m.cpu) }
	}
	var seek LseekParams
	seek.FD.Set(fd)
	add("lseek", FileLseek, Bytes(&seek))
	rewind := calls["lseek"]
	var rw WriteParams
	rw.FD.Set(fd)
	rw.Buf.Set(dataAt)
	rw.Len.Set(4096)
	add("read", FileRead, Bytes(&rw))
	add("write", FileWrite, Bytes(&rw))
	var r1 ReadParamsV1
	r1.FD.Set(fd)
	r1.Buf.Set(dataAt + 100)
	r1.Len.Set(16 << 10)
	add("read of version 1", V1FileRead, Bytes(&r1))
	var w1 WriteParamsV1
	w1.FD.Set(fd)
	w1.Buf.Set(dataAt + 100)
	w1.Len.Set(16 << 10)
	add("write of version 1", V1FileWrite, Bytes(&w1))
	for name, call := range calls {
		if name != "lseek" {
			calls[name] = func() { call(); rewind() }
		}
	}
	w1.FD.Set(stdout)
	add("write to the console", V1FileWrite, Bytes(&w1))
	calls["byte for the console"] = func() { m.g.Call(V1Uart, 'x', m.cpu) }
	var a FstatParams
	a.FD.Set(fd)
	a.Attr.Set(attrAt)
	add("fstat", FileFstat, Bytes(&a))
	return calls
}

// nowhere is an output that keeps nothing.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

func hotMachine(t testing.TB) *machine {
	m := newMachine(t, Config{FS: newScratch(t), Output: nowhere{}})
	// Virtual memory in pages of 4 KiB that lie backwards.
	p := newTables(t, m.view, tablesAt+0x1_0000)
	for i := range uint64(16) {
		p.set(dataAt+i*pageSize, 12, dataAt+(15-i)*pageSize|1)
	}
	m.cpu.CR3 = p.cr3
	return m
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("pools forget what they hold under the race detector")
		return
	}
	m := hotMachine(t)
	for name, call := range hot(t, m) {
		if n := testing.AllocsPerRun(200, call); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, n := range Numbers() {
		if m.g.Failures(n) != 0 {
			t.Errorf("%v has failed", n)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	m := hotMachine(b)
	for name, call := range hot(b, m) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				call()
			}
		})
	}
}
