package fsx

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// machine makes the same steps in the directory and in the model.
type machine struct {
	t      *rapid.T
	cfg    *Config
	dir    string
	actors [2]doer // of the descriptors with even and with odd numbers
	names  map[string]*inode
	some   []string // the names that there may be
	found  bool     // the directory was made by Prepare
	slots  [slots - 1]*slot
	step   uint64
	// touched are the pieces of files that the last step had to do with.
	touched []piece
}

type piece struct {
	ino    *inode
	off, n int64
}

// spare is a descriptor of both actors that is open only while a name is
// compared.
const spare = slots - 1

var someNames = []string{"a", "b", "c"}

// begin finds what there is.
func (m *machine) begin() {
	m.t.Helper()
	switch {
	case m.cfg.Lacks&NoNames != 0:
		m.do(op{Call: callTruncate, Name: m.some[0]})
		m.names[m.some[0]] = &inode{}
	case m.found:
		for _, name := range m.some[:2] {
			o := op{Call: callStat, Name: name}
			a := m.do(o)
			m.names[name] = &inode{data: found(int(a.N))}
		}
	}
}

// actions are all steps. rapid takes each as often as another, those with a
// greater weight more often.
func (m *machine) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){"": func(*rapid.T) { m.compareStep() }}
	for _, a := range []struct {
		name   string
		weight int
		unless Lack // not where this is lacking
		only   Lack // only where this is lacking
		do     func()
	}{
		{"open", 2, 0, 0, m.open},
		{"close", 1, 0, 0, m.close},
		{"read", 3, 0, 0, m.read},
		{"write", 5, 0, 0, m.write},
		{"truncate", 2, 0, 0, m.truncate},
		{"allocate", 3, 0, 0, m.allocate},
		{"map", 1, NoMmap, 0, m.remap},
		{"map in vain", 1, 0, NoMmap, m.remap},
		{"load", 2, NoMmap, 0, m.load},
		{"store", 3, NoMmap, 0, m.store},
		{"copy", 2, 0, 0, m.copy},
		{"extents", 1, 0, 0, m.extents},
		{"sync", 1, 0, 0, m.sync},
		{"rename", 1, NoNames, 0, m.rename},
		{"together", 2, 0, 0, m.together},
	} {
		if m.cfg.Lacks&a.unless != 0 || m.cfg.Lacks&a.only != a.only {
			continue
		}
		for i := range a.weight {
			all[fmt.Sprint(a.name, " ", i)] = func(*rapid.T) {
				m.step++
				a.do()
			}
		}
	}
	return all
}

// do makes a step by whoever has the descriptor, and expects it to succeed.
func (m *machine) do(o op) answer {
	m.t.Helper()
	return m.expect(0, o)
}

// expect makes a step and expects an errno.
func (m *machine) expect(errno syscall.Errno, o op) answer {
	m.t.Helper()
	answers, err := m.actors[o.Slot%2].do(o)
	if err != nil {
		m.t.Fatalf("%v: %v", o, err)
	}
	m.t.Logf("%v", o)
	m.judge(errno, o, answers[0])
	return answers[0]
}

func (m *machine) judge(errno syscall.Errno, o op, a answer) {
	m.t.Helper()
	if a.Wrong != "" {
		m.t.Fatalf("%v: %s (%v)", o, a.Wrong, a.Errno)
	}
	if a.Errno != errno {
		m.t.Fatalf("%v: errno %d (%v), want %v", o, int(a.Errno), a.Errno, errno)
	}
}

// reset has both actors close everything and go to a directory.
func (m *machine) reset(dir string) {
	for _, a := range m.actors {
		if _, err := a.do(op{Call: callReset, Name: dir}); err != nil {
			panic(err)
		}
	}
}

func (m *machine) pick(what string, n int) int { return rapid.IntRange(0, n-1).Draw(m.t, what) }

func sample[T any](m *machine, what string, of []T) T { return of[m.pick(what, len(of))] }

// slot returns a descriptor that will do, and opens one if there is none:
// O_RDWR without more always does.
func (m *machine) slot(ok func(*slot) bool) int {
	var good []int
	for i, s := range m.slots {
		if s != nil && ok(s) {
			good = append(good, i)
		}
	}
	if len(good) == 0 {
		i := m.pick("descriptor", len(m.slots))
		m.openAs(i, sample(m, "name", m.some), unix.O_RDWR)
		return i
	}
	return sample(m, "descriptor", good)
}

// place returns a place in a file where something may go wrong.
func (m *machine) place(ino *inode) int64 {
	switch m.pick("kind of place", 4) {
	case 0:
		return int64(m.pick("place", limit))
	case 1:
		return int64(m.pick("page", limit/page)) * page
	case 2:
		return max(0, int64(m.pick("page", limit/page))*page+int64(m.pick("from the page", 5))-2)
	}
	return max(0, min(limit-1, ino.size()+int64(m.pick("from the end", 5))-2))
}

// span returns a piece that ends at most at the end; for O_DIRECT one of whole
// pages.
func (m *machine) span(ino *inode, end int64, direct bool) (off, n int64) {
	off = m.place(ino)
	switch m.pick("kind of length", 3) {
	case 0:
		n = 1 + int64(m.pick("length", 64))
	case 1:
		n = 1 + int64(m.pick("length", 3*page))
	case 2:
		n = 1 + int64(m.pick("length", 64<<10))
	}
	if direct {
		off, n = off&^(page-1), (n+page-1)&^(page-1)
		end = end &^ (page - 1)
	}
	if off >= end {
		off = max(0, end-n)
	}
	return off, min(n, end-off)
}

