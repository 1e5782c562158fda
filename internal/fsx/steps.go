package fsx

import (
	"golang.org/x/sys/unix"
)

// open opens a name as a descriptor, which may be in use.
func (m *machine) open() {
	flags := sample(m, "access", []int{unix.O_RDWR, unix.O_RDWR, unix.O_RDWR, unix.O_RDONLY, unix.O_WRONLY})
	more := []int{0, 0, 0, unix.O_DSYNC}
	if flags != unix.O_RDONLY {
		more = append(more, unix.O_APPEND, unix.O_TRUNC)
	}
	if m.cfg.Lacks&NoDirect == 0 {
		more = append(more, unix.O_DIRECT)
	}
	flags |= sample(m, "flag", more)
	m.openAs(m.pick("descriptor", len(m.slots)), sample(m, "name", m.some), flags)
}

// openAs opens a name, and makes the file if there is none.
func (m *machine) openAs(i int, name string, flags int) {
	ino := m.names[name]
	if ino == nil {
		flags |= unix.O_CREAT
		ino = &inode{}
	}
	m.do(op{Call: callOpen, Slot: i, Name: name, Flags: flags})
	m.names[name] = ino
	if flags&unix.O_TRUNC != 0 {
		ino.resize(0)
	}
	m.slots[i] = &slot{ino: ino, flags: flags}
}

func (m *machine) close() {
	i := m.slot(func(*slot) bool { return true })
	m.do(op{Call: callClose, Slot: i})
	m.slots[i] = nil
}

func (m *machine) read() {
	i := m.slot((*slot).readable)
	s := m.slots[i]
	o := op{Call: sample(m, "call", []call{callPread, callRead, callReadv}), Slot: i}
	o.Off, o.Len = m.span(s.ino, limit+2*page, s.direct())
	if o.Call == callReadv {
		o.Parts = m.parts(o.Len, s.direct())
	}
	a := m.do(o)
	if d := differ(a.Data, s.ino.read(o.Off, o.Len), o.Off); d != "" {
		m.t.Fatalf("%v: %s", o, d)
	}
}

func (m *machine) write() {
	i := m.slot((*slot).writable)
	s := m.slots[i]
	o := op{Call: sample(m, "call", []call{callPwrite, callWrite, callWritev}), Slot: i}
	o.Off, o.Len = m.span(s.ino, limit, s.direct())
	if s.appends() {
		// Wherever it is asked for, an append is at the end.
		if o.Len = min(o.Len, limit-s.ino.size()); o.Len <= 0 {
			return
		}
	}
	o.Data = pattern(m.step, int(o.Len))
	if o.Call == callWritev {
		o.Parts = m.parts(o.Len, s.direct())
	}
	a := m.do(o)
	if a.N != o.Len {
		m.t.Fatalf("%v: %d bytes", o, a.N)
	}
	if s.appends() {
		o.Off = s.ino.size()
	}
	s.ino.write(o.Off, o.Data)
	m.touch(s.ino, o.Off, o.Len)
}

// truncate cuts or extends a file by name or by descriptor.
func (m *machine) truncate() {
	i := m.slot((*slot).writable)
	ino, o := m.slots[i].ino, op{Call: callFtruncate, Slot: i}
	for _, name := range m.some {
		if m.names[name] == ino && m.pick("by name", 2) == 1 {
			o.Call, o.Name, o.Slot = callTruncate, name, m.pick("process", 2)
			break
		}
	}
	o.Len = m.place(ino)
	m.do(o)
	before := ino.size()
	ino.resize(o.Len)
	m.touch(ino, min(before, o.Len), max(before, o.Len)-min(before, o.Len))
}

