package guesttest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnalignedDirectIOIsUpToTheDisk reads and writes past the cache what does
// not begin or end with a block.
func TestUnalignedDirectIOIsUpToTheDisk(t *testing.T) {
	dir := scratch(t)
	var refusal error
	if expected[featAligned] {
		refusal = unix.EINVAL
	}
	for _, who := range rootAndOwner {
		path := fmt.Sprintf("%s/%d", dir, who.uid)
		model := pattern(1, 0, 4*page)
		write(t, path, model)
		check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		for _, c := range []struct {
			what string
			skip int // in memory
			off  int64
			n    int
			err  error
		}{
			{"all aligned", 0, page, 2 * page, nil},
			{"an odd position", 0, 1001, page, refusal},
			{"an odd length", 0, page, 1001, refusal},
			{"an odd address", 1, page, page, refusal},
			{"all odd", 3, 5, 77, refusal},
		} {
			what := fmt.Sprintf("%s, as %d", c.what, who.uid)
			out, in := aligned(4 * page)[c.skip:][:c.n], aligned(4 * page)[c.skip:][:c.n]
			copy(out, pattern(uint64(c.n), c.off, c.n))
			as(t, who, func() {
				want(t, withFile(unix.O_RDWR|unix.O_DIRECT, func(n int) error {
					_, err := unix.Pread(n, in, c.off)
					return err
				})(path), c.err, "direct read: %s", what)
				want(t, withFile(unix.O_RDWR|unix.O_DIRECT, func(n int) error {
					_, err := unix.Pwrite(n, out, c.off)
					return err
				})(path), c.err, "direct write: %s", what)
			})
			if c.err == nil {
				same(t, in, model[c.off:][:c.n], c.off, what)
				copy(model[c.off:], out)
			}
			same(t, read(t, path), model, 0, what)
		}
		// A file is in this mode from its creation on.
		fresh := path + "-new"
		as(t, who, func() {
			n, err := unix.Open(fresh, unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT|unix.O_CLOEXEC, 0o644)
			if who.uid != 0 {
				want(t, err, unix.EACCES, "create in another's directory")
				return
			}
			if err != nil {
				t.Errorf("create: %v", err)
				return
			}
			defer unix.Close(n)
			_, err = unix.Pwrite(n, []byte("odd"), 0)
			want(t, err, refusal, "direct write of three bytes to a new file")
		})
	}
}
