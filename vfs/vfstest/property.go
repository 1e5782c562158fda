package vfstest

import (
	"flag"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/vfs"
)

// testSequences runs random sequences of operations on both sides. What fails
// is made as short as it can be before it is reported.
func (s *suite) testSequences(t *testing.T) {
	// What failed is printed in full, and with the seed that finds it again. A
	// file of it in the source tree of whoever uses the suite is too much.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	sequences := rapid.Custom(func(t *rapid.T) op {
		return randomOp(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") }, s.Lacks)
	})
	rapid.Check(t, func(t *rapid.T) {
		st := s.newStage(t, guest{
			keep:   rapid.Bool().Draw(t, "keep references"),
			nowait: rapid.Bool().Draw(t, "nowait"),
		})
		// A failed check ends by a panic, and leaves the file system to the
		// next.
		defer st.done(t)
		r := newPair(t, st.got, st.want, s.Lacks)
		defer r.close()
		for _, o := range rapid.SliceOfN(sequences, 1, 60).Draw(t, "operations") {
			o.free = true
			r.step(o)
		}
		r.compare(st.back)
	})
}

// The values that random operations choose from: few, so that operations meet.
var (
	somePaths = []string{"a", "b", "c", "a/a", "a/b", "b/a", "b/c", "a/a/a", "a/b/c", "c/c", "\xff\xfe", "b/long-" + strings.Repeat("n", 248)}
	someModes = []uint32{0, 0o600, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o6777}
	someSizes = []uint64{0, 1, 5, 4095, 4096, 4097, 10_000, 100_000}
	someData  = []string{"", "x", "hello", pattern(4097), pattern(20_000)}
	someIDs   = []int64{-1, 0, 1, 1000, 65534}
	someSlots = []string{"f", "g", "h"}
	someOpens = []int{
		rdonly, wronly, rdwr, rdwr | trunc, wronly | appnd, rdwr | appnd, creat | rdwr, creat | excl | rdwr, creat | wronly | trunc, creat | rdonly,
		creat | rdwr | appnd, unix.O_DIRECTORY,
	}
	someXattrs   = []string{"user.a", "user.b", "trusted.a", "user.\xff"}
	someRenames  = []uint32{0, 0, 0, noReplace, exchange, whiteout, noReplace | exchange, noReplace | whiteout}
	someInstants = []vfs.Timespec{{Sec: 0}, {Sec: 1_600_000_000, Nsec: 1}, {Sec: -5, Nsec: 999_999_999}}
	someAllocs   = []uint32{0, keepSize, punchHole, zeroRange, zeroRange | keepSize}
)

// randomOp makes an operation of choices; pick returns a number below n.
func randomOp(pick func(n int) int, lacks Lack) op {
	path := func() string { return somePaths[pick(len(somePaths))] }
	mode := func() uint32 { return someModes[pick(len(someModes))] }
	size := func() uint64 { return someSizes[pick(len(someSizes))] }
	data := func() string { return someData[pick(len(someData))] }
	id := func() int64 { return someIDs[pick(len(someIDs))] }
	slot := func() string { return someSlots[pick(len(someSlots))] }
	instant := func() vfs.Timespec { return someInstants[pick(len(someInstants))] }
	xattr := func() string { return someXattrs[pick(len(someXattrs))] }

	kinds := []struct {
		lacks Lack
		make  func() op
	}{
		{0, func() op { return mkdir(path(), mode()) }},
		{0, func() op { return mkdir(path(), 0o755) }},
		{0, func() op { return mkfile(path(), data(), mode()) }},
		{0, func() op { return mkfile(path(), data(), 0o644) }},
		{0, func() op { return symlink(path(), path()) }},
		{0, func() op { return readlink(path()) }},
		{0, func() op { return unlink(path()) }},
		{0, func() op { return rmdir(path()) }},
		{0, func() op { return rename(path(), path(), 0) }},
		{NoRenameFlags, func() op { return rename(path(), path(), someRenames[pick(len(someRenames))]) }},
		{NoHardLinks, func() op { return link(path(), path()) }},
		{NoSpecial, func() op { return mknod(path(), unix.S_IFIFO|mode(), 0) }},
		{NoSpecial, func() op {
			return mknod(path(), unix.S_IFCHR|mode(), vfs.MakeDev(uint32(pick(300)), uint32(pick(300))))
		}},
		{0, func() op { return stat(path()) }},
		{0, func() op { return readdir(path()) }},
		{0, func() op { return cat(path()) }},
		{0, func() op { return chmod(path(), mode()) }},
		{0, func() op { return chown(path(), id(), id()) }},
		{0, func() op { return truncateFile(path(), size()) }},
		{0, func() op { return utimens(path(), instant(), instant()) }},
		{0, func() op { return open(slot(), path(), someOpens[pick(len(someOpens))], mode()) }},
		{0, func() op { return closeFile(slot()) }},
		{0, func() op { return onRegular(slot(), func(s string) op { return pread(s, int(size()), size()) }) }},
		{0, func() op { return onRegular(slot(), func(s string) op { return pwrite(s, data(), size()) }) }},
		{0, func() op { return fstat(slot()) }},
		{0, func() op {
			return onRegular(slot(), func(s string) op { return fsetattr(s, vfs.SetAttr{Valid: vfs.SetSize, Size: size()}) })
		}},
		{0, func() op { return fsetattr(slot(), vfs.SetAttr{Valid: vfs.SetMode, Mode: mode()}) }},
		{0, func() op { return fsetattr(slot(), ownerChange(id(), id())) }},
		{NoFallocate, func() op {
			return onRegular(slot(), func(s string) op { return fallocate(s, someAllocs[pick(len(someAllocs))], size(), size()) })
		}},
		{NoTmpfile, func() op { return open(slot(), path(), unix.O_TMPFILE|rdwr, mode()) }},
		{NoHardLinks, func() op { return onRegular(slot(), func(s string) op { return flink(s, path()) }) }},
		{NoXattr, func() op { return setxattr(path(), xattr(), data(), uint32(pick(3))) }},
		{NoXattr, func() op { return getxattr(path(), xattr(), 100) }},
		{NoXattr, func() op { return listxattr(path(), 1000) }},
		{NoXattr, func() op { return removexattr(path(), xattr()) }},
	}
	for {
		if k := kinds[pick(len(kinds))]; lacks&k.lacks == 0 {
			return k.make()
		}
	}
}

// truncateFile truncates what is a regular file. For anything else a guest's
// kernel answers by itself.
func truncateFile(p string, size uint64) op {
	o := truncate(p, size)
	run := o.run
	o.run = func(a *actor) (any, syscall.Errno) {
		at, errno := a.stat(p)
		switch {
		case errno != 0:
			return nil, errno
		case !at.isType(unix.S_IFREG):
			return nil, syscall.EINVAL
		}
		return run(a)
	}
	return o
}

// onRegular makes an op on an open file only if it is no directory: the calls
// for data are not made on those.
func onRegular(slot string, make func(slot string) op) op {
	o := make(slot)
	run := o.run
	o.run = func(a *actor) (any, syscall.Errno) {
		f := a.files[slot]
		if f == nil {
			return nil, syscall.EBADF
		}
		if at, errno := f.stat(); errno != 0 || !at.isType(unix.S_IFREG) {
			return nil, syscall.EINVAL
		}
		return run(a)
	}
	return o
}