// allocations are modes of fallocate.
var allocations = []struct {
	mode int
	lack Lack
	do   func(ino *inode, off, n int64)
}{
	{0, 0, func(ino *inode, off, n int64) { ino.reach(off + n) }},
	{unix.FALLOC_FL_KEEP_SIZE, 0, func(*inode, int64, int64) {}},
	{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 0, (*inode).zero},
	{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 0, (*inode).zero},
	{unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, NoZeroRange, (*inode).zero},
	{unix.FALLOC_FL_ZERO_RANGE, NoZeroRange, func(ino *inode, off, n int64) {
		ino.reach(off + n)
		ino.zero(off, n)
	}},
	{unix.FALLOC_FL_COLLAPSE_RANGE, NoCollapse, func(ino *inode, off, n int64) {
		ino.data = append(ino.data[:off:off], ino.data[off+n:]...)
	}},
	{unix.FALLOC_FL_INSERT_RANGE, NoCollapse, func(ino *inode, off, n int64) {
		tail := append([]byte(nil), ino.data[off:]...)
		ino.data = append(append(ino.data[:off:off], make([]byte, n)...), tail...)
	}},
}

// shifts are the modes that move what is behind them. They take whole blocks
// within the file.
const shifts = unix.FALLOC_FL_COLLAPSE_RANGE | unix.FALLOC_FL_INSERT_RANGE

func (m *machine) allocate() {
	i := m.slot((*slot).writable)
	ino := m.slots[i].ino
	how := sample(m, "mode", allocations)
	o := op{Call: callFallocate, Slot: i, Flags: how.mode}
	o.Off, o.Len = m.span(ino, limit, how.mode&shifts != 0)
	if m.cfg.Lacks&how.lack != 0 {
		m.expect(unix.EOPNOTSUPP, o)
		m.touch(ino, o.Off, o.Len)
		return
	}
	switch size := ino.size(); {
	case how.mode&unix.FALLOC_FL_COLLAPSE_RANGE != 0 && o.Off+o.Len >= size,
		how.mode&unix.FALLOC_FL_INSERT_RANGE != 0 && o.Off >= size:
		m.expect(unix.EINVAL, o)
		return
	case how.mode&unix.FALLOC_FL_INSERT_RANGE != 0 && size+o.Len > mapped:
		return
	}
	m.do(o)
	before := ino.size()
	how.do(ino, o.Off, o.Len)
	m.touch(ino, o.Off, max(o.Len, before-o.Off))
}

func (m *machine) remap() {
	i := m.slot((*slot).readable)
	s := m.slots[i]
	o := op{Call: callMap, Slot: i, Flags: s.flags}
	switch {
	case m.cfg.Lacks&NoMmap != 0:
		m.expect(unix.ENODEV, o)
	case s.mapped && m.pick("unmap", 2) == 1:
		m.do(op{Call: callUnmap, Slot: i})
		s.mapped = false
	default:
		m.do(o)
		s.mapped = true
	}
}

// mapping returns a descriptor that is mapped, for stores if both is set, and
// a piece of its file, if it has any.
func (m *machine) mapping(both bool) (i int, off, n int64) {
	i = m.slot(func(s *slot) bool { return s.readable() && (s.both() || !both) })
	s := m.slots[i]
	if !s.mapped {
		m.do(op{Call: callMap, Slot: i, Flags: s.flags})
		s.mapped = true
	}
	if s.ino.size() > 0 {
		off, n = m.span(s.ino, s.ino.size(), false)
	}
	return i, off, n
}

func (m *machine) load() {
	if i, off, n := m.mapping(false); n > 0 {
		m.loadAt(i, off, n)
	}
}

func (m *machine) loadAt(i int, off, n int64) {
	m.t.Helper()
	o := op{Call: callLoad, Slot: i, Off: off, Len: n}
	a := m.do(o)
	if d := differ(a.Data, m.slots[i].ino.read(off, n), off); d != "" {
		m.t.Fatalf("%v: %s", o, d)
	}
}

