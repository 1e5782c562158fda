package virtionet

import "sync/atomic"

// Stats counts what went through a device since it was made, from the driver's point
// of view. Bytes are those of frames, without virtio's header.
type Stats struct {
	RxFrames, RxBytes uint64
	RxDropped         uint64 // no room in the driver's buffer, or the link was down
	TxFrames, TxBytes uint64
	TxDropped         uint64 // nonsense, not taken by the host, or the link was down
}

type counters struct {
	rxFrames, rxBytes, rxDropped atomic.Uint64
	txFrames, txBytes, txDropped atomic.Uint64
}

// Stats returns the counters.
func (d *Device) Stats() Stats {
	c := &d.counters
	return Stats{
		RxFrames: c.rxFrames.Load(), RxBytes: c.rxBytes.Load(), RxDropped: c.rxDropped.Load(),
		TxFrames: c.txFrames.Load(), TxBytes: c.txBytes.Load(), TxDropped: c.txDropped.Load(),
	}
}
