package oslib

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// TestIovCursor has a kernel that transfers at most so many bytes at a time, and calls
// that ask for at most so many.
func TestIovCursor(t *testing.T) {
	data := []byte("abcdefghijklmnop")
	var v []unix.Iovec
	rest := bytes.Clone(data)
	for _, n := range []int{0, 3, 5, 0, 1, 7} {
		v = append(v, Iov(rest[:n]))
		rest = rest[n:]
	}
	for room := 1; room <= len(v); room++ {
		for most := 1; most <= len(data)+1; most++ {
			for ask := 1; ask <= len(data)+1; ask++ {
				var got []byte
				c := IovCursor{Left: v}
				for c.Advance(0); len(c.Left) > 0; {
					next := c.Next(make([]unix.Iovec, room), uint64(ask))
					if IovLen(next) > uint64(ask) {
						t.Fatalf("room %d, asked for %d: %d bytes", room, ask, IovLen(next))
					}
					buf := make([]byte, most)
					n, ok := IovRead(buf, next)
					if n == 0 || !ok {
						t.Fatalf("room %d, at most %d of %d: nothing to go on with after %q", room, most, ask, got)
					}
					got = append(got, buf[:n]...)
					c.Advance(uint64(n))
				}
				if !bytes.Equal(got, data) {
					t.Errorf("room %d, at most %d of %d: %q", room, most, ask, got)
				}
			}
		}
	}
}
