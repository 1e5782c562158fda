package virtionet

import (
	"testing"

	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// BenchmarkTransmit sends frames to an interface that nobody listens at, as fast as a
// driver can that keeps the ring full.
func BenchmarkTransmit(b *testing.B) {
	for _, size := range []int{64, 1500 + ethernetSize} {
		b.Run(map[bool]string{true: "small", false: "full"}[size == 64], func(b *testing.B) {
			tap := newTAP(b)
			setUp(b, tap.Name(), true)
			r := newRigOn(b, tap, Config{TAP: tap, Logger: quiet}, featCsum|virtq.FeatRingEventIdx)
			r.host = nil
			drv := r.rings[transmitQueue]
			r.start(transmitQueue, 0)
			in := []virtqtest.Buf{r.buffer(headerSize + size)}
			copy(r.mem.Bytes(in[0])[headerSize:], frame(size, 1))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for sent, back := 0, 0; back < b.N; {
				for sent < b.N {
					if _, ok := drv.AddChain(in, nil); !ok {
						break
					}
					sent++
				}
				if drv.Publish() {
					drv.Kick()
				}
				for {
					if _, _, ok := drv.Poll(); !ok {
						break
					}
					back++
				}
			}
		})
	}
}
