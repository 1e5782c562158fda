package virtionet

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// FuzzChains puts any descriptors and headers into both rings, with frames waiting at
// the other end, which is a socket here. Whatever comes of it, the workers end when they
// are told to.
func FuzzChains(f *testing.F) {
	desc := func(addr uint64, n uint32, flags, next uint16) []byte {
		b := make([]byte, virtq.DescSize(1))
		virtqtest.PutDesc(b, 0, virtqtest.Desc{Addr: addr, Len: n, Flags: flags, Next: next})
		return b
	}
	f.Add(uint8(0), uint64(0), desc(0x8000, 100, 0, 0), desc(0x9000, 2048, virtq.DescWrite, 0))
	f.Add(uint8(1), uint64(1|20<<48), desc(0x8000, 12, virtq.DescNext, 1), desc(0x9000, 60, 0, 0))
	f.Add(uint8(3), uint64(0x0101), desc(1<<40, 100, 0, 0), desc(0x9000, 10, virtq.DescWrite, 0))
	f.Fuzz(func(t *testing.T, features uint8, head uint64, tx, rx []byte) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		for _, n := range []int{60, 1500, 3} {
			packet := append(make([]byte, headerSize), frame(max(n, ethernetSize), 1)[:n]...)
			binary.LittleEndian.PutUint64(packet, head)
			if _, err := unix.Write(pair[1], packet); err != nil {
				t.Fatal(err)
			}
		}
		mem, err := virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Close()
		view, err := mem.View()
		if err != nil {
			t.Fatal(err)
		}
		defer view.Release()
		tap := &TAP{fd: pair[0], name: "fuzz", mtu: 1500, checksums: true}
		dev, err := New(Config{TAP: tap, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		if err := dev.Negotiate(uint64(features) & (featCsum | featGuestCsum)); err != nil {
			t.Fatal(err)
		}
		for i, descs := range [numQueues][]byte{receiveQueue: rx, transmitQueue: tx} {
			drv, err := virtqtest.New(mem, virtqtest.Config{Size: 8})
			if err != nil {
				t.Fatal(err)
			}
			defer drv.Close()
			binary.LittleEndian.PutUint64(mem.Bytes(virtqtest.Buf{GPA: 0x8000, Len: 8}), head)
			n := uint16(0)
			for ; len(descs) >= virtq.DescSize(1) && n < 8; descs = descs[virtq.DescSize(1):] {
				copy(mem.Bytes(virtqtest.Buf{GPA: drv.Layout().Desc + uint64(virtq.DescSize(int(n))), Len: 16}), descs)
				drv.SetAvail(n, n)
				n++
			}
			drv.SetAvailIdx(n)
			ring, err := drv.Ring(view)
			if err != nil {
				t.Fatal(err)
			}
			if err := dev.Start(i, ring); err != nil {
				t.Fatal(err)
			}
		}
		for i := range numQueues {
			dev.Stop(i, false)
		}
		s := dev.Stats()
		if s.RxFrames+s.RxDropped > 3 || s.TxFrames+s.TxDropped > 8 {
			t.Errorf("more frames than there were: %+v", s)
		}
	})
}
