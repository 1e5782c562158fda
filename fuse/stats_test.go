package fuse_test

import (
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/vfs"
)

// tally is what a test expects of a kind of request.
type tally struct{ Requests, Errors, HandedOver uint64 }

// tallies returns what s has of each kind, and checks what must always hold.
func tallies(t testing.TB, s *fuse.Snapshot) map[string]tally {
	t.Helper()
	m := make(map[string]tally)
	failed, counted := uint64(0), uint64(0)
	for i := range s.Ops {
		o := &s.Ops[i]
		if i > 0 && s.Ops[i-1].Opcode >= o.Opcode {
			t.Errorf("%v stands behind %v", o.Opcode, s.Ops[i-1].Opcode)
		}
		if o.Latency.Sum < o.Latency.Longest || o.Latency.Quantile(0.5) > o.Latency.Longest {
			t.Errorf("%v: %v together, the longest %v, half below %v", o.Name(), o.Latency.Sum, o.Latency.Longest, o.Latency.Quantile(0.5))
		}
		m[o.Name()] = tally{o.Latency.Count(), o.Errors, o.HandedOver}
		failed += o.Errors
	}
	for _, e := range s.Errors {
		counted += e.Count
	}
	if failed != counted {
		t.Errorf("%d requests failed, with %d errors", failed, counted)
	}
	return m
}

func snapshot(stats *fuse.Stats) *fuse.Snapshot {
	s := new(fuse.Snapshot)
	stats.Snapshot(s)
	return s
}

// TestStatsCountEveryOpcode sends each sample as often as its place says, and
// expects what the replies said.
func TestStatsCountEveryOpcode(t *testing.T) {
	stats := fuse.NewStats()
	raw := newRaw(fuse.NewServer(fusetest.NullFS{}, fuse.Options{Stats: stats}))
	want := make(map[string]tally)
	errs := make(map[syscall.Errno]uint64)
	var read, written uint64
	for i, sample := range fusetest.Samples() {
		for range i + 1 {
			reply := raw.serve(sample.Request, sample.Reply)
			errno, replied := checkReply(t, reply, uniqueOf(sample.Request))
			if sample.Op == fuse.NOTIFY_REPLY {
				errno = syscall.ENOSYS // of which nobody is told
			}
			n := want[sample.Op.String()]
			n.Requests++
			if errno != 0 {
				n.Errors++
				errs[errno]++
			}
			want[sample.Op.String()] = n
			switch {
			case !replied || errno != 0:
			case sample.Op == fuse.READ:
				read += uint64(len(reply) - fusetest.OutHeaderSize)
			case sample.Op == fuse.WRITE:
				written += 64
			}
		}
	}
	s := snapshot(stats)
	if d := cmp.Diff(want, tallies(t, s)); d != "" {
		t.Error(d)
	}
	if read == 0 || s.Read != read || written == 0 || s.Written != written {
		t.Errorf("%d bytes read, %d written, want %d and %d", s.Read, s.Written, read, written)
	}
	for _, e := range s.Errors {
		if errs[e.Errno] != e.Count {
			t.Errorf("%d of %v, want %d", e.Count, e.Errno, errs[e.Errno])
		}
	}
	if s.InFlight != 0 || s.Pending != 0 || s.LockWaits != 0 || s.Elapsed <= 0 {
		t.Errorf("in flight %d, pending %d, lock waits %d, after %v", s.InFlight, s.Pending, s.LockWaits, s.Elapsed)
	}
}

// TestStatsCountFailures has requests that fail in every place they can.
func TestStatsCountFailures(t *testing.T) {
	stats := fuse.NewStats()
	s, c := start(t, stubbornFS{}, fuse.Options{Stats: stats})
	raw := newRaw(s)
	for _, mask := range []uint32{2, 2, 2, 13, 133, 134, 511, 512, ^uint32(0)} {
		c.Access(1, mask)
	}
	read := fusetest.Append(nil).U64(3).U64(0).U32(64).U32(0).U64(0).U64(0)
	for _, r := range []struct {
		op   fuse.Opcode
		args fusetest.Append
		cut  int
		room int
	}{
		{fuse.POLL, nil, 0, 16},         // ENOSYS
		{fuse.CUSE_INIT, nil, 0, 16},    // ENOSYS
		{0, nil, 0, 16},                 // ENOSYS
		{7, nil, 0, 16},                 // ENOSYS
		{^fuse.Opcode(0), nil, 0, 16},   // ENOSYS
		{fuse.FORGET, nil, 0, 0},        // EINVAL that nobody hears of
		{fuse.READ, read, 0, 79},        // EINVAL: no room
		{fuse.READ, read, 0, 8},         // EINVAL: no room for a reply
		{fuse.GETATTR, nil, 1, 128},     // EINVAL: an incomplete header
		{fuse.GETATTR, nil, 40, 128},    // EINVAL: nothing at all
		{fuse.UNLINK, read[:9], 0, 128}, // EINVAL: no name
	} {
		request := fusetest.Request(fusetest.Header{Op: r.op, Unique: 2, Node: 1}, r.args, nil)
		raw.serve(request[:len(request)-r.cut], r.room)
	}
	raw.serveIov(pieces(fusetest.Request(fusetest.Header{Op: fuse.READ, Unique: 2, Node: 1}, read, nil), 100),
		[]unix.Iovec{{Len: 80}}) // EFAULT: no memory for the reply
	got := snapshot(stats)
	want := map[string]tally{
		"INIT": {Requests: 1}, "ACCESS": {9, 9, 0}, "POLL": {1, 1, 0}, "unknown": {6, 6, 0},
		"FORGET": {1, 1, 0}, "READ": {3, 3, 0}, "UNLINK": {1, 1, 0},
	}
	if d := cmp.Diff(want, tallies(t, got)); d != "" {
		t.Error(d)
	}
	wantErrors := []fuse.ErrorCount{
		{Errno: 0, Count: 2}, {Errno: syscall.ENOENT, Count: 3}, {Errno: syscall.EIO, Count: 2},
		{Errno: syscall.EACCES, Count: 1}, {Errno: syscall.EFAULT, Count: 1}, {Errno: syscall.EINVAL, Count: 6},
		{Errno: syscall.ENOSYS, Count: 5}, {Errno: 133, Count: 1},
	}
	if d := cmp.Diff(wantErrors, got.Errors); d != "" {
		t.Error(d)
	}
	if got.Read != 0 || got.InFlight != 0 {
		t.Errorf("%d bytes read, %d in flight", got.Read, got.InFlight)
	}
}