func (m *machine) store() {
	i, off, n := m.mapping(true)
	if n == 0 {
		return
	}
	ino := m.slots[i].ino
	o := op{Call: callStore, Slot: i, Off: off, Len: n, Data: pattern(m.step, int(n))}
	m.do(o)
	ino.write(off, o.Data)
	m.touch(ino, off, n)
	if m.pick("msync", 3) == 0 {
		m.do(op{Call: callMsync, Slot: i})
	}
}

// copy copies a piece within a file or between two, whose descriptors are of
// the same process.
func (m *machine) copy() {
	to := m.slot((*slot).anywhere)
	var from []int
	for i, s := range m.slots {
		if i%2 == to%2 && s != nil && s.readable() && !s.direct() {
			from = append(from, i)
		}
	}
	if len(from) == 0 {
		m.openAs((to+2)%len(m.slots)&^1+to%2, sample(m, "name", m.some), unix.O_RDWR)
		return
	}
	o := op{Call: callCopy, Slot: to, From: sample(m, "source", from)}
	dst, src := m.slots[to].ino, m.slots[o.From].ino
	o.FromOff, o.Len = m.span(src, limit, false)
	o.Off = m.place(dst)
	o.Len = min(o.Len, limit-o.Off)
	n := int64(len(src.read(o.FromOff, o.Len)))
	if src == dst {
		// What is behind the end is not copied, and what a part of the copy
		// has put there is not either. Pieces must not overlap.
		if o.Len = n; n > 0 && o.FromOff < o.Off+n && o.Off < o.FromOff+n {
			m.expect(unix.EINVAL, o)
			return
		}
	}
	if a := m.do(o); a.N != n {
		m.t.Fatalf("%v: %d bytes, want %d", o, a.N, n)
	}
	if n > 0 {
		dst.write(o.Off, append([]byte(nil), src.read(o.FromOff, n)...))
	}
	m.touch(dst, o.Off, n)
}

// extents checks that holes read as zeros, and that data and holes follow each
// other up to the end.
func (m *machine) extents() {
	i := m.slot(func(*slot) bool { return true })
	ino := m.slots[i].ino
	o := op{Call: callExtents, Slot: i}
	a := m.do(o)
	at := int64(0)
	for _, e := range a.Extents {
		if e.Off != at || e.End <= e.Off || e.End > ino.size() {
			m.t.Fatalf("%v: %+v in a file of %d bytes", o, a.Extents, ino.size())
		}
		if e.Hole {
			if d := differ(make([]byte, e.End-e.Off), ino.read(e.Off, e.End-e.Off), e.Off); d != "" {
				m.t.Fatalf("%v: a hole where there is data: %s", o, d)
			}
		}
		at = e.End
	}
	if at != ino.size() {
		m.t.Fatalf("%v: %+v in a file of %d bytes", o, a.Extents, ino.size())
	}
}

func (m *machine) sync() {
	i := m.slot(func(*slot) bool { return true })
	m.do(op{Call: sample(m, "call", []call{callFsync, callFdatasync, callDrop, callDrop}), Slot: i})
	ino := m.slots[i].ino
	m.touch(ino, 0, ino.size())
}

// rename renames, links or removes a name.
func (m *machine) rename() {
	name, to := sample(m, "name", m.some), sample(m, "new name", m.some)
	ino := m.names[name]
	o := op{Call: sample(m, "call", []call{callRename, callLink, callUnlink}), Slot: m.pick("process", 2), Name: name, To: to}
	switch {
	case ino == nil:
		m.expect(unix.ENOENT, o)
	case o.Call == callLink && m.names[to] != nil:
		m.expect(unix.EEXIST, o)
	case o.Call == callLink:
		m.do(o)
		m.names[to] = ino
	case o.Call == callUnlink:
		m.do(o)
		delete(m.names, name)
	default:
		m.do(o)
		// Names of the same file both stay.
		if m.names[to] != ino {
			m.names[to] = ino
			delete(m.names, name)
		}
	}
}