// parts cuts a length into up to four pieces, for O_DIRECT of whole pages.
func (m *machine) parts(n int64, direct bool) []int {
	var parts []int
	for range m.pick("pieces", 4) {
		p := 1 + m.pick("piece", int(n))
		if direct {
			p = p &^ (page - 1)
		}
		if p <= 0 || int64(p) >= n {
			break
		}
		parts = append(parts, p)
		n -= int64(p)
	}
	return parts
}

func (m *machine) touch(ino *inode, off, n int64) { m.touched = append(m.touched, piece{ino, off, n}) }

// compareStep compares what the last step touched, and all sizes.
func (m *machine) compareStep() {
	m.t.Helper()
	for _, p := range m.touched {
		const around = 100
		m.compare(p.ino, max(0, p.off-around), p.n+2*around)
	}
	m.touched = m.touched[:0]
	m.compareSizes()
}

// compareSizes compares the sizes of all files, by name and by descriptor.
func (m *machine) compareSizes() {
	m.t.Helper()
	for i, s := range m.slots {
		if s != nil {
			m.sameSize(s.ino, op{Call: callSize, Slot: i})
		}
	}
	for i, name := range m.some {
		o := op{Call: callStat, Slot: i, Name: name}
		if ino := m.names[name]; ino != nil {
			m.sameSize(ino, o)
		} else if a := m.quiet(o); a.Errno != unix.ENOENT {
			m.t.Fatalf("stat of %s, which is not there: %d bytes, %v", name, a.N, a.Errno)
		}
	}
}

func (m *machine) sameSize(ino *inode, o op) {
	m.t.Helper()
	if a := m.quiet(o); a.Errno != 0 || a.N != ino.size() {
		m.t.Fatalf("%v: size %d, want %d (%v)", o, a.N, ino.size(), a.Errno)
	}
}

// quiet makes a step of a comparison, which is not told.
func (m *machine) quiet(o op) answer {
	m.t.Helper()
	answers, err := m.actors[o.Slot%2].do(o)
	if err != nil {
		m.t.Fatalf("%v: %v", o, err)
	}
	return answers[0]
}

// compare compares a piece of a file by one of its descriptors, at each step
// another, or else by its name.
func (m *machine) compare(ino *inode, off, n int64) {
	m.t.Helper()
	var by []int
	for i, s := range m.slots {
		if s != nil && s.ino == ino && s.readable() {
			by = append(by, i)
		}
	}
	if len(by) > 0 {
		m.compareBy(by[m.step%uint64(len(by))], m.slots[by[m.step%uint64(len(by))]], off, n)
		return
	}
	for _, name := range m.some {
		if m.names[name] == ino {
			m.compareName(name, off, n)
			return
		}
	}
}

// compareBy compares a piece by a descriptor.
func (m *machine) compareBy(i int, s *slot, off, n int64) {
	m.t.Helper()
	if s.direct() {
		end := (off + n + page - 1) &^ (page - 1)
		off = off &^ (page - 1)
		n = end - off
	}
	o := op{Call: callPread, Slot: i, Off: off, Len: n}
	a := m.quiet(o)
	m.judge(0, o, a)
	if d := differ(a.Data, s.ino.read(off, n), off); d != "" {
		m.t.Fatalf("descriptor %d: %s", i, d)
	}
}

// compareName compares a piece by a name, in the second process.
func (m *machine) compareName(name string, off, n int64) {
	m.t.Helper()
	open := op{Call: callOpen, Slot: spare, Name: name}
	m.judge(0, open, m.quiet(open))
	m.compareBy(spare, &slot{ino: m.names[name]}, off, n)
	m.quiet(op{Call: callClose, Slot: spare})
}

// compareAll compares everything, as it is and once it has been written to
// where it is kept.
func (m *machine) compareAll() {
	m.t.Helper()
	m.t.Logf("at the end")
	m.compareSizes()
	for range 2 {
		for i, s := range m.slots {
			switch {
			case s == nil:
				continue
			case s.readable():
				m.compareBy(i, s, 0, max(s.ino.size(), 1))
			}
			if s.mapped {
				m.loadAt(i, 0, s.ino.size())
			}
		}
		for _, name := range m.some {
			if ino := m.names[name]; ino != nil {
				m.compareName(name, 0, max(ino.size(), 1))
			}
		}
		for i, s := range m.slots {
			if s != nil {
				m.do(op{Call: callDrop, Slot: i})
			}
		}
		for _, name := range m.some {
			if m.names[name] != nil {
				m.do(op{Call: callOpen, Slot: spare, Name: name})
				m.do(op{Call: callDrop, Slot: spare})
				m.do(op{Call: callClose, Slot: spare})
			}
		}
	}
}

// compareBehind compares the files in the directory behind the one under test.
func (m *machine) compareBehind(dir string) {
	m.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(m.some, e.Name()) || m.names[e.Name()] == nil {
			m.t.Fatalf("behind, there is %s", e.Name())
		}
	}
	for name, ino := range m.names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			m.t.Fatal(err)
		}
		if d := differ(got, ino.data, 0); d != "" {
			m.t.Fatalf("behind, %s: %s", name, d)
		}
	}
}