// TestStatsOfPending looks while requests wait, and when they are done.
func TestStatsOfPending(t *testing.T) {
	stats := fuse.NewStats()
	fs := newSlowFS()
	s, _ := start(t, fs, fuse.Options{Stats: stats, MaxLockWaits: 2})
	p := newPending(s)
	for _, r := range []struct {
		unique uint64
		op     fuse.Opcode
		args   []byte
	}{{2, fuse.FSYNC, fsyncArgs}, {4, fuse.SETLKW, lockArgs}, {6, fuse.WRITE, writeArgs}, {8, fuse.SETLKW, lockArgs}} {
		p.begin(r.op, r.unique, r.args)
		<-fs.started
	}
	if _, done := p.begin(fuse.SETLKW, 10, lockArgs); !done { // ENOLCK
		t.Fatal("handed over")
	}
	during := snapshot(stats)
	want := map[string]tally{"INIT": {Requests: 1}, "FSYNC": {HandedOver: 1}, "WRITE": {HandedOver: 1}, "SETLKW": {1, 1, 2}}
	if d := cmp.Diff(want, tallies(t, during)); d != "" {
		t.Error(d)
	}
	if during.InFlight != 4 || during.Pending != 2 || during.LockWaits != 2 || during.Written != 0 {
		t.Errorf("in flight %d, pending %d, lock waits %d, written %d", during.InFlight, during.Pending, during.LockWaits, during.Written)
	}
	close(fs.release)
	for range 4 {
		p.wait(t)
	}
	after := snapshot(stats)
	want = map[string]tally{"INIT": {Requests: 1}, "FSYNC": {1, 0, 1}, "WRITE": {1, 0, 1}, "SETLKW": {3, 1, 2}}
	if d := cmp.Diff(want, tallies(t, after)); d != "" {
		t.Error(d)
	}
	if after.InFlight != 0 || after.Pending != 0 || after.LockWaits != 0 || after.Written != 4 {
		t.Errorf("in flight %d, pending %d, lock waits %d, written %d", after.InFlight, after.Pending, after.LockWaits, after.Written)
	}

	elapsed := after.Elapsed - during.Elapsed
	after.Sub(during)
	want = map[string]tally{"FSYNC": {Requests: 1}, "WRITE": {Requests: 1}, "SETLKW": {Requests: 2}}
	if d := cmp.Diff(want, tallies(t, after)); d != "" {
		t.Errorf("in between: %s", d)
	}
	if after.Written != 4 || after.Elapsed != elapsed || len(after.Errors) != 0 {
		t.Errorf("in between: written %d, %v, errors %v", after.Written, after.Elapsed, after.Errors)
	}
}

