package virtiopci

import (
	"errors"
	"fmt"

	"github.com/isthmus-fs/isthmus/virtq"
)

// Bits of the device status (virtio 1.3 §2.1).
const (
	statusAcknowledge = 1 << 0
	statusDriver      = 1 << 1
	statusDriverOK    = 1 << 2
	statusFeaturesOK  = 1 << 3
	statusNeedsReset  = 1 << 6
	statusFailed      = 1 << 7
)

// order says what must be set before, or together with, a bit of the status.
var order = [...]struct{ bit, needs uint32 }{
	{statusDriver, statusAcknowledge},
	{statusFeaturesOK, statusDriver},
	{statusDriverOK, statusFeaturesOK},
}

// setStatus is a write to device_status: 0 resets the device, bits that are new take
// it a step on.
//
//	0 → ACKNOWLEDGE → DRIVER → FEATURES_OK → DRIVER_OK
//
// A driver that takes steps out of order or back has lost its way: the device needs
// a reset. FAILED ends everything; some drivers write it alone.
func (d *Device) setStatus(v uint64) {
	const known = statusAcknowledge | statusDriver | statusFeaturesOK | statusDriverOK
	s, was := uint32(v), d.status.Load()
	switch {
	case s == 0:
		d.reset()
		return
	case s&statusFailed != 0:
		d.status.Or(statusFailed)
		d.complain("the guest's driver has given up on a device", fmt.Errorf("device status %#x", s))
		return
	case was&known&^s != 0:
		d.broken(fmt.Errorf("the device status went from %#x to %#x", was, s))
		return
	}
	for _, step := range order {
		switch {
		case s&step.bit == 0:
		case s&^step.bit&step.needs == 0:
			d.broken(fmt.Errorf("the device status went from %#x to %#x", was, s))
			return
		}
	}
	if s&^was&statusFeaturesOK != 0 {
		if err := d.negotiate(); err != nil {
			d.complain("the guest's driver wants features that cannot be had", err)
			s &^= statusFeaturesOK
			if s&statusDriverOK != 0 {
				d.status.Or(s & (statusAcknowledge | statusDriver))
				d.broken(errors.New("the driver did not wait for FEATURES_OK"))
				return
			}
		}
	}
	d.status.Or(s & known)
	if s&^was&statusDriverOK != 0 {
		for _, q := range d.queues {
			d.startQueue(q)
		}
	}
}

// negotiate says whether the accepted features will do.
func (d *Device) negotiate() error {
	if not := d.accepted &^ d.offered; not != 0 {
		return fmt.Errorf("features %#x are not offered", not)
	}
	if d.accepted&virtq.FeatVersion1 == 0 {
		return errors.New("VIRTIO_F_VERSION_1 is missing")
	}
	if n, ok := d.backend.(Negotiator); ok {
		return n.Negotiate(d.accepted)
	}
	return nil
}

// broken sets DEVICE_NEEDS_RESET and tells the driver. Workers call it too.
func (d *Device) broken(err error) {
	if d.status.Or(statusNeedsReset)&statusNeedsReset == 0 {
		d.complain("the guest broke a device; it needs a reset", err)
		d.signalConfig()
	}
}

// reset brings the device back to where it was at first, when its workers have done.
func (d *Device) reset() {
	for _, q := range d.queues {
		q.stop(false)
	}
	d.backend.Reset()
	d.forget()
}

// forget clears all that the driver has written. The configuration of PCI is not the
// driver's alone, and stays.
func (d *Device) forget() {
	for _, q := range d.queues {
		q.forget()
		q.vector.Store(noVector)
	}
	d.cfgVector.Store(noVector)
	d.deviceSelect, d.driverSelect, d.queueSelect = 0, 0, 0
	d.accepted = 0
	d.status.Store(0)
	d.inta.take()
}

// enable is a write to queue_enable.
func (d *Device) enable(v uint64) {
	q := d.selected()
	if q == nil || v != 1 || q.enabled {
		return
	}
	q.enabled = true
	if d.status.Load()&statusDriverOK != 0 {
		d.startQueue(q)
	}
}

// startQueue gives a queue that is enabled to the backend.
func (d *Device) startQueue(q *queue) {
	if !q.enabled || q.ring != nil {
		return
	}
	if err := q.start(); err != nil {
		d.broken(fmt.Errorf("queue %d: %w", q.index, err))
	}
}

// resetQueue is a write to queue_reset (virtio 1.3 §4.1.4.3.1). It is done when the
// driver's write is.
func (d *Device) resetQueue(v uint64) {
	q := d.selected()
	if q == nil || v != 1 || d.accepted&virtq.FeatRingReset == 0 || d.status.Load()&statusFeaturesOK == 0 {
		return
	}
	q.stop(true)
	q.forget()
}
