package oslib_test

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/isthmus-fs/isthmus/oslib"
)

// alignedBytes marks each byte that belongs to a whole aligned block, going by the
// bytes one by one: block-sized pieces of one iovec, at aligned places of memory and file.
func alignedBytes(v []unix.Iovec, off uint64, a oslib.Alignment) []bool {
	var marks []bool
	for i := range v {
		for at := uint64(0); at < v[i].Len; {
			if (off+uint64(len(marks)))%a.Block == 0 && (addrOf(&v[i])+at)%a.Mem == 0 && v[i].Len-at >= a.Block {
				for range a.Block {
					marks = append(marks, true)
				}
				at += a.Block
				continue
			}
			marks = append(marks, false)
			at++
		}
	}
	return marks
}

func TestAligned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := oslib.Alignment{Block: 1 << rapid.IntRange(0, 4).Draw(t, "block")}
		a.Mem = min(1<<rapid.IntRange(0, 4).Draw(t, "mem"), a.Block)
		lens := rapid.SliceOfN(rapid.IntRange(0, 40), 0, 8).Draw(t, "lengths")
		mem := make([]byte, 1024)
		var v []unix.Iovec
		for _, n := range lens {
			at := rapid.IntRange(0, 32).Draw(t, "address")
			v = append(v, oslib.Iov(mem[at:at+n]))
		}
		off := rapid.Uint64Range(0, 64).Draw(t, "offset")
		least := rapid.Uint64Range(1, 50).Draw(t, "least")
		c := oslib.IovCursor{Left: v}
		c.Advance(rapid.Uint64Range(0, 30).Draw(t, "done"))
		marks := alignedBytes(oslib.IovSlice(nil, v, oslib.IovLen(v)-left(&c), left(&c)), off, a)

		before, run := c.Aligned(off, a, least)
		end := uint64(len(marks))
		if run == 0 && before != end || before+run > end || run%a.Block != 0 || run != 0 && run < least {
			t.Fatalf("%d bytes, then %d of %d", before, run, end)
		}
		for i := before; i < before+run; i++ {
			if !marks[i] {
				t.Fatalf("byte %d of the run from %d to %d is not aligned", i, before, before+run)
			}
		}
		if run != 0 && before+run < end && marks[before+run] {
			t.Fatalf("the run of %d at %d ends where more is aligned", run, before)
		}
		var passed uint64
		for i := range before {
			if passed++; !marks[i] {
				passed = 0
			}
			if passed >= least && passed%a.Block == 0 {
				t.Fatalf("%d aligned bytes before %d were passed over", passed, i)
			}
		}
	})
}

// left is how many bytes are left, counted by taking them.
func left(c *oslib.IovCursor) uint64 {
	var n uint64
	for d := *c; len(d.Left) > 0; {
		part := oslib.IovLen(d.Next(make([]unix.Iovec, 1), 1<<40))
		n += part
		d.Advance(part)
	}
	return n
}