// TestStatsOfAFault: a request that ends because its memory is gone is one that
// failed, and nothing that is still going on.
func TestStatsOfAFault(t *testing.T) {
	stats := fuse.NewStats()
	s, _ := start(t, fusetest.NullFS{}, fuse.Options{Stats: stats})
	fd, err := unix.MemfdCreate("fuse-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	gone, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(gone)
	request := fusetest.Request(fusetest.Header{Op: fuse.STATFS, Unique: 2, Node: 1}, nil, nil)
	for _, r := range []struct{ in, out []byte }{{gone, make([]byte, 96)}, {request, gone}} {
		raw := newRaw(s)
		raw.call.In, raw.call.Out = []unix.Iovec{oslib.Iov(r.in)}, []unix.Iovec{oslib.Iov(r.out)}
		if err := oslib.CatchFault(func() { s.Serve(raw.call) }); err == nil {
			t.Error("no fault")
		}
	}
	got := snapshot(stats)
	want := map[string]tally{"INIT": {Requests: 1}, "unknown": {1, 1, 0}, "STATFS": {1, 1, 0}}
	if d := cmp.Diff(want, tallies(t, got)); d != "" {
		t.Error(d)
	}
	if got.InFlight != 0 || len(got.Errors) != 1 || got.Errors[0].Errno != syscall.EFAULT {
		t.Errorf("in flight %d, errors %v", got.InFlight, got.Errors)
	}
}

// TestStatsOfSeveralServers has calls go from one server to another, with
// counters of its own and without.
func TestStatsOfSeveralServers(t *testing.T) {
	shared, own := fuse.NewStats(), fuse.NewStats()
	c := fuse.NewCall()
	request := fusetest.Request(fusetest.Header{Op: fuse.STATFS, Unique: 2, Node: 1}, nil, nil)
	for _, stats := range []*fuse.Stats{shared, nil, own, shared, nil, shared} {
		s, _ := start(t, fusetest.NullFS{}, fuse.Options{Stats: stats})
		c.In, c.Out = pieces(request, 40), pieces(make([]byte, 96), 96)
		s.Serve(c)
	}
	for stats, want := range map[*fuse.Stats]uint64{shared: 3, own: 1} {
		n := tallies(t, snapshot(stats))
		if d := cmp.Diff(map[string]tally{"INIT": {Requests: want}, "STATFS": {Requests: want}}, n); d != "" {
			t.Error(d)
		}
	}
}

// TestConcurrentSnapshots looks all the while that requests are served. Nothing
// goes back, no error is seen before its request, and in the end all are there.
func TestConcurrentSnapshots(t *testing.T) {
	const workers, rounds = 4, 2000
	stats := fuse.NewStats()
	s, _ := start(t, &handOverFS{}, fuse.Options{Stats: stats})
	done := make(chan struct{})
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			c := fusetest.NewClient(fusetest.NewDirect(s))
			for range rounds {
				c.Statfs(1)
				c.Fsync(1, 3, false)
				c.Do(fuse.POLL, 1, nil, nil)
			}
		}()
	}
	var last fuse.Snapshot
	check := func() map[string]tally {
		var now fuse.Snapshot
		stats.Snapshot(&now)
		if now.InFlight < 0 || now.InFlight > workers || now.Pending < 0 || now.Pending > workers {
			t.Errorf("in flight %d, pending %d", now.InFlight, now.Pending)
		}
		for i := range last.Ops {
			o := &last.Ops[i]
			at := slices.IndexFunc(now.Ops, func(n fuse.Op) bool { return n.Opcode == o.Opcode })
			if at < 0 {
				t.Fatalf("%v has gone", o.Name())
			}
			n := &now.Ops[at]
			if n.Latency.Count() < o.Latency.Count() || n.Errors < o.Errors || n.HandedOver < o.HandedOver || n.Latency.Longest < o.Latency.Longest {
				t.Errorf("%v went back", o.Name())
			}
			if n.Errors > n.Latency.Count() {
				t.Errorf("%v: %d errors of %d requests", n.Name(), n.Errors, n.Latency.Count())
			}
		}
		last = now
		m := make(map[string]tally)
		for i := range now.Ops {
			o := &now.Ops[i]
			m[o.Name()] = tally{o.Latency.Count(), o.Errors, o.HandedOver}
		}
		return m
	}
	for running := workers; running > 0; {
		select {
		case <-done:
			running--
		default:
			check()
		}
	}
	const n = workers * rounds
	want := map[string]tally{"INIT": {Requests: 1}, "STATFS": {Requests: n}, "FSYNC": {n, 0, n}, "POLL": {n, n, 0}}
	if d := cmp.Diff(want, check()); d != "" {
		t.Error(d)
	}
}

// TestStatsAllocs asserts that counting does not allocate, nor taking a snapshot
// into one that has been used.
func TestStatsAllocs(t *testing.T) {
	stats := fuse.NewStats()
	s, c := start(t, fusetest.NullFS{}, fuse.Options{Stats: stats})
	for _, sample := range benchSamples() {
		p := prepare(sample)
		p.serve(s)
		if n := testing.AllocsPerRun(100, func() { p.serve(s) }); n != 0 {
			t.Errorf("%s: %v allocations", sample.Name, n)
		}
	}
	c.Do(fuse.POLL, 1, nil, nil)
	var into fuse.Snapshot
	stats.Snapshot(&into)
	if n := testing.AllocsPerRun(10, func() { stats.Snapshot(&into) }); n != 0 {
		t.Errorf("snapshot: %v allocations", n)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	stats := fuse.NewStats()
	for range 16 {
		_, c := start(b, fusetest.NullFS{}, fuse.Options{Stats: stats})
		c.Getattr(1, vfs.NoHandle)
	}
	var into fuse.Snapshot
	b.ReportAllocs()
	for b.Loop() {
		stats.Snapshot(&into)
	}
}
